// libFuzzer: descriptor tables and task states, and instructions that work on them: far transfers,
// interrupts, task switches, loads of segment registers. The interpreter and generated code must agree.
//
// The input is
// - u8: GuestMode, bits 5:4 CPL; u16: way_of(), bit 8: generated code is not stopped; u32: EFLAGS;
//   u64: seed of registers
// - kEntries descriptors of the GDT, of the LDT, of the IDT: four bytes each, see descriptor()
// - the words of the task states: two bytes each
// - the instructions in kSlots places, to which gates and far pointers lead: three bytes each, see Program
#include "fuzz_input.h"
#include "guest_pair.h"

#include "frontend/x86/mode.h"

#include <array>
#include <random>

namespace dragoman::test {
namespace {

enum GuestMode { Protected16, Protected32, Paged32, Virtual8086, Long64, Compatibility, kModes };

constexpr u64 kLdt = 0x1400, kTss = 0x1800, kTssBytes = 0x80, kTasks = 4;
constexpr unsigned kEntries = 24, kSlots = 16, kSlotBytes = 64, kInstructions = 6;
constexpr u64 kFirst = 3; // entry of the GDT; below are those of VcpuMachine

// Where a gate or a far pointer leads.
u64 slot(unsigned n) {
    return VcpuMachine::kCode + n % kSlots * kSlotBytes;
}

// A selector: entry, table, RPL.
u16 selector(u8 bits) {
    return u16((bits & 0x1f) << 3 | (bits >> 5 & 1) << 2 | bits >> 6);
}

// From four bytes: P DPL S type as in a descriptor; selector or base; offset or limit; flags.
u64 descriptor(FuzzInput& input) {
    const u8 access = input.byte(), first = input.byte(), second = input.byte(), flags = input.byte();
    const bool segment = access & 0x10, gate = !segment && (access & 7) >= 4;
    const u64 common = u64{access} << 40 | u64{u8(flags & 0xf0)} << 48;
    if (gate) return common | selector(first) << 16 | slot(second) | u64(flags & 0x1f) << 32;
    const u64 system_base = (access & 0xf) == 2 ? kLdt : kTss + first % kTasks * kTssBytes;
    const u64 base = !segment ? system_base : first & 1 ? u64{first} << 4 : 0;
    const u64 limit = !segment ? second : second & 1 ? u64{second} << 8 | 0xff : 0xfffff;
    return common | (limit & 0xffff) | (limit & 0xf0000) << 32 | (base & 0xffffff) << 16;
}

// The instructions of one slot.
class Program {
  public:
    Program(VcpuMachine& m, u64 at, bool wide) : m_(m), at_(at), end_(at + kSlotBytes - 1), wide_(wide) {}

    void add(u8 what, u8 a, u8 b) {
        const u64 where = slot(b);
        switch (what % 32) {
        case 0: far(0xea, a, where); break;
        case 1: far(0x9a, a, where); break;
        case 2: push(selector(a)), push(where), bytes({0xcb}); break; // RETF
        case 3: push(selector(a)), push(where), bytes({0xca, b & 0xc, 0}); break;
        case 4: push(2 | u64{b} << 8), push(selector(a)), push(where), bytes({0xcf}); break; // IRET
        case 5: // to an outer level
            push(selector(b)), push(VcpuMachine::kStack - 0x800), push(2), push(selector(a)), push(where);
            bytes({0xcf});
            break;
        case 6: bytes({0xcd, a % 40}); break; // INT n
        case 7: bytes({0xcc}); break;
        case 8: bytes({0xce}); break;                        // INTO
        case 9: load(a, {0x8e, 0xc0 | (b % 6) << 3}); break; // MOV Sreg, AX
        case 10: load(a, {0x0f, 0x00, 0xd0}); break;         // LLDT
        case 11: load(a, {0x0f, 0x00, 0xd8}); break;         // LTR
        case 12: load(a, {0x0f, 0x02, 0xd8}); break;         // LAR
        case 13: load(a, {0x0f, 0x03, 0xd8}); break;         // LSL
        case 14: load(a, {0x0f, 0x00, 0xe0}); break;         // VERR
        case 15: load(a, {0x0f, 0x00, 0xe8}); break;         // VERW
        case 16:
            push(selector(a)), bytes({std::array{0x07, 0x17, 0x1f, 0x90}[b % 4]});
            break;                                                             // POP ES, SS, DS
        case 17: push(selector(a)), bytes({0x0f, b & 1 ? 0xa1 : 0xa9}); break; // POP FS, GS
        case 18: push(u64{a} << 8 | b), bytes({0x9d}); break;                  // POPF
        case 19: bytes({0x9c}); break;                                         // PUSHF
        case 20: bytes({0x0f, 0x06}); break;                                   // CLTS
        case 21: load(a, {0x63, 0xc3}); break;                                 // ARPL
        case 22: bytes({0x0f, 0x05}); break;                                   // SYSCALL
        case 23: bytes({0x0f, 0x34}); break;                                   // SYSENTER
        case 24: bytes({0x0f, 0x35}); break;                                   // SYSEXIT
        case 25: bytes({0xfa | (a & 1)}); break;                               // CLI, STI
        case 26: bytes({0x48, 0xcf}); break;                                   // IRETQ
        case 27: bytes({0xe8, a & 0x1f, 0}), bytes({0, 0}); break;             // near CALL
        case 28: bytes({0xc8, a & 0x3f, 0, b & 3}); break;                     // ENTER
        case 29: bytes({0x66}); break; // before what comes next: the other operand size
        case 30: bytes({0xf1}); break; // INT1
        default: bytes({0x50 | (a & 7), 0x8f, 0x05 | (b & 2)}); break; // PUSH, POP [...]
        }
    }
    void end() { m_.put<u8>(at_, 0xf4); } // HLT

