// Realtek RTL8139C Fast Ethernet controller (data sheet RTL8139C(L), referred to by its sections): one
// receive ring in memory, four transmit buffers. Old systems have a driver for it.
#pragma once

#include "base/log.h"
#include "hw/core/net.h"
#include "hw/core/pci.h"
#include "hw/core/scheduler.h"
#include "hw/eeprom_93c46.h"

#include <array>

namespace dragoman::hw {

class Rtl8139 final : public PciFunction, private NetReceiver {
  public:
    static constexpr u32 register_bytes = 256;

    // `backend` (may be null: no cable), `scheduler` and `log` are borrowed.
    Rtl8139(const MacAddress& mac, NetBackend* backend, Scheduler& scheduler, Log& log);

    void reset() override;
    void visit(StateVisitor& visitor) override;

  private:
    class Registers final : public IoHandler { // by ports and in memory alike
      public:
        explicit Registers(Rtl8139& owner) : owner_(owner) {}
        u64 read(u64 offset, unsigned size) override;
        void write(u64 offset, unsigned size, u64 value) override;

      private:
        Rtl8139& owner_;
    };

    // NetReceiver
    bool can_receive() override;
    void receive(std::span<const u8> frame) override;
    void link_changed(bool up) override;

    u32 get(unsigned offset, unsigned size) const;
    void put(unsigned offset, unsigned size, u32 value);
    void refresh(); // registers that show something else than what was written
    u8 writable(unsigned offset) const;
    void write_byte(unsigned offset, u8 value);
    void written(unsigned first, unsigned size, u8 command_before);
    void software_reset();
    void raise(u16 causes);
    void update_interrupt();
    void write_9346(u8 value);
    void transmit(unsigned n);
    void rearm_timer();
    u32 ticks() const;

    u32 ring_bytes() const;
    u32 ring_free() const;
    bool ring_empty() const;
    bool wanted(std::span<const u8> frame, u16& status) const;
    void store(u32 offset, std::span<const u8> bytes);

    struct State {
        std::array<u8, register_bytes> bytes{};
        u64 timer_zero = 0; // when TCTR was 0
    };

    NetBackend* backend_;
    Scheduler& scheduler_;
    Log& log_;
    MacAddress mac_;
    Eeprom93c46 eeprom_;
    Registers registers_{*this};
    State state_;
    bool link_;
    Timer timer_;
};

} // namespace dragoman::hw
