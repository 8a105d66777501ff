#include "hw/virtio_console.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace dragoman::hw {

namespace {

constexpr VirtioDevice::Identity kIdentity{"virtio-serial-pci", 3, 0x1003, 0x078000};
enum Feature : unsigned { kMultiport = 1, kEmergencyWrite = 2 }; // 5.3.3
enum Queue : unsigned { kControlReceive = 2, kControlTransmit = 3 };
enum Event : u16 {
    kDeviceReady,
    kDeviceAdd,
    kDeviceRemove,
    kPortReady,
    kConsolePort,
    kResize,
    kPortOpen,
    kPortName
};
constexpr u64 kLongest = 1 * MiB;        // of one chain that the guest sends; more of it is dropped
constexpr std::size_t kMaxPending = 256; // control messages that wait for buffers

// Port 0 has the first pair of queues, the control messages the second, the other ports what follows.
constexpr unsigned receive_queue(unsigned port) {
    return port == 0 ? 0 : 2 + 2 * port;
}

std::span<const u16> queue_sizes() {
    static const std::vector<u16> sizes(2 * (VirtioConsole::max_ports + 1), VirtioConsole::queue_size);
    return sizes;
}

} // namespace

struct VirtioConsole::Port final : CharReceiver {
    Port(VirtioConsole& console, PortConfig port_config) : owner(console), config(std::move(port_config)) {
        if (config.backend) config.backend->attach(*this);
    }
    VirtQueue& input() const { return owner.queues()[receive_queue(config.number)]; }

    bool can_receive() const override {
        return owner.driver_ok() && (guest_open || !owner.multiport()) && !input().empty();
    }
    void receive(u8 byte) override { (void)receive_some({&byte, 1}); }
    std::size_t receive_some(std::span<const u8> bytes) override {
        auto chain = input().pop();
        if (!chain) return bytes.size(); // the device needs a reset: nobody listens
        const std::size_t count = std::min<u64>(chain->in.bytes(), bytes.size());
        if (count == 0 || !chain->in.write(*owner.memory(), 0, bytes.data(), count)) {
            owner.fail("a receive buffer without room, or outside memory");
            return bytes.size();
        }
        input().push(*chain, u32(count));
        owner.interrupt(input());
        return count;
    }

    VirtioConsole& owner;
    PortConfig config;
    bool guest_open = false, host_open = false;
};

VirtioConsole::VirtioConsole(std::vector<PortConfig> ports, Log& log)
    : VirtioDevice(kIdentity, u64{1} << kMultiport | u64{1} << kEmergencyWrite, queue_sizes(), log) {
    for (PortConfig& each : ports)
        ports_.push_back(std::make_unique<Port>(*this, std::move(each)));
    config_[4] = max_ports;
}

VirtioConsole::~VirtioConsole() = default;

bool VirtioConsole::multiport() const {
    return accepted(kMultiport);
}

VirtioConsole::Port* VirtioConsole::port(u64 number) {
    const auto it =
        std::find_if(ports_.begin(), ports_.end(), [&](const auto& p) { return p->config.number == number; });
    return it == ports_.end() ? nullptr : it->get();
}

void VirtioConsole::config_write(u64 offset, unsigned, u64 value) {
    const u8 byte = u8(value);
    Port* first = port(0); // emerg_wr: a character before anything is set up
    if (offset == 8 && first && first->config.backend) first->config.backend->write({&byte, 1});
}

void VirtioConsole::queue_notified(unsigned queue) {
    if (queue == kControlReceive) return send_control();
    if (queue == kControlTransmit) return take_control();
    Port* const p = port(queue < 2 ? 0 : queue / 2 - 1);
    if (!p) return;
    if (queue % 2 == 1)
        transmit(*p);
    else if (p->config.backend)
        p->config.backend->room();
}

void VirtioConsole::transmit(Port& p) {
    VirtQueue& queue = queues()[receive_queue(p.config.number) + 1];
    std::vector<u8> bytes;
    for (unsigned left = queue.size(); left; --left) {
        const auto chain = queue.pop();
        if (!chain) break;
        if (chain->out.bytes() > kLongest)
            log_.print(LogItem::GuestError, "virtio-serial: %llu bytes in one piece are cut off\n",
                       static_cast<unsigned long long>(chain->out.bytes()));
        bytes.resize(std::min(chain->out.bytes(), kLongest));
        if (!chain->out.read(*memory(), 0, bytes.data(), bytes.size()))
            return fail("a buffer outside memory");
        if (p.config.backend && !bytes.empty()) p.config.backend->write(bytes);
        queue.push(*chain, 0);
    }
    if (memory()) interrupt(queue);
}

