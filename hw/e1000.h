// Intel 82540EM Gigabit Ethernet controller (Software Developer's Manual 317453, referred to by its
// sections).
#pragma once

#include "base/log.h"
#include "hw/core/net.h"
#include "hw/core/pci.h"
#include "hw/core/scheduler.h"
#include "hw/e1000_eeprom.h"

#include <array>
#include <vector>

namespace dragoman::hw {

class E1000 final : public PciFunction, private NetReceiver {
  public:
    static constexpr u32 memory_bytes = 128 * KiB, port_count = 64;

    // `backend` (may be null: no cable), `scheduler` and `log` are borrowed.
    E1000(const MacAddress& mac, NetBackend* backend, Scheduler& scheduler, Log& log);

    void reset() override;
    void visit(StateVisitor& visitor) override;

  private:
    class Memory final : public IoHandler {
      public:
        explicit Memory(E1000& owner) : owner_(owner) {}
        u64 read(u64 offset, unsigned size) override;
        void write(u64 offset, unsigned size, u64 value) override;

      private:
        E1000& owner_;
    };
    class Ports final : public IoHandler { // IOADDR and IODATA, 13.2.3
      public:
        explicit Ports(E1000& owner) : owner_(owner) {}
        u64 read(u64 offset, unsigned size) override;
        void write(u64 offset, unsigned size, u64 value) override;

      private:
        E1000& owner_;
    };

    // NetReceiver
    bool can_receive() override;
    void receive(std::span<const u8> frame) override;
    void link_changed(bool up) override;

    // A register; the rest of the chip's words live in state_.words by offset / 4.
    u32& word(u32 offset) { return state_.words[offset / 4]; }
    u32 word(u32 offset) const { return state_.words[offset / 4]; }
    u32 read_register(u32 offset);
    void write_register(u32 offset, u32 value);
    void write_control(u32 value);
    void software_reset();

    void raise(u32 causes);
    void update_interrupt();
    void count(u32 statistic, u64 by = 1); // 32 bits, stops at the top
    void count64(u32 statistic, u64 by);   // a pair

    // Rings: e1000_rings.cpp.
    u64 ring(u32 low) const { return u64{word(low + 4)} << 32 | (word(low) & ~15u); }
    u32 ring_size(u32 length) const { return (word(length) & 0xfff80) / 16; }
    void transmit();
    void transmit_descriptor(std::span<const u8, 16> descriptor);
    void load_context(std::span<const u8, 16> descriptor);
    void append(u64 gpa, u32 bytes);
    void send_segmented();
    void finish_checksums(std::span<u8> frame);
    void send(std::vector<u8>& frame);
    u32 rx_buffer_bytes() const;
    u32 rx_free() const; // descriptors between head and tail
    bool wanted(std::span<const u8> frame, bool& inexact) const;

    // What a context descriptor says (3.3.6).
    struct Context {
        u8 ipcss = 0, ipcso = 0, tucss = 0, tucso = 0, tucmd = 0, header = 0;
        u16 ipcse = 0, tucse = 0, mss = 0;
        u32 payload = 0;
    };
    struct State {
        std::array<u32, 0x6000 / 4> words{};
        u32 io_address = 0;
        Context context;
        u8 popts = 0; // of the packet that is being put together
        bool segmented = false, vlan = false, extended = false, started = false;
        u16 tag = 0, legacy_css = 0, legacy_cso = 0;
        bool legacy_checksum = false;
        bool asserted = false; // the interrupt, as it was last let through
        u64 quiet_until = 0;   // ITR: no interrupt before this
    };

    NetBackend* backend_;
    Scheduler& scheduler_;
    Log& log_;
    MacAddress mac_;
    E1000Eeprom eeprom_;
    E1000Phy phy_;
    Memory memory_registers_{*this};
    Ports ports_{*this};
    State state_;
    std::vector<u8> packet_; // data of the descriptors since the last end of packet
    Timer more_to_send_, quiet_over_;
    bool sending_ = false;
};

} // namespace dragoman::hw
