#include "frontend/x86/smm.h"

#include "base/bits.h"
#include "frontend/x86/debug.h"
#include "frontend/x86/platform.h"
#include "frontend/x86/system_registers.h"

#include <utility>

namespace dragoman::x86 {

namespace {

// Revision 64h is the AMD64 layout; bit 16: I/O instructions can be restarted; bit 17: SMBASE can be
// relocated.
constexpr u32 kRevision = 0x00030064;

// Offsets from SMBASE (APM vol. 2, table 10-1).
enum : u16 {
    kSegments = 0xfe00, // ES CS SS DS FS GS, 16 bytes each: selector, attributes, limit, base
    kGdtr = 0xfe60,
    kLdtr = 0xfe70,
    kIdtr = 0xfe80,
    kTr = 0xfe90,
    kIoRip = 0xfea0, // of the I/O instruction, for the restart; with the registers it had
    kIoRcx = 0xfea8,
    kIoRsi = 0xfeb0,
    kIoRdi = 0xfeb8,
    kIoTrap = 0xfec0,
    kIoRestart = 0xfec8,
    kAutoHalt = 0xfec9,
    kCpl = 0xfecb,
    kEfer = 0xfed0,
    kPendingTraps = 0xfef0, // reserved; here: see visit_state
    kRevisionAt = 0xfefc,
    kSmbase = 0xff00,
    kCr4 = 0xff48,
    kCr3 = 0xff50,
    kCr0 = 0xff58,
    kDr7 = 0xff60,
    kDr6 = 0xff68,
    kRflags = 0xff70,
    kRip = 0xff78,
    kRax = 0xfff8, // the others below it, in the encoding's order
};

// Both directions by one list: see visit_state.
class StateArea {
  public:
    StateArea(Cpu& cpu, bool loading)
        : map_(cpu.mmu->map()), base_(cpu.smbase & map_.a20_mask()), loading_(loading) {}

    u64 get(u16 at, unsigned size) { return map_.load(base_ + at, size); }
    void put(u16 at, unsigned size, u64 value) { map_.store(base_ + at, size, value); }
    template <class T> void field(u16 at, T& value) {
        if (loading_)
            value = T(get(at, sizeof value));
        else
            put(at, sizeof value, value);
    }
    void segment(u16 at, ir::Segment& s) {
        u16 packed = u16((s.attributes >> 4 & 0xf00) | (s.attributes & 0xff));
        field(at, s.selector);
        field(u16(at + 2), packed);
        field(u16(at + 4), s.limit);
        field(u16(at + 8), s.base);
        s.attributes = u16((packed << 4 & 0xf000) | (packed & 0xff));
    }
    void table(u16 at, DescriptorTable& t) {
        field(u16(at + 4), t.limit);
        field(u16(at + 8), t.base);
    }

