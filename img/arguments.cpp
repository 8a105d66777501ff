#include "img/command.h"

#include <algorithm>
#include <charconv>
#include <cstdio>

namespace dragoman::img {

int complain(const std::string& what) {
    std::fprintf(stderr, "dragoman-img: %s\n", what.c_str());
    return 1;
}

std::optional<Arguments> Arguments::parse(const std::vector<std::string>& words, const std::string& letters,
                                          const std::vector<std::string>& long_options) {
    Arguments result;
    bool only_operands = false;
    for (std::size_t n = 0; n < words.size(); ++n) {
        const std::string& word = words[n];
        if (only_operands || word.size() < 2 || word[0] != '-') {
            result.operands_.push_back(word);
            continue;
        }
        if (word == "--") {
            only_operands = true;
            continue;
        }
        if (word[1] == '-') {
            const std::size_t equals = word.find('=');
            const std::string name = word.substr(2, equals == std::string::npos ? equals : equals - 2);
            const bool plain = std::count(long_options.begin(), long_options.end(), name) != 0;
            const bool valued = std::count(long_options.begin(), long_options.end(), name + "=") != 0;
            if (!plain && !valued) {
                complain("unrecognized option '--" + name + "'");
                return {};
            }
            if (valued && equals == std::string::npos && n + 1 == words.size()) {
                complain("option '--" + name + "' requires an argument");
                return {};
            }
            result.options_[name].push_back(!valued                       ? ""
                                            : equals == std::string::npos ? words[++n]
                                                                          : word.substr(equals + 1));
            continue;
        }
        for (std::size_t i = 1; i < word.size(); ++i) {
            const std::size_t at = letters.find(word[i]);
            if (at == std::string::npos || word[i] == ':') {
                complain(std::string("invalid option -- '") + word[i] + "'");
                return {};
            }
            const std::string name(1, word[i]);
            if (at + 1 >= letters.size() || letters[at + 1] != ':') {
                result.options_[name].emplace_back();
                continue;
            }
            if (i + 1 < word.size()) {
                result.options_[name].push_back(word.substr(i + 1));
            } else if (n + 1 < words.size()) {
                result.options_[name].push_back(words[++n]);
            } else {
                complain("option requires an argument -- '" + name + "'");
                return {};
            }
            break;
        }
    }
    return result;
}

std::string Arguments::value(const std::string& option) const {
    const auto it = options_.find(option);
    return it == options_.end() ? "" : it->second.back();
}

const std::vector<std::string>& Arguments::given(const std::string& option) const {
    static const std::vector<std::string> none;
    const auto it = options_.find(option);
    return it == options_.end() ? none : it->second;
}

std::optional<u64> parse_size(std::string text) {
    u64 unit = 1;
    if (!text.empty()) {
        static constexpr char letters[] = "bkmgtpe";
        const char last = char(text.back() | 0x20);
        for (unsigned n = 0; letters[n] && !(text.back() >= '0' && text.back() <= '9'); ++n)
            if (last == letters[n]) {
                unit = u64{1} << (10 * n);
                text.pop_back();
                break;
            }
    }
    double fraction = 0;
    const std::size_t dot = text.find('.');
    if (dot != std::string::npos) { // "1.5G"
        const std::string digits = text.substr(dot + 1);
        if (digits.empty() || digits.find_first_not_of("0123456789") != std::string::npos) return {};
        fraction = std::strtod(("0." + digits).c_str(), nullptr);
        text.resize(dot);
    }
    u64 value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return {};
    if (value > (u64{1} << 62) / unit) return {};
    return value * unit + u64(fraction * double(unit));
}

std::string human_size(u64 bytes) {
    static constexpr const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    unsigned unit = 0;
    double value = double(bytes);
    while (value >= 1000 && unit < 6) {
        value /= 1024;
        ++unit;
    }
    char text[40];
    std::snprintf(text, sizeof text, "%.3g %s", value, units[unit]);
    return text;
}

std::unique_ptr<block::Image> open(const std::string& file, const std::string& format, bool read_only,
                                   bool force_share) {
    block::OpenOptions options;
    options.format = format;
    options.read_only = read_only;
    options.lock = !force_share;
    auto image = block::open_image(file, options);
    if (!image) {
        complain("Could not open '" + file + "': " + image.error().message);
        return nullptr;
    }
    return std::move(*image);
}

block::Qcow2Image* as_qcow2(block::Image& image) {
    return dynamic_cast<block::Qcow2Image*>(&image);
}

void Progress::show(u64 done) {
    if (!on_) return;
    const unsigned now = all_ ? unsigned(double(done) * 10000 / double(all_)) : 10000;
    if (now == last_) return;
    last_ = now;
    std::printf("    (%u.%02u/100%%)\r", now / 100, now % 100);
    std::fflush(stdout);
}

Progress::~Progress() {
    if (on_) std::printf("\n");
}

} // namespace dragoman::img
