#include "hw/i8042.h"

#include "hw/keys.h"

#include <utility>

namespace dragoman::hw {

namespace {

// Status register.
constexpr u8 kOutputFull = 0x01, kSystemFlag = 0x04, kCommandLast = 0x08, kNotInhibited = 0x10,
             kAuxData = 0x20;

// Command byte; the system flag has the same place.
constexpr u8 kIrq1Enable = 0x01, kIrq12Enable = 0x02, kKeyboardOff = 0x10, kMouseOff = 0x20,
             kTranslate = 0x40;

// Output port (P2).
constexpr u8 kNotReset = 0x01, kA20 = 0x02, kIrq12Pin = 0x20, kIrq1Pin = 0x10;
constexpr u8 kPowerOnOutputs = 0xc0 | kNotReset | kA20;
// Input port (P1): keyboard not inhibited, the rest pulled up as on a board without jumpers.
constexpr u8 kInputPort = 0x80;

enum Command : u8 {
    kReadRam = 0x20,  // to 0x3f
    kWriteRam = 0x60, // to 0x7f
    kTestPassword = 0xa4,
    kDisableMouse = 0xa7,
    kEnableMouse = 0xa8,
    kTestMouse = 0xa9,
    kSelfTest = 0xaa,
    kTestKeyboard = 0xab,
    kDisableKeyboard = 0xad,
    kEnableKeyboard = 0xae,
    kReadInputPort = 0xc0,
    kReadOutputPort = 0xd0,
    kWriteOutputPort = 0xd1,
    kWriteKeyboardBuffer = 0xd2,
    kWriteMouseBuffer = 0xd3,
    kWriteMouse = 0xd4,
    kReadTestInputs = 0xe0,
    kPulse = 0xf0, // to 0xff
};

} // namespace

I8042::I8042(Scheduler& scheduler, Ps2Device& keyboard, Ps2Device& mouse, Pins pins, Log& log)
    : scheduler_(scheduler), keyboard_(keyboard), mouse_(mouse), pins_(std::move(pins)), log_(log),
      data_port_([this](u32) { return read_data(); }, [this](u32, u8 v) { write_data(v); }),
      command_port_([this](u32) { return read_status(); }, [this](u32, u8 v) { write_command(v); }),
      wire_(scheduler, [this] { receive(); }) {
    output_port_ = kPowerOnOutputs;
    keyboard_.on_data([this] { refill(); });
    mouse_.on_data([this] { refill(); });
}

void I8042::map(IoBus& bus) {
    bus.map(0x60, 1, data_port_, PortRange::byte_wide);
    bus.map(0x64, 1, command_port_, PortRange::byte_wide);
}

void I8042::reset() {
    ram_ = {};
    replies_.clear();
    output_ = 0;
    pending_ = 0;
    output_full_ = output_aux_ = last_was_command_ = break_prefix_ = false;
    wire_.cancel();
    output_port_ = kPowerOnOutputs;
    update_irqs();
    pins_.a20(true);
    refill();
}

void I8042::visit(StateVisitor& visitor) {
    wire_deadline_ = wire_.armed() ? wire_.deadline() : Scheduler::never;
    visitor.field("ram", ram_);
    replies_.visit(visitor, "replies");
    visitor.field("output", output_);
    visitor.field("output_port", output_port_);
    visitor.field("pending", pending_);
    visitor.field("output_full", output_full_);
    visitor.field("output_aux", output_aux_);
    visitor.field("last_was_command", last_was_command_);
    visitor.field("break_prefix", break_prefix_);
    visitor.field("wire_deadline", wire_deadline_);
    if (!visitor.loading()) return;
    if (wire_deadline_ != Scheduler::never)
        wire_.arm(wire_deadline_);
    else
        wire_.cancel();
    update_irqs();
    pins_.a20(output_port_ & kA20);
}

// --- The output buffer
// ---------------------------------------------------------------------------------------------------

void I8042::update_irqs() {
    const bool irq1 = output_full_ && !output_aux_ && (ram_[0] & kIrq1Enable);
    const bool irq12 = output_full_ && output_aux_ && (ram_[0] & kIrq12Enable);
    if (irq1 != std::exchange(irq1_, irq1)) pins_.irq1.set(irq1);
    if (irq12 != std::exchange(irq12_, irq12)) pins_.irq12.set(irq12);
}

void I8042::put(u8 byte, bool aux) {
    output_ = byte;
    output_full_ = true;
    output_aux_ = aux;
    update_irqs();
}

void I8042::reply(u8 byte, bool aux) {
    replies_.push(u16(byte | (aux ? 0x100 : 0))); // a host that does not read loses them
    refill();
}

bool I8042::keyboard_waits() const {
    return !(ram_[0] & kKeyboardOff) && keyboard_.has_data();
}
bool I8042::mouse_waits() const {
    return !(ram_[0] & kMouseOff) && mouse_.has_data();
}

void I8042::refill() {
    if (output_full_) return;
    if (!replies_.empty()) {
        const u16 next = replies_.pop();
        put(u8(next), next & 0x100);
    } else if (!wire_.armed() && (keyboard_waits() || mouse_waits())) {
        wire_.arm(scheduler_.now() + byte_ns);
    }
}

void I8042::receive() {
    if (output_full_) return; // the wire is held until the buffer is read
    while (keyboard_waits()) {
        const u8 byte = keyboard_.take();
        if (!(ram_[0] & kTranslate)) return put(byte, false);
        if (byte == 0xf0) { // becomes bit 7 of the code that follows
            break_prefix_ = true;
            continue;
        }
        const u8 code = u8(set2_to_set1[byte] | (break_prefix_ ? 0x80 : 0));
        break_prefix_ = false;
        return put(code, false);
    }
    if (mouse_waits()) {
        put(mouse_.take(), true);
        wire_.cancel(); // its next packet announced itself, but the buffer is full
    }
}

u8 I8042::read_data() {
    output_full_ = output_aux_ = false;
    update_irqs();
    const u8 byte = output_; // stays readable until the next one comes
    refill();
    return byte;
}

u8 I8042::read_status() const {
    return u8((output_full_ ? kOutputFull : 0) | (ram_[0] & kSystemFlag) |
              (last_was_command_ ? kCommandLast : 0) | kNotInhibited | (output_aux_ ? kAuxData : 0));
}

// --- Commands
// ------------------------------------------------------------------------------------------------------------

u8 I8042::output_port() const {
    return u8((output_port_ & ~(kIrq1Pin | kIrq12Pin)) | (irq1_ ? kIrq1Pin : 0) | (irq12_ ? kIrq12Pin : 0));
}

void I8042::write_output_port(u8 value) {
    // Reset is a pulse to us: a guest that holds the line low would never run again to raise it.
    output_port_ = value | kNotReset;
    pins_.a20(value & kA20);
    if (!(value & kNotReset)) pins_.reset();
}

void I8042::write_command(u8 value) {
    last_was_command_ = true;
    pending_ = 0;
    if (value >= kReadRam && value < kReadRam + 0x20) return reply(ram_[value & 0x1f]);
    if (value >= kPulse) {
        if (!(value & 1)) pins_.reset();
        return; // the other lines have nothing on them that a pulse of 6 us would reach
    }
    switch (value) {
    case kWriteOutputPort:
    case kWriteKeyboardBuffer:
    case kWriteMouseBuffer:
    case kWriteMouse: pending_ = value; break;
    case kTestPassword: reply(0xf1); break; // none installed
    case kDisableMouse: ram_[0] |= kMouseOff; break;
    case kEnableMouse: ram_[0] &= u8(~kMouseOff); break;
    case kTestMouse:
    case kTestKeyboard: reply(0x00); break;
    case kSelfTest:
        ram_[0] |= kSystemFlag;
        reply(0x55);
        break;
    case kDisableKeyboard: ram_[0] |= kKeyboardOff; break;
    case kEnableKeyboard: ram_[0] &= u8(~kKeyboardOff); break;
    case kReadInputPort: reply(kInputPort); break;
    case kReadOutputPort: reply(output_port()); break;
    case kReadTestInputs: reply(0x00); break;
    default:
        if (value >= kWriteRam && value < kWriteRam + 0x20)
            pending_ = value;
        else
            log_.once("8042: command %02x is not emulated", value);
        break;
    }
    refill(); // a device that was enabled may have waited
}

void I8042::write_data(u8 value) {
    last_was_command_ = false;
    const u8 command = std::exchange(pending_, u8(0));
    switch (command) {
    case kWriteOutputPort: return write_output_port(value);
    case kWriteKeyboardBuffer: return reply(value);
    case kWriteMouseBuffer: return reply(value, true);
    case kWriteMouse:
        ram_[0] &= u8(~kMouseOff); // talking to a device turns its wire on
        return mouse_.receive(value);
    case 0: ram_[0] &= u8(~kKeyboardOff); return keyboard_.receive(value);
    default:
        ram_[command & 0x1f] = value;
        update_irqs();
        return refill();
    }
}

} // namespace dragoman::hw
