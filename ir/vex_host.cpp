// The tables of VEX and EVEX instructions, and the host's instruction for each row: pieces of code by the
// assembler, so that a row is all that an instruction needs. Operand n is in register n, as VexOperands says.
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
#define OPMASK_0    "k2"
#define OPMASK_1    "k3"
#define OPMASK_2    "k4"
#define TEXT___16(n)
#define TEXT___32(n)
#define TEXT___64(n)
#define TEXT_V_16(n)   COMMA_##n "xmm" #n
#define TEXT_V_32(n)   COMMA_##n "ymm" #n
#define TEXT_V_64(n)   COMMA_##n "zmm" #n
#define TEXT_H_16(n)   COMMA_##n "xmm" #n
#define TEXT_H_32(n)   COMMA_##n "xmm" #n
#define TEXT_H_64(n)   COMMA_##n "ymm" #n
#define TEXT_X_16(n)   COMMA_##n "xmm" #n
#define TEXT_X_32(n)   COMMA_##n "xmm" #n
#define TEXT_X_64(n)   COMMA_##n "xmm" #n
#define TEXT_R32_16(n) COMMA_##n GENERAL32_##n
#define TEXT_R32_32(n) COMMA_##n GENERAL32_##n
#define TEXT_R32_64(n) COMMA_##n GENERAL32_##n
#define TEXT_R64_16(n) COMMA_##n GENERAL64_##n
#define TEXT_R64_32(n) COMMA_##n GENERAL64_##n
#define TEXT_R64_64(n) COMMA_##n GENERAL64_##n
#define TEXT_RW_16(n)  COMMA_##n GENERAL32_##n
#define TEXT_RW_32(n)  COMMA_##n GENERAL64_##n
#define TEXT_M_16(n)   COMMA_##n MEMORY_##n
#define TEXT_M_32(n)   COMMA_##n MEMORY_##n
#define TEXT_M_64(n)   COMMA_##n MEMORY_##n
#define TEXT_K_16(n)   COMMA_##n OPMASK_##n
#define TEXT_K_32(n)   COMMA_##n OPMASK_##n
#define TEXT_K_64(n)   COMMA_##n OPMASK_##n
#define TEXT_I_16(n)   ", 0x\\h\\l"
#define TEXT_I_32(n)   ", 0x\\h\\l"
#define TEXT_I_64(n)   ", 0x\\h\\l"
// The write mask, by the size of its elements.
#define MASK_0
#define MASK_1 "{k1}"
#define MASK_2 "{k1}"
#define MASK_4 "{k1}"
#define MASK_8 "{k1}"

// ---- one piece of code, or 256 for the values of an imm8 (h and l: its hexadecimal digits)
#define HEXADECIMAL "0,1,2,3,4,5,6,7,8,9,a,b,c,d,e,f"
#define IMM8        ".irp h," HEXADECIMAL "\n.irp l," HEXADECIMAL "\n"
#define FIRST_V
#define FIRST__
#define FIRST_I IMM8
#define LAST_V
#define LAST__
#define LAST_I ".endr\n.endr\n"
#define CODE(row, length, mask, mnemonic, d, a, b, c)                                                        \
    ".balign 16\ndragoman_vex_" #row "_" #length ":\n" FIRST_##c                                             \
        ".balign 16\n" #mnemonic " " TEXT_##d##_##length(0) MASK_##mask TEXT_##a##_##length(1)               \
            TEXT_##b##_##length(2) TEXT_##c##_##length(3) "\nret\n" LAST_##c
