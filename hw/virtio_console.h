// The virtio console (Virtual I/O Device 1.1, 5.3): ports that carry bytes both ways, some of them terminals,
// and a pair of queues by which both sides say which ports there are and who is at them.
#pragma once

#include "hw/core/chardev.h"
#include "hw/virtio_device.h"

#include <array>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace dragoman::hw {

class VirtioConsole final : public VirtioDevice {
  public:
    static constexpr unsigned max_ports = 31;
    static constexpr u16 queue_size = 128;

    struct PortConfig {
        unsigned number = 0;
        bool console = false;           // a terminal for people
        std::string name;               // by which programs in the guest find it; empty: none
        CharBackend* backend = nullptr; // borrowed; may be null
    };
    // Each number once, below max_ports. `log` is borrowed.
    VirtioConsole(std::vector<PortConfig> ports, Log& log);
    ~VirtioConsole() override;

    // Somebody came to a port on the host's side, or went.
    void set_host_open(unsigned port, bool open);
    // A program in the guest opened a port, or closed it. Called inside guest accesses.
    void on_guest_open(std::function<void(unsigned port, bool open)> notify) {
        guest_open_ = std::move(notify);
    }

    std::span<const u8> config() override { return config_; }
    void config_write(u64 offset, unsigned size, u64 value) override;
    void visit(StateVisitor& visitor) override;

  protected:
    void queue_notified(unsigned queue) override;
    void driver_ready() override;
    void device_reset() override;

  private:
    struct Port;
    struct Message { // 5.3.6.2
        u32 port;
        u16 event, value;
    };
    bool multiport() const;
    Port* port(u64 number);
    void transmit(Port& port);
    void take_control();
    void handle(const Message& message);
    void tell(u32 port, u16 event, u16 value);
    void send_control();
    void offer_room();

    std::vector<std::unique_ptr<Port>> ports_;
    std::array<u8, 12> config_{}; // cols, rows, max_nr_ports, emerg_wr
    std::deque<Message> pending_; // for the guest, until it offers buffers
    std::function<void(unsigned, bool)> guest_open_;
};

} // namespace dragoman::hw
