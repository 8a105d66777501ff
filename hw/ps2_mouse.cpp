#include "hw/ps2_mouse.h"

#include <algorithm>
#include <cstdlib>

namespace dragoman::hw {

namespace {

enum Command : u8 {
    kScaling1 = 0xe6,
    kScaling2 = 0xe7,
    kResolution = 0xe8,
    kStatus = 0xe9,
    kStreamMode = 0xea,
    kReadData = 0xeb,
    kResetWrap = 0xec,
    kSetWrap = 0xee,
    kRemoteMode = 0xf0,
    kReadId = 0xf2,
    kSampleRate = 0xf3,
    kEnable = 0xf4,
    kDisable = 0xf5,
    kSetDefaults = 0xf6,
    kResend = 0xfe,
    kReset = 0xff,
};

constexpr u8 kAck = 0xfa, kNak = 0xfe, kSelfTestPassed = 0xaa;
constexpr u8 kWheelId = 3, kFiveButtonsId = 4;
constexpr i32 far = 1 << 20; // where adding up stops: the user's movement is no reason to overflow

i32 add_up(i32 sum, int more) {
    return static_cast<i32>(std::clamp<i64>(i64{sum} + more, -far, far));
}

// 2:1 scaling of stream mode (table of the technical reference).
i32 scale(i32 v) {
    constexpr i32 small[6] = {0, 1, 1, 3, 6, 9};
    const i32 size = std::abs(v);
    const i32 scaled = size < 6 ? small[size] : 2 * size;
    return v < 0 ? -scaled : scaled;
}

} // namespace

void Ps2Mouse::set_defaults() {
    packets_.clear();
    dx_ = dy_ = dz_ = 0;
    resolution_ = 2;
    sample_rate_ = 100;
    scaling_ = false;
    mode_ = Mode::Stream;
    enabled_ = false;
    wrap_ = false;
    pending_ = 0;
}

void Ps2Mouse::reset() {
    set_defaults();
    replies_.clear();
    buttons_ = buttons_sent_ = 0;
    identity_ = 0;
    last_rates_ = {};
    last_sent_ = 0;
}

void Ps2Mouse::visit(StateVisitor& visitor) {
    replies_.visit(visitor, "replies");
    packets_.visit(visitor, "packets");
    visitor.field("dx", dx_);
    visitor.field("dy", dy_);
    visitor.field("dz", dz_);
    visitor.field("buttons", buttons_);
    visitor.field("buttons_sent", buttons_sent_);
    visitor.field("identity", identity_);
    visitor.field("resolution", resolution_);
    visitor.field("sample_rate", sample_rate_);
    visitor.field("last_rates", last_rates_);
    visitor.field("pending", pending_);
    visitor.field("last_sent", last_sent_);
    visitor.field("mode", mode_);
    visitor.field("enabled", enabled_);
    visitor.field("scaling", scaling_);
    visitor.field("wrap", wrap_);
    if (!visitor.loading()) return;
    dx_ = add_up(0, dx_);
    dy_ = add_up(0, dy_);
    dz_ = add_up(0, dz_);
}

// --- Movement and buttons
// ----------------------------------------------------------------------------------------------

void Ps2Mouse::move(int dx, int dy, int dz) {
    if (!reporting() && mode_ != Mode::Remote) return;
    dx_ = add_up(dx_, dx);
    dy_ = add_up(dy_, dy);
    dz_ = add_up(dz_, dz);
    if (packets_.empty()) report();
}

void Ps2Mouse::buttons(u8 mask) {
    mask &= Left | Right | Middle | Side | Extra;
    if (mask == buttons_) return;
    buttons_ = mask;
    report(); // at once, so that a short click is not lost while packets wait
}

void Ps2Mouse::report() {
    constexpr unsigned longest = 4;
    if (!reporting() || packets_.room() < longest) return;
    if (!dx_ && !dy_ && !dz_ && buttons_ == buttons_sent_) return;
    std::array<u8, 4> packet;
    const unsigned size = make_packet(packet, true);
    for (unsigned i = 0; i < size; i++)
        packets_.push(packet[i]);
    data_ready();
}

// Takes as much of the movement as a packet holds; the rest stays for the next.
unsigned Ps2Mouse::make_packet(std::array<u8, 4>& packet, bool scaled) {
    const auto part = [](i32& sum, i32 low, i32 high) {
        const i32 now = std::clamp(sum, low, high);
        sum -= now;
        return now;
    };
    const bool twice = scaled && scaling_;
    const i32 limit = twice ? 127 : 255;
    i32 x = part(dx_, -limit, limit);
    i32 y = -part(dy_, -limit, limit); // the wire counts upwards
    if (twice) x = scale(x), y = scale(y);
    buttons_sent_ = buttons_;
    packet[0] = u8(0x08 | (buttons_ & 7) | (x < 0 ? 0x10 : 0) | (y < 0 ? 0x20 : 0));
    packet[1] = u8(x);
    packet[2] = u8(y);
    if (identity_ == kWheelId) {
        packet[3] = u8(part(dz_, -128, 127));
        return 4;
    }
    if (identity_ == kFiveButtonsId) {
        packet[3] = u8((part(dz_, -8, 7) & 0x0f) | (buttons_ & (Side | Extra)) << 1);
        return 4;
    }
    dz_ = 0;
    return 3;
}

u8 Ps2Mouse::take() {
    if (!replies_.empty()) {
        last_sent_ = replies_.pop();
    } else {
        last_sent_ = packets_.pop();
        if (packets_.empty()) report();
    }
    return last_sent_;
}

// --- From the host
// -----------------------------------------------------------------------------------------------------

void Ps2Mouse::reply(std::initializer_list<u8> bytes) {
    for (const u8 byte : bytes)
        replies_.push(byte); // a host that does not read loses them
    data_ready();
}

void Ps2Mouse::receive(u8 byte) {
    if (wrap_ && byte != kResetWrap && byte != kReset) return reply({byte});
    packets_.clear(); // a command ends what was being sent
    if (pending_)
        argument(byte);
    else
        command(byte);
}

void Ps2Mouse::command(u8 byte) {
    switch (byte) {
    case kScaling1:
    case kScaling2: scaling_ = byte == kScaling2; break;
    case kStatus: {
        const u8 held =
            u8((buttons_ & Left ? 4 : 0) | (buttons_ & Middle ? 2 : 0) | (buttons_ & Right ? 1 : 0));
        const u8 status =
            u8((mode_ == Mode::Remote ? 0x40 : 0) | (enabled_ ? 0x20 : 0) | (scaling_ ? 0x10 : 0) | held);
        return reply({kAck, status, resolution_, sample_rate_});
    }
    case kStreamMode: mode_ = Mode::Stream; break;
    case kRemoteMode: mode_ = Mode::Remote; break;
    case kReadData: {
        std::array<u8, 4> packet;
        const unsigned size = make_packet(packet, false);
        reply({kAck, packet[0], packet[1], packet[2]});
        if (size == 4) reply({packet[3]});
        return;
    }
    case kSetWrap: wrap_ = true; break;
    case kResetWrap: wrap_ = false; break;
    case kReadId: return reply({kAck, identity_});
    case kResolution:
    case kSampleRate: pending_ = byte; break;
    case kEnable: enabled_ = true; break;
    case kDisable: enabled_ = false; break;
    case kSetDefaults: set_defaults(); break;
    case kResend: return reply({last_sent_});
    case kReset: {
        const u8 held = buttons_; // the user's fingers do not notice
        reset();
        buttons_ = buttons_sent_ = held;
        return reply({kAck, kSelfTestPassed, identity_});
    }
    default:
        log_.print(LogItem::GuestError, "PS/2 mouse: command %02x is not known\n", byte);
        return reply({kNak});
    }
    reply({kAck});
}

void Ps2Mouse::argument(u8 byte) {
    const u8 command = pending_;
    pending_ = 0;
    if (command == kSampleRate)
        set_sample_rate(byte);
    else
        resolution_ = byte & 3;
    reply({kAck});
}

void Ps2Mouse::set_sample_rate(u8 rate) {
    // 200, 100, 80 asks for the wheel; 200, 200, 80 for the wheel and five buttons.
    if (rate == 80 && last_rates_[0] == 200) {
        if (last_rates_[1] == 100) identity_ = kWheelId;
        if (last_rates_[1] == 200) identity_ = kFiveButtonsId;
    }
    last_rates_ = {last_rates_[1], rate};
    sample_rate_ = rate;
}

} // namespace dragoman::hw
