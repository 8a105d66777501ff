// The table of common instructions against Zydis: whatever it takes must come out the same in all that is
// read.
#include "frontend/x86/decode.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <iterator>
#include <random>
#include <string>
#include <vector>

namespace dragoman::test {
namespace {

using namespace x86;

constexpr unsigned kPage = 4096;

using Code = std::vector<u8>;

std::string hex(const u8* bytes, u64 count) {
    std::string text;
    char two[4];
    for (u64 i = 0; i < count; ++i) {
        std::snprintf(two, sizeof two, "%02x ", bytes[i]);
        text += two;
    }
    return text;
}

// The first field that differs, or null.
const char* difference(const ZydisDecodedOperand& a, const ZydisDecodedOperand& b) {
#define SAME(field)                                                                                          \
    if (a.field != b.field) return #field
    SAME(type);
    switch (a.type) {
    case ZYDIS_OPERAND_TYPE_REGISTER:
        SAME(reg.value);
        if (a.reg.value >= ZYDIS_REGISTER_XMM0 && a.reg.value <= ZYDIS_REGISTER_XMM15) return nullptr;
        break;
    case ZYDIS_OPERAND_TYPE_MEMORY:
        SAME(mem.segment);
        SAME(mem.base);
        SAME(mem.index);
        SAME(mem.scale);
        SAME(mem.disp.value);
        break;
    default: SAME(imm.value.u);
    }
    SAME(size);
    return nullptr;
}
const char* difference(const Instruction& a, const Instruction& b) {
    SAME(zydis.length);
    SAME(zydis.mnemonic);
    SAME(zydis.encoding);
    SAME(zydis.opcode_map);
    SAME(zydis.opcode);
    SAME(zydis.operand_width);
    SAME(zydis.address_width);
    SAME(zydis.operand_count_visible);
    SAME(zydis.meta.category);
    SAME(zydis.meta.isa_set);
    SAME(zydis.meta.branch_type);
    SAME(lock());
    SAME(rep());
    SAME(repne());
#undef SAME
    for (unsigned n = 0; n < a.zydis.operand_count_visible; ++n)
        if (const char* field = difference(a.operands[n], b.operands[n])) return field;
    return nullptr;
}

class Comparison {
  public:
    explicit Comparison(unsigned code_bits) : bits(code_bits), decoder(code_bits) {}

    // False: the table has not taken it. `count` bytes are all that is there.
    bool check(const u8* bytes, u64 count) {
        if (!decoder.decode_common(bytes, count, ours)) return false;
        ++taken;
        const ZyanStatus status = decoder.decode_any(bytes, count, zydis);
        const char* field = ZYAN_SUCCESS(status) ? difference(ours, zydis) : "status";
        if (field && ++failures <= 10)
            ADD_FAILURE() << field << " of " << hex(bytes, count) << "in " << bits << "-bit code";
        return true;
    }
    bool check(const Code& bytes) { return check(bytes.data(), bytes.size()); }

