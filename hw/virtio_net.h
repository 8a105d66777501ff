// The virtio network card (Virtual I/O Device 1.1, 5.1): pairs of queues and a control queue. The back-end
// carries plain frames, so checksums and segmentation that the driver leaves to the card are done here.
#pragma once

#include "hw/core/net.h"
#include "hw/net_flow.h"
#include "hw/virtio_device.h"

#include <bitset>
#include <vector>

namespace dragoman::hw {

// Feature bits (5.1.3) that the user may turn off.
enum VirtioNetFeature : unsigned {
    kVirtioNetCsum = 0, // the driver may leave checksums to the card
    kVirtioNetMac = 5,
    kVirtioNetTso4 = 11, // and segmentation
    kVirtioNetTso6 = 12,
    kVirtioNetEcn = 13,
    kVirtioNetMrgRxbuf = 15, // a frame received may spread over several chains
    kVirtioNetStatus = 16,
    kVirtioNetCtrlVq = 17,
    kVirtioNetCtrlRx = 18,
    kVirtioNetCtrlVlan = 19,
    kVirtioNetCtrlRxExtra = 20,
    kVirtioNetMq = 22, // more than one pair of queues
    kVirtioNetCtrlMac = 23,
};

class VirtioNet final : public VirtioDevice, private NetReceiver {
  public:
    static constexpr unsigned max_pairs = 16;
    static constexpr unsigned default_vectors(unsigned pairs) { return 2 * pairs + 2; }
    // `backend` (may be null: no cable) and `log` are borrowed. Of the `pairs` of queues that there are, a
    // driver uses one until it asks for more.
    VirtioNet(const MacAddress& mac, NetBackend* backend, Log& log, unsigned pairs = 1);

    const MacAddress& mac() const { return mac_; }
    std::span<const u8> config() override { return config_; }
    void config_write(u64 offset, unsigned size, u64 value) override;
    void visit(StateVisitor& visitor) override;

  protected:
    void queue_notified(unsigned queue) override;
    void driver_ready() override;
    void device_reset() override;

  private:
    // NetReceiver
    bool can_receive() override;
    void receive(std::span<const u8> frame) override;
    void link_changed(bool up) override;

    std::size_t header_bytes() const; // of struct virtio_net_hdr
    bool wanted(std::span<const u8> frame) const;
    // Receive queues are even, transmit queues odd; behind those of all pairs is the control queue (5.1.2).
    unsigned pairs() const { return accepted(kVirtioNetMq) ? max_pairs_ : 1; }
    unsigned control_queue() const { return 2 * pairs(); }
    VirtQueue* receive_queue(std::span<const u8> frame);
    void transmit(unsigned pair);
    void transmit_frame(unsigned pair, std::span<const u8> header, std::span<u8> frame);
    void control();
    bool command(u8 group, u8 what, std::span<const u8> data);
    bool set_filter_table(std::span<const u8> data);

    struct Filter {
        bool promiscuous = true; // until a driver says otherwise (5.1.6.5.1)
        bool all_multicast = false, all_unicast = false;
        bool no_multicast = false, no_unicast = false, no_broadcast = false;
        bool unicast_overflow = false, multicast_overflow = false;
    };
    MacAddress permanent_mac_, mac_;
    NetBackend* backend_;
    unsigned max_pairs_;
    u16 active_pairs_ = 1; // that receive
    FlowTable flows_;
    std::array<u8, 12> config_{};
    Filter filter_;
    std::vector<MacAddress> addresses_; // of the filter table
    std::bitset<4096> vlans_;
};

} // namespace dragoman::hw
