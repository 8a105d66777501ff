// What the translate functions of VEX instructions share.
#pragma once

#include "frontend/x86/translation.h"

namespace dragoman::x86 {

// Does the model have the instruction in this form (vector length)?
bool has_vex_features(const CpuModel& model, const Instruction& insn);

} // namespace dragoman::x86
