// System management mode (SDM vol. 3, 34; AMD APM vol. 2, 10): the SMI's way in and RSM's way out.
#pragma once

#include "frontend/x86/cpu.h"

namespace dragoman::x86 {

// Takes an SMI at an instruction boundary: saves the state at Cpu::smbase + 0xfe00 in the AMD64 layout and
// goes on at smbase + 0x8000. The platform shows SMRAM from then on.
void enter_smm(Cpu& cpu);

// RSM in system management mode. What the area holds is checked; a bad CR0, CR4 or EFER ends in shutdown.
void leave_smm(Cpu& cpu);

} // namespace dragoman::x86
