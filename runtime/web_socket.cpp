#include "runtime/web_socket.h"

#include <algorithm>
#include <nettle/base64.h>
#include <nettle/sha1.h>
#include <optional>
#include <strings.h>

namespace dragoman::runtime {

namespace {

// 5.2
constexpr u8 kFinal = 0x80, kReserved = 0x70, kMasked = 0x80;
enum Opcode : u8 { kContinuation = 0, kText = 1, kBinary = 2, kClose = 8, kPing = 9, kPong = 10 };
constexpr u8 kLength16 = 126, kLength64 = 127, kMostControl = 125;

void put_text(std::vector<u8>& to, const std::string& text) {
    to.insert(to.end(), text.begin(), text.end());
}

void put_frame(Opcode opcode, std::span<const u8> data, std::vector<u8>& to) {
    to.push_back(kFinal | opcode);
    const unsigned bytes = data.size() <= kMostControl ? 0 : data.size() <= 0xffff ? 2 : 8;
    to.push_back(bytes == 0 ? u8(data.size()) : bytes == 2 ? kLength16 : kLength64);
    for (unsigned n = bytes; n--;)
        to.push_back(u8(u64(data.size()) >> (8 * n)));
    to.insert(to.end(), data.begin(), data.end());
}

// The value of a line "Name: value" of a request.
std::optional<std::string> header(const std::string& request, const std::string& name) {
    for (std::size_t at = request.find("\r\n"); at != std::string::npos; at = request.find("\r\n", at)) {
        at += 2;
        const std::size_t end = std::min(request.find("\r\n", at), request.size());
        if (end - at <= name.size() || request[at + name.size()] != ':' ||
            strncasecmp(request.c_str() + at, name.c_str(), name.size()) != 0)
            continue;
        const std::size_t first = request.find_first_not_of(" \t", at + name.size() + 1);
        return first >= end ? "" : request.substr(first, end - first);
    }
    return std::nullopt;
}

std::string accept_key(const std::string& key) { // 4.2.2
    const std::string text = key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    sha1_ctx sha;
    sha1_init(&sha);
    sha1_update(&sha, text.size(), reinterpret_cast<const u8*>(text.data()));
    u8 digest[SHA1_DIGEST_SIZE];
    sha1_digest(&sha, sizeof digest, digest);
    char encoded[BASE64_ENCODE_RAW_LENGTH(SHA1_DIGEST_SIZE)];
    base64_encode_raw(encoded, sizeof digest, digest);
    return {encoded, sizeof encoded};
}

} // namespace

void WebSocket::put(std::span<const u8> data, std::vector<u8>& output) {
    put_frame(kBinary, data, output);
}

std::size_t WebSocket::take(std::span<const u8> input, std::vector<u8>& data, std::vector<u8>& output) {
    std::size_t taken = 0;
    if (state_ == State::Request) {
        static constexpr std::string_view end = "\r\n\r\n";
        const auto found = std::search(input.begin(), input.end(), end.begin(), end.end());
        if (found == input.end()) {
            if (input.size() > most_header) answer("", output);
            return 0;
        }
        answer(std::string(input.begin(), found), output);
        taken = std::size_t(found - input.begin()) + end.size();
    }
    while (state_ == State::Open && taken < input.size()) {
        const std::size_t more = take_frame(input.subspan(taken), data, output);
        if (more == 0) break;
        taken += more;
    }
    return taken;
}

void WebSocket::answer(const std::string& request, std::vector<u8>& output) {
    const auto upgrade = header(request, "Upgrade"), key = header(request, "Sec-WebSocket-Key"),
               protocol = header(request, "Sec-WebSocket-Protocol");
    if (request.rfind("GET ", 0) != 0 || !upgrade || strcasecmp(upgrade->c_str(), "websocket") != 0 || !key) {
        put_text(output, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\nexpected a WebSocket\n");
        state_ = State::Ended;
        return;
    }
    put_text(output, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Accept: " +
                         accept_key(*key) + "\r\n");
    if (protocol && protocol->find("binary") != std::string::npos)
        put_text(output, "Sec-WebSocket-Protocol: binary\r\n");
    put_text(output, "\r\n");
    state_ = State::Open;
}

// One frame, or a part of one that carries data.
std::size_t WebSocket::take_frame(std::span<const u8> input, std::vector<u8>& data, std::vector<u8>& output) {
    if (left_) {
        const std::size_t count = std::size_t(std::min<u64>(left_, input.size()));
        for (std::size_t n = 0; n < count; ++n)
            data.push_back(input[n] ^ mask_[mask_at_++ & 3]);
        left_ -= count;
        return count;
    }
    if (input.size() < 2) return 0;
    const u8 opcode = input[0] & 15, length = input[1] & 0x7f;
    const bool control = opcode >= kClose;
    const unsigned wide = length == kLength16 ? 2 : length == kLength64 ? 8 : 0;
    const std::size_t head = 2 + wide + mask_.size();
    // A client's frames are masked (5.3); control frames are short and whole (5.5).
    if ((input[0] & kReserved) || !(input[1] & kMasked) || (!control && opcode > kBinary) || opcode > kPong ||
        (control && (length > kMostControl || !(input[0] & kFinal)))) {
        state_ = State::Ended;
        return 0;
    }
    if (input.size() < head || (control && input.size() < head + length)) return 0;
    u64 bytes = wide ? 0 : length;
    for (unsigned n = 0; n < wide; ++n)
        bytes = bytes << 8 | input[2 + n];
    std::copy_n(input.begin() + 2 + wide, mask_.size(), mask_.begin());
    mask_at_ = 0;
    if (!control) {
        left_ = bytes;
        return head;
    }
    std::vector<u8> said;
    for (std::size_t n = 0; n < length; ++n)
        said.push_back(input[head + n] ^ mask_[n & 3]);
    if (opcode == kPing) put_frame(kPong, said, output);
    if (opcode == kClose) {
        put_frame(kClose, said, output);
        state_ = State::Ended;
    }
    return head + length;
}

} // namespace dragoman::runtime
