#include "hw/usb_tablet.h"

#include <algorithm>
#include <string_view>

namespace dragoman::hw {

namespace {

constexpr unsigned kEndpoint = 1, kReportBytes = 6;
enum DescriptorType : u8 { kDevice = 1, kConfiguration = 2, kString = 3, kHid = 0x21, kReport = 0x22 };
enum Request : u8 {
    kGetReport = 1,
    kGetIdle = 2,
    kGetProtocol = 3,
    kSetReport = 9,
    kSetIdle = 10,
    kSetProtocol = 11
};
constexpr u8 kGetDescriptor = 6, kGetInterface = 10, kSetInterface = 11; // standard, of the interface

// USB 1.1, 9.6.1. Guests know the tablet of other emulators by these numbers.
constexpr u8 device_descriptor[] = {18,   kDevice, 0x10, 0x01, 0,    0,    0, UsbDevice::packet_bytes,
                                    0x27, 0x06,    0x01, 0x00, 0x00, 0x01, 1, 2,
                                    3,    1};

// HID 1.11, 6.2.2: three buttons, two axes of 0 to 0x7fff, a wheel.
constexpr u8 report_descriptor[] = {0x05, 0x01,       // usage page: generic desktop
                                    0x09, 0x02,       // usage: mouse
                                    0xa1, 0x01,       // collection: application
                                    0x09, 0x01,       //   usage: pointer
                                    0xa1, 0x00,       //   collection: physical
                                    0x05, 0x09,       //     usage page: buttons
                                    0x19, 0x01,       //     from 1
                                    0x29, 0x03,       //     to 3
                                    0x15, 0x00,       //     0
                                    0x25, 0x01,       //     to 1
                                    0x95, 0x03,       //     three
                                    0x75, 0x01,       //     of one bit
                                    0x81, 0x02,       //     input: variable, absolute
                                    0x95, 0x01,       //     one
                                    0x75, 0x05,       //     of five bits
                                    0x81, 0x01,       //     input: constant
                                    0x05, 0x01,       //     usage page: generic desktop
                                    0x09, 0x30,       //     X
                                    0x09, 0x31,       //     Y
                                    0x15, 0x00,       //     0
                                    0x26, 0xff, 0x7f, //     to 0x7fff
                                    0x35, 0x00,       //     the same in units
                                    0x46, 0xff, 0x7f, //
                                    0x75, 0x10,       //     of 16 bits
                                    0x95, 0x02,       //     two
                                    0x81, 0x02,       //     input: variable, absolute
                                    0x05, 0x01,       //     usage page: generic desktop
                                    0x09, 0x38,       //     wheel
                                    0x15, 0x81,       //     -127
                                    0x25, 0x7f,       //     to 127
                                    0x35, 0x00,       //     no units
                                    0x45, 0x00,       //
                                    0x75, 0x08,       //     of 8 bits
                                    0x95, 0x01,       //     one
                                    0x81, 0x06,       //     input: variable, relative
                                    0xc0, 0xc0};

constexpr u8 kHidBytes = 9, kAll = 9 + 9 + kHidBytes + 7;
constexpr u8 configuration_descriptor[] = {9,
                                           kConfiguration,
                                           kAll,
                                           0,
                                           1,
                                           1,
                                           0,
                                           0xc0,
                                           50, // powers itself
                                           9,
                                           4,
                                           0,
                                           0,
                                           1,
                                           3,
                                           0,
                                           0,
                                           0, // interface 0: HID, no boot protocol
                                           kHidBytes,
                                           kHid,
                                           0x11,
                                           0x01,
                                           0,
                                           1,
                                           kReport,
                                           sizeof report_descriptor,
                                           0, // HID 1.11
                                           7,
                                           5,
                                           0x80 | kEndpoint,
                                           3,
                                           8,
                                           0,
                                           10}; // interrupt, each 10 ms
static_assert(sizeof configuration_descriptor == kAll);

// Each as a string descriptor: its length, its type, UTF-16.
constexpr std::string_view strings[] = {"", "Dragoman", "USB Tablet", "1"};

} // namespace

std::span<const u8> UsbTablet::descriptor(u8 type, u8 index) {
    static const auto made = [] {
        std::array<std::vector<u8>, std::size(strings)> all;
        all[0] = {4, kString, 0x09, 0x04}; // languages: US English
        for (std::size_t n = 1; n < all.size(); ++n) {
            all[n] = {u8(2 + 2 * strings[n].size()), kString};
            for (const char c : strings[n])
                all[n].insert(all[n].end(), {u8(c), 0});
        }
        return all;
    }();
    if (type == kDevice) return device_descriptor;
    if (type == kConfiguration && index == 0) return configuration_descriptor;
    if (type == kString && index < made.size()) return made[index];
    return {};
}

int UsbTablet::request(const Setup& setup, std::span<u8> reply) {
    const auto give = [&](std::span<const u8> bytes) {
        std::copy(bytes.begin(), bytes.end(), reply.begin());
        return int(bytes.size());
    };
    constexpr u8 kStandardIn = 0x81, kStandardOut = 0x01, kClassIn = 0xa1, kClassOut = 0x21;
    if (setup.type == kStandardIn && setup.request == kGetDescriptor) {
        if (setup.value >> 8 == kReport) return give(report_descriptor);
        if (setup.value >> 8 == kHid) return give(std::span(configuration_descriptor).subspan(18, kHidBytes));
        return -1;
    }
    if (setup.type == kStandardIn && setup.request == kGetInterface) return give(std::array<u8, 1>{0});
    if (setup.type == kStandardIn && setup.request == 0) return give(std::array<u8, 2>{0, 0}); // status
    if (setup.type == kStandardOut && setup.request == kSetInterface) return setup.value ? -1 : 0;
    if (setup.type == kClassIn) {
        switch (setup.request) {
        case kGetReport: return int(write(state_.last, reply));
        case kGetIdle: return give(std::array<u8, 1>{state_.idle});
        case kGetProtocol: return give(std::array<u8, 1>{state_.protocol});
        default: return -1;
        }
    }
    if (setup.type != kClassOut) return -1;
    switch (setup.request) {
    case kSetReport: return 0;
    case kSetIdle: state_.idle = u8(setup.value >> 8); return 0;
    case kSetProtocol: state_.protocol = u8(setup.value & 1); return 0;
    default: return -1;
    }
}

void UsbTablet::point(u16 x, u16 y, int wheel, u8 buttons) {
    if (!configured()) return;
    Report report{u8(buttons & 7), std::min(x, most), std::min(y, most), i8(std::clamp(wheel, -127, 127))};
    if (state_.count) {
        Report& before = state_.waiting[(state_.first + state_.count - 1) % room];
        const int together = before.wheel + report.wheel;
        const bool merge = before.buttons == report.buttons && std::abs(together) <= 127;
        if (merge || state_.count == room) {
            if (merge) report.wheel = i8(together);
            before = report;
            return notify_();
        }
    }
    state_.waiting[(state_.first + state_.count++) % room] = report;
    notify_();
}

unsigned UsbTablet::write(const Report& report, std::span<u8> to) const {
    const u8 bytes[kReportBytes] = {report.buttons, u8(report.x),      u8(report.x >> 8),
                                    u8(report.y),   u8(report.y >> 8), u8(report.wheel)};
    const unsigned count = unsigned(std::min<std::size_t>(to.size(), kReportBytes));
    std::copy_n(bytes, count, to.begin());
    return count;
}

UsbAnswer UsbTablet::in(unsigned endpoint, std::span<u8> data) {
    if (endpoint != kEndpoint) return {UsbAnswer::Stall, 0};
    if (!state_.count) return {UsbAnswer::Nak, 0};
    state_.last = state_.waiting[state_.first];
    state_.first = u8((state_.first + 1) % room);
    --state_.count;
    const UsbAnswer answer{UsbAnswer::Ack, write(state_.last, data)};
    state_.last.wheel = 0;
    return answer;
}

void UsbTablet::visit(StateVisitor& visitor) {
    UsbDevice::visit(visitor);
    visitor.field("tablet", state_);
    if (!visitor.loading()) return;
    state_.first %= room;
    state_.count = std::min<u8>(state_.count, room);
}

} // namespace dragoman::hw
