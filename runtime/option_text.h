// Reading the values of options: numbers, sizes, switches, lists of properties.
#pragma once

#include "base/types.h"

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dragoman::runtime {

// All of `text` as a number; base 0: decimal, or hexadecimal after 0x.
std::optional<u64> parse_number(std::string_view text, int base = 10);
// A size with an optional suffix K, M, G or T; without one, `unit` bytes each.
std::optional<u64> parse_size(std::string text, u64 unit);
std::optional<bool> parse_on_off(const std::string& text); // nothing at all means on

// "a,b=c,d" as pairs; two commas stand for one (file names).
using Properties = std::vector<std::pair<std::string, std::string>>;
Properties key_values(const std::string& text);
// The same from a JSON object, when `text` begins with a brace: members of members are named "a.b", elements
// of arrays "a.0". Nothing: it is no JSON object.
std::optional<Properties> properties_of(const std::string& text);

} // namespace dragoman::runtime
