#include "hw/usb_device.h"

#include <algorithm>
#include <cstring>

namespace dragoman::hw {

namespace {

constexpr u8 kToHost = 0x80, kKind = 0x60; // of bmRequestType (9.3.1); kKind 0: a standard request
enum Request : u8 {
    kGetStatus = 0,
    kClearFeature = 1,
    kSetFeature = 3,
    kSetAddress = 5,
    kGetDescriptor = 6,
    kGetConfiguration = 8,
    kSetConfiguration = 9,
    kGetInterface = 10,
    kSetInterface = 11,
};

} // namespace

void UsbDevice::reset() {
    s_ = {};
    bus_reset();
}

void UsbDevice::visit(StateVisitor& visitor) {
    visitor.field("usb", s_);
    if (!visitor.loading()) return;
    s_.address &= 0x7f, s_.next_address &= 0x7f;
    s_.stage = std::min(s_.stage, Status);
    s_.length = std::min<u16>(s_.length, most);
    s_.done = std::min(s_.done, s_.length);
}

UsbAnswer UsbDevice::packet(UsbPid pid, unsigned endpoint, std::span<u8> data) {
    if (endpoint == 0) return control(pid, data);
    if (!configured() || pid != UsbPid::In) return {UsbAnswer::Stall, 0};
    return in(endpoint, data);
}

// Setup, data in either direction, and a status packet the other way (8.5.2).
UsbAnswer UsbDevice::control(UsbPid pid, std::span<u8> data) {
    if (pid == UsbPid::Setup) {
        if (data.size() != 8) return {UsbAnswer::None, 0};
        const auto word = [&](unsigned at) { return u16(data[at] | data[at + 1] << 8); };
        begin({data[0], data[1], word(2), word(4), word(6)});
        return {UsbAnswer::Ack, 8};
    }
    if (s_.refused) return {UsbAnswer::Stall, 0};
    switch (s_.stage) {
    case DataIn:
        if (pid == UsbPid::In) {
            const unsigned bytes =
                unsigned(std::min<std::size_t>({data.size(), packet_bytes, u16(s_.length - s_.done)}));
            std::copy_n(s_.answer.begin() + s_.done, bytes, data.begin());
            s_.done = u16(s_.done + bytes);
            return {UsbAnswer::Ack, bytes};
        }
        s_.stage = Idle; // the status packet: the host has what it wants
        return {UsbAnswer::Ack, unsigned(data.size())};
    case DataOut:
        if (pid == UsbPid::Out) return {UsbAnswer::Ack, unsigned(data.size())};
        [[fallthrough]];
    case Status:
        if (pid != UsbPid::In) return {UsbAnswer::Stall, 0};
        s_.stage = Idle;
        s_.address = s_.next_address;
        return {UsbAnswer::Ack, 0};
    case Idle: break;
    }
    return {UsbAnswer::Stall, 0};
}

void UsbDevice::begin(const Setup& setup) {
    s_.done = s_.length = 0;
    s_.next_address = s_.address;
    const int bytes =
        (setup.type & kKind) == 0 && (setup.type & 0x1f) != 1 ? standard(setup) : request(setup, s_.answer);
    s_.refused = bytes < 0;
    if (s_.refused) return;
    s_.length = u16(std::min<unsigned>(unsigned(bytes), setup.length));
    s_.stage = setup.length == 0 ? Status : setup.type & kToHost ? DataIn : DataOut;
}

// 9.4; what is for the device or an endpoint
int UsbDevice::standard(const Setup& setup) {
    switch (setup.request) {
    case kGetStatus:
        s_.answer[0] = (setup.type & 0x1f) == 0; // powers itself
        s_.answer[1] = 0;
        return 2;
    case kClearFeature:
    case kSetFeature: return 0; // no endpoint halts, nothing wakes the host
    case kSetAddress:
        if (setup.value > 127) return -1;
        s_.next_address = u8(setup.value);
        return 0;
    case kGetDescriptor: {
        const auto bytes = descriptor(u8(setup.value >> 8), u8(setup.value));
        if (bytes.empty() || bytes.size() > most) return -1;
        std::copy(bytes.begin(), bytes.end(), s_.answer.begin());
        return int(bytes.size());
    }
    case kGetConfiguration: s_.answer[0] = s_.configuration; return 1;
    case kSetConfiguration:
        if (setup.value > 1) return -1;
        s_.configuration = u8(setup.value);
        return 0;
    default: return -1;
    }
}

} // namespace dragoman::hw
