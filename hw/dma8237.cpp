#include "hw/dma8237.h"

#include "base/assert.h"
#include "base/bits.h"

#include <algorithm>

namespace dragoman::hw {

namespace {

// Register offsets from 8 on (data sheet, "Software Commands").
enum Register : u32 {
    kCommandStatus = 8,
    kRequest = 9,
    kSingleMask = 10,
    kMode = 11,
    kClearFlipFlop = 12,
    kMasterClear = 13, // reads the temporary register
    kClearMask = 14,
    kAllMask = 15,
};

constexpr u8 kMemoryToMemory = 0x01;                    // command
constexpr u8 kDecrement = 0x20, kAutoInitialize = 0x10; // mode

DmaDirection direction_of(u8 mode) {
    constexpr DmaDirection table[4] = {DmaDirection::Verify, DmaDirection::WriteMemory,
                                       DmaDirection::ReadMemory, DmaDirection::Verify /* illegal */};
    return table[mode >> 2 & 3];
}

constexpr bool is_cascade(u8 mode) {
    return (mode >> 6) == 3;
}

// Which of the ports 0x80-0x8f is the page register of a channel (82371SB, DMA memory low page).
constexpr u8 page_index[8] = {0x7, 0x3, 0x1, 0x2, 0xf, 0xb, 0x9, 0xa};

void set_byte(u16& word, bool high, u8 value) {
    word = high ? u16((word & 0x00ff) | value << 8) : u16((word & 0xff00) | value);
}

} // namespace

// --- One chip
// ----------------------------------------------------------------------------------------------------------

void Dma8237Chip::master_clear() {
    command_ = reached_ = requests_ = temporary_ = 0;
    mask_ = 0x0f;
    flip_flop_ = false;
}

u8 Dma8237Chip::read(u32 offset, Log& log) {
    if (offset < kCommandStatus) {
        const Channel& channel = channels[offset / 2];
        const u16 word = offset & 1 ? channel.count : channel.address;
        const bool high = flip_flop_;
        flip_flop_ = !flip_flop_;
        return u8(high ? word >> 8 : word);
    }
    switch (offset) {
    case kCommandStatus: {
        const u8 status = u8(reached_ | requests_ << 4);
        reached_ = 0;
        return status;
    }
    case kMasterClear: return temporary_;
    case kAllMask: return u8(0xf0 | mask_);
    default: log.print(LogItem::GuestError, "8237A: register %u cannot be read\n", offset); return 0xff;
    }
}

void Dma8237Chip::write(u32 offset, u8 value, Log& log) {
    if (offset < kCommandStatus) {
        Channel& channel = channels[offset / 2];
        set_byte(offset & 1 ? channel.base_count : channel.base_address, flip_flop_, value);
        set_byte(offset & 1 ? channel.count : channel.address, flip_flop_, value);
        flip_flop_ = !flip_flop_;
        return;
    }
    const unsigned select = value & 3;
    switch (offset) {
    case kCommandStatus:
        if (value & kMemoryToMemory) log.once("8237A: memory-to-memory transfer is not emulated");
        command_ = value;
        break;
    case kRequest:
        if (value & 4) log.once("8237A: a software request on channel %u moves nothing", select);
        requests_ = with_bit(requests_, select, value & 4);
        break;
    case kSingleMask: mask_ = with_bit(mask_, select, value & 4); break;
    case kMode: channels[select].mode = value & 0xfc; break;
    case kClearFlipFlop: flip_flop_ = false; break;
    case kMasterClear: master_clear(); break;
    case kClearMask: mask_ = 0; break;
    case kAllMask: mask_ = value & 0x0f; break;
    }
}

void Dma8237Chip::terminal_count(unsigned number) {
    Channel& channel = channels[number];
    reached_ = with_bit(reached_, number, true);
    requests_ = with_bit(requests_, number, false);
    if (channel.mode & kAutoInitialize) {
        channel.address = channel.base_address;
        channel.count = channel.base_count;
    } else {
        mask_ = with_bit(mask_, number, true);
    }
}

void Dma8237Chip::set_request(unsigned channel, bool level) {
    requests_ = with_bit(requests_, channel, level);
}

void Dma8237Chip::visit(StateVisitor& visitor, const std::string& prefix) {
    const auto field = [&](const std::string& name, auto& value) {
        visitor.field((prefix + name).c_str(), value);
    };
    for (unsigned i = 0; i < 4; i++) {
        const std::string number = "channel" + std::to_string(i) + ".";
        field(number + "base_address", channels[i].base_address);
        field(number + "base_count", channels[i].base_count);
        field(number + "address", channels[i].address);
        field(number + "count", channels[i].count);
        field(number + "mode", channels[i].mode);
    }
    field("command", command_);
    field("mask", mask_);
    field("reached", reached_);
    field("requests", requests_);
    field("temporary", temporary_);
    field("flip_flop", flip_flop_);
    if (visitor.loading()) mask_ &= 0x0f, reached_ &= 0x0f, requests_ &= 0x0f;
}

// --- The pair
// ----------------------------------------------------------------------------------------------------------

Dma8237::Dma8237(DmaBus& memory, Log& log)
    : memory_(memory), log_(log), low_ports_([this](u32 o) { return low_.read(o, log_); },
                                             [this](u32 o, u8 v) { low_.write(o, v, log_); }),
      // The second chip sits on the word bus: A0 does not reach it.
      high_ports_([this](u32 o) { return high_.read(o / 2, log_); },
                  [this](u32 o, u8 v) { high_.write(o / 2, v, log_); }),
      page_ports_([this](u32 o) { return pages_[o]; }, [this](u32 o, u8 v) { pages_[o] = v; }) {}

void Dma8237::map(IoBus& bus) {
    bus.map(0x00, 16, low_ports_, PortRange::byte_wide);
    bus.map(0x80, 16, page_ports_, PortRange::byte_wide);
    bus.map(0xc0, 32, high_ports_, PortRange::byte_wide);
}

void Dma8237::reset() {
    low_ = {};
    high_ = {};
    pages_ = {};
}

void Dma8237::visit(StateVisitor& visitor) {
    low_.visit(visitor, "low.");
    high_.visit(visitor, "high.");
    visitor.field("pages", pages_);
}

void Dma8237::set_request(unsigned channel, bool level) {
    DRAGOMAN_ASSERT(channel < 8 && channel != 4);
    (channel < 4 ? low_ : high_).set_request(channel & 3, level);
}

bool Dma8237::ready(unsigned channel) const {
    DRAGOMAN_ASSERT(channel < 8 && channel != 4);
    if (channel >= 4) return high_.enabled() && !high_.masked(channel & 3);
    return low_.enabled() && !low_.masked(channel) && high_.enabled() && !high_.masked(0);
}

void Dma8237::move(u64 gpa, u8* data, unsigned bytes, DmaDirection direction) {
    if (direction == DmaDirection::WriteMemory)
        memory_.write(gpa, data, bytes);
    else if (direction == DmaDirection::ReadMemory)
        memory_.read(gpa, data, bytes);
}

unsigned Dma8237::transfer(unsigned number, std::span<u8> data, DmaDirection direction,
                           bool* terminal_count) {
    if (terminal_count) *terminal_count = false;
    if (!ready(number)) return 0;
    Dma8237Chip& chip = number < 4 ? low_ : high_;
    Dma8237Chip::Channel& channel = chip.channels[number & 3];
    const DmaDirection programmed = direction_of(channel.mode);
    if (is_cascade(channel.mode) || (programmed != DmaDirection::Verify && programmed != direction)) {
        log_.once("8237A: channel %u is programmed against its device (mode %02x)", number, channel.mode);
        return 0;
    }

    const unsigned shift = number < 4 ? 0 : 1; // log2 of the unit's bytes
    const u8 page = pages_[page_index[number]];
    const u64 segment = shift ? u64(page & 0xfe) << 16 : u64{page} << 16;
    const bool down = channel.mode & kDecrement;
    const u32 units = static_cast<u32>(std::min<std::size_t>(data.size() >> shift, u32{channel.count} + 1));
    u32 done = 0;
    while (done < units) {
        // The address wraps within its 64 K units: the page register does not count. Going down, units come
        // singly.
        const u32 run = down ? 1 : std::min<u32>(units - done, 0x10000u - channel.address);
        move(segment + (u64{channel.address} << shift), data.data() + (std::size_t{done} << shift),
             run << shift, programmed);
        channel.address = u16(down ? channel.address - 1 : channel.address + run);
        done += run;
    }
    const bool end = done == u32{channel.count} + 1;
    channel.count = u16(channel.count - done);
    if (end) {
        chip.terminal_count(number & 3);
        if (terminal_count) *terminal_count = true;
    }
    return done << shift;
}

} // namespace dragoman::hw
