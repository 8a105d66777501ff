// A NOR flash with the Intel command set (Common Flash Memory Interface; Intel 28F008 and later), in which
// UEFI firmware keeps its variables. While it shows its array it is memory, from which code runs; after a
// command that makes it show something else, every read goes through the chip.
#pragma once

#include "base/io.h"
#include "hw/core/state.h"

#include <array>
#include <span>

namespace dragoman::hw {

class NorFlash final : public Device, public IoHandler {
  public:
    static constexpr u32 block_bytes = 4096; // what an erase empties

    // At `gpa` of the map. `cells`: a multiple of block_bytes; borrowed. What is written to them outlives the
    // machine, if they do.
    NorFlash(MemoryMap& memory, u64 gpa, std::span<u8> cells, bool read_only);
    ~NorFlash() override;
    NorFlash(const NorFlash&) = delete;
    NorFlash& operator=(const NorFlash&) = delete;

    const char* name() const override { return "nor-flash"; }
    void reset() override;
    void visit(StateVisitor& visitor) override;

    u64 read(u64 offset, unsigned size) override;
    void write(u64 offset, unsigned size, u64 value) override;

  private:
    enum class Mode : u8 { Array, Status, Id, Query };
    enum class Wait : u8 { Nothing, Program, Erase, Count, Buffer, Confirm, Lock }; // of the command before
    struct State {
        Mode mode = Mode::Array;
        Wait wait = Wait::Nothing;
        u8 status = 0x80;
        u16 count = 0, filled = 0; // of the write buffer
        u32 at = 0;
        std::array<u8, 256> buffer{};
    };

    void show(Mode mode);
    void map(bool as_memory);
    u8 read_byte(u64 offset) const;
    void command(u8 byte);
    void program(u64 offset, u8 byte);

    MemoryMap& memory_;
    u64 gpa_;
    std::span<u8> cells_;
    bool read_only_;
    MemoryMap::Handle handle_ = 0;
    bool is_memory_ = false; // how it is mapped now
    State s_;
};

} // namespace dragoman::hw
