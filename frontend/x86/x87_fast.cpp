// The common x87 instructions without moving the whole state: only their operands go through the host's FPU.
// Where all exceptions are masked and no stack fault can occur; x87_host.cpp does what is left over.
#include "frontend/x86/x87_host.h"

#include <array>
#include <cstring>

#if defined(__x86_64__)

namespace dragoman::x86 {

namespace {

enum class Kind : u8 {
    None,      // not here
    Top,       // ST(0) = ST(0) op ST(i)
    Sti,       // ST(i) = ST(i) op ST(0)
    StiPop,    //
    Binary,    // ST(0) = f(ST(0), ST(1)): FSCALE
    BinaryPop, // ST(1) = f(ST(1), ST(0)), pop: FPATAN, FYL2X
    Compare,   // ST(0) with ST(i)
    ComparePop,
    ComparePop2,
    Flags, // FCOMI
    FlagsPop,
    Memory, // ST(0) = ST(0) op memory
    MemoryCompare,
    MemoryComparePop,
    Load,
    Load80,
    Store,
    StorePop,
    StorePopOnly, // there is no form that does not pop
    Store80,
    Constant,
    Unary, // ST(0) = f(ST(0))
    Test,  // FTST
    Sign,  // FCHS, FABS
    LoadSti,
    Exchange,
    StoreSti,
    StoreStiPop,
    Cmov,
};

using Kinds = std::array<Kind, 2048>; // by the opcode as FOP has it

constexpr Kinds make_kinds() {
    using enum Kind;
    Kinds k{};
    const auto registers = [&](unsigned op, unsigned reg, Kind kind) {
        for (unsigned i = 0; i < 8; ++i)
            k[op << 8 | 0xc0 | reg << 3 | i] = kind;
    };
    const auto memory = [&](unsigned op, unsigned reg, Kind kind) {
        for (unsigned mod = 0; mod < 3; ++mod)
            for (unsigned rm = 0; rm < 8; ++rm)
                k[op << 8 | mod << 6 | reg << 3 | rm] = kind;
    };
    const auto one = [&](unsigned op, unsigned modrm, Kind kind) { k[op << 8 | modrm] = kind; };
    for (unsigned reg = 0; reg < 8; ++reg) {
        const bool compare = reg == 2 || reg == 3;
        if (!compare) {
            registers(0, reg, Top);
            registers(4, reg, Sti);
            registers(6, reg, StiPop);
        }
        for (unsigned op : {0, 2, 4, 6})
            memory(op, reg, reg == 2 ? MemoryCompare : reg == 3 ? MemoryComparePop : Memory);
    }
    registers(0, 2, Compare);    // FCOM
    registers(0, 3, ComparePop); // FCOMP
    registers(5, 4, Compare);    // FUCOM
    registers(5, 5, ComparePop); // FUCOMP
    one(6, 0xd9, ComparePop2);   // FCOMPP
    one(2, 0xe9, ComparePop2);   // FUCOMPP
    registers(3, 5, Flags);      // FUCOMI
    registers(3, 6, Flags);      // FCOMI
    registers(7, 5, FlagsPop);
    registers(7, 6, FlagsPop);
    for (unsigned op : {1, 3, 5, 7}) {
        memory(op, 0, Load);
        memory(op, 2, Store);
        memory(op, 3, StorePop);
        if (op != 1) memory(op, 1, StorePopOnly); // FISTTP
    }
    memory(3, 5, Load80);
    memory(3, 7, Store80);
    memory(7, 5, Load);         // FILD m64int
    memory(7, 7, StorePopOnly); // FISTP m64int
    for (unsigned modrm = 0xe8; modrm <= 0xee; ++modrm)
        one(1, modrm, Constant);
    one(1, 0xe0, Sign);
    one(1, 0xe1, Sign);
    one(1, 0xe4, Test);
    for (unsigned modrm :
         {0xf0 /* F2XM1 */, 0xfa /* FSQRT */, 0xfc /* FRNDINT */, 0xfe /* FSIN */, 0xff /* FCOS */})
        one(1, modrm, Unary);
    one(1, 0xfd, Binary); // FSCALE; FPREM sets the condition codes only sometimes
    for (unsigned modrm : {0xf1 /* FYL2X */, 0xf3 /* FPATAN */, 0xf9 /* FYL2XP1 */})
        one(1, modrm, BinaryPop);
    registers(1, 0, LoadSti);
    registers(1, 1, Exchange);
    registers(5, 2, StoreSti);
    registers(5, 3, StoreStiPop);
    for (unsigned reg = 0; reg < 4; ++reg) {
        registers(2, reg, Cmov);
        registers(3, reg, Cmov);
    }
    return k;
}
constexpr Kinds kinds = make_kinds();

// ---- on the host: operands are loaded, the stub runs the instruction, the status word is taken, the stack
// is left empty. FNCLEX is slow, so exception flags stay until they would be mistaken for the instruction's:
// one that the guest's status word has already may as well be seen again.
constexpr u16 kHostControl = 0x37f;

class Session {
  public:
    explicit Session(const ir::Fpu& fpu) : changed_(fpu.control != kHostControl) {
        u16 word;
        asm volatile("fnstsw %0" : "=a"(word));
        if (word & ~fpu.status & kX87Exceptions) asm volatile("fnclex");
        if (changed_) asm volatile("fldcw %0" : : "m"(fpu.control));
    }
    ~Session() {
        if (changed_) asm volatile("fldcw %0" : : "m"(kHostControl));
    }

