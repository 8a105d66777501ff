// The ISA DMA controllers: two 8237A in cascade and the page registers (8237A data sheet; 82371SB data sheet,
// DMA). Channels 0-3 move bytes, 5-7 move words; channel 4 is the cascade.
#pragma once

#include "base/io.h"
#include "base/log.h"
#include "hw/core/port_range.h"
#include "hw/core/state.h"

#include <array>
#include <span>
#include <string>

namespace dragoman::hw {

// What the guest programmed: the direction is named as the 8237 does, after what happens to memory.
enum class DmaDirection : u8 { Verify, WriteMemory, ReadMemory };

// One 8237A: registers only.
class Dma8237Chip {
  public:
    struct Channel {
        u16 base_address = 0, base_count = 0;
        u16 address = 0, count = 0;
        u8 mode = 0; // the mode register without its channel select bits
    };

    u8 read(u32 offset, Log& log);
    void write(u32 offset, u8 value, Log& log);
    void master_clear();
    void visit(StateVisitor& visitor, const std::string& prefix);

    bool enabled() const { return !(command_ & 4); }
    bool masked(unsigned channel) const { return mask_ >> channel & 1; }
    // The counter of `channel` passed zero: sets the status bit and reloads or masks the channel.
    void terminal_count(unsigned channel);
    void set_request(unsigned channel, bool level);

    std::array<Channel, 4> channels{};

  private:
    u8 command_ = 0, mask_ = 0x0f;
    u8 reached_ = 0;  // status bits 0-3, cleared when read
    u8 requests_ = 0; // DREQ levels
    u8 temporary_ = 0;
    bool flip_flop_ = false; // the next byte is the high one
};

class Dma8237 final : public Device {
  public:
    Dma8237(DmaBus& memory, Log& log); // borrowed

    void map(IoBus& bus); // 0x00-0x0f, 0x80-0x8f, 0xc0-0xdf

    // The device's DREQ, as the status register shows it. transfer() does not need it.
    void set_request(unsigned channel, bool level);

    // May `channel` move data now: both controllers enabled, the channel and the cascade not masked?
    bool ready(unsigned channel) const;

    // What a device does while it has DACK: moves up to data.size() bytes between `data` and memory, as far
    // as the channel's count goes, and returns how many (an even number on channels 5-7). WriteMemory takes
    // from `data`, ReadMemory fills it. The channel's own mode must agree, or nothing moves; a channel set to
    // verify takes any direction, counts, and touches neither memory nor `data`. Stops at terminal count,
    // which `terminal_count`, if given, reports; bytes that lie outside RAM are counted and lost.
    unsigned transfer(unsigned channel, std::span<u8> data, DmaDirection direction,
                      bool* terminal_count = nullptr);

    const char* name() const override { return "dma8237"; }
    void reset() override;
    void visit(StateVisitor& visitor) override;

  private:
    void move(u64 gpa, u8* data, unsigned bytes, DmaDirection direction);

    DmaBus& memory_;
    Log& log_;
    PortRange low_ports_, high_ports_, page_ports_;
    Dma8237Chip low_, high_;
    std::array<u8, 16> pages_{}; // 0x80-0x8f; those of no channel are scratch
};

} // namespace dragoman::hw
