// The network cards for the device fuzzer: a driver brings rings up, sends, takes, and frames come in.
#include "../hw/net_test_support.h"
#include "device_rig.h"
#include "hw/e1000.h"
#include "hw/e1000_registers.h"
#include "hw/pcnet.h"
#include "hw/rtl8139.h"
#include "hw/virtio_net.h"
#include "hw/virtio_pci.h"

namespace dragoman::test {

namespace {

using namespace hw;

// A place for a ring or a buffer: mostly RAM, sometimes near its end, sometimes the chip's own registers.
u32 place(FuzzInput& input) {
    const u16 v = input.take<u16>();
    switch (v & 7) {
    case 0: return 0xfe000000 + (v >> 3) % 0x400;
    case 1: return u32(FuzzMemory::size) - (v >> 3) % 0x300;
    default: return u32{v} << 1 & ~u32{1};
    }
}

using MakeCard = std::unique_ptr<PciFunction>(NetBackend* net, Scheduler& scheduler, Log& log);
template <class Chip>
std::unique_ptr<PciFunction> make_chip(NetBackend* net, Scheduler& scheduler, Log& log) {
    return std::make_unique<Chip>(hw::test::kMac, net, scheduler, log);
}
std::unique_ptr<PciFunction> make_virtio_net(NetBackend* net, Scheduler&, Log& log) {
    return std::make_unique<VirtioPci>(std::make_unique<VirtioNet>(hw::test::kMac, net, log, 2),
                                       VirtioPci::Options{true, true, 6});
}

template <MakeCard make> class NetworkRig : public DeviceRig {
  public:
    NetworkRig() { add(*card_); }
    void drive(FuzzInput& input) override {
        const u8 how = input.byte();
        if (how >= 0xc0) { // the cable's other end
            if (how & 1) return net_.card->link_changed(how & 2);
            Frame frame(input.take<u16>() % 5000, how);
            for (std::size_t n = 0; n < frame.size() && n < 20; ++n)
                frame[n] = input.byte();
            if (how & 2 && frame.size() > 6)
                std::copy(hw::test::kMac.begin(), hw::test::kMac.end(), frame.begin());
            if (how & 4)
                net_.card->receive(frame);
            else
                net_.deliver(frame);
            net_.sent.clear();
            return;
        }
        if (how >= 0x80) return start(how, input);
        send(how, input);
        net_.sent.clear();
    }

  protected:
    using Frame = hw::test::Frame;
    virtual void start(u8 how, FuzzInput& input) = 0; // the driver brings the card up
    virtual void send(u8 how, FuzzInput& input) = 0;

    static constexpr u64 kRegisters = 0xfe000000;
    hw::test::FakeNet net_;
    std::unique_ptr<PciFunction> card_ = make(&net_, scheduler_, log_);
};

class PcnetRig final : public NetworkRig<make_chip<Pcnet>> {
    void csr(unsigned number, u16 value) {
        store(kRegisters + 0x14, 4, number);
        store(kRegisters + 0x10, 4, value);
    }
    void start(u8 how, FuzzInput& input) override {
        store(kRegisters + 0x10, 4, 4); // STOP, and double words from now on
        store(kRegisters + 0x14, 4, 20);
        store(kRegisters + 0x1c, 4, how & 3);
        const u16 mode = how & 4 ? input.take<u16>() : u16{0};
        const u32 rx = how & 8 ? place(input) : 0x2000, tx = how & 16 ? place(input) : 0x3000;
        if (how & 3) {
            memory_.put<u32>(0x1000, 3u << 28 | 3u << 20 | mode);
            memory_.put<u32>(0x1014, rx), memory_.put<u32>(0x1018, tx);
        } else {
            memory_.put<u16>(0x1000, mode);
            memory_.put<u32>(0x1010, rx | 3u << 29), memory_.put<u32>(0x1014, tx | 3u << 29);
        }
        for (u32 n = 0; n < 16; ++n) // receive buffers, in any of the forms
            for (u32 word = 0; word < 4; ++word)
                memory_.put<u32>(0x2000 + 16 * n + 4 * word,
                                 how & 3 ? (word == 1 ? 0x8000f000 | input.take<u16>() : place(input))
                                         : (word & 1 ? 0xf000u | input.byte() : 0x80004000));
        csr(1, 0x1000), csr(2, 0);
        csr(4, input.take<u16>()), csr(5, input.take<u16>() & 0xfffe);
        csr(0, 0x43);
    }
    void send(u8 how, FuzzInput& input) override {
        for (u32 n = 0; n <= (how & 7u); ++n) {
            const u32 flags = 0x8000f000 | u32{input.byte()} << 24 | input.take<u16>();
            memory_.put<u32>(0x3000 + 16 * n, place(input));
            memory_.put<u32>(0x3004 + 16 * n, flags);
            memory_.put<u32>(0x3008 + 16 * n, place(input));
        }
        if (how & 8) csr(72 + 2 * (input.byte() & 3), input.take<u16>());
        csr(how & 16 ? 5 : 0, how & 16 ? how & 32 ? 1 : 0 : 0x48);
    }
};

class E1000Rig final : public NetworkRig<make_chip<E1000>> {
    void set(u32 offset, u32 value) { store(kRegisters + offset, 4, value); }
    void start(u8 how, FuzzInput& input) override {
        using namespace e1000;
        set(RDBAL, how & 1 ? place(input) : 0x2000), set(RDBAL + 4, 0), set(RDLEN, 0x80), set(RDH, 0),
            set(RDT, 7);
        set(TDBAL, how & 2 ? place(input) : 0x3000), set(TDBAL + 4, 0), set(TDLEN, 0x80), set(TDH, 0),
            set(TDT, 0);
        for (u32 n = 0; n < 8; ++n)
            memory_.put<u64>(0x2000 + 16 * n, place(input));
        set(IMS, ~0u);
        set(RXCSUM, input.take<u16>());
        set(RCTL, how & 4 ? input.take<u32>() | 2 : 0x8002);
        set(TCTL, 0x4010a);
    }
    void send(u8 how, FuzzInput& input) override {
        using namespace e1000;
        const u32 count = how & 7;
        for (u32 n = 0; n < count; ++n) {
            memory_.put<u64>(0x3000 + 16 * n, how & 8 ? input.take<u32>() : place(input));
            memory_.put<u32>(0x3008 + 16 * n, u32{input.byte()} << 24 |
                                                  (how & 16 ? u32{input.byte()} << 16 : 0) |
                                                  input.take<u16>());
            memory_.put<u32>(0x300c + 16 * n, input.take<u32>());
        }
        set(TDH, 0), set(TDT, count);
        if (how & 32) set(RDT, input.byte());
    }
};

class Rtl8139Rig final : public NetworkRig<make_chip<Rtl8139>> {
    void start(u8 how, FuzzInput& input) override {
        store(kRegisters + 0x30, 4, how & 1 ? place(input) : 0x2000);
        store(kRegisters + 0x37, 1, 0x0c);
        store(kRegisters + 0x44, 4, how & 2 ? input.take<u32>() : 0x0a);
        store(kRegisters + 0x40, 4, how & 4 ? 3u << 17 : 0);
        store(kRegisters + 0x3c, 2, 0xe07f);
    }
    void send(u8 how, FuzzInput& input) override {
        store(kRegisters + 0x20 + 4 * (how & 3), 4, place(input));
        store(kRegisters + 0x10 + 4 * (how & 3), 4, input.take<u16>() & (how & 4 ? 0xffff : 0x7ff));
        if (how & 8) store(kRegisters + 0x38, 2, input.take<u16>());
    }
};

// Queues of 16 (two pairs and control), each in a page.
class VirtioNetRig final : public NetworkRig<make_virtio_net> {
    static constexpr u64 kModern = 0xfe100000; // BAR 4 is the third
    static constexpr u32 ring_of(u32 queue) { return 0x1000 + queue * 0x1000; }

