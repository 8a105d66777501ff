// 9P messages as bytes: little-endian numbers, strings behind their 16-bit length.
#pragma once

#include "base/types.h"

#include <cstring>
#include <span>
#include <string>
#include <vector>

namespace dragoman::runtime {

// Reads from the front; what is not there reads as zeros, and `good()` is false from then on.
class NinePReader {
  public:
    explicit NinePReader(std::span<const u8> bytes) : bytes_(bytes) {}
    template <class T> T get() {
        T value{};
        const auto part = take(sizeof value);
        if (!part.empty()) std::memcpy(&value, part.data(), sizeof value);
        return value;
    }
    std::string text() {
        const auto part = take(get<u16>());
        return {part.begin(), part.end()};
    }
    std::span<const u8> take(std::size_t count) {
        if (count > bytes_.size()) {
            good_ = false;
            bytes_ = {};
            return {};
        }
        const auto part = bytes_.first(count);
        bytes_ = bytes_.subspan(count);
        return part;
    }
    bool good() const { return good_; }

  private:
    std::span<const u8> bytes_;
    bool good_ = true;
};

class NinePWriter {
  public:
    template <class T> void put(T value) {
        append(&value, sizeof value);
    }
    void text(const std::string& s) {
        put(u16(s.size()));
        append(s.data(), s.size());
    }
    std::vector<u8>& bytes() { return bytes_; }

  private:
    void append(const void* from, std::size_t count) {
        const std::size_t at = bytes_.size();
        bytes_.resize(at + count);
        if (count) std::memcpy(&bytes_[at], from, count);
    }
    std::vector<u8> bytes_;
};

} // namespace dragoman::runtime