void VirtioConsole::take_control() {
    VirtQueue& queue = queues()[kControlTransmit];
    for (unsigned left = queue.size(); left; --left) {
        const auto chain = queue.pop();
        if (!chain) break;
        Message message;
        if (!chain->out.read(*memory(), 0, &message, sizeof message))
            return fail("a control message without its form");
        queue.push(*chain, 0);
        handle(message);
    }
    if (memory()) interrupt(queue);
    send_control();
    offer_room();
}

void VirtioConsole::handle(const Message& message) {
    if (message.event == kDeviceReady) {
        if (message.value == 1)
            for (const auto& p : ports_)
                tell(p->config.number, kDeviceAdd, 1);
        return;
    }
    Port* const p = port(message.port);
    if (!p) {
        log_.print(LogItem::GuestError, "virtio-serial: a message about port %u, which does not exist\n",
                   message.port);
        return;
    }
    if (message.event == kPortReady && message.value == 1) {
        if (p->config.console) tell(p->config.number, kConsolePort, 1);
        if (!p->config.name.empty()) tell(p->config.number, kPortName, 1);
        if (p->host_open || p->config.console) tell(p->config.number, kPortOpen, 1);
    } else if (message.event == kPortOpen) {
        const bool open = message.value != 0;
        if (std::exchange(p->guest_open, open) != open && guest_open_) guest_open_(p->config.number, open);
    }
}

void VirtioConsole::tell(u32 number, u16 event, u16 value) {
    if (!multiport() || !driver_ok()) return;
    if (pending_.size() >= kMaxPending) return fail("a driver that asks and does not listen");
    pending_.push_back({number, event, value});
}

void VirtioConsole::send_control() {
    VirtQueue& queue = queues()[kControlReceive];
    while (!pending_.empty()) {
        const auto chain = queue.pop();
        if (!chain) break;
        const Message message = pending_.front();
        std::vector<u8> bytes(sizeof message);
        std::memcpy(bytes.data(), &message, sizeof message);
        const Port* const p = port(message.port);
        if (message.event == kPortName && p)
            bytes.insert(bytes.end(), p->config.name.begin(), p->config.name.end());
        if (!chain->in.write(*memory(), 0, bytes.data(), bytes.size()))
            return fail("a control buffer that is too small");
        pending_.pop_front();
        queue.push(*chain, u32(bytes.size()));
    }
    if (memory()) interrupt(queue);
}

void VirtioConsole::set_host_open(unsigned number, bool open) {
    Port* const p = port(number);
    if (!p || p->host_open == open) return;
    p->host_open = open;
    if (p->config.console || !memory()) return;
    tell(number, kPortOpen, open);
    if (queues()[kControlReceive].enabled()) send_control();
}

void VirtioConsole::offer_room() {
    for (const auto& p : ports_)
        if (p->config.backend) p->config.backend->room();
}

void VirtioConsole::driver_ready() {
    offer_room();
}

void VirtioConsole::device_reset() {
    pending_.clear();
    for (const auto& p : ports_)
        if (std::exchange(p->guest_open, false) && guest_open_) guest_open_(p->config.number, false);
}

void VirtioConsole::visit(StateVisitor& visitor) {
    VirtioDevice::visit(visitor);
    u32 open = 0;
    for (const auto& p : ports_)
        open |= u32{p->guest_open} << p->config.number;
    visitor.field("guest_open", open);
    std::array<Message, kMaxPending> messages{};
    std::copy(pending_.begin(), pending_.end(), messages.begin());
    u32 count = u32(pending_.size());
    visitor.field("pending", count);
    visitor.field("messages", messages);
    if (!visitor.loading()) return;
    for (const auto& p : ports_)
        p->guest_open = open >> p->config.number & 1;
    pending_.assign(messages.begin(), messages.begin() + std::min<u32>(count, kMaxPending));
}

} // namespace dragoman::hw
