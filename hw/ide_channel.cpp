#include "hw/ide_channel.h"

#include "base/bits.h"

#include <algorithm>

namespace dragoman::hw {

namespace {

constexpr u8 kNien = 0x02, kSrst = 0x04, kHob = 0x80;          // Device Control
constexpr u8 kStart = 0x01, kToMemory = 0x08;                  // bus-master command
constexpr u8 kActive = 0x01, kError = 0x02, kInterrupt = 0x04; // bus-master status
constexpr u8 kDmaCapable = 0x60;                               // set by software, kept for it
constexpr u32 kMaxDescriptors = 64 * KiB / 8;                  // the table may not cross a 64 KiB boundary

} // namespace

IdeChannel::IdeChannel(std::string name, IrqLine& irq, Bus bus, Log& log)
    : name_(std::move(name)), irq_(irq), bus_(std::move(bus)), log_(log), command_(*this, false),
      control_(*this, true) {}

IdeChannel::~IdeChannel() = default;

void IdeChannel::attach(std::unique_ptr<AtaDevice> device0, std::unique_ptr<AtaDevice> device1) {
    devices_[0] = std::move(device0);
    devices_[1] = std::move(device1);
    for (unsigned i = 0; i < 2; ++i)
        if (devices_[i]) devices_[i]->attach({i, !devices_[i ^ 1]}, [this] { update(); });
}

// --- task file

u64 IdeChannel::Ports::read(u64 offset, unsigned size) {
    if (!channel_.bus_.decodes()) return size_mask(size);
    // ATA/ATAPI-6 has the host pull DD7 down: without a device BSY reads as clear, and no driver waits for
    // it.
    if (channel_.empty()) return size_mask(size) & ~u64{0x80};
    if (control_) return channel_.read_status(false);
    if (offset == 0 && size >= 2) {
        AtaDevice* device = channel_.selected();
        return device != nullptr ? device->read_data(size) : 0;
    }
    u64 value = 0;
    for (unsigned i = 0; i < size; ++i)
        value |= u64{channel_.read_register(static_cast<AtaReg>((offset + i) & 7))} << (8 * i);
    return value;
}

void IdeChannel::Ports::write(u64 offset, unsigned size, u64 value) {
    if (!channel_.bus_.decodes() || channel_.empty()) return;
    if (control_) return channel_.write_control(static_cast<u8>(value));
    if (offset == 0 && size >= 2) {
        if (AtaDevice* device = channel_.selected()) device->write_data(size, static_cast<u32>(value));
        return;
    }
    for (unsigned i = 0; i < size; ++i)
        channel_.write_register(static_cast<AtaReg>((offset + i) & 7), static_cast<u8>(value >> (8 * i)));
}

u8 IdeChannel::read_status(bool acknowledge) {
    AtaDevice* device = selected();
    // Device 0 answers for an absent device 1 with a status of 0; nobody answers for an absent device 0.
    if (device == nullptr) return 0;
    if (state_.control & kSrst) return kAtaBsy;
    const u8 status = device->status();
    if (acknowledge) {
        device->acknowledge();
        update();
    }
    return status;
}

u8 IdeChannel::read_register(AtaReg reg) {
    if (reg == AtaReg::StatusCommand) return read_status(true);
    AtaDevice* device = selected();
    if (device == nullptr) {
        device = devices_[0].get();
        if (device == nullptr || reg == AtaReg::Data || !device->answers_for_device_1()) return 0;
    }
    if (reg == AtaReg::Data) return static_cast<u8>(device->read_data(2));
    return device->read_register(reg);
}

void IdeChannel::write_register(AtaReg reg, u8 value) {
    if (state_.control & kSrst) return;
    if (reg == AtaReg::Data) {
        if (AtaDevice* device = selected()) device->write_data(2, value);
        return;
    }
    if (reg == AtaReg::StatusCommand) {
        if (value == 0x90) { // EXECUTE DEVICE DIAGNOSTIC is for both
            state_.selected = 0;
            for (auto& device : devices_)
                if (device) device->run_diagnostic();
        } else if (AtaDevice* device = selected()) {
            device->write_command(value);
        }
        update();
        return;
    }
    for (auto& device : devices_)
        if (device) device->write_register(reg, value);
    if (reg == AtaReg::Device) {
        state_.selected = value >> 4 & 1;
        update();
    }
}

void IdeChannel::write_control(u8 value) {
    const bool released = (state_.control & kSrst) != 0 && (value & kSrst) == 0;
    state_.control = value & (kNien | kSrst);
    for (auto& device : devices_)
        if (device) device->set_high_order_byte(value & kHob);
    if (released || (value & kSrst)) {
        state_.selected = 0;
        for (auto& device : devices_)
            if (device) device->software_reset();
    }
    update();
}

// --- interrupt and DMA requests

void IdeChannel::update() {
    move_data();
    const AtaDevice* device = selected();
    const bool level = device != nullptr && device->intrq() && !(state_.control & kNien);
    if (level == state_.irq) return;
    state_.irq = level;
    // Status bit 2 follows the rising edge of INTRQ; the engine has moved all data by then (1.0, 2.2).
    if (level) state_.status |= kInterrupt;
    irq_.set(level);
}

bool IdeChannel::next_descriptor(DmaBus& memory) {
    struct {
        u32 address, count;
    } descriptor{};
    // Bounded, although the table is where the guest says: entry 8192 would lie beyond the 64 KiB boundary.
    if (state_.descriptors++ == kMaxDescriptors ||
        !memory.read(state_.next, &descriptor, sizeof descriptor)) {
        stop_with_error("bad descriptor table");
        return false;
    }
    state_.next += 8;
    state_.address = descriptor.address & ~1u;
    state_.left = descriptor.count & 0xfffe;
    if (state_.left == 0) state_.left = 64 * KiB;
    state_.last = descriptor.count >> 31;
    return true;
}

void IdeChannel::stop_with_error(const char* why) {
    log_.print(LogItem::GuestError, "%s: bus master: %s at %08x\n", name_.c_str(), why, state_.next);
    state_.status = static_cast<u8>((state_.status & ~kActive) | kError);
}

void IdeChannel::move_data() {
    if (moving_ || !(state_.status & kActive)) return;
    AtaDevice* device = selected();
    DmaBus* memory = bus_.memory();
    if (device == nullptr || memory == nullptr) return;
    moving_ = true;
    while (state_.status & kActive) {
        const AtaDevice::DataWindow window = device->data_window();
        if (window.bytes == 0 || !window.dma) break;
        if (window.to_memory != ((state_.command & kToMemory) != 0)) {
            stop_with_error("direction differs from the device's");
            break;
        }
        if (state_.left == 0) {
            if (state_.last) { // the table was shorter than the transfer: Active and Interrupt are both clear
                state_.status &= static_cast<u8>(~kActive);
                break;
            }
            if (!next_descriptor(*memory)) break;
        }
        const u32 now = std::min(window.bytes, state_.left);
        const bool ok = window.to_memory ? memory->write(state_.address, window.data, now)
                                         : memory->read(state_.address, window.data, now);
        if (!ok) { // master abort
            stop_with_error("memory that is not there");
            break;
        }
        state_.address += now;
        state_.left -= now;
        device->advance(now);
    }
    // Active ends with the last byte of the last descriptor once the device wants no more.
    const AtaDevice::DataWindow more = device->data_window();
    if (state_.last && state_.left == 0 && !(more.dma && more.bytes != 0) && !(device->status() & kAtaBsy))
        state_.status &= static_cast<u8>(~kActive);
    moving_ = false;
}

// --- bus-master registers

u8 IdeChannel::read_bus_master(unsigned offset) const {
    switch (offset) {
    case 0: return state_.command;
    case 2: return state_.status;
    case 4:
    case 5:
    case 6:
    case 7: return static_cast<u8>(state_.table >> (8 * (offset - 4)));
    default: return 0;
    }
}

void IdeChannel::write_bus_master(unsigned offset, u8 value) {
    switch (offset) {
    case 0: {
        const bool was = state_.command & kStart, now = value & kStart;
        // The direction may not change while the engine runs.
        state_.command = was && now ? state_.command : value & (kStart | kToMemory);
        if (!was && now) {
            state_.status |= kActive;
            state_.next = state_.table;
            state_.left = state_.descriptors = 0;
            state_.last = false;
            update();
        } else if (was && !now) {
            state_.status &= static_cast<u8>(~kActive); // what is left of the transfer is lost
        }
        break;
    }
    case 2:
        state_.status = static_cast<u8>((value & kDmaCapable) | (state_.status & kActive) |
                                        (state_.status & ~value & (kError | kInterrupt)));
        break;
    case 4:
    case 5:
    case 6:
    case 7: {
        const unsigned shift = 8 * (offset - 4);
        state_.table = (state_.table & ~(0xffu << shift)) | u32{value} << shift;
        state_.table &= ~3u;
        break;
    }
    default: break;
    }
}

void IdeChannel::reset() {
    state_ = {};
    irq_.set(false);
    for (auto& device : devices_)
        if (device) device->power_on();
    update();
}

void IdeChannel::visit(StateVisitor& visitor) {
    visitor.field((name_ + ".state").c_str(), state_);
    for (unsigned i = 0; i < 2; ++i)
        if (devices_[i]) devices_[i]->visit(name_ + "." + std::to_string(i) + ".", visitor);
    if (!visitor.loading()) return;
    state_.selected &= 1;
    irq_.set(state_.irq);
}

} // namespace dragoman::hw
