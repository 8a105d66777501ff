// The table of VEX instructions, and the host's instruction for each row: pieces of code by the assembler, so
// that a row is all that an instruction needs. Operand n is in register n, as VexOperands says.
#include "ir/vex_host.h"

#include "base/assert.h"
#include "ir/vex.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <string>

// ---- an operand as the assembler's text: number n, its kind, the vector length
#define COMMA_0     ""
#define COMMA_1     ", "
#define COMMA_2     ", "
#define COMMA_3     ", "
#define GENERAL32_0 "eax"
#define GENERAL32_2 "ecx"
#define GENERAL64_0 "rax"
#define GENERAL64_2 "rcx"
#define MEMORY_0    "[rbx + 256]"
#define MEMORY_2    "[rbx + 128]"
#define TEXT___16(n)
#define TEXT___32(n)
#define TEXT_V_16(n)   COMMA_##n "xmm" #n
#define TEXT_V_32(n)   COMMA_##n "ymm" #n
#define TEXT_H_16(n)   COMMA_##n "xmm" #n
#define TEXT_H_32(n)   COMMA_##n "xmm" #n
#define TEXT_X_16(n)   COMMA_##n "xmm" #n
#define TEXT_X_32(n)   COMMA_##n "xmm" #n
#define TEXT_R32_16(n) COMMA_##n GENERAL32_##n
#define TEXT_R32_32(n) COMMA_##n GENERAL32_##n
#define TEXT_R64_16(n) COMMA_##n GENERAL64_##n
#define TEXT_RW_16(n)  COMMA_##n GENERAL32_##n
#define TEXT_RW_32(n)  COMMA_##n GENERAL64_##n
#define TEXT_M_16(n)   COMMA_##n MEMORY_##n
#define TEXT_M_32(n)   COMMA_##n MEMORY_##n
#define TEXT_I_16(n)   ", 0x\\h\\l"
#define TEXT_I_32(n)   ", 0x\\h\\l"

// ---- one piece of code, or 256 for the values of an imm8 (h and l: its hexadecimal digits)
#define HEXADECIMAL "0,1,2,3,4,5,6,7,8,9,a,b,c,d,e,f"
#define IMM8        ".irp h," HEXADECIMAL "\n.irp l," HEXADECIMAL "\n"
#define FIRST_V
#define FIRST__
#define FIRST_I IMM8
#define LAST_V
#define LAST__
#define LAST_I ".endr\n.endr\n"
#define CODE(row, length, mnemonic, d, a, b, c)                                                              \
    ".balign 16\ndragoman_vex_" #row "_" #length ":\n" FIRST_##c                                             \
        ".balign 16\n" #mnemonic " " TEXT_##d##_##length(0) TEXT_##a##_##length(1) TEXT_##b##_##length(2)    \
            TEXT_##c##_##length(3) "\nret\n" LAST_##c
#define CODE_B(...)                       CODE_X(__VA_ARGS__) CODE_Y(__VA_ARGS__)
#define CODE_W(...)                       CODE_X(__VA_ARGS__) CODE_Y(__VA_ARGS__)
#define CODE_X(row, mnemonic, d, a, b, c) CODE(row, 16, mnemonic, d, a, b, c)
#define CODE_Y(row, mnemonic, d, a, b, c) CODE(row, 32, mnemonic, d, a, b, c)

#if defined(__x86_64__)
asm(R"(
.pushsection .text.dragoman_vex, "ax", @progbits
.balign 16
.intel_syntax noprefix
.globl dragoman_vex_run
dragoman_vex_run:
    push rbx
    mov rbx, rdi
    vmovups ymm0, [rbx]
    vmovups ymm1, [rbx + 64]
    vmovups ymm2, [rbx + 128]
    vmovups ymm3, [rbx + 192]
    mov rax, [rbx + 320]
    mov rcx, [rbx + 328]
    call rsi
    vmovups [rbx], ymm0
    mov [rbx + 320], rax
    pushfq
    pop qword ptr [rbx + 336]
    vzeroupper
    pop rbx
    ret
.balign 16
)"
#define VEX_AS(row, mnemonic, lengths, memory, attributes, d, a, b, c)                                       \
    CODE_##lengths(row, mnemonic, d, a, b, c)
#include "ir/vex_ops.inc"
    ".att_syntax prefix\n.popsection\n");
#endif

