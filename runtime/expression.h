// Expressions as the monitor takes them: numbers (decimal, 0x hexadecimal, 0 octal), registers ($rax, $pc),
// + - * / % & | ^ << >> ~ and parentheses, in C's precedence, on 64-bit unsigned numbers.
#pragma once

#include "base/result.h"
#include "base/types.h"

#include <functional>
#include <string>
#include <string_view>

namespace dragoman::runtime {

// `lookup` gives a register's value; false: there is none of this name. The error says what was expected
// where.
Result<u64> evaluate(const std::string& text, const std::function<bool(std::string_view, u64&)>& lookup);

} // namespace dragoman::runtime