  private:
    void bytes(std::initializer_list<int> list) {
        if (at_ + list.size() < end_) at_ = m_.code(at_, list);
    }
    void push(u64 value) {
        if (wide_)
            bytes(
                {0x68, int(value & 0xff), int(value >> 8 & 0xff), int(value >> 16 & 0xff), int(value >> 24)});
        else
            bytes({0x68, int(value & 0xff), int(value >> 8 & 0xff)});
    }
    void load(u8 a, std::initializer_list<int> instruction) { // MOV AX, selector
        bytes({0xb8, selector(a) & 0xff, selector(a) >> 8});
        if (wide_) bytes({0, 0});
        bytes(instruction);
    }
    void far(int opcode, u8 a, u64 where) {
        const int low = int(where & 0xff), high = int(where >> 8), s = selector(a);
        if (wide_)
            bytes({opcode, low, high, 0, 0, s & 0xff, s >> 8});
        else
            bytes({opcode, low, high, s & 0xff, s >> 8});
    }

    VcpuMachine& m_;
    u64 at_, end_;
    bool wide_;
};

void prepare(VcpuMachine& m, FuzzInput input, unsigned mode, unsigned cpl) {
    x86::Cpu& c = m.cpu();
    if (mode < Long64) m.protected32();
    if (mode == Paged32) m.paging32();
    if (mode >= Long64) m.long64();
    if (mode == Protected16) c.seg[1].attributes = 0x9b, c.seg[2].attributes = 0x93;
    if (mode == Compatibility) c.seg[1].attributes = 0xc09b;

    const u32 eflags = 2 | (input.take<u32>() & (ir::kAllFlags | x86::kTF | x86::kIF | x86::kDF | x86::kIOPL |
                                                 x86::kNT | x86::kAC | x86::kVIF | x86::kVIP | x86::kID));
    std::mt19937_64 random(input.take<u64>());
    for (unsigned n = 0; n < 16; ++n)
        m.reg(n) = n == 4 ? VcpuMachine::kStack : random() % 2 ? slot(unsigned(random())) : random() % 0x100;
    for (unsigned n = 0; n < kEntries; ++n)
        m.put<u64>(VcpuMachine::kGdt + (kFirst + n) * 8, descriptor(input));
    for (unsigned n = 0; n < kEntries; ++n)
        m.put<u64>(kLdt + n * 8, descriptor(input));
    for (unsigned n = 0; n < kEntries; ++n) {
        m.put<u64>(VcpuMachine::kIdt + n * (mode >= Long64 ? 16 : 8), descriptor(input));
        if (mode >= Long64) m.put<u64>(VcpuMachine::kIdt + n * 16 + 8, 0);
    }
    for (u64 at = kTss; at < kTss + kTasks * kTssBytes; at += 4) {
        const u16 word = input.take<u16>();
        const u64 value = word & 1 ? selector(u8(word >> 8)) : word & 2 ? slot(word >> 8) : word;
        m.put<u32>(at, u32(value));
    }
    c.gdtr = {VcpuMachine::kGdt, u16((kFirst + kEntries) * 8 - 1)};
    c.ldtr = {.base = kLdt, .limit = kEntries * 8 - 1, .selector = 0x58, .attributes = 0x82};
    c.tr = {.base = kTss,
            .limit = kTssBytes - 1,
            .selector = 0x50,
            .attributes = u16(mode == Protected16 ? 0x83 : 0x8b)};
    if (mode < Long64 && (eflags & x86::kIF)) c.tr.attributes ^= 8; // the other size of TSS
    for (unsigned n = 0; n < kSlots; ++n) {
        Program program(m, slot(n), mode != Protected16 && mode != Virtual8086);
        for (unsigned i = 0; i < kInstructions; ++i) {
            const u8 what = input.byte(), a = input.byte();
            program.add(what, a, input.byte());
        }
        program.end();
    }
    if (mode == Virtual8086) {
        cpl = 3;
        for (unsigned i = 0; i < 6; ++i)
            x86::load_real_segment(c, ir::Seg(i), 0);
        c.cr4 |= eflags & x86::kID ? u64{x86::kCr4VME} : 0;
    } else {
        for (const unsigned s : {1u, 2u})
            c.seg[s].attributes |= u16(cpl << 5), c.seg[s].selector |= u16(cpl);
    }
    c.set_eflags(eflags | (mode == Virtual8086 ? u32{x86::kVM} : 0));
    x86::set_cpl(c, cpl);
    x86::update_paging(c);
}

void play(std::span<const u8> bytes) {
    const HangGuard guard;
    FuzzInput input(bytes);
    const u8 first = input.byte();
    const u16 way = input.take<u16>();
    const PairOptions options{.generated = way_of(way & 0xff), .stepwise = !(way & 0x100), .turns = 60};
    expect_no_difference(run_pair(
        options, [&](VcpuMachine& m) { prepare(m, input, (first & 0xf) % kModes, first >> 4 & 3); }));
}

} // namespace
} // namespace dragoman::test

extern "C" int LLVMFuzzerTestOneInput(const dragoman::u8* data, std::size_t size) {
    dragoman::test::play({data, size});
    return 0;
}