#define CODE_X(row, ...) CODE(row, 16, __VA_ARGS__)
#define CODE_Y(row, ...) CODE(row, 32, __VA_ARGS__)
#define CODE_Z(row, ...) CODE(row, 64, __VA_ARGS__)
#define CODE_W(row, ...) CODE_X(row, __VA_ARGS__) CODE_Y(row, __VA_ARGS__)
#define CODE_B(row, ...) CODE_X(row, __VA_ARGS__) CODE_Y(row, __VA_ARGS__)
#define CODE_U(row, ...) CODE_Y(row, __VA_ARGS__) CODE_Z(row, __VA_ARGS__)
#define CODE_A(row, ...) CODE_X(row, __VA_ARGS__) CODE_U(row, __VA_ARGS__)

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
.globl dragoman_evex_run
dragoman_evex_run:
    push rbx
    mov rbx, rdi
    vmovups zmm0, [rbx]
    vmovups zmm1, [rbx + 64]
    vmovups zmm2, [rbx + 128]
    vmovups zmm3, [rbx + 192]
    mov rax, [rbx + 320]
    mov rcx, [rbx + 328]
    kmovq k2, [rbx + 344]
    kmovq k3, [rbx + 352]
    kmovq k4, [rbx + 360]
    kmovq k1, [rbx + 368]
    call rsi
    vmovups [rbx], zmm0
    mov [rbx + 320], rax
    kmovq [rbx + 344], k2
    pushfq
    pop qword ptr [rbx + 336]
    vzeroupper
    pop rbx
    ret
.balign 16
)"
#define VEX_AS(row, mnemonic, lengths, memory, attributes, d, a, b, c)                                       \
    CODE_##lengths(row, 0, mnemonic, d, a, b, c)
#define EVEX_AS(row, mnemonic, lengths, memory, attributes, element, broadcast, d, a, b, c)                  \
    CODE_##lengths(row, element, mnemonic, d, a, b, c)
#include "ir/evex_ops.inc"
#include "ir/vex_ops.inc"
    ".att_syntax prefix\n.popsection\n");
#endif

// ---- the table
#if defined(__x86_64__)
#define DECLARE(row, length)                 extern "C" const dragoman::u8 dragoman_vex_##row##_##length[];
#define DECLARE_X(row)                       DECLARE(row, 16)
#define DECLARE_Y(row)                       DECLARE(row, 32)
#define DECLARE_Z(row)                       DECLARE(row, 64)
#define DECLARE_W(row)                       DECLARE(row, 16) DECLARE(row, 32)
#define DECLARE_B(row)                       DECLARE(row, 16) DECLARE(row, 32)
#define DECLARE_U(row)                       DECLARE(row, 32) DECLARE(row, 64)
#define DECLARE_A(row)                       DECLARE(row, 16) DECLARE_U(row)
#define VEX_AS(row, mnemonic, lengths, ...)  DECLARE_##lengths(row)
#define EVEX_AS(row, mnemonic, lengths, ...) DECLARE_##lengths(row)
#include "ir/evex_ops.inc"
#include "ir/vex_ops.inc"
#define CODE_OF(row, length) dragoman_vex_##row##_##length
#else // another host needs meanings of its own
#define CODE_OF(row, length) nullptr
#endif
#define CODES_X(row) CODE_OF(row, 16), nullptr, nullptr
#define CODES_Y(row) nullptr, CODE_OF(row, 32), nullptr
#define CODES_Z(row) nullptr, nullptr, CODE_OF(row, 64)
#define CODES_W(row) CODE_OF(row, 16), CODE_OF(row, 32), nullptr
#define CODES_B(row) CODE_OF(row, 16), CODE_OF(row, 32), nullptr
#define CODES_U(row) nullptr, CODE_OF(row, 32), CODE_OF(row, 64)
#define CODES_A(row) CODE_OF(row, 16), CODE_OF(row, 32), CODE_OF(row, 64)

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

enum : u16 {
    A = 1,
    N = 2,
    F = 4,
    K = 8,
    P4 = 16,
    P8 = 32, // of VEX; the others of EVEX
    R = 64,
    S = 128,
    O = 256,
    C = 512,
    D = 1024,
    T = 2048,
    U = 4096
};
using enum VexOperand;
constexpr VexOperand kind__ = None, kind_V = Vector, kind_H = Half, kind_X = Xmm, kind_R32 = Reg32,
                     kind_R64 = Reg64, kind_RW = RegSized, kind_K = Opmask, kind_M = Memory, kind_I = Imm;
