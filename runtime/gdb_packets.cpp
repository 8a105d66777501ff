#include "runtime/gdb_packets.h"

namespace dragoman::runtime {

namespace {

constexpr char kEscape = '}'; // the byte after it has bit 5 inverted
constexpr u8 kInterrupt = 3;

int digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

constexpr char kDigits[] = "0123456789abcdef";

} // namespace

void GdbPackets::reset() {
    state_ = State::Idle;
    acknowledge_ = true;
    data_.clear();
    last_reply_.clear();
}

void GdbPackets::take(u8 byte) {
    switch (state_) {
    case State::Idle:
        if (byte == '$') {
            state_ = State::Data;
            data_.clear();
            too_long_ = false;
            sum_ = 0;
        } else if (byte == kInterrupt) {
            hooks_.interrupt();
        } else if (byte == '-' && acknowledge_ && !last_reply_.empty()) {
            hooks_.send(last_reply_);
        }
        break;
    case State::Data:
        if (byte == '#') {
            state_ = State::Checksum1;
            break;
        }
        sum_ = u8(sum_ + byte);
        if (data_.size() < kMaxPacket)
            data_ += char(byte);
        else
            too_long_ = true;
        break;
    case State::Checksum1:
        given_ = u8(digit(char(byte)) << 4);
        state_ = State::Checksum2;
        break;
    case State::Checksum2:
        state_ = State::Idle;
        complete(u8(given_ | (digit(char(byte)) & 0xf)));
        break;
    }
}

void GdbPackets::complete(u8 checksum) {
    if (acknowledge_) {
        hooks_.send(checksum == sum_ ? "+" : "-");
        if (checksum != sum_) return;
    }
    if (too_long_) return reply("E22");
    std::string plain;
    for (std::size_t i = 0; i < data_.size(); ++i)
        if (data_[i] == kEscape && i + 1 < data_.size())
            plain += char(data_[++i] ^ 0x20);
        else
            plain += data_[i];
    hooks_.packet(plain);
}

void GdbPackets::reply(std::string_view data) {
    std::string text = "$";
    u8 sum = 0;
    for (const char c : data) {
        if (c == '#' || c == '$' || c == '*' || c == kEscape) {
            text += kEscape;
            text += char(c ^ 0x20);
            sum = u8(sum + u8(kEscape) + u8(c ^ 0x20));
        } else {
            text += c;
            sum = u8(sum + u8(c));
        }
    }
    text += '#';
    text += kDigits[sum >> 4];
    text += kDigits[sum & 15];
    hooks_.send(text);
    if (acknowledge_) last_reply_ = std::move(text);
}

std::string to_hex(std::span<const u8> bytes) {
    std::string text;
    for (const u8 byte : bytes) {
        text += kDigits[byte >> 4];
        text += kDigits[byte & 15];
    }
    return text;
}

std::optional<std::string> from_hex(std::string_view text) {
    if (text.size() % 2) return std::nullopt;
    std::string bytes;
    for (std::size_t i = 0; i < text.size(); i += 2) {
        const int high = digit(text[i]), low = digit(text[i + 1]);
        if (high < 0 || low < 0) return std::nullopt;
        bytes += char(high << 4 | low);
    }
    return bytes;
}

std::optional<u64> take_hex(std::string_view& text) {
    u64 value = 0;
    std::size_t count = 0;
    for (; count < text.size() && digit(text[count]) >= 0; ++count) {
        if (value >> 60) return std::nullopt;
        value = value << 4 | u64(digit(text[count]));
    }
    if (!count) return std::nullopt;
    text.remove_prefix(count);
    return value;
}

} // namespace dragoman::runtime