// ---- the table
#if defined(__x86_64__)
#define DECLARE_B(row)                      extern "C" const dragoman::u8 dragoman_vex_##row##_16[], dragoman_vex_##row##_32[];
#define DECLARE_W(row)                      DECLARE_B(row)
#define DECLARE_X(row)                      extern "C" const dragoman::u8 dragoman_vex_##row##_16[];
#define DECLARE_Y(row)                      extern "C" const dragoman::u8 dragoman_vex_##row##_32[];
#define VEX_AS(row, mnemonic, lengths, ...) DECLARE_##lengths(row)
#include "ir/vex_ops.inc"
#define CODE_OF_B(row)                                                                                       \
    { dragoman_vex_##row##_16, dragoman_vex_##row##_32 }
#define CODE_OF_W(row) CODE_OF_B(row)
#define CODE_OF_X(row)                                                                                       \
    { dragoman_vex_##row##_16, nullptr }
#define CODE_OF_Y(row)                                                                                       \
    { nullptr, dragoman_vex_##row##_32 }
#else // another host needs meanings of its own
#define CODE_OF_B(row)                                                                                       \
    {}
#define CODE_OF_W(row)                                                                                       \
    {}
#define CODE_OF_X(row)                                                                                       \
    {}
#define CODE_OF_Y(row)                                                                                       \
    {}
#endif

namespace dragoman::ir {

namespace {

// A name of the table in lower case, as a constant.
template <std::size_t n> struct Lower {
    char text[n];
    constexpr Lower(const char (&upper)[n]) {
        for (std::size_t i = 0; i < n; ++i)
            text[i] = upper[i] >= 'A' && upper[i] <= 'Z' ? char(upper[i] | 0x20) : upper[i];
    }
};
template <Lower lower> constexpr std::string_view kName{lower.text, sizeof lower.text - 1};

enum : u16 { A = 1, N = 2, F = 4, K = 8, P4 = 16, P8 = 32 };
using enum VexOperand;
constexpr VexOperand kind__ = None, kind_V = Vector, kind_H = Half, kind_X = Xmm, kind_R32 = Reg32,
                     kind_R64 = Reg64, kind_RW = RegSized, kind_M = Memory, kind_I = Imm;
// VexOp::memory where it depends on the instruction: the vector length shifted right, and two more.
enum : u8 { kFraction = 0x80, kDuplicated = 0x90, kSized = 0x91 };
constexpr u8 memory_0 = 0, memory_1 = 1, memory_2 = 2, memory_4 = 4, memory_8 = 8, memory_16 = 16,
             memory_F = kFraction, memory_H = kFraction + 1, memory_Q = kFraction + 2,
             memory_E = kFraction + 3, memory_D = kDuplicated, memory_S = kSized;
constexpr bool xmm_B = true, xmm_X = true, xmm_W = true, xmm_Y = false;
constexpr bool ymm_B = true, ymm_X = false, ymm_W = false, ymm_Y = true;

constexpr VexOp table[] = {
#define VEX_AS(name, mnem, lengths, bytes, attributes, d, a, b, c)                                           \
    {.row = kName<#name>,                                                                                    \
     .mnemonic = kName<#mnem>,                                                                               \
     .xmm = xmm_##lengths,                                                                                   \
     .ymm = ymm_##lengths,                                                                                   \
     .memory = memory_##bytes,                                                                               \
     .aligned = bool((attributes)&A),                                                                        \
     .numeric = bool((attributes)&N),                                                                        \
     .writes_d = !((attributes)&K) && kind_##d != Memory,                                                    \
     .masked = u8((attributes)&P4   ? 4                                                                      \
                  : (attributes)&P8 ? 8                                                                      \
                                    : 0),                                                                    \
     .flags = (attributes)&F ? kAllFlags : 0,                                                                \
     .operands = {kind_##d, kind_##a, kind_##b, kind_##c},                                                   \
     .code = CODE_OF_##lengths(name)},
#include "ir/vex_ops.inc"
};
constexpr std::size_t count = std::size(table);

const std::array<u16, count> sorted = [] {
    std::array<u16, count> rows{};
    for (std::size_t n = 0; n < count; ++n)
        rows[n] = u16(n);
    std::sort(rows.begin(), rows.end(), [](u16 x, u16 y) { return table[x].row < table[y].row; });
    return rows;
}();

} // namespace

const VexOp& vex_op(u16 index) {
    DRAGOMAN_ASSERT(index < count);
    return table[index];
}

u16 vex_op_count() {
    return u16(count);
}

int find_vex_op(std::string_view row) {
    const auto at = std::lower_bound(sorted.begin(), sorted.end(), row,
                                     [](u16 n, std::string_view name) { return table[n].row < name; });
    return at != sorted.end() && table[*at].row == row ? int(*at) : -1;
}

unsigned vex_vector_bytes(VexOperand operand, unsigned length) {
    switch (operand) {
    case Vector: return length;
    case Half:
    case Xmm: return 16;
    default: return 0;
    }
}

unsigned vex_memory_bytes(const Inst& inst) {
    const u8 memory = vex_op(inst.vec).memory;
    switch (memory) {
    case kDuplicated: return inst.size == 16 ? 8 : inst.size;
    case kSized: return inst.size2;
    default: return memory >= kFraction ? inst.size >> (memory - kFraction) : memory;
    }
}

} // namespace dragoman::ir