    const unsigned bits;
    const Decoder decoder;
    Instruction ours{}, zydis{};
    unsigned taken = 0, failures = 0;
};

// Every ModRM byte, some SIB bytes where there is one, behind which all bytes are negative.
template <class F> void each_modrm(Code start, F check) {
    static constexpr u8 sibs[] = {0x00, 0x25, 0x64, 0xa5, 0xcd, 0xdc};
    const std::size_t at = start.size();
    start.resize(at + 13);
    for (unsigned i = 2; i < 13; ++i)
        start[at + i] = u8(0x80 + 9 * i);
    for (unsigned modrm = 0; modrm < 256; ++modrm) {
        start[at] = u8(modrm);
        const bool has_sib = (modrm & 7) == 4 && modrm < 0xc0;
        for (const u8 sib : sibs) {
            start[at + 1] = sib;
            check(start);
            if (!has_sib) break;
        }
    }
}

std::vector<Code> prefixes(unsigned bits) {
    std::vector<Code> all = {{},
                             {0x66},
                             {0xf2},
                             {0xf3},
                             {0x26},
                             {0x2e},
                             {0x36},
                             {0x3e},
                             {0x64},
                             {0x65},
                             {0xf0},
                             {0x67},
                             {0x66, 0x66},
                             {0x66, 0xf3},
                             {0x64, 0x66},
                             {0x48, 0x66},
                             {0xf3, 0x48},
                             {0xf2, 0x4d},
                             {0x66, 0x65, 0x4b}};
    if (bits == 64)
        for (unsigned rex = 0x40; rex < 0x50; ++rex) {
            all.push_back({u8(rex)});
            all.push_back({0x66, u8(rex)});
        }
    return all;
}

class CommonDecode : public ::testing::TestWithParam<unsigned> {};

TEST_P(CommonDecode, AgreesWithZydis) {
    Comparison comparison(GetParam());
    for (Code start : prefixes(GetParam()))
        for (unsigned opcode = 0; opcode < 512; ++opcode) {
            Code code = start;
            if (opcode >= 256) code.push_back(0x0f);
            code.push_back(u8(opcode));
            each_modrm(code, [&](const Code& bytes) { comparison.check(bytes); });
        }
    EXPECT_GT(comparison.taken, 100'000u);
    EXPECT_EQ(comparison.failures, 0u);
}

TEST_P(CommonDecode, AgreesOnRandomBytes) {
    const char* given = std::getenv("DRAGOMAN_SEED");
    const u64 seed = given ? std::strtoull(given, nullptr, 0) : std::random_device{}();
    std::mt19937_64 random(seed);
    Comparison comparison(GetParam());
    static constexpr u8 often[] = {0x66, 0xf2, 0xf3, 0x2e, 0x3e, 0x64, 0x65,
                                   0x67, 0xf0, 0x48, 0x41, 0x4c, 0x0f, 0x0f};
    for (unsigned n = 0; n < 200'000; ++n) {
        u8 bytes[16];
        for (unsigned i = 0; i < 16; i += 8) {
            const u64 value = random();
            std::memcpy(bytes + i, &value, 8);
        }
        const u64 choice = random();
        for (unsigned i = 0; i < (choice & 3); ++i)
            bytes[i] = often[(choice >> (8 + 8 * i) & 0xff) % std::size(often)];
        comparison.check(bytes, choice >> 60);
    }
    EXPECT_GT(comparison.taken, 10'000u);
    EXPECT_EQ(comparison.failures, 0u) << "DRAGOMAN_SEED=" << seed;
}

// Where the bytes end in front of a page that cannot be read.
TEST_P(CommonDecode, TakesOnlyWholeInstructions) {
    void* const pages = mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(pages, MAP_FAILED);
    u8* const end = static_cast<u8*>(pages) + kPage;
    ASSERT_EQ(mprotect(end, kPage, PROT_NONE), 0);
    Comparison comparison(GetParam());
    for (unsigned opcode = 0; opcode < 512; ++opcode)
        for (const u8 modrm : {0x00, 0x05, 0x44, 0x84, 0x04, 0xc1}) {
            Code code = {0x64};
            if (GetParam() == 64) code.push_back(0x48);
            if (opcode >= 256) code.push_back(0x0f);
            code.insert(code.end(), {u8(opcode), modrm, 0x25});
            code.resize(kMaxLength, 0x99);
            if (!comparison.check(code)) continue;
            const unsigned length = comparison.ours.length();
            for (unsigned count = 0; count <= length; ++count) {
                u8* const bytes = end - count;
                std::copy_n(code.begin(), count, bytes);
                const ZyanStatus status = comparison.decoder.decode(bytes, count, comparison.ours);
                ASSERT_EQ(comparison.check(bytes, count), count == length) << hex(bytes, count);
                ASSERT_EQ(status, count == length ? ZYAN_STATUS_SUCCESS : ZYDIS_STATUS_NO_MORE_DATA);
            }
        }
    EXPECT_GT(comparison.taken, 1000u);
    EXPECT_EQ(comparison.failures, 0u);
    munmap(pages, 2 * kPage);
}

TEST_P(CommonDecode, LeavesWhatIsTooLong) {
    Comparison comparison(GetParam());
    Code code(13, 0x66);
    code.insert(code.end(), {0x01, 0x00}); // ADD, 15 bytes in all
    EXPECT_EQ(comparison.decoder.decode(code.data(), code.size(), comparison.ours), ZYAN_STATUS_SUCCESS);
    EXPECT_EQ(comparison.ours.mnemonic(), ZYDIS_MNEMONIC_ADD);
    code.insert(code.begin(), 0x66);
    EXPECT_FALSE(ZYAN_SUCCESS(comparison.decoder.decode(code.data(), code.size(), comparison.ours)));
    // The longest that the table can be asked for: 66, a segment, SIB, disp32 and imm32.
    code = {0x66, 0x64, 0x48, 0x69, 0x84, 0x25, 1, 2, 3, 4, 5, 6, 7, 8};
    if (GetParam() == 32) code = {0x66, 0x64, 0x69, 0x84, 0x25, 1, 2, 3, 4, 5, 6};
    EXPECT_TRUE(comparison.check(code));
    EXPECT_EQ(comparison.ours.length(), code.size());
}

INSTANTIATE_TEST_SUITE_P(Bits, CommonDecode, ::testing::Values(32u, 64u));

// What programs are made of must not go to Zydis unnoticed.
TEST(CommonForms, AreTaken) {
    const std::vector<Code> both = {
        {0x01, 0xd8},                                  // ADD r/m, r
        {0x2b, 0x45, 0xf8},                            // SUB r, [rBP - 8]
        {0x3c, 0x0a},                                  // CMP AL, imm8
        {0x25, 1, 2, 3, 4},                            // AND EAX, imm32
        {0x80, 0x3d, 1, 2, 3, 4, 5},                   // CMP byte [disp32], imm8
        {0x81, 0xec, 1, 2, 3, 4},                      // SUB ESP, imm32
        {0x83, 0x04, 0x24, 0xff},                      // ADD dword [rSP], imm8
        {0x66, 0x83, 0xf9, 0x2f},                      // CMP CX, imm8
        {0x84, 0xc0},                                  // TEST AL, AL
        {0xa8, 0x10},                                  // TEST AL, imm8
        {0xf6, 0x43, 0x08, 0x01},                      // TEST byte [rBX + 8], imm8
        {0xf7, 0xd8},                                  // NEG
        {0xf7, 0xd0},                                  // NOT
        {0xf7, 0xe1},                                  // MUL
        {0xf7, 0xf9},                                  // IDIV
        {0x0f, 0xaf, 0xc1},                            // IMUL r, r/m
        {0x6b, 0xc0, 0x0a},                            // IMUL r, r/m, imm8
        {0x69, 0xc0, 1, 2, 3, 4},                      // IMUL r, r/m, imm32
        {0xfe, 0x00},                                  // INC byte
        {0xff, 0x08},                                  // DEC dword
        {0xc1, 0xe0, 0x04},                            // SHL by an immediate
        {0xd1, 0xf8},                                  // SAR by 1
        {0xd3, 0xc0},                                  // ROL by CL
        {0x55},                                        // PUSH rBP
        {0x5d},                                        // POP rBP
        {0x68, 1, 2, 3, 4},                            // PUSH imm32
        {0x6a, 0xff},                                  // PUSH imm8
        {0xff, 0x75, 0x08},                            // PUSH [rBP + 8]
        {0x8f, 0x00},                                  // POP [rAX]
        {0xe8, 1, 2, 3, 4},                            // CALL rel32
        {0xe9, 1, 2, 3, 4},                            // JMP rel32
        {0xeb, 0xfe},                                  // JMP rel8
        {0xff, 0xd0},                                  // CALL rAX
        {0xff, 0x25, 1, 2, 3, 4},                      // JMP [disp32]
        {0xc3},                                        // RET
        {0xc2, 4, 0},                                  // RET imm16
        {0x75, 0xf0},                                  // JNZ rel8
        {0x0f, 0x84, 1, 2, 3, 4},                      // JZ rel32
        {0x0f, 0x94, 0xc0},                            // SETZ
        {0x0f, 0x44, 0xc1},                            // CMOVZ
        {0x0f, 0xb6, 0x00},                            // MOVZX r, byte
        {0x0f, 0xb7, 0xc0},                            // MOVZX r, word
        {0x0f, 0xbe, 0xc0},                            // MOVSX r, byte
        {0x0f, 0xbf, 0xc0},                            // MOVSX r, word
        {0x88, 0x07},                                  // MOV byte [rDI], AL
        {0x89, 0x44, 0x24, 0x10},                      // MOV [rSP + 16], EAX
        {0x8a, 0x26},                                  // MOV AH, [rSI]
        {0x8b, 0x84, 0xc8, 1, 2, 3, 4},                // MOV EAX, [rAX + 8 * rCX + disp32]
        {0x65, 0x8b, 0x04, 0x25, 0x14, 0, 0, 0},       // MOV EAX, GS:[disp32]
        {0xb0, 1},                                     // MOV AL, imm8
        {0xb8, 1, 2, 3, 4},                            // MOV EAX, imm32
        {0xc6, 0x00, 1},                               // MOV byte [rAX], imm8
        {0xc7, 0x00, 1, 2, 3, 4},                      // MOV dword [rAX], imm32
        {0x8d, 0x04, 0x80},                            // LEA
        {0x90},                                        // NOP
        {0x66, 0x90},                                  // NOP, two bytes
        {0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0}, // NOP, ten bytes
        {0xf3, 0x0f, 0x1e, 0xfa},                      // ENDBR64
        {0x98},                                        // CWDE
        {0x99},                                        // CDQ
        {0xc9},                                        // LEAVE
        {0x87, 0x03},                                  // XCHG [rBX], EAX
        {0x93},                                        // XCHG EBX, EAX
        {0x0f, 0xa3, 0xc8},                            // BT r/m, r
        {0x0f, 0xba, 0xe0, 5},                         // BT r/m, imm8
        {0x0f, 0x10, 0x00},                            // MOVUPS
        {0x0f, 0x29, 0x00},                            // MOVAPS
        {0x66, 0x0f, 0x6f, 0x00},                      // MOVDQA
        {0xf3, 0x0f, 0x7f, 0x00},                      // MOVDQU
        {0x66, 0x0f, 0xef, 0xc0},                      // PXOR
        {0x66, 0x0f, 0xd6, 0x00},                      // MOVQ to memory
        {0xf2, 0x0f, 0x10, 0x00},                      // MOVSD
        {0xf3, 0x0f, 0x11, 0x00},                      // MOVSS
    };
    const std::vector<Code> only_32 = {
        {0x40}, // INC EAX
        {0x4f}, // DEC EDI
    };
    const std::vector<Code> only_64 = {
        {0x48, 0x89, 0xe5},                          // MOV RBP, RSP
        {0x4c, 0x8b, 0x3d, 1, 2, 3, 4},              // MOV R15, [RIP + disp32]
        {0x64, 0x48, 0x8b, 0x04, 0x25, 40, 0, 0, 0}, // MOV RAX, FS:[40]
        {0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8},        // MOV RAX, imm64
        {0x41, 0x57},                                // PUSH R15
        {0x48, 0x63, 0xd0},                          // MOVSXD
        {0x48, 0x98},                                // CDQE
        {0x48, 0x99},                                // CQO
        {0x40, 0x0f, 0x94, 0xc6},                    // SETZ SIL
        {0x66, 0x48, 0x0f, 0x6e, 0xc0},              // MOVQ XMM0, RAX
    };
    for (const unsigned bits : {32u, 64u}) {
        Comparison comparison(bits);
        for (const auto* forms : {&both, bits == 32 ? &only_32 : &only_64})
            for (const Code& code : *forms) {
                EXPECT_TRUE(comparison.check(code)) << hex(code.data(), code.size());
                EXPECT_EQ(comparison.ours.length(), code.size()) << hex(code.data(), code.size());
            }
    }
}

} // namespace
} // namespace dragoman::test