    void start(u8 how, FuzzInput& input) override {
        for (const u8 status : {0, 1, 3})
            store(kModern + 20, 1, status);
        const u32 features = how & 1 ? 0x7fffffff : input.take<u32>();
        control_ = features >> kVirtioNetMq & 1 ? 4 : 2;
        store(kModern + 8, 4, 0), store(kModern + 12, 4, features);
        store(kModern + 8, 4, 1), store(kModern + 12, 4, how & 2 ? 0 : 1);
        store(kModern + 20, 1, 11);
        for (u16 queue = 0; queue < 5; ++queue) {
            const u64 ring = how & 4 && input.byte() < 64 ? place(input) & ~u32{15} : ring_of(queue);
            store(kModern + 22, 2, queue);
            store(kModern + 24, 2, 16);
            store(kModern + 32, 8, ring);
            store(kModern + 40, 8, ring + 0x400);
            store(kModern + 48, 8, ring + 0x800);
            store(kModern + 28, 2, 1);
        }
        available_ = {};
        store(kModern + 20, 1, 15);
        for (unsigned n = 0; how & 8 && n < 12; ++n)
            offer(n % 4 == 3 ? 2 : 0, input);
    }
    void send(u8 how, FuzzInput& input) override {
        const u32 queue = (how & 3) == 3 ? control_ : (how & 3) == 2 ? input.byte() % 5 : 1 - (how & 1);
        if (queue % 2) { // the header
            memory_.put<u16>(0x6000, u16(how & 4 ? 1 | (how & 8 ? 0x100 : 0x400) : input.take<u16>()));
            memory_.put<u16>(0x6002, input.byte());
            memory_.put<u16>(0x6004, input.take<u16>());
            memory_.put<u32>(0x6006, input.byte() | u32{input.byte()} << 16);
            const hw::test::Frame frame = hw::test::tcp4(64, input.byte());
            memory_.write(0x600c, frame.data(), frame.size());
            memory_.put<u32>(0x601a + (input.byte() & 0x3f), input.take<u32>());
        } else {
            for (u32 n = 0; n < 12; n += 2) // a command
                memory_.put<u16>(0x6000 + n, input.take<u16>() & (n ? 0x05ff : 0x0507));
        }
        offer(queue, input);
        store(kModern + 0x3000 + 4 * queue, 2, queue);
    }
    // A chain of up to four descriptors, the first one at 0x6000, mostly.
    void offer(u32 queue, FuzzInput& input) {
        const u32 ring = ring_of(queue);
        const u8 how = input.byte();
        const unsigned count = how & 3;
        for (unsigned n = 0; n <= count; ++n) {
            const u8 flags = input.byte();
            const bool first = n == 0 && (queue % 2 || queue == control_) && !(flags & 0x80);
            memory_.put<u64>(ring + 16 * n, first ? 0x6000 : place(input));
            memory_.put<u32>(ring + 16 * n + 8, flags & 0x10 ? input.take<u32>() : input.take<u16>() & 0xfff);
            const u16 writes = queue == control_ ? (n == count ? 2 : 0) : queue % 2 ? 0 : 2;
            memory_.put<u16>(ring + 16 * n + 12, u16((n < count ? 1 : 0) | (writes ^ (flags & 6))));
            memory_.put<u16>(ring + 16 * n + 14, u16(flags & 0x40 ? flags & 15 : n + 1));
        }
        const u16 next = ++available_[queue];
        memory_.put<u16>(ring + 0x404 + 2 * ((next - 1) % 16), how & 0x10 ? input.byte() : u8{0});
        memory_.put<u16>(ring + 0x402, next);
    }
    std::array<u16, 5> available_{};
    u32 control_ = 2; // number of that queue
};

} // namespace

std::unique_ptr<DeviceRig> make_e1000_rig() {
    return std::make_unique<E1000Rig>();
}
std::unique_ptr<DeviceRig> make_pcnet_rig() {
    return std::make_unique<PcnetRig>();
}
std::unique_ptr<DeviceRig> make_rtl8139_rig() {
    return std::make_unique<Rtl8139Rig>();
}
std::unique_ptr<DeviceRig> make_virtio_net_rig() {
    return std::make_unique<VirtioNetRig>();
}

} // namespace dragoman::test
