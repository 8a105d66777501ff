#include "hw/ps2_keyboard.h"

#include "base/bits.h"

#include <vector>

namespace dragoman::hw {

namespace {

enum Command : u8 {
    kSetLeds = 0xed,
    kEcho = 0xee,
    kScanSet = 0xf0,
    kReadId = 0xf2,
    kTypematic = 0xf3,
    kEnable = 0xf4,
    kDisable = 0xf5,
    kSetDefault = 0xf6,
    kAllTypematic = 0xf7, // set 3 only, up to kKeyMake
    kAllMakeBreak = 0xf8,
    kAllMake = 0xf9,
    kAllTypematicMakeBreak = 0xfa,
    kKeyTypematic = 0xfb,
    kKeyMakeBreak = 0xfc,
    kKeyMake = 0xfd,
    kResend = 0xfe,
    kReset = 0xff,
};
constexpr u8 kFirstCommand = kSetLeds;

constexpr u8 kAck = 0xfa, kResendReply = 0xfe, kSelfTestPassed = 0xaa, kBreakPrefix = 0xf0;

void set_bit(std::array<u8, 32>& set, unsigned index, bool on) {
    set[index / 8] = with_bit(set[index / 8], index % 8, on);
}
bool test_bit(const std::array<u8, 32>& set, unsigned index) {
    return bit(set[index / 8], index % 8);
}

} // namespace

void Ps2Keyboard::set_defaults() {
    codes_.clear();
    overrun_ = false;
    scan_set_ = 2;
    no_break_ = {};
    pending_ = 0;
}

void Ps2Keyboard::reset() {
    set_defaults();
    replies_.clear();
    down_ = {};
    leds_ = 0;
    last_sent_ = 0;
    scanning_ = true;
}

void Ps2Keyboard::visit(StateVisitor& visitor) {
    replies_.visit(visitor, "replies");
    codes_.visit(visitor, "codes");
    visitor.field("down", down_);
    visitor.field("no_break", no_break_);
    visitor.field("scan_set", scan_set_);
    visitor.field("leds", leds_);
    visitor.field("pending", pending_);
    visitor.field("last_sent", last_sent_);
    visitor.field("scanning", scanning_);
    visitor.field("overrun", overrun_);
    if (visitor.loading() && (scan_set_ < 1 || scan_set_ > 3)) scan_set_ = 2;
}

// --- To the host
// -------------------------------------------------------------------------------------------------------

u8 Ps2Keyboard::take() {
    last_sent_ = !replies_.empty() ? replies_.pop() : codes_.pop();
    if (codes_.empty()) overrun_ = false;
    return last_sent_;
}

void Ps2Keyboard::reply(std::initializer_list<u8> bytes) {
    for (const u8 byte : bytes)
        replies_.push(byte); // a host that does not read loses them
    data_ready();
}

// A key's codes go in whole or not at all: then one overrun code says that keys were lost.
void Ps2Keyboard::send_codes(std::span<const u8> bytes) {
    if (overrun_) return;
    if (codes_.room() < bytes.size() + 1) {
        overrun_ = true;
        codes_.push(scan_set_ == 1 ? 0xff : 0x00);
    } else {
        for (const u8 byte : bytes)
            codes_.push(byte);
    }
    data_ready();
}

bool Ps2Keyboard::is_down(KeyCode code) const {
    return test_bit(down_, unsigned(code));
}

void Ps2Keyboard::send_set2(KeyCode code, bool down) {
    const bool ctrl = is_down(KeyCode::Ctrl) || is_down(KeyCode::CtrlRight);
    const bool shift = is_down(KeyCode::Shift) || is_down(KeyCode::ShiftRight);
    const bool alt = is_down(KeyCode::Alt) || is_down(KeyCode::AltRight);
    std::vector<u8> bytes;
    const auto add = [&](u16 key, bool press) {
        if (key >> 8) bytes.push_back(u8(key >> 8));
        if (!press) bytes.push_back(kBreakPrefix);
        bytes.push_back(u8(key));
    };
    if (code == KeyCode::Pause) { // no break code of its own
        if (!down) return;
        if (ctrl)
            add(0xe07e, true), add(0xe07e, false); // Break
        else
            bytes = {0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77};
    } else if (code == KeyCode::Print && alt) {
        add(0x84, down); // SysRq
    } else if (code == KeyCode::Print && !ctrl && !shift) {
        if (down) add(0xe012, true); // pretends a shift, as the key was shifted on the first keyboards
        add(0xe07c, down);
        if (!down) add(0xe012, false);
    } else {
        add(key_row(code).set2, down);
    }
    if (scan_set_ == 1) {
        std::vector<u8> set1;
        bool breaking = false;
        for (const u8 byte : bytes) {
            if (byte == kBreakPrefix) {
                breaking = true;
                continue;
            }
            set1.push_back(u8(set2_to_set1[byte] | (breaking ? 0x80 : 0)));
            breaking = false;
        }
        bytes = std::move(set1);
    }
    send_codes(bytes);
}

void Ps2Keyboard::send_set3(KeyCode code, bool down) {
    const u8 set3 = key_row(code).set3;
    if (down)
        send_codes(std::array{set3});
    else if (!test_bit(no_break_, set3))
        send_codes(std::array{kBreakPrefix, set3});
}

void Ps2Keyboard::key(KeyCode code, bool down) {
    if (!scanning_ || (!down && !is_down(code))) return;
    set_bit(down_, unsigned(code), down);
    if (scan_set_ == 3)
        send_set3(code, down);
    else
        send_set2(code, down);
}

// --- From the host
// -----------------------------------------------------------------------------------------------------

void Ps2Keyboard::receive(u8 byte) {
    if (pending_ && byte < kFirstCommand)
        argument(byte);
    else
        command(byte);
}

void Ps2Keyboard::command(u8 byte) {
    pending_ = 0;
    switch (byte) {
    case kSetLeds:
    case kScanSet:
    case kTypematic:
    case kKeyTypematic:
    case kKeyMakeBreak:
    case kKeyMake:
        pending_ = byte;
        reply({kAck});
        break;
    case kEcho: reply({kEcho}); break;
    case kReadId: reply({kAck, 0xab, 0x83}); break;
    case kEnable:
        codes_.clear();
        scanning_ = true;
        reply({kAck});
        break;
    case kDisable:
    case kSetDefault:
        set_defaults();
        if (byte == kDisable) {
            scanning_ = false;
            down_ = {};
        }
        reply({kAck});
        break;
    case kAllTypematic:
    case kAllMake:
        no_break_.fill(0xff);
        reply({kAck});
        break;
    case kAllMakeBreak:
    case kAllTypematicMakeBreak:
        no_break_.fill(0x00);
        reply({kAck});
        break;
    case kResend: reply({last_sent_}); break;
    case kReset:
        reset();
        reply({kAck, kSelfTestPassed});
        break;
    default:
        log_.print(LogItem::GuestError, "PS/2 keyboard: command %02x is not known\n", byte);
        reply({kResendReply});
        break;
    }
}

void Ps2Keyboard::argument(u8 byte) {
    const u8 command = pending_;
    switch (command) {
    case kSetLeds: leds_ = byte & 7; break;
    case kScanSet:
        if (byte > 3) return reply({kResendReply});
        if (byte == 0) {
            reply({kAck, scan_set_});
        } else {
            codes_.clear();
            scan_set_ = byte;
            reply({kAck});
        }
        pending_ = 0;
        return;
    case kKeyTypematic:
    case kKeyMake:
    case kKeyMakeBreak: // any number of keys, up to the next command
        set_bit(no_break_, byte, command != kKeyMakeBreak);
        return reply({kAck});
    default: break; // typematic rate: the repetition is the user's own keyboard's
    }
    pending_ = 0;
    reply({kAck});
}

} // namespace dragoman::hw
