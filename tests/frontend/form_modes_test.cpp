// What an instruction does, it does in every mode: each form that exists in 64-bit mode too, where the host's
// processor judges it (differential.h), leaves the same registers, flags and memory in all the other modes.
#include "form_kinds.h"
#include "form_machine.h"

#include <cstdlib>
#include <random>
#include <unordered_map>

namespace dragoman::test {
namespace {

constexpr u64 kLow = 0xa000, kLowBytes = 0x400; // data that every mode reaches by the same address

// What makes two encodings the same form with the same registers, prefixes and widths of addresses aside.
std::string key(const Form& f) {
    const auto& i = f.insn;
    std::string text = f.name();
    for (const unsigned part :
         {unsigned(i.encoding), unsigned(i.opcode_map), unsigned(i.opcode), unsigned(i.avx.broadcast.mode),
          unsigned(i.avx.has_sae), unsigned(i.avx.mask.mode), unsigned(i.raw.modrm.reg),
          i.raw.modrm.mod == 3 ? 8u + i.raw.modrm.rm : 0u})
        text += ' ' + std::to_string(part);
    return text;
}

// Their results depend on the mode, or on more than what is compared.
bool differs_by_mode(const Form& f) {
    return transfers(f) || saves_fpu(f) || saves_extended(f) ||
           is_one_of(f, {ZYDIS_MNEMONIC_FNSTENV, ZYDIS_MNEMONIC_FLDENV, ZYDIS_MNEMONIC_FNSAVE,
                         ZYDIS_MNEMONIC_FRSTOR, ZYDIS_MNEMONIC_MOVDIR64B});
}

// Registers, flags and memory at random; addresses point to the middle of the data.
struct State {
    u64 gpr[8];
    u8 vec[8][64], st[8][10], data[kLowBytes];
    u64 opmask[8];
    u32 mxcsr;
    u16 control, status;
    u8 tag;
    ir::Flags flags;

    State(std::mt19937_64& random, bool unmasked) {
        const auto fill = [&](u8* at, std::size_t bytes) {
            while (bytes--)
                *at++ = u8(random());
        };
        for (u64& r : gpr)
            r = random() % 2 ? u32(random()) : random() % 64;
        for (const unsigned n : {4u, 5u, 6u, 7u})
            gpr[n] = kLow + kLowBytes / 2;
        fill(vec[0], sizeof vec);
        std::memset(vec[7], 0, sizeof vec[7]); // the index of gathers
        fill(st[0], sizeof st);
        for (u8(&r)[10] : st)
            r[7] |= 0x80, r[8] = u8(random() % 16), r[9] = u8((r[9] & 0x80) | 0x40); // numbers
        fill(data, sizeof data);
        for (u64& k : opmask)
            k = random();
        mxcsr = unmasked ? 0 : 0x1f80 | (random() & 0xe040);
        control = u16(unmasked ? 0x340 : 0x37f);
        status = u16(random() % 8 << 11);
        tag = u8(random() % 2 ? 0xff : random());
        flags = ir::Flags(random() & ir::kAllFlags);
    }
};

class InMode {
  public:
    explicit InMode(const FormMode& mode) : machine(mode), cpu(machine.cpu) {}

