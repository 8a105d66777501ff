#include "hw/ata_device.h"

#include "base/assert.h"

#include <cstring>
#include <utility>

namespace dragoman::hw {

AtaDevice::AtaDevice(Log& log) : log_(log), buffer_(std::make_unique<Buffer>()) {
    std::memset(buffer_->bytes, 0, sizeof buffer_->bytes);
}

void AtaDevice::attach(Link link, std::function<void()> changed) {
    link_ = link;
    changed_ = std::move(changed);
    power_on();
}

u8 AtaDevice::read_register(AtaReg reg) const {
    switch (reg) {
    case AtaReg::ErrorFeatures: return regs_.error;
    case AtaReg::Count: return regs_.hob ? regs_.count_before : regs_.count;
    case AtaReg::LbaLow:
    case AtaReg::LbaMid:
    case AtaReg::LbaHigh: {
        const unsigned i = static_cast<unsigned>(reg) - static_cast<unsigned>(AtaReg::LbaLow);
        return regs_.hob ? regs_.lba_before[i] : regs_.lba[i];
    }
    case AtaReg::Device: return regs_.device;
    default: return regs_.status;
    }
}

void AtaDevice::write_register(AtaReg reg, u8 value) {
    regs_.hob = false;
    if (regs_.status & kAtaBsy) return; // 7.x: the effect of a write while BSY is set is none here
    switch (reg) {
    case AtaReg::ErrorFeatures: regs_.features_before = std::exchange(regs_.features, value); break;
    case AtaReg::Count: regs_.count_before = std::exchange(regs_.count, value); break;
    case AtaReg::LbaLow:
    case AtaReg::LbaMid:
    case AtaReg::LbaHigh: {
        const unsigned i = static_cast<unsigned>(reg) - static_cast<unsigned>(AtaReg::LbaLow);
        regs_.lba_before[i] = std::exchange(regs_.lba[i], value);
        break;
    }
    case AtaReg::Device: regs_.device = value | 0xa0; break; // bits 7 and 5 are obsolete and read as ones
    default: break;
    }
}

void AtaDevice::write_command(u8 command) {
    if (regs_.status & kAtaBsy) {
        log_.print(LogItem::GuestError, "%s: command %02x while busy\n", kind_, command);
        return;
    }
    ++serial_;
    data_ = {};
    regs_.hob = false;
    regs_.command = command;
    regs_.error = 0;
    regs_.status = kAtaDrdy | kAtaDsc;
    regs_.intrq = false;
    if (!execute(command)) {
        // Guests probe with commands that a device may lack; ABRT is the answer that the standard gives them.
        log_.print(LogItem::Unimp, "%s: command %02x is not implemented\n", kind_, command);
        fail(kAtaAbrt);
    }
    changed();
}

u32 AtaDevice::read_data(unsigned size) {
    if (data_.phase != Phase::PioIn || !(regs_.status & kAtaDrq))
        return static_cast<u32>(~0u >> (32 - 8 * size));
    u32 value = 0;
    for (unsigned i = 0; i < size; i += 2) { // a dword is two words, and a block may end between them
        if (data_.phase != Phase::PioIn || !(regs_.status & kAtaDrq)) break;
        const u8* p = buffer() + data_.at;
        value |= (p[0] | u32{p[1]} << 8) << (8 * i);
        data_.at += 2;
        if (data_.at >= data_.end) data_moved();
    }
    return value;
}

void AtaDevice::write_data(unsigned size, u32 value) {
    for (unsigned i = 0; i < size; i += 2) {
        if (data_.phase != Phase::PioOut || !(regs_.status & kAtaDrq)) return;
        u8* p = buffer() + data_.at;
        p[0] = static_cast<u8>(value >> (8 * i));
        p[1] = static_cast<u8>(value >> (8 * i + 8));
        data_.at += 2;
        if (data_.at >= data_.end) data_moved();
    }
}

AtaDevice::DataWindow AtaDevice::data_window() {
    const Phase phase = data_.phase;
    if (phase == Phase::None) return {};
    return {buffer() + data_.at, data_.end - data_.at, phase == Phase::DmaIn || phase == Phase::PioIn,
            phase == Phase::DmaIn || phase == Phase::DmaOut};
}

void AtaDevice::advance(u32 bytes) {
    DRAGOMAN_ASSERT(bytes <= data_.end - data_.at);
    data_.at += bytes;
    if (data_.at == data_.end) data_moved();
}

void AtaDevice::data_moved() {
    data_.phase = Phase::None;
    regs_.status &= static_cast<u8>(~kAtaDrq);
    block_done();
    changed();
}

void AtaDevice::begin_data(Phase phase, u32 from, u32 to, bool interrupt) {
    DRAGOMAN_ASSERT(from < to && to <= buffer_bytes);
    data_ = {phase, from, to};
    regs_.status = kAtaDrdy | kAtaDsc | kAtaDrq;
    if (interrupt) regs_.intrq = true;
    changed();
}

void AtaDevice::succeed() {
    succeed_silently();
    regs_.intrq = true;
    changed();
}

void AtaDevice::succeed_silently() {
    data_ = {};
    regs_.status = kAtaDrdy | kAtaDsc;
}

void AtaDevice::fail(u8 error) {
    data_ = {};
    regs_.error = error;
    regs_.status = kAtaDrdy | kAtaDsc | kAtaErr;
    regs_.intrq = true;
    changed();
}

void AtaDevice::set_busy() {
    data_.phase = Phase::None;
    regs_.status = kAtaBsy;
}

void AtaDevice::power_on() {
    modes_ = {};
    reset_settings();
    software_reset();
}

void AtaDevice::software_reset() {
    ++serial_;
    data_ = {};
    regs_ = {};
    regs_.device = 0xa0;
    regs_.status = kAtaBsy;
    diagnostic_ = false;
    if (under_way_ == 0) finish_reset(); // else the image still uses the buffer: busy until it is done
    changed();
}

void AtaDevice::finish_reset() {
    present_signature();
    if (diagnostic_) regs_.intrq = link_.index == 0; // only device 0 interrupts (8.9)
    diagnostic_ = false;
    changed();
}

void AtaDevice::run_diagnostic() {
    software_reset();
    diagnostic_ = true;
    if (under_way_ == 0) finish_reset();
}

bool AtaDevice::set_transfer_mode(u8 mode) {
    const u8 kind = mode >> 3, number = mode & 7;
    switch (kind) {
    case 0: return number <= 1; // PIO default, with or without IORDY
    case 1: return number <= 4; // PIO with flow control
    case 4:
        if (number > 2) return false;
        modes_ = {number, no_mode};
        return true;
    case 8:
        if (number > 5) return false;
        modes_ = {no_mode, number};
        return true;
    default: return false;
    }
}

u16 AtaDevice::hardware_reset_word() const {
    if (link_.serial) return 0;
    // 14: valid; 13: 80-conductor cable; then how this device found its number and that it passed the
    // diagnostic.
    const u16 common = 0x6000;
    if (link_.index == 0) return static_cast<u16>(common | 0x000b | (link_.alone ? 0x0040 : 0));
    return static_cast<u16>(common | 0x0b00);
}

void AtaDevice::put_text(u16* words, unsigned count, const char* text) {
    const auto next = [&text] { return static_cast<u8>(*text != 0 ? *text++ : ' '); };
    for (unsigned i = 0; i < count; ++i) {
        const u8 high = next(), low = next();
        words[i] = static_cast<u16>(high << 8 | low);
    }
}

void AtaDevice::visit(const std::string& prefix, StateVisitor& visitor) {
    visitor.field((prefix + "registers").c_str(), regs_);
    visitor.field((prefix + "modes").c_str(), modes_);
    visitor.field((prefix + "data").c_str(), data_);
    visitor.field((prefix + "buffer").c_str(), *buffer_);
    if (!visitor.loading()) return;
    // A saved state is input from a file: keep the data phase inside the buffer.
    if (data_.at > data_.end || data_.end > buffer_bytes ||
        (data_.phase != Phase::None && data_.at == data_.end))
        data_ = {};
    if (modes_.mwdma > no_mode || modes_.udma > no_mode) modes_ = {};
    regs_.status &= static_cast<u8>(~kAtaBsy); // requests to the image are finished before a state is saved
    ++serial_;
}

} // namespace dragoman::hw
