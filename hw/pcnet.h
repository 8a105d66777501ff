// AMD PCnet-PCI II Ethernet controller (Am79C970A data sheet, referred to by its register names). Old systems
// have a driver for it, and so have many hobby ones.
#pragma once

#include "base/log.h"
#include "hw/core/net.h"
#include "hw/core/pci.h"
#include "hw/core/scheduler.h"
#include "hw/eeprom_93c46.h"
#include "hw/pcnet_registers.h"

#include <array>
#include <vector>

namespace dragoman::hw {

class Pcnet final : public PciFunction, private NetReceiver {
  public:
    // `backend` (may be null: no cable), `scheduler` and `log` are borrowed.
    Pcnet(const MacAddress& mac, NetBackend* backend, Scheduler& scheduler, Log& log);

    void reset() override;
    void visit(StateVisitor& visitor) override;

  private:
    class Registers final : public IoHandler { // by ports and in memory alike
      public:
        explicit Registers(Pcnet& owner) : owner_(owner) {}
        u64 read(u64 offset, unsigned size) override;
        void write(u64 offset, unsigned size, u64 value) override;

      private:
        Pcnet& owner_;
    };

    // NetReceiver
    bool can_receive() override;
    void receive(std::span<const u8> frame) override;
    void link_changed(bool up) override;

    u16& csr(u16 number) { return state_.csr[number]; }
    u16 csr(u16 number) const { return state_.csr[number]; }
    u32 csr_pair(u16 low) const { return u32{csr(u16(low + 1))} << 16 | csr(low); }
    u16& bcr(u16 number) { return state_.bcr[number]; }
    u16 bcr(u16 number) const { return state_.bcr[number]; }

    u32 read_port(pcnet::Port port);
    void write_port(pcnet::Port port, u16 value);
    u16 read_csr(u16 number);
    void write_csr(u16 number, u16 value);
    u16 read_bcr(u16 number) const;
    void write_bcr(u16 number, u16 value);
    void write_status(u16 value);
    void set_style(u16 value);

    void software_reset();
    void stop();
    void initialize(); // reads the initialization block
    bool halted() const { return (csr(pcnet::STATUS) & pcnet::kStop) || suspended(); }
    bool suspended() const { return csr(pcnet::EXTENDED) & pcnet::kSuspend; }
    void raise(u16 events); // of CSR0
    void update_interrupt();

    // Rings: pcnet_rings.cpp.
    struct Descriptor {
        u64 at;      // where it lies
        u32 address; // of its buffer
        u32 flags;   // RMD1 or TMD1, bits 31 to 16
        u32 bytes;   // of the buffer, 1 to 4096
    };
    u32 ring_size(u16 length) const;   // CSR76 or CSR78, 1 to 65536
    u32 ring_index(u16 counter) const; // of CSR72 or CSR74
    void ring_advance(u16 counter);
    Descriptor load(u16 base, u32 index); // BADR or BADX
    void store(const Descriptor& d, u32 flags, u32 status, bool receive);
    u32 wide(u32 address) const; // with the upper byte that 16-bit structures lack
    void transmit();
    void send(u32& errors);
    u32 rx_room(); // bytes of buffers that are the chip's, as far as it matters
    bool wanted(std::span<const u8> frame, u32& flags) const;
    void store_packet(std::span<const u8> packet, u32 flags);
    void take(std::span<const u8> frame, bool looped, bool good); // a frame with its FCS

    struct State {
        std::array<u16, pcnet::CSR_END> csr{};
        std::array<u16, pcnet::BCR_END> bcr{};
        std::array<u8, pcnet::kPromBytes> prom{};
        u16 rap = 0;
        bool started = false;  // a packet's first descriptor was seen
        bool demanded = false; // the driver says when there is something to send: no polling for it
        bool add_fcs = false;  // of the packet that is being put together
    };

    NetBackend* backend_;
    Scheduler& scheduler_;
    Log& log_;
    MacAddress mac_;
    Eeprom93c46 eeprom_;
    Registers registers_{*this};
    State state_;
    std::vector<u8> packet_; // data of the descriptors since the start of packet
    bool link_;
    bool busy_ = false; // in the rings: what DMA does to the chip's own registers starts nothing
    Timer poll_tx_, poll_rx_;
};

} // namespace dragoman::hw