    int run(const Form& f, const State& s) {
        machine.begin(f, machine.mode.real() ? 0 : 3);
        for (const unsigned n : {0u, 2u, 3u})
            cpu.seg[n].base = 0;
        std::copy_n(s.gpr, 8, cpu.gpr);
        if (f.insn.mnemonic == ZYDIS_MNEMONIC_XLAT) cpu.gpr[3] = kLow;
        if (f.insn.meta.category == ZYDIS_CATEGORY_PKU || f.insn.meta.category == ZYDIS_CATEGORY_XSAVE)
            cpu.gpr[1] = cpu.gpr[2] = 0;
        // Bit strings reach beyond what is compared.
        if (is_one_of(f, {ZYDIS_MNEMONIC_BT, ZYDIS_MNEMONIC_BTS, ZYDIS_MNEMONIC_BTR, ZYDIS_MNEMONIC_BTC}))
            cpu.gpr[1] %= 64;
        std::memcpy(cpu.vec, s.vec, sizeof s.vec);
        std::memset(cpu.vec[8], 0x5a, 64 * 24);
        for (unsigned n = 0; n < 8; ++n)
            std::memcpy(&cpu.fpu.st[n], s.st[n], 10);
        std::copy_n(s.opmask, 8, cpu.opmask);
        cpu.mxcsr = s.mxcsr;
        cpu.fpu.control = s.control;
        cpu.fpu.status = s.status;
        cpu.fpu.top = s.status >> 11 & 7;
        cpu.fpu.tag = s.tag;
        cpu.flags = s.flags;
        std::memcpy(machine.m.map->ram() + kLow, s.data, sizeof s.data);
        std::vector<u8> code = f.code;
        const ZydisDecodedOperand* memory = f.memory();
        const u64 address = kLow + 8;
        if (memory && memory->mem.base == ZYDIS_REGISTER_NONE && memory->mem.disp.has_displacement)
            std::memcpy(&code[f.insn.raw.disp.offset], &address, f.insn.raw.disp.size / 8);
        return machine.run(code);
    }
    const u8* data() { return machine.m.map->ram() + kLow; }

    FormMachine machine;
    Cpu& cpu;
};

// Where the two differ, in a word; empty: nowhere.
std::string difference(InMode& mode, int vector, InMode& mode64, int vector64) {
    const Cpu &a = mode.cpu, &b = mode64.cpu;
    if (vector != vector64) return "exception " + std::to_string(vector) + ", " + std::to_string(vector64);
    for (unsigned n = 0; n < 8; ++n) {
        if (a.gpr[n] != u32(b.gpr[n])) return "register " + std::to_string(n);
        if (std::memcmp(a.vec[n], b.vec[n], 64)) return "vector register " + std::to_string(n);
        if (std::memcmp(&a.fpu.st[n], &b.fpu.st[n], 10)) return "x87 register " + std::to_string(n);
        if (a.opmask[n] != b.opmask[n]) return "opmask register " + std::to_string(n);
    }
    static const std::vector<u8> untouched(64 * 24, 0x5a);
    if (std::memcmp(a.vec[8], untouched.data(), untouched.size())) return "vector register 8 to 31";
    if (a.flags != b.flags) return "flags";
    if (a.mxcsr != b.mxcsr) return "MXCSR";
    if (a.fpu.status != b.fpu.status || a.fpu.top != b.fpu.top) return "x87 status";
    if (a.fpu.control != b.fpu.control || a.fpu.tag != b.fpu.tag) return "x87 control or tags";
    // The opcode has ModRM, whose r/m may differ.
    if ((a.fpu.opcode ^ b.fpu.opcode) & ~7 || a.fpu.dp != b.fpu.dp || a.fpu.ip != b.fpu.ip)
        return "x87 pointers";
    return std::memcmp(mode.data(), mode64.data(), kLowBytes) ? "memory" : "";
}

TEST(FormModes, TheSameInEveryMode) {
    const char* given = std::getenv("DRAGOMAN_SEED");
    const u64 seed = given ? std::strtoull(given, nullptr, 0) : std::random_device{}();
    std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
    std::mt19937_64 random(seed);
    std::unordered_map<std::string, const Form*> twins;
    for (const Form& f : all_forms(64))
        twins.emplace(key(f), &f);
    InMode mode64(kFormModes[std::size(kFormModes) - 1]);
    unsigned cases = 0, failures = 0;
    for (const FormMode& which : kFormModes) {
        if (which.code64()) continue;
        InMode mode(which);
        for (const Form& f : all_forms(which.bits)) {
            const auto twin = twins.find(key(f));
            if (twin == twins.end() || differs_by_mode(f) || !exists(f, which)) continue;
            for (unsigned round = 0; round < 2 && failures < 30; ++round) {
                const State state(random, round & 1);
                const int vector = mode.run(f, state), vector64 = mode64.run(*twin->second, state);
                const std::string what = difference(mode, vector, mode64, vector64);
                ++cases;
                if (what.empty()) continue;
                ++failures;
                ADD_FAILURE() << f.name() << " in " << which.name << " and in 64-bit mode: " << what
                              << " (DRAGOMAN_SEED=" << seed << ")";
            }
        }
    }
    std::printf("%u cases\n", cases);
}

} // namespace
} // namespace dragoman::test