// VexOp::memory where it depends on the instruction: the vector length shifted right, and two more.
enum : u8 { kFraction = 0x80, kDuplicated = 0x90, kSized = 0x91 };
constexpr u8 memory_0 = 0, memory_1 = 1, memory_2 = 2, memory_4 = 4, memory_8 = 8, memory_16 = 16,
             memory_F = kFraction, memory_H = kFraction + 1, memory_Q = kFraction + 2,
             memory_E = kFraction + 3, memory_D = kDuplicated, memory_S = kSized;
enum : u8 { l16 = 1, l32 = 2, l64 = 4 };
constexpr u8 lengths_X = l16, lengths_W = l16, lengths_Y = l32, lengths_Z = l64, lengths_B = l16 | l32,
             lengths_U = l32 | l64, lengths_A = l16 | l32 | l64;

constexpr VexOp table[] = {
#define ROW(is_evex, name, mnem, lengths, bytes, attributes, element_bytes, broadcast_bytes, d, a, b, c)     \
    {.row = kName<#name>,                                                                                    \
     .mnemonic = kName<#mnem>,                                                                               \
     .evex = is_evex,                                                                                        \
     .xmm = bool(lengths_##lengths & l16),                                                                   \
     .ymm = bool(lengths_##lengths & l32),                                                                   \
     .zmm = bool(lengths_##lengths & l64),                                                                   \
     .memory = memory_##bytes,                                                                               \
     .aligned = bool((attributes)&A),                                                                        \
     .numeric = bool((attributes)&N),                                                                        \
     .writes_d = !((attributes)&K) && kind_##d != Memory,                                                    \
     .reads_d = !is_evex || ((attributes) & (U | K)),                                                        \
     .masked = u8((attributes)&P4   ? 4                                                                      \
                  : (attributes)&P8 ? 8                                                                      \
                                    : 0),                                                                    \
     .element = element_bytes,                                                                               \
     .broadcast = broadcast_bytes,                                                                           \
     .scalar = bool((attributes)&O),                                                                         \
     .contiguous = bool((attributes)&C),                                                                     \
     .repeated = bool((attributes)&D),                                                                       \
     .whole = bool((attributes)&T),                                                                          \
     .rounding = (attributes)&R   ? VexRounding::Any                                                         \
                 : (attributes)&S ? VexRounding::Suppress                                                    \
                                  : VexRounding::None,                                                       \
     .flags = (attributes)&F ? kAllFlags : 0,                                                                \
     .operands = {kind_##d, kind_##a, kind_##b, kind_##c},                                                   \
     .code = {CODES_##lengths(name)}},
#define VEX_AS(row, mnemonic, lengths, memory, attributes, d, a, b, c)                                       \
    ROW(false, row, mnemonic, lengths, memory, attributes, 0, 0, d, a, b, c)
#define EVEX_AS(...) ROW(true, __VA_ARGS__)
#include "ir/evex_ops.inc"
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
    case Half: return std::max(length / 2, 16u);
    case Xmm: return 16;
    default: return 0;
    }
}

unsigned vex_memory_bytes(const Inst& inst) {
    const VexOp& op = vex_op(inst.vec);
    if (inst.broadcast) return op.broadcast;
    switch (op.memory) {
    case kDuplicated: return inst.size == 16 ? 8 : inst.size;
    case kSized: return inst.size2;
    default: return op.memory >= kFraction ? inst.size >> (op.memory - kFraction) : op.memory;
    }
}

unsigned vex_elements(const Inst& inst) {
    const VexOp& op = vex_op(inst.vec);
    if (op.scalar || !op.element) return 1;
    if (op.contiguous) return inst.size / op.element;
    switch (op.operands[0]) {
    case Half: return inst.size / 2 / op.element;
    case VexOperand::Memory: return vex_memory_bytes(inst) / op.element;
    default: return std::max(vex_vector_bytes(op.operands[0], inst.size), unsigned{inst.size}) / op.element;
    }
}

bool vex_spares_memory(const Inst& inst) {
    const VexOp& op = vex_op(inst.vec);
    return inst.from_memory && (op.masked || (!inst.mask.is_none() && !op.whole));
}

} // namespace dragoman::ir
