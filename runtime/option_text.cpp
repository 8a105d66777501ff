#include "runtime/option_text.h"

#include <cctype>
#include <charconv>
#include <nlohmann/json.hpp>

namespace dragoman::runtime {

namespace {

void flatten(const nlohmann::json& value, const std::string& name, Properties& to) {
    if (value.is_object()) {
        for (const auto& [key, member] : value.items())
            flatten(member, name.empty() ? key : name + "." + key, to);
    } else if (value.is_array()) {
        for (std::size_t n = 0; n < value.size(); ++n)
            flatten(value[n], name + "." + std::to_string(n), to);
    } else if (value.is_string()) {
        to.emplace_back(name, value.get<std::string>());
    } else if (value.is_boolean()) {
        to.emplace_back(name, value.get<bool>() ? "on" : "off");
    } else {
        to.emplace_back(name, value.dump());
    }
}

} // namespace

std::optional<Properties> properties_of(const std::string& text) {
    if (text.empty() || text[0] != '{') return key_values(text);
    if (text.size() > 1 * MiB) return std::nullopt;
    // Nesting is bounded by the parser's callback, so that no text exhausts the stack.
    const auto shallow = [](int depth, nlohmann::json::parse_event_t, nlohmann::json&) { return depth < 32; };
    const nlohmann::json value = nlohmann::json::parse(text, shallow, false);
    if (!value.is_object()) return std::nullopt;
    Properties result;
    flatten(value, "", result);
    return result;
}

std::optional<u64> parse_number(std::string_view text, int base) {
    if (base == 0) {
        base = text.substr(0, 2) == "0x" ? 16 : 10;
        if (base == 16) text.remove_prefix(2);
    }
    u64 value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (error != std::errc{} || end != text.data() + text.size() || text.empty()) return std::nullopt;
    return value;
}

std::optional<u64> parse_size(std::string text, u64 unit) {
    if (text.empty()) return std::nullopt;
    static constexpr std::pair<char, u64> suffixes[] = {
        {'K', KiB}, {'M', MiB}, {'G', GiB}, {'T', 1024 * GiB}};
    for (const auto& [letter, bytes] : suffixes) {
        if (std::toupper(text.back()) != letter) continue;
        unit = bytes;
        text.pop_back();
        break;
    }
    // "1.5G": up to nine digits behind the point.
    constexpr std::size_t kMostDigits = 9;
    const std::size_t point = std::min(text.find('.'), text.size());
    const auto n = parse_number(text.substr(0, point));
    if (!n || *n > (u64{1} << 62) / unit) return std::nullopt;
    if (point == text.size()) return *n * unit;
    const std::string digits = text.substr(point + 1);
    const auto part = parse_number(digits);
    if (!part || digits.size() > kMostDigits) return std::nullopt;
    u64 whole = 1;
    for (std::size_t d = 0; d < digits.size(); ++d)
        whole *= 10;
    return *n * unit + u64(__uint128_t{*part} * unit / whole);
}

Properties key_values(const std::string& text) {
    std::vector<std::string> parts(1);
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != ',') {
            parts.back() += text[i];
        } else if (i + 1 < text.size() && text[i + 1] == ',') {
            parts.back() += text[i++];
        } else {
            parts.emplace_back();
        }
    }
    Properties result;
    for (const std::string& part : parts) {
        const std::size_t equals = part.find('=');
        if (equals == std::string::npos)
            result.emplace_back(part, "");
        else
            result.emplace_back(part.substr(0, equals), part.substr(equals + 1));
    }
    return result;
}

std::optional<bool> parse_on_off(const std::string& text) {
    if (text == "on" || text == "yes" || text == "true" || text == "y" || text.empty()) return true;
    if (text == "off" || text == "no" || text == "false" || text == "n") return false;
    return std::nullopt;
}

} // namespace dragoman::runtime
