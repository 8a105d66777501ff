// The words of the text form, shared by printer, parser and verifier messages.
#pragma once

#include "ir/inst.h"

#include <string>
#include <string_view>

namespace dragoman::ir::text {

inline constexpr std::string_view rounding_names[] = {"", "sae", "rn", "rd", "ru", "rz"};
inline constexpr std::string_view cond_names[16] = {"o", "no", "b", "nb", "z", "nz", "be", "nbe",
                                                    "s", "ns", "p", "np", "l", "nl", "le", "nle"};
inline constexpr std::string_view seg_names[6] = {"es", "cs", "ss", "ds", "fs", "gs"};
inline constexpr std::string_view access_names[3] = {"read", "write", "readwrite"};

// Letters of the flags, in the order of their bits.
struct FlagLetter {
    char letter;
    Flags flag;
};
inline constexpr FlagLetter flag_letters[] = {{'c', kCF}, {'p', kPF}, {'a', kAF},
                                              {'z', kZF}, {'s', kSF}, {'o', kOF}};

// The name of an operand; that of a GPR goes by `size`. Empty for immediates and nothing.
std::string ref_name(Ref ref, unsigned size);
// The operand of a name, of whatever size; Ref::none() if there is none.
Ref find_ref(std::string_view name);

// Op names in lower case.
std::string op_name(Op op);
Op find_op(std::string_view lower_case); // Op::Count: none

// How an op's mnemonic goes on: name[.sub][.cond][.size][.size2].
bool has_size(Op op);
bool has_size2(Op op);
bool has_cond(Op op);

} // namespace dragoman::ir::text
