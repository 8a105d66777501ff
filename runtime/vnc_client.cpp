#include "runtime/vnc_client.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

namespace dragoman::runtime {

namespace {

enum Security : u8 { kNone = 1, kPassword = 2 };
enum Message : u8 {
    kSetPixelFormat = 0,
    kSetEncodings = 2,
    kUpdateRequest = 3,
    kKeyEvent = 4,
    kPointerEvent = 5,
    kCutText = 6
};
constexpr i32 kRaw = 0, kZlib = 6, kDesktopSize = -223;
constexpr std::size_t kVersionBytes = 12;
constexpr unsigned kMostEncodings = 256;
constexpr std::size_t kReadBytes = 16 * KiB;

u32 tiles(u32 pixels) {
    return (pixels + VncClient::tile - 1) / VncClient::tile;
}

} // namespace

void VncClient::ZlibEnd::operator()(z_stream* stream) const {
    deflateEnd(stream);
    delete stream;
}

VncClient::VncClient(int fd, const VncScreen& screen, Waker& waker, bool web)
    : fd_(fd), screen_(screen), waker_(waker) {
    if (web) web_.emplace();
    constexpr char version[] = "RFB 003.008\n";
    output_.assign(version, version + kVersionBytes);
    waker_.watch(fd_, [this] { ready(); });
    flush();
}

VncClient::~VncClient() {
    hang_up();
}

// --- the connection

void VncClient::hang_up() {
    if (fd_ < 0) return;
    for (unsigned n = 0; n < hw::key_count; ++n)
        press(hw::KeyCode(n), false);
    if (buttons_ && !point(x_, y_, 0, 0)) screen_.mouse(0, 0, 0, 0);
    waker_.unwatch(fd_);
    close(fd_);
    fd_ = -1;
    requested_ = false;
}

void VncClient::ready() {
    flush();
    if (fd_ >= 0) receive();
    if (fd_ >= 0) update();
}

void VncClient::flush() {
    if (web_ && web_->open() && !output_.empty()) {
        WebSocket::put(output_, web_output_);
        output_.clear();
    }
    std::vector<u8>& output = web_ ? web_output_ : output_;
    std::size_t sent = 0;
    while (sent < output.size()) {
        const ssize_t n = ::send(fd_, output.data() + sent, output.size() - sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno != EAGAIN) return hang_up();
        if (n <= 0) break;
        sent += std::size_t(n);
    }
    output.erase(output.begin(), output.begin() + long(sent));
    if (closing_ && output.empty()) return hang_up();
    waker_.wait_for(fd_, !closing_, !output.empty());
}

// False: the viewer has hung up.
bool VncClient::receive_into(std::vector<u8>& input) {
    const std::size_t before = input.size();
    input.resize(before + kReadBytes);
    const ssize_t n = recv(fd_, input.data() + before, kReadBytes, 0);
    const int error = errno;
    input.resize(before + std::size_t(std::max<ssize_t>(n, 0)));
    return n > 0 || (n < 0 && (error == EAGAIN || error == EINTR));
}

void VncClient::receive() {
    if (!receive_into(web_ ? web_input_ : input_)) return hang_up();
    if (web_) {
        const std::size_t taken = web_->take(web_input_, input_, web_output_);
        web_input_.erase(web_input_.begin(), web_input_.begin() + long(taken));
        if (web_->ended()) {
            closing_ = true;
            return flush();
        }
    }
    static constexpr Take takes[] = {&VncClient::take_version, &VncClient::take_security,
                                     &VncClient::take_response, &VncClient::take_init,
                                     &VncClient::take_message};
    std::span<const u8> rest(input_);
    while (!rest.empty() && !closing_ && fd_ >= 0) {
        if (const std::size_t skipped = std::min(skip_, rest.size())) {
            skip_ -= skipped;
            rest = rest.subspan(skipped);
            continue;
        }
        const Take take = takes[unsigned(state_)];
        const std::size_t taken = (this->*take)(rest);
        if (taken == 0) break;
        rest = rest.subspan(taken);
    }
    input_.erase(input_.begin(), input_.end() - long(rest.size()));
    if (fd_ >= 0) flush();
}

// --- the handshake, 7.1 to 7.3

std::size_t VncClient::take_version(std::span<const u8> input) {
    if (input.size() < kVersionBytes) return 0;
    const std::string text(input.begin(), input.begin() + kVersionBytes);
    if (text.rfind("RFB 003.", 0) != 0) {
        hang_up();
        return kVersionBytes;
    }
    version_ = text.substr(8, 3) >= "008" ? 8 : text.substr(8, 3) == "007" ? 7 : 3;
    offer_security();
    return kVersionBytes;
}

void VncClient::offer_security() {
    const u8 type = screen_.guarded ? kPassword : kNone;
    if (version_ >= 7) {
        output_.insert(output_.end(), {1, type});
        state_ = State::Security;
        return;
    }
    rfb::put32(output_, type); // the server decides
    const u8 chosen[] = {type};
    take_security(chosen);
}

std::size_t VncClient::take_security(std::span<const u8> input) {
    if (input[0] != (screen_.guarded ? kPassword : kNone)) {
        finish("a security type that was not offered");
    } else if (!screen_.guarded) {
        accept();
    } else if (getrandom(challenge_.data(), challenge_.size(), 0) != ssize_t(challenge_.size())) {
        hang_up();
    } else {
        output_.insert(output_.end(), challenge_.begin(), challenge_.end());
        state_ = State::Response;
    }
    return 1;
}

std::size_t VncClient::take_response(std::span<const u8> input) {
    const auto wanted = rfb::auth_response(screen_.password.value_or(""), challenge_);
    if (input.size() < wanted.size()) return 0;
    const bool valid =
        screen_.password && (!screen_.expires || std::time(nullptr) <= std::time_t(*screen_.expires));
    u8 difference = 0;
    for (std::size_t n = 0; n < wanted.size(); ++n)
        difference = u8(difference | (wanted[n] ^ input[n]));
    if (!valid)
        finish("there is no password yet, or not any more");
    else if (difference)
        finish("the password is wrong");
    else
        accept();
    return wanted.size();
}

void VncClient::accept() {
    if (version_ >= 8 || screen_.guarded) rfb::put32(output_, 0); // SecurityResult: OK
    state_ = State::Init;
}

void VncClient::finish(const std::string& reason) {
    rfb::put32(output_, 1); // SecurityResult: failed
    if (version_ >= 8) {
        rfb::put32(output_, u32(reason.size()));
        output_.insert(output_.end(), reason.begin(), reason.end());
    }
    closing_ = true;
}

std::size_t VncClient::take_init(std::span<const u8>) { // whether the screen is to be shared: it always is
    width_ = screen_.picture->width;
    height_ = screen_.picture->height;
    rfb::put16(output_, width_);
    rfb::put16(output_, height_);
    format_.write(output_);
    rfb::put32(output_, u32(screen_.name.size()));
    output_.insert(output_.end(), screen_.name.begin(), screen_.name.end());
    state_ = State::Running;
    resized();
    size_changed_ = false;
    return 1;
}

// --- what the viewer says, 7.5

std::size_t VncClient::take_message(std::span<const u8> input) {
    static constexpr struct {
        u8 type, bytes;
    } lengths[] = {{kSetPixelFormat, 20}, {kSetEncodings, 4}, {kUpdateRequest, 10},
                   {kKeyEvent, 8},        {kPointerEvent, 6}, {kCutText, 8}};
    const auto* const row = std::find_if(std::begin(lengths), std::end(lengths),
                                         [&](const auto& r) { return r.type == input[0]; });
    if (row == std::end(lengths)) {
        hang_up(); // how long it is nobody knows
        return input.size();
    }
    std::size_t bytes = row->bytes;
    if (input.size() < bytes) return 0;
    switch (input[0]) {
    case kSetPixelFormat:
        if (const auto format = rfb::PixelFormat::parse(input.subspan<4, rfb::PixelFormat::bytes>()))
            format_ = *format;
        else
            hang_up();
        break;
    case kSetEncodings: {
        const unsigned count = rfb::get16(&input[2]);
        bytes += 4 * std::size_t{count};
        if (count > kMostEncodings)
            hang_up();
        else if (input.size() < bytes)
            return 0;
        else
            set_encodings(input.subspan(4, 4 * std::size_t{count}));
        break;
    }
    case kUpdateRequest:
        requested_ = true;
        if (!input[1]) new_tiles_.assign(new_tiles_.size(), true); // not only what changed
        screen_.wanted();
        break;
    case kKeyEvent: key_event(input[1], rfb::get32(&input[4])); break;
    case kPointerEvent: pointer_event(input[1], rfb::get16(&input[2]), rfb::get16(&input[4])); break;
    case kCutText: skip_ = rfb::get32(&input[4]); break;
    default: break;
    }
    return std::min(bytes, input.size());
}

void VncClient::set_encodings(std::span<const u8> list) {
    takes_zlib_ = takes_sizes_ = false;
    for (std::size_t at = 0; at < list.size(); at += 4) {
        const i32 encoding = i32(rfb::get32(&list[at]));
        takes_zlib_ |= encoding == kZlib;
        takes_sizes_ |= encoding == kDesktopSize;
    }
}

void VncClient::press(hw::KeyCode code, bool down) {
    bool& held = held_[unsigned(code)];
    if (held == down) return;
    held = down;
    screen_.key(code, down);
}

// A program that types may say "A" without a word of the shift key.
void VncClient::key_event(bool down, u32 symbol) {
    const auto key = rfb::key_of(symbol);
    if (!key) return;
    const bool shift = held_[unsigned(hw::KeyCode::Shift)] || held_[unsigned(hw::KeyCode::ShiftRight)];
    if (down && key->shifted && !shift) {
        added_shift_ = true;
        press(hw::KeyCode::Shift, true);
    }
    press(key->code, down);
    if (!down && added_shift_ && key->shifted) {
        added_shift_ = false;
        press(hw::KeyCode::Shift, false);
    }
}

// To the guest's tablet.
bool VncClient::point(u32 x, u32 y, int wheel, unsigned held) {
    constexpr u32 kMost = 0x7fff;
    const auto scaled = [](u32 at, u32 pixels) {
        return pixels > 1 ? u16(u64{std::min(at, pixels - 1)} * kMost / (pixels - 1)) : u16(0);
    };
    return screen_.point &&
           screen_.point(scaled(x, screen_.picture->width), scaled(y, screen_.picture->height), wheel, held);
}

// The PS/2 mouse moves by differences. Buttons: left, middle, right, wheel away, wheel here.
void VncClient::pointer_event(u8 buttons, u32 x, u32 y) {
    const u8 pressed = u8(buttons & ~buttons_);
    const int wheel = (pressed & 16 ? 1 : 0) - (pressed & 8 ? 1 : 0);
    const unsigned held = (buttons & 1u) | (buttons & 4u) >> 1 | (buttons & 2u) << 1;
    if (!point(x, y, wheel, held) && pointer_known_)
        screen_.mouse(int(x) - int(x_), int(y) - int(y_), wheel, held);
    pointer_known_ = true;
    buttons_ = buttons;
    x_ = x, y_ = y;
}

// --- pictures, 7.6.1

void VncClient::resized() {
    const hw::Surface& picture = *screen_.picture;
    new_tiles_.assign(std::size_t{tiles(picture.width)} * tiles(picture.height), true);
    size_changed_ = true;
}

void VncClient::changed(u32 tile_x, u32 tile_y) {
    const std::size_t at = std::size_t{tile_y} * tiles(screen_.picture->width) + tile_x;
    if (at < new_tiles_.size()) new_tiles_[at] = true;
}

void VncClient::update() {
    if (!requested_ || sending() || state_ != State::Running) return;
    std::vector<rfb::Rect> parts;
    const bool tell_size = size_changed_ && takes_sizes_;
    if (tell_size) width_ = screen_.picture->width, height_ = screen_.picture->height;
    parts = new_parts();
    if (parts.empty() && !tell_size) return;
    output_.insert(output_.end(), {0, 0}); // FramebufferUpdate
    rfb::put16(output_, u32(parts.size() + tell_size));
    if (tell_size) begin_rect({0, 0, width_, height_}, kDesktopSize);
    for (const rfb::Rect& rect : parts)
        send_rect(rect);
    size_changed_ = requested_ = false;
    flush();
}

// What is new of what the viewer has room for: neighbours in a row of tiles together.
std::vector<rfb::Rect> VncClient::new_parts() {
    const hw::Surface& picture = *screen_.picture;
    const u32 width = std::min(width_, picture.width), height = std::min(height_, picture.height);
    const u32 columns = tiles(picture.width);
    std::vector<rfb::Rect> parts;
    for (u32 y = 0; y * tile < height; ++y)
        for (u32 x = 0; x * tile < width; ++x) {
            const u32 first = x;
            while (x * tile < width && new_tiles_[std::size_t{y} * columns + x])
                ++x;
            if (x == first) continue;
            parts.push_back({first * tile, y * tile, std::min(x * tile, width) - first * tile,
                             std::min((y + 1) * tile, height) - y * tile});
        }
    new_tiles_.assign(new_tiles_.size(), false);
    return parts;
}

void VncClient::begin_rect(const rfb::Rect& rect, i32 encoding) {
    for (const u32 value : {rect.x, rect.y, rect.width, rect.height})
        rfb::put16(output_, value);
    rfb::put32(output_, u32(encoding));
}

void VncClient::send_rect(const rfb::Rect& rect) {
    if (!takes_zlib_) {
        begin_rect(rect, kRaw);
        return format_.convert(*screen_.picture, rect, output_);
    }
    begin_rect(rect, kZlib);
    std::vector<u8> raw;
    format_.convert(*screen_.picture, rect, raw);
    if (!zlib_) {
        zlib_.reset(new z_stream{});
        deflateInit(zlib_.get(), Z_BEST_SPEED);
    }
    const std::size_t length_at = output_.size(), room = deflateBound(zlib_.get(), raw.size()) + 64;
    output_.resize(length_at + 4 + room);
    zlib_->next_in = raw.data();
    zlib_->avail_in = uInt(raw.size());
    zlib_->next_out = output_.data() + length_at + 4;
    zlib_->avail_out = uInt(room);
    deflate(zlib_.get(), Z_SYNC_FLUSH);
    const u32 bytes = u32(room - zlib_->avail_out);
    output_.resize(length_at + 4 + bytes);
    for (unsigned n = 0; n < 4; ++n)
        output_[length_at + n] = u8(bytes >> (24 - 8 * n));
}

} // namespace dragoman::runtime