  private:
    bool changed_;
};

// The red zone is stepped over, for the call.
#define RUN(name, before, after)                                                                             \
    u16 name(const ir::Fpu& fpu, const u8* stub, const u8* st0, const u8* sti, void* operand, u8* out) {     \
        const Session session(fpu);                                                                          \
        u16 word;                                                                                            \
        asm volatile(before "lea -128(%%rsp), %%rsp\n\tcall *%[stub]\n\tlea 128(%%rsp), %%rsp\n\t"           \
                            "fnstsw %%ax\n\t" after                                                          \
                     : "=&a"(word)                                                                           \
                     : [stub] "r"(stub), [st0] "r"(st0), [sti] "r"(sti), [out] "r"(out), "D"(operand)        \
                     : "memory", "cc", "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)"); \
        return word;                                                                                         \
    }
#define LOAD_ONE  "fldt (%[st0])\n\t"
#define LOAD_BOTH "fldt (%[sti])\n\tfldt (%[st0])\n\t"
#define KEEP      "fstpt (%[out])\n\t"
#define DROP      "fstp %%st(0)\n\t"
RUN(run_top, LOAD_BOTH, KEEP DROP)
RUN(run_sti, LOAD_BOTH, DROP KEEP)
RUN(run_compare, LOAD_BOTH, DROP DROP)
RUN(run_binary_pop, LOAD_BOTH, KEEP)
RUN(run_unary, LOAD_ONE, KEEP)
RUN(run_unary_compare, LOAD_ONE, DROP)
RUN(run_unary_pop, LOAD_ONE, )
RUN(run_load, , KEEP)
#undef RUN

// ---- the register stack
bool valid(const ir::Fpu& fpu, unsigned i) {
    return fpu.tag >> ((fpu.top + i) & 7) & 1;
}
void push(ir::Fpu& fpu) { // ST(0) is then to be written
    for (unsigned i = 7; i-- > 0;)
        std::memcpy(fpu.st[i + 1], fpu.st[i], 16);
    fpu.top = (fpu.top - 1) & 7;
    fpu.tag |= u8(1 << fpu.top);
}
void pop(ir::Fpu& fpu) {
    u8 first[16];
    std::memcpy(first, fpu.st[0], 16);
    for (unsigned i = 0; i < 7; ++i)
        std::memcpy(fpu.st[i], fpu.st[i + 1], 16);
    std::memcpy(fpu.st[7], first, 16);
    fpu.tag &= u8(~(1 << fpu.top));
    fpu.top = (fpu.top + 1) & 7;
}

// The status word's new value: exception flags are sticky; of the condition codes those in `codes` are
// replaced.
constexpr u16 kAllCodes = kX87C0 | kX87C1 | kX87C2 | kX87C3;
void merge(ir::Fpu& fpu, u16 word, u16 codes) {
    fpu.status = u16((fpu.status & ~codes) | (word & (codes | kX87Exceptions)));
}

bool condition(u16 opcode, ir::Flags flags) {
    static constexpr ir::Flags masks[4] = {ir::kCF, ir::kZF, ir::kCF | ir::kZF, ir::kPF};
    const bool holds = flags & masks[opcode >> 3 & 3];
    return holds != bool(opcode & 0x100); // DB: the negations
}

} // namespace

bool run_fast(ir::Fpu& fpu, u16 opcode, void* operand, ir::Flags& flags) {
    using enum Kind;
    const Kind kind = kinds[opcode];
    if (kind == None || (~fpu.control & kX87Exceptions) || (fpu.control & 0x300) == 0x100) return false;
    const unsigned op = opcode >> 8, reg = opcode >> 3 & 7, i = opcode & 7;
    u8* const st0 = fpu.st[0];
    u8* const sti = fpu.st[i];
    // The register form with ST(1), and a memory form, of a given first byte.
    const auto with_st1 = [&](unsigned byte) { return host_stub(u16(byte << 8 | 0xc1 | reg << 3)); };
    const auto with_memory = [&](unsigned byte, unsigned r) { return host_stub(u16(byte << 8 | r << 3)); };

    switch (kind) {
    case Top:
        if (!valid(fpu, 0) || !valid(fpu, i)) return false;
        merge(fpu, run_top(fpu, with_st1(0), st0, sti, nullptr, st0), kX87C1);
        return true;
    case Sti:
    case StiPop:
        if (!valid(fpu, 0) || !valid(fpu, i)) return false;
        merge(fpu, run_sti(fpu, with_st1(4), st0, sti, nullptr, sti), kX87C1);
        if (kind == StiPop) pop(fpu);
        return true;
    case Binary:
        if (!valid(fpu, 0) || !valid(fpu, 1)) return false;
        merge(fpu, run_top(fpu, host_stub(opcode), st0, fpu.st[1], nullptr, st0), kX87C1);
        return true;
    case BinaryPop:
        if (!valid(fpu, 0) || !valid(fpu, 1)) return false;
        merge(fpu, run_binary_pop(fpu, host_stub(opcode), st0, fpu.st[1], nullptr, fpu.st[1]), kX87C1);
        pop(fpu);
        return true;
    case Compare:
    case ComparePop:
    case ComparePop2:
        if (!valid(fpu, 0) || !valid(fpu, i)) return false;
        // FCOM and FUCOM, which do not pop
        merge(fpu,
              run_compare(fpu, host_stub(op == 5 || op == 2 ? 0x5e1 : 0x0d1), st0, sti, nullptr, nullptr),
              kAllCodes);
        if (kind != Compare) pop(fpu);
        if (kind == ComparePop2) pop(fpu);
        return true;
    case Flags:
    case FlagsPop: {
        if (!valid(fpu, 0) || !valid(fpu, i)) return false;
        // By FUCOM and FCOM: C3 is ZF, C2 PF, C0 CF.
        const u16 word = run_compare(fpu, host_stub(reg == 5 ? 0x5e1 : 0x0d1), st0, sti, nullptr, nullptr);
        flags = (word & kX87C3 ? ir::Flags{ir::kZF} : 0) | (word & kX87C2 ? ir::Flags{ir::kPF} : 0) |
                (word & kX87C0 ? ir::Flags{ir::kCF} : 0);
        merge(fpu, word, 0);
        if (kind == FlagsPop) pop(fpu);
        return true;
    }
    case Memory:
        if (!valid(fpu, 0)) return false;
        merge(fpu, run_unary(fpu, with_memory(op, reg), st0, nullptr, operand, st0), kX87C1);
        return true;
    case MemoryCompare:
    case MemoryComparePop:
        if (!valid(fpu, 0)) return false;
        merge(fpu, run_unary_compare(fpu, with_memory(op, 2), st0, nullptr, operand, nullptr), kAllCodes);
        if (kind == MemoryComparePop) pop(fpu);
        return true;
    case Load:
    case Constant: {
        if (valid(fpu, 7)) return false;
        u8 value[16] = {};
        merge(fpu, run_load(fpu, host_stub(opcode), nullptr, nullptr, operand, value), kX87C1);
        push(fpu);
        std::memcpy(fpu.st[0], value, 16);
        return true;
    }
    case Load80:
        if (valid(fpu, 7)) return false;
        push(fpu);
        std::memcpy(fpu.st[0], operand, 10);
        merge(fpu, 0, kX87C1);
        return true;
    case Store:
    case StorePop:
        if (!valid(fpu, 0)) return false;
        merge(fpu, run_unary_compare(fpu, with_memory(op, 2), st0, nullptr, operand, nullptr), kX87C1);
        if (kind == StorePop) pop(fpu);
        return true;
    case StorePopOnly:
        if (!valid(fpu, 0)) return false;
        merge(fpu, run_unary_pop(fpu, with_memory(op, reg), st0, nullptr, operand, nullptr), kX87C1);
        pop(fpu);
        return true;
    case Store80:
        if (!valid(fpu, 0)) return false;
        std::memcpy(operand, fpu.st[0], 10);
        merge(fpu, 0, kX87C1);
        pop(fpu);
        return true;
    case Unary:
        if (!valid(fpu, 0)) return false;
        merge(fpu, run_unary(fpu, host_stub(opcode), st0, nullptr, nullptr, st0),
              (opcode & 0xfe) == 0xfe ? u16(kX87C1 | kX87C2) : u16{kX87C1});
        return true;
    case Test:
        if (!valid(fpu, 0)) return false;
        merge(fpu, run_unary_compare(fpu, host_stub(opcode), st0, nullptr, nullptr, nullptr), kAllCodes);
        return true;
    case Sign:
        if (!valid(fpu, 0)) return false;
        if (opcode & 1)
            st0[9] &= 0x7f;
        else
            st0[9] ^= 0x80;
        merge(fpu, 0, kX87C1);
        return true;
    case LoadSti:
        if (valid(fpu, 7) || !valid(fpu, i)) return false;
        push(fpu);
        std::memcpy(fpu.st[0], fpu.st[(i + 1) & 7], 16);
        merge(fpu, 0, kX87C1);
        return true;
    case Exchange: {
        if (!valid(fpu, 0) || !valid(fpu, i)) return false;
        u8 value[16];
        std::memcpy(value, st0, 16);
        std::memcpy(st0, fpu.st[i], 16);
        std::memcpy(sti, value, 16);
        merge(fpu, 0, kX87C1);
        return true;
    }
    case StoreSti:
    case StoreStiPop:
        if (!valid(fpu, 0)) return false;
        if (i) std::memcpy(sti, fpu.st[0], 16);
        fpu.tag |= u8(1 << ((fpu.top + i) & 7));
        merge(fpu, 0, kX87C1);
        if (kind == StoreStiPop) pop(fpu);
        return true;
    case Cmov:
        if (!valid(fpu, 0) || !valid(fpu, i)) return false;
        if (i && condition(opcode, flags)) std::memcpy(st0, fpu.st[i], 16);
        return true;
    case None: break;
    }
    return false;
}

} // namespace dragoman::x86

#else

namespace dragoman::x86 {
bool run_fast(ir::Fpu&, u16, void*, ir::Flags&) {
    return false;
}
} // namespace dragoman::x86

#endif