  private:
    softmmu::PhysicalMap& map_;
    u64 base_;
    bool loading_;
};

void visit_state(Cpu& cpu, StateArea& area) {
    for (unsigned i = 0; i < 6; ++i)
        area.segment(u16(kSegments + 16 * i), cpu.seg[i]);
    area.table(kGdtr, cpu.gdtr);
    area.segment(kLdtr, cpu.ldtr);
    area.table(kIdtr, cpu.idtr);
    area.segment(kTr, cpu.tr);
    area.field(kCpl, cpu.cpl);
    area.field(kEfer, cpu.efer);
    area.field(kSmbase, cpu.smbase);
    area.field(kCr4, cpu.cr4);
    area.field(kCr3, cpu.cr3);
    area.field(kCr0, cpu.cr0);
    area.field(kDr7, cpu.dr[7]);
    area.field(kDr6, cpu.dr[6]);
    area.field(kRip, cpu.rip);
    // An SMI comes before the debug traps of the instruction behind which it comes (SDM vol. 3, 34.3.1); they wait
    // for RSM.
    area.field(kPendingTraps, cpu.debug_traps);
    for (unsigned i = 0; i < ir::kGprs; ++i)
        area.field(u16(kRax - 8 * i), cpu.gpr[i]);
}

// The I/O trap doubleword (APM vol. 2, 10.3.5): what the SMI came from, if it came right behind an I/O
// instruction.
constexpr u32 kIoIn = 1, kIoValid = 2, kIoString = 4, kIoRepeated = 8;

void save_io(Cpu& cpu, StateArea& area) {
    const Cpu::IoInstruction io = std::exchange(cpu.io_smi, {});
    const bool right_behind = io.valid && cpu.rip - io.rip <= 15; // of a repeated one: at it
    const u32 trap = u32{io.port} << 16 | u32{io.bytes} << 4 | (io.repeated ? kIoRepeated : 0) |
                     (io.string ? kIoString : 0) | kIoValid | (io.in ? kIoIn : 0);
    area.put(kIoTrap, 4, right_behind ? trap : 0);
    area.put(kIoRestart, 1, 0);
    area.put(kIoRip, 8, io.rip);
    area.put(kIoRcx, 8, io.rcx);
    area.put(kIoRsi, 8, io.rsi);
    area.put(kIoRdi, 8, io.rdi);
}
// SDM vol. 3, 34.12
void restart_io(Cpu& cpu, StateArea& area) {
    if (area.get(kIoRestart, 1) != 0xff || !(area.get(kIoTrap, 4) & kIoValid)) return;
    cpu.debug_traps = 0; // of an instruction that begins again
    cpu.rip = area.get(kIoRip, 8);
    cpu.gpr[1] = area.get(kIoRcx, 8);
    cpu.gpr[6] = area.get(kIoRsi, 8);
    cpu.gpr[7] = area.get(kIoRdi, 8);
}

// Control registers that RSM does not load (SDM vol. 3, 34.4.1; APM vol. 2, 10.3.6).
const char* refused(const Cpu& cpu, u64 cr0, u64 cr4, u64 efer) {
    const bool pg = cr0 & kCr0PG, lme = efer & kEferLME, lma = efer & kEferLMA;
    if (cr0 >> 32 || (pg && !(cr0 & kCr0PE)) || ((cr0 & kCr0NW) && !(cr0 & kCr0CD))) return "RSM: bad CR0";
    if (!cr4_valid(cpu, cr4)) return "RSM: bad CR4";
    if (efer & ~u64{kEferSCE | kEferLME | kEferLMA | kEferNXE}) return "RSM: bad EFER";
    if (lma != (pg && lme) || (lma && !(cr4 & kCr4PAE))) return "RSM: EFER.LMA does not fit";
    return nullptr;
}

} // namespace

void enter_smm(Cpu& cpu) {
    cpu.smi_pending = false;
    cpu.smm = true;
    cpu.platform->system_management(true);

    StateArea area(cpu, false);
    visit_state(cpu, area);
    area.put(kRflags, 8, cpu.eflags());
    save_io(cpu, area);
    area.put(kAutoHalt, 1, cpu.halted);
    area.put(kRevisionAt, 4, kRevision);

    // SDM vol. 3, table 34-4
    cpu.halted = false;
    cpu.interrupt_shadow = 0;
    cpu.debug_traps = 0;
    cpu.nmi_blocked_outside = cpu.nmi_blocked;
    cpu.nmi_blocked = true;
    cpu.cr0 &= ~u64{kCr0PE | kCr0EM | kCr0TS | kCr0PG};
    cpu.cr4 = 0;
    cpu.efer = 0;
    cpu.dr[7] = 0x400;
    constexpr u16 data = kSegP | kSegS | kSegWritable | kSegAccessed | kSegG;
    for (unsigned i = 0; i < 6; ++i)
        cpu.seg[i] = {.base = 0, .limit = 0xffffffff, .selector = 0, .attributes = data};
    cpu.seg[1].selector = u16(cpu.smbase >> 4);
    cpu.seg[1].base = cpu.smbase;
    cpu.rip = 0x8000;
    set_cpl(cpu, 0);
    cpu.set_eflags(2);
    update_paging(cpu);
    flush_translations(cpu, false);
}

void leave_smm(Cpu& cpu) {
    StateArea area(cpu, true);
    if (const char* why = refused(cpu, area.get(kCr0, 8), area.get(kCr4, 8), area.get(kEfer, 8))) {
        cpu.shutdown_why = why;
        cpu.exit = ir::Exit::Shutdown;
        return;
    }
    visit_state(cpu, area);
    cpu.debug_traps &= kDr6B | kDr6BS;
    restart_io(cpu, area);
    const u32 flags = u32(area.get(kRflags, 8));
    const bool halt = area.get(kAutoHalt, 1) & 1;
    cpu.cpl &= 3;
    cpu.smm = false;
    cpu.nmi_blocked = cpu.nmi_blocked_outside;
    cpu.platform->system_management(false);
    cpu.set_eflags(flags);
    // With CR3 come the PDPTEs of PAE paging.
    if (!write_cr3(cpu, cpu.cr3)) {
        cpu.shutdown_why = "RSM: bad PDPTE";
        cpu.exit = ir::Exit::Shutdown;
        return;
    }
    flush_translations(cpu, false);
    request_poll(cpu); // an SMI or NMI may have waited
    cpu.exit = ir::Exit::Event;
    if (halt) {
        cpu.halted = true;
        cpu.exit = ir::Exit::Halt;
    }
}

} // namespace dragoman::x86
