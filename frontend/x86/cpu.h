// The processor's state beyond what IR ops need: system registers, tables, MSRs. One Cpu per vCPU.
#pragma once

#include "base/log.h"
#include "frontend/x86/code_segments.h"
#include "ir/context.h"
#include "softmmu/mmu.h"

namespace dragoman::x86 {

struct CpuModel; // frontend/x86/cpuid.h
class Platform;  // frontend/x86/platform.h

// EFLAGS beyond the arithmetic flags (SDM vol. 1, 3.4.3).
enum EflagsBit : u32 {
    kTF = 1u << 8,
    kIF = 1u << 9,
    kDF = 1u << 10,
    kIOPL = 3u << 12,
    kNT = 1u << 14,
    kRF = 1u << 16,
    kVM = 1u << 17,
    kAC = 1u << 18,
    kVIF = 1u << 19,
    kVIP = 1u << 20,
    kID = 1u << 21,
};

enum Cr0Bit : u64 {
    kCr0PE = 1u << 0, kCr0MP = 1u << 1, kCr0EM = 1u << 2, kCr0TS = 1u << 3, kCr0ET = 1u << 4, kCr0NE = 1u << 5,
    kCr0WP = 1u << 16, kCr0AM = 1u << 18, kCr0NW = 1u << 29, kCr0CD = 1u << 30, kCr0PG = 1u << 31,
};
enum Cr4Bit : u64 {
    kCr4VME = 1u << 0, kCr4PVI = 1u << 1, kCr4TSD = 1u << 2, kCr4DE = 1u << 3, kCr4PSE = 1u << 4, kCr4PAE = 1u << 5,
    kCr4MCE = 1u << 6, kCr4PGE = 1u << 7, kCr4PCE = 1u << 8, kCr4OSFXSR = 1u << 9, kCr4OSXMMEXCPT = 1u << 10,
    kCr4UMIP = 1u << 11, kCr4LA57 = 1u << 12, kCr4FSGSBASE = 1u << 16, kCr4PCIDE = 1u << 17, kCr4OSXSAVE = 1u << 18,
    kCr4SMEP = 1u << 20, kCr4SMAP = 1u << 21, kCr4PKE = 1u << 22, kCr4PKS = 1u << 24,
};
enum EferBit : u64 { kEferSCE = 1u << 0, kEferLME = 1u << 8, kEferLMA = 1u << 10, kEferNXE = 1u << 11 };

// State components, and their bits in XCR0 (SDM vol. 1, 13.1).
enum StateComponent : u64 {
    kX87State = 1, kSseState = 2, kAvxState = 4,
    kOpmaskState = 1 << 5, kZmmHighState = 1 << 6, kHighZmmState = 1 << 7, // upper halves of ZMM0-15; ZMM16-31
    kAvx512States = kOpmaskState | kZmmHighState | kHighZmmState,
    kPkruState = 1 << 9
};

// Exception vectors (SDM vol. 3, 6.3.1).
enum Vector : u8 {
    kDE = 0, kDB = 1, kNMI = 2, kBP = 3, kVectorOF = 4, kBR = 5, kUD = 6, kNM = 7, kDoubleFault = 8, kTS = 10, kNP = 11,
    kSS = 12, kGP = 13, kPF = 14, kMF = 16, kVectorAC = 17, kMC = 18, kXM = 19,
};

// Segment attributes, in the positions of ir::Segment::attributes (descriptor bits 47:40 and 55:52).
enum SegmentAttribute : u16 {
    kSegTypeMask = 0x000f, kSegAccessed = 0x0001, kSegWritable = 0x0002 /* data */, kSegReadable = 0x0002 /* code */,
    kSegExpandDown = 0x0004 /* data */, kSegConforming = 0x0004 /* code */, kSegCode = 0x0008, kSegS = 0x0010,
    kSegDplMask = 0x0060, kSegP = 0x0080, kSegAVL = 0x1000, kSegL = 0x2000, kSegDB = 0x4000, kSegG = 0x8000,
};

// Context::interrupt_shadow: which instruction holds interrupts off (SDM vol. 3, 6.8.3). MOV SS and POP SS hold debug
// exceptions off too.
enum Shadow : u8 { kNoShadow, kShadowSti, kShadowMovSs };

struct DescriptorTable {
    u64 base = 0;
    u16 limit = 0;
};

inline constexpr unsigned kMachineCheckBanks = 10;

enum MiscEnableBit : u64 { // IA32_MISC_ENABLE (SDM vol. 4, table 2-2)
    kMiscReset = 1 << 0 | 1 << 11 | 1 << 12, // fast strings; neither branch trace store nor PEBS
    kMiscLimitCpuid = 1 << 22,
    kMiscDisableNx = u64{1} << 34,
};

struct Cpu : ir::Context {
    u32 system_flags = 0; // EFLAGS bits other than the arithmetic ones, IF and DF: TF IOPL NT RF VM AC VIF VIP ID

