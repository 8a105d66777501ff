#include "hw/uhci.h"

#include <algorithm>

namespace dragoman::hw {

namespace {

constexpr PciIdentity kIdentity{
    .vendor = 0x8086, .device = 0x7020, .revision = 1, .class_code = 0x0c0300, .interrupt_pin = 4};
constexpr u8 kRelease = 0x60, kLegacy = 0xc0; // in configuration space

enum Register : u64 { kCommand = 0, kStatus = 2, kEnable = 4, kFrame = 6, kList = 8, kSof = 12, kPorts = 16 };
// USBCMD, 2.1.1
constexpr u16 kHostReset = 2, kGlobalReset = 4;
// USBSTS, 2.1.2
constexpr u16 kInterrupt = 1, kError = 2, kResume = 4, kSystemError = 8, kProcessError = 16, kHalted = 32;
// USBINTR, 2.1.3
constexpr u16 kOnTimeout = 1, kOnResume = 2, kOnComplete = 4, kOnShort = 8;
// PORTSC, 2.1.7
constexpr u16 kConnected = 1, kConnectChange = 2, kEnabled = 4, kEnableChange = 8, kLineHigh = 0x10,
              kAlways = 0x80, kPortReset = 0x200, kSuspended = 0x1000;

// Links, 3.1 to 3.3
constexpr u32 kTerminate = 1, kIsQueue = 2, kDepth = 4, kPointer = ~u32{15};
// Control and status of a TD
constexpr u32 kActive = 1u << 23, kStalled = 1u << 22, kNak = 1u << 19, kTimeout = 1u << 18,
              kStatusBits = 0xff0000, kOnEnd = 1u << 24, kErrors = 3u << 27, kShortDetect = 1u << 29,
              kActual = 0x7ff;

constexpr u64 kFrameNs = 1'000'000;
// More than fits into a frame of 12 Mbit/s; what a guest makes without end ends here.
constexpr unsigned kMostSteps = 256;
constexpr unsigned kMostBytes = 1280;
constexpr u8 kLively = 32;      // walks after the last that did something
constexpr unsigned kSeldom = 8; // frames between walks then

} // namespace

struct Uhci::Descriptor {
    u32 link, control, token, buffer;

