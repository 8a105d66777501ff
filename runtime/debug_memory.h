// Guest memory as the monitor and the debugger reach it: through the translation in force, without setting
// A or D, whatever the permissions say.
#pragma once

#include "runtime/vcpu.h"

namespace dragoman::runtime {

// `unit`: 1, 2, 4 or 8 bytes, the size of accesses to devices' registers, which may have effects there.
// False: some of it is not mapped, or (writes) is ROM; what comes before that is done.
bool read_physical(softmmu::PhysicalMap& map, u64 gpa, u8* to, u64 bytes, unsigned unit = 1);
bool read_linear(Vcpu& vcpu, u64 linear, u8* to, u64 bytes, unsigned unit = 1);
// Translations of what is overwritten are dropped.
bool write_physical(softmmu::PhysicalMap& map, u64 gpa, const u8* from, u64 bytes, unsigned unit = 1);
bool write_linear(Vcpu& vcpu, u64 linear, const u8* from, u64 bytes, unsigned unit = 1);

// Physical address of a linear one; false: not mapped.
bool to_physical(Vcpu& vcpu, u64 linear, u64& gpa);

} // namespace dragoman::runtime