    u64 cr0 = 0, cr2 = 0, cr3 = 0, cr4 = 0, xcr0 = 1;
    u64 dr[8] = {};
    DescriptorTable gdtr, idtr;
    ir::Segment ldtr, tr;

    u64 efer = 0, star = 0, lstar = 0, cstar = 0, sfmask = 0, kernel_gs_base = 0;
    u64 sysenter_cs = 0, sysenter_esp = 0, sysenter_eip = 0;
    u64 tsc_offset = 0, tsc_adjust = 0, tsc_aux = 0;
    u64 pat = 0x0007040600070406, misc_enable = kMiscReset;
    u64 mtrr_def_type = 0, mtrr_fixed[11] = {}, mtrr_variable[16] = {};
    u64 pdpte[4] = {};
    struct MachineCheckBank {
        u64 control = ~u64{0}, status = 0, address = 0, misc = 0;
    };
    u64 mcg_status = 0, mcg_control = ~u64{0};
    MachineCheckBank mc_banks[kMachineCheckBanks];
    bool machine_check_pending = false;
    bool machine_check_again = false;           // it came while MCIP was set
    u64 halted_since = 0, halted_ticks = 0;     // TSC ticks that IA32_MPERF and IA32_APERF left out
    u64 mperf_offset = 0, aperf_offset = 0;
    u32 pkru = 0, pkrs = 0; // rights by protection key (SDM vol. 3, 4.6.2)

    u64 debugctl = 0; // IA32_DEBUGCTL

    // Debugging (frontend/x86/debug.h). DR6 bits: of the instruction in progress, and of ended ones whose trap is due.
    u32 debug_hits = 0, debug_traps = 0;
    u32 debug_version = 0;    // counts changes of the breakpoints; not state of the guest
    bool stepping = false;    // the instruction in progress began with TF set
    bool mid_repeat = false;  // the last exit was between two iterations of a repeated string instruction
    bool irrevocable = false; // the instruction in progress cannot be begun again any more (task switch)

    bool nmi_pending = false, nmi_blocked = false;
    // System management mode (frontend/x86/smm.h). nmi_blocked_outside: what RSM brings back.
    bool smi_pending = false, smm = false, nmi_blocked_outside = false;
    u32 smbase = 0x30000;
    struct IoInstruction { // the one whose access brought the pending SMI about, with the registers before that access
        bool valid = false, in = false, string = false, repeated = false;
        u16 port = 0;
        u8 bytes = 0;
        u64 rip = 0, rcx = 0, rsi = 0, rdi = 0;
    } io_smi;
    bool halted = false;

    // MONITOR and MWAIT. A store to the line by a device happens while the run loop serves events, so that each of
    // them may be what MWAIT waits for; what the processor stored itself shows in the bytes.
    struct Monitor {
        bool armed = false;
        bool waiting = false; // halted by MWAIT: the next event ends it
        u64 line = 0;         // guest-physical
        u8 bytes[64] = {};
    } monitor;

    CodeSegments code_segments; // for the block key; not state of the guest
    const CpuModel* model = nullptr; // borrowed
    Platform* platform = nullptr;    // borrowed
    softmmu::Mmu* mmu = nullptr;     // borrowed
    Log* log = nullptr;              // borrowed

    // The chain of exceptions since the last instruction that ended well: the report of a triple fault.
    struct Delivered {
        u8 vector;
        bool has_error;
        u32 error;
        u64 rip, cr2;
    };
    Delivered chain[3] = {};
    u8 chain_length = 0;
    const char* shutdown_why = "";

    bool protected_mode() const { return cr0 & kCr0PE; }
    bool v86() const { return system_flags & kVM; }
    bool real_mode() const { return !protected_mode(); }
    bool long_mode() const { return efer & kEferLMA; }
    bool code64() const { return long_mode() && (seg[1].attributes & kSegL); }
    unsigned iopl() const { return (system_flags & kIOPL) >> 12; }

    // May instructions use the YMM registers (SDM vol. 3, 2.6)?
    bool avx_enabled() const { return (cr4 & kCr4OSXSAVE) && !(~xcr0 & (kSseState | kAvxState)); }
    // The same for ZMM and opmask registers.
    bool avx512_enabled() const { return avx_enabled() && !(~xcr0 & kAvx512States); }

    // The whole of RFLAGS, composed from and split into the fields that hold it. set_eflags takes every bit as given
    // (the callers apply the rules of POPF and IRET) and updates what depends on them (view, poll).
    u32 eflags() const;
    void set_eflags(u32 value);
};

} // namespace dragoman::x86
