// Control registers with their checks and what follows from a change: paging state, TLB, mode (SDM vol.
// 3, 2.5, 4.3, 10.8.5).
#pragma once

#include "frontend/x86/cpu.h"

namespace dragoman::x86 {

// Power-up and RESET# state (SDM vol. 3, table 10-1). Borrowed pointers, interrupt_line and poll stay.
void reset(Cpu& cpu);
// After a change of Platform::time_line or Cpu::tsc_offset.
void update_time(Cpu& cpu);

// The access view of CPL, CR4.SMAP and EFLAGS.AC.
softmmu::View access_view(const Cpu& cpu);
void set_cpl(Cpu& cpu, unsigned cpl);

// Into and out of the halted state, in which IA32_MPERF stands still. wake() does nothing to one that runs.
void halt(Cpu& cpu);
void wake(Cpu& cpu);

// Asks the run loop to look at events at the next poll.
void request_poll(ir::Context& ctx);

// Hands CR0, CR3, CR4 and EFER over to the MMU; does not flush.
void update_paging(Cpu& cpu);
// Drops cached translations of addresses (of code, too).
void flush_translations(Cpu& cpu, bool keep_global);

// MOV to CRn with all checks; #GP(0) is raised and false returned where the manual says so.
bool write_cr0(Cpu& cpu, u64 value);
bool write_cr3(Cpu& cpu, u64 value);
bool write_cr4(Cpu& cpu, u64 value);
// Are only bits set that the processor offers?
bool cr4_valid(const Cpu& cpu, u64 value);
bool write_efer(Cpu& cpu, u64 value);
// PKRU and IA32_PKRS: the rights that protection keys leave to user and supervisor pages.
void write_protection_keys(Cpu& cpu, u32 pkru, u32 pkrs);

// Is bit `bits` - 1 what all higher bits are (SDM vol. 1, 3.3.7.1)?
constexpr bool canonical(u64 address, unsigned bits) {
    return u64(i64(address << (64 - bits)) >> (64 - bits)) == address;
}
// An address that is about to be used: by the paging mode.
inline bool canonical(const Cpu& cpu, u64 address) {
    return canonical(address, cpu.cr4 & kCr4LA57 ? 57 : 48);
}
// One loaded into a base register, an MSR, or given to INVPCID: by what the processor has, whatever CR4.LA57
// is.
bool canonical_base(const Cpu& cpu, u64 address);

} // namespace dragoman::x86