    UsbPid pid() const { return UsbPid(u8(token)); }
    u8 address() const { return u8(token >> 8 & 0x7f); }
    unsigned endpoint() const { return token >> 15 & 15; }
    unsigned bytes() const { return ((token >> 21) + 1) & 0x7ff; }
};

Uhci::Uhci(Scheduler& scheduler, Log& log)
    : PciFunction("piix3-usb-uhci", kIdentity), scheduler_(scheduler), log_(log), timer_(scheduler, [this] {
          bring_frame();
          walk();
          arm();
      }) {
    set_bar(4, BarKind::Io, 32, &registers_);
    set_config(kRelease, 1, 0x10); // USB 1.0
    set_config(kLegacy, 2, 0x2000, 0xffff);
}

void Uhci::reset() {
    PciFunction::reset();
    reset_controller();
}

void Uhci::reset_controller() {
    timer_.cancel();
    s_ = {};
    s_.frame_start = scheduler_.now();
    connect_ports();
    update_interrupt();
}

void Uhci::connect_ports() {
    for (unsigned n = 0; n < ports; ++n) {
        s_.port[n] = devices_[n] ? kConnected | kConnectChange | kLineHigh : 0;
        if (devices_[n]) devices_[n]->reset();
    }
}

void Uhci::visit(StateVisitor& visitor) {
    PciFunction::visit(visitor);
    visitor.field("uhci", s_);
    if (!visitor.loading()) return;
    s_.frame &= 0x7ff;
    s_.frame_start = std::min(s_.frame_start, scheduler_.now());
    timer_.cancel();
    arm();
    update_interrupt();
}

void Uhci::update_interrupt() {
    const bool usb =
        (s_.completed && (s_.enable & kOnComplete)) || (s_.short_packet && (s_.enable & kOnShort));
    set_intx((usb && (s_.status & kInterrupt)) || ((s_.status & kError) && (s_.enable & kOnTimeout)) ||
             ((s_.status & kResume) && (s_.enable & kOnResume)) ||
             (s_.status & (kSystemError | kProcessError)));
}

// --- registers

u64 Uhci::read(u64 offset, unsigned size) {
    bring_frame();
    const auto word = [this](u64 at) -> u16 {
        switch (at) {
        case kCommand: return s_.command;
        case kStatus: return u16(s_.status | (running() ? 0 : kHalted));
        case kEnable: return s_.enable;
        case kFrame: return s_.frame;
        case kList: return u16(s_.list);
        case kList + 2: return u16(s_.list >> 16);
        case kSof: return s_.sof;
        default: break;
        }
        const u64 n = (at - kPorts) / 2;
        return at >= kPorts && n < ports ? u16(s_.port[n] | kAlways) : u16(0xffff);
    };
    u64 value = 0;
    for (unsigned n = 0; n < size; ++n) {
        const u64 at = offset + n;
        value |= u64(u8(word(at & ~u64{1}) >> (8 * (at & 1)))) << (8 * n);
    }
    return value;
}

void Uhci::write(u64 offset, unsigned size, u64 value) {
    if (size == 4) { // two registers, or one of 32 bits
        write(offset, 2, value & 0xffff);
        return write(offset + 2, 2, value >> 16);
    }
    bring_frame();
    const u16 v = u16(value);
    switch (offset) {
    case kCommand:
        if (v & (kHostReset | kGlobalReset)) {
            reset_controller();
            s_.command = u16(v & kGlobalReset); // which the guest takes back itself
            break;
        }
        s_.command = u16(v & 0xff);
        s_.quiet = 0;
        break;
    case kStatus:
        s_.status = u16(s_.status & ~v);
        if (!(s_.status & kInterrupt)) s_.completed = s_.short_packet = false;
        break;
    case kEnable: s_.enable = u16(v & 15); break;
    case kFrame:
        if (!running()) s_.frame = u16(v & 0x7ff);
        break;
    case kList: s_.list = (s_.list & 0xffff0000) | (v & 0xf000); break;
    case kList + 2: s_.list = (s_.list & 0xffff) | u32{v} << 16; break;
    case kSof: s_.sof = u8(v & 0x7f); break;
    case kPorts:
    case kPorts + 2: write_port(unsigned(offset - kPorts) / 2, v); break;
    default: break;
    }
    update_interrupt();
    arm();
}

void Uhci::write_port(unsigned n, u16 value) {
    u16& port = s_.port[n];
    const bool was_reset = port & kPortReset;
    port = u16(port & ~(value & (kConnectChange | kEnableChange)));
    constexpr u16 kHeld = kEnabled | kPortReset | kSuspended | 0x40;
    port = u16((port & ~kHeld) | (value & kHeld));
    if ((value & kPortReset) && !was_reset && devices_[n]) devices_[n]->reset();
    if (!(port & kConnected) || (port & kPortReset)) port = u16(port & ~kEnabled);
    s_.quiet = 0;
}

// --- time

void Uhci::bring_frame() {
    const u64 now = scheduler_.now();
    const u64 frames = (now - s_.frame_start) / kFrameNs;
    s_.frame_start += frames * kFrameNs;
    if (running()) s_.frame = u16((s_.frame + frames) & 0x7ff);
}

void Uhci::wake() {
    if (!running()) return;
    s_.quiet = 0;
    timer_.cancel();
    arm();
}

void Uhci::arm() {
    if (!running()) return timer_.cancel();
    if (timer_.armed() && s_.quiet) return;
    timer_.arm(s_.frame_start + kFrameNs * (s_.quiet < kLively ? 1 : kSeldom));
}

// --- the schedule, 3

void Uhci::walk() {
    if (!running() || !bus_master()) return;
    done_something_ = false;
    // Frames that were left out as well: a queue may be in one of many only.
    const unsigned passed = (s_.frame - s_.walked) & 0x7ff;
    s_.walked = s_.frame;
    unsigned left = kMostSteps;
    for (unsigned back = std::clamp(passed, 1u, kSeldom); back-- && left;) {
        const u32 entry = (s_.frame - back) & 0x3ff;
        u32 link = dma().get<u32>(s_.list + 4 * entry);
        while (!(link & kTerminate) && left) {
            --left;
            u32 next = kTerminate;
            if (link & kIsQueue) {
                run_queue(link & kPointer, left, next);
            } else {
                bool depth = false;
                if (run_descriptor(link & kPointer, next, depth) == Outcome::End) break;
            }
            link = next;
        }
    }
    const bool wanted =
        std::any_of(devices_.begin(), devices_.end(), [](const UsbDevice* d) { return d && d->has_data(); });
    s_.quiet = done_something_ || wanted ? 0 : u8(std::min<unsigned>(s_.quiet + 1u, kLively));
    update_interrupt();
}

// A queue head: as many of its descriptors as end well, if they ask for it; then what comes beside it.
void Uhci::run_queue(u32 head, unsigned& left, u32& next) {
    next = dma().get<u32>(head);
    u32 element = dma().get<u32>(head + 4);
    while (!(element & kTerminate) && left) {
        --left;
        if (element & kIsQueue) { // a queue in a queue: that one is next
            next = element;
            return;
        }
        bool depth = false;
        u32 following = kTerminate;
        if (run_descriptor(element & kPointer, following, depth) != Outcome::Advance) return;
        dma().put<u32>(head + 4, following);
        if (!depth) return;
        element = following;
    }
}

UsbDevice* Uhci::find(u8 address) {
    for (unsigned n = 0; n < ports; ++n)
        if (devices_[n] && (s_.port[n] & kEnabled) && !(s_.port[n] & kSuspended) &&
            devices_[n]->address() == address)
            return devices_[n];
    return nullptr;
}

// Next: nothing was done, or not all of it; Advance: the queue goes on.
Uhci::Outcome Uhci::run_descriptor(u32 at, u32& next, bool& depth) {
    Descriptor td{};
    if (!dma().read(at, &td, sizeof td)) {
        s_.status |= kSystemError;
        s_.command = u16(s_.command & ~1u); // halts
        log_.print(LogItem::GuestError, "uhci: a descriptor outside memory\n");
        return Outcome::End;
    }
    next = td.link;
    depth = (td.link & kDepth) != 0;
    if (!(td.control & kActive)) return Outcome::Next;

    const unsigned bytes = td.bytes();
    const UsbPid pid = td.pid();
    if ((pid != UsbPid::In && pid != UsbPid::Out && pid != UsbPid::Setup) || bytes > kMostBytes) {
        s_.status |= kProcessError;
        s_.command = u16(s_.command & ~1u);
        log_.print(LogItem::GuestError, "uhci: a descriptor of no known form\n");
        return Outcome::End;
    }
    UsbDevice* device = find(td.address());
    UsbAnswer answer;
    std::array<u8, kMostBytes> data{};
    if (device) {
        const bool there = pid == UsbPid::In || dma().read(td.buffer, data.data(), bytes);
        if (there) answer = device->packet(pid, td.endpoint(), {data.data(), bytes});
        if (pid == UsbPid::In && answer.kind == UsbAnswer::Ack)
            dma().write(td.buffer, data.data(), answer.bytes);
    }

    td.control &= ~kStatusBits;
    Outcome outcome = Outcome::Next;
    switch (answer.kind) {
    case UsbAnswer::Nak: td.control |= kActive | kNak; break;
    case UsbAnswer::Stall:
        td.control |= kStalled;
        s_.status |= kError;
        break;
    case UsbAnswer::None: {
        const u32 errors = (td.control & kErrors) >> 27;
        td.control |= kTimeout;
        if (errors == 1) {
            td.control = (td.control & ~kErrors) | kStalled;
            s_.status |= kError;
        } else {
            td.control |= kActive;
            if (errors) td.control -= 1u << 27;
        }
        break;
    }
    case UsbAnswer::Ack: {
        done_something_ = true;
        td.control = (td.control & ~kActual) | ((answer.bytes - 1) & kActual);
        const bool is_short = pid == UsbPid::In && answer.bytes < bytes;
        if (is_short && (td.control & kShortDetect)) {
            s_.status |= kInterrupt;
            s_.short_packet = true;
        } else {
            outcome = Outcome::Advance;
        }
        break;
    }
    }
    if (!(td.control & kActive)) {
        done_something_ = true;
        if (td.control & kOnEnd) {
            s_.status |= kInterrupt;
            s_.completed = true;
        }
    }
    dma().put<u32>(at + 4, td.control);
    return outcome;
}

} // namespace dragoman::hw
