// Control registers with their checks and what follows from a change: paging state, TLB, mode (SDM vol.
// 3, 2.5, 4.3, 10.8.5).
#pragma once

#include "frontend/x86/cpu.h"

namespace dragoman::x86 {

// Power-up and RESET# state (SDM vol. 3, table 10-1). Borrowed pointers, interrupt_line and poll stay.
void reset(Cpu& cpu);

// The access view of CPL, CR4.SMAP and EFLAGS.AC.
softmmu::View access_view(const Cpu& cpu);
void set_cpl(Cpu& cpu, unsigned cpl);

// Asks the run loop to look at events at the next poll.
void request_poll(ir::Context& ctx);

// Hands CR0, CR3, CR4 and EFER over to the MMU; does not flush.
void update_paging(Cpu& cpu);
// Drops cached translations of addresses (which starts a new epoch of the MMU).
void flush_translations(Cpu& cpu, bool keep_global);

// MOV to CRn with all checks; #GP(0) is raised and false returned where the manual says so.
bool write_cr0(Cpu& cpu, u64 value);
bool write_cr3(Cpu& cpu, u64 value);
bool write_cr4(Cpu& cpu, u64 value);
bool write_efer(Cpu& cpu, u64 value);

constexpr bool canonical(u64 address) {
    return u64(i64(address << 16) >> 16) == address;
}

} // namespace dragoman::x86
