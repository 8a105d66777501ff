// The processor's registers as text: `info registers`, -d cpu, the report of a triple fault.
#pragma once

#include "frontend/x86/cpu.h"

#include <string>

namespace dragoman::runtime {

std::string describe_registers(const x86::Cpu& cpu);

} // namespace dragoman::runtime
