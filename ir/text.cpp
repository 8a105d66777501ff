#include "ir/text.h"

#include <array>
#include <cctype>

namespace dragoman::ir::text {

namespace {

constexpr std::string_view gpr_names[4][16] = {
    {"al", "cl", "dl", "bl", "spl", "bpl", "sil", "dil", "r8b", "r9b", "r10b", "r11b", "r12b", "r13b", "r14b",
     "r15b"},
    {"ax", "cx", "dx", "bx", "sp", "bp", "si", "di", "r8w", "r9w", "r10w", "r11w", "r12w", "r13w", "r14w",
     "r15w"},
    {"eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi", "r8d", "r9d", "r10d", "r11d", "r12d", "r13d",
     "r14d", "r15d"},
    {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
     "r15"},
};

unsigned size_row(unsigned size) {
    return size == 1 ? 0 : size == 2 ? 1 : size == 4 ? 2 : 3;
}

// The number in `name` after `prefix`, below `limit`, or -1.
int numbered(std::string_view name, std::string_view prefix, int limit) {
    if (!name.starts_with(prefix)) return -1;
    name.remove_prefix(prefix.size());
    if (name.empty() || name.size() > 2) return -1;
    int n = 0;
    for (const char c : name) {
        if (c < '0' || c > '9') return -1;
        n = n * 10 + (c - '0');
    }
    return n < limit ? n : -1;
}

} // namespace

std::string ref_name(Ref ref, unsigned size) {
    if (ref.is_gpr()) return std::string(gpr_names[size_row(size)][ref.index()]);
    if (ref.is_temp()) return "t" + std::to_string(ref.index());
    if (ref.is_xmm()) return "xmm" + std::to_string(ref.index());
    if (ref.is_mm()) return "mm" + std::to_string(ref.index());
    if (ref.is_opmask()) return "k" + std::to_string(ref.index());
    return {};
}

Ref find_ref(std::string_view name) {
    for (const auto& row : gpr_names)
        for (unsigned n = 0; n < 16; ++n)
            if (row[n] == name) return Ref::gpr(n);
    if (const int n = numbered(name, "t", kTemps); n >= 0) return Ref::temp(unsigned(n));
    if (const int n = numbered(name, "xmm", 32); n >= 0) return Ref::xmm(unsigned(n));
    if (const int n = numbered(name, "mm", 8); n >= 0) return Ref::mm(unsigned(n));
    if (const int n = numbered(name, "k", 8); n >= 0) return Ref::opmask(unsigned(n));
    return Ref::none();
}

std::string op_name(Op op) {
    std::string name(info(op).name);
    for (char& c : name)
        c = char(std::tolower(static_cast<unsigned char>(c)));
    return name;
}

Op find_op(std::string_view lower_case) {
    for (unsigned n = 0; n < unsigned(Op::Count); ++n)
        if (op_name(Op(n)) == lower_case) return Op(n);
    return Op::Count;
}

bool has_size(Op op) {
    switch (op) {
    case Op::ExtHi:
    case Op::InsHi:
    case Op::Setcc:
    case Op::SetFlags:
    case Op::JumpInd:
    case Op::JumpOut:
    case Op::CheckAlign:
    case Op::CheckAc:
    case Op::Branch:
    case Op::BranchOut:
    case Op::Vec:
    case Op::Vex:
    case Op::X87:
    case Op::X87Status:
    case Op::Call: return false;
    default: return info(op).form != Form::None && info(op).form != Form::Imm;
    }
}
bool has_size2(Op op) {
    return op == Op::Zext || op == Op::Sext || op == Op::LoadZx || op == Op::LoadSx;
}
bool has_cond(Op op) {
    return op == Op::Cmov || op == Op::Setcc || op == Op::Branch || op == Op::BranchOut;
}

} // namespace dragoman::ir::text
