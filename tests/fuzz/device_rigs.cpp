// The chips that the device fuzzer knows, and how a driver speaks to each.
#include "device_rig.h"

#include "hw/ahci.h"
#include "hw/dma8237.h"
#include "hw/fdc_82077.h"
#include "hw/nor_flash.h"
#include "hw/nvme.h"
#include "hw/piix3_ide.h"
#include "hw/uhci.h"
#include "hw/usb_tablet.h"
#include "hw/virtio_blk.h"
#include "hw/virtio_pci.h"

namespace dragoman::test {

namespace {

using namespace hw;
namespace test = hw::test;

// A place for data: mostly RAM, sometimes near its end, sometimes the chip's own registers.
u64 place(FuzzInput& input) {
    const u16 v = input.take<u16>();
    switch (v & 7) {
    case 0: return 0xfe000000 + (v >> 3);
    case 1: return FuzzMemory::size - (v >> 3) % 0x300;
    case 2: return 0xfe100000 + (v >> 3);
    default: return (u64{v} << 1) & ~u64{1};
    }
}

class IdeRig final : public DeviceRig {
  public:
    IdeRig() {
        auto cd = std::make_unique<AtapiCd>(&disk_, "C", log_);
        cd_ = cd.get();
        ide_.primary().attach(std::make_unique<AtaDisk>(disk_, "D", log_), nullptr);
        ide_.secondary().attach(std::move(cd), nullptr);
        add(ide_);
        ide_.map_ports(ports_);
        port_ranges_.insert(port_ranges_.end(), {{0x1f0, 8}, {0x3f6, 1}, {0x170, 8}, {0x376, 1}});
    }
    void drive(FuzzInput& input) override {
        const u8 how = input.byte();
        const u16 base = how & 1 ? 0x170 : 0x1f0, master = how & 1 ? 0xc008 : 0xc000;
        if ((how & 0xf0) == 0xf0) {
            cd_->change_disc(how & 2 ? &disk_ : nullptr, how & 4);
            return;
        }
        if (how & 2) { // a descriptor table of up to 4
            for (u32 n = 0; n < 4; ++n) {
                memory_.put<u32>(0x1000 + 8 * n, u32(place(input)));
                memory_.put<u32>(0x1004 + 8 * n, input.take<u16>() | (input.byte() & 1 ? 0x80000000u : 0));
            }
            ports_.out(u16(master + 4), 4, 0x1000);
            ports_.out(u16(master + 2), 1, 6);
            ports_.out(master, 1, how & 4 ? 9 : 1);
        }
        for (u16 reg = 1; reg < 7; ++reg) {
            if (how & 8) ports_.out(u16(base + reg), 1, input.byte() & 0xf);
            ports_.out(u16(base + reg), 1, reg == 6 ? 0xe0 : input.byte());
        }
        const u8 command = input.byte();
        ports_.out(u16(base + 7), 1, how & 1 && !(how & 0x20) ? 0xa0 : command);
        if (how & 1)
            for (unsigned n = 0; n < 6; ++n)
                ports_.out(base, 2, input.take<u16>());
        if (how & 0x10)
            for (unsigned n = 0; n < 600; ++n)
                how & 0x40 ? ports_.out(base, 4, n) : void(ports_.in(base, 4));
    }

  private:
    test::RecordingLine irq14_, irq15_;
    Piix3Ide ide_{irq14_, irq15_, log_};
    AtapiCd* cd_ = nullptr;
};

class AhciRig final : public DeviceRig {
  public:
    AhciRig() {
        auto cd = std::make_unique<AtapiCd>(&disk_, "C", log_);
        cd_ = cd.get();
        ahci_.attach(0, std::make_unique<AtaDisk>(disk_, "D", log_));
        ahci_.attach(1, std::move(cd));
        add(ahci_);
    }
    void drive(FuzzInput& input) override {
        const u8 how = input.byte();
        const u64 bar = 0xfe000000, port = bar + 0x100 + (how & 1 ? 0x80 : 0);
        if ((how & 0xf0) == 0xf0) {
            cd_->change_disc(how & 2 ? &disk_ : nullptr, how & 4);
            return;
        }
        if ((how & 0xf0) == 0xe0) { // stop, perhaps a link reset, start
            store(port + 0x18, 4, 0x10);
            if (how & 2) store(port + 0x2c, 4, 1), store(port + 0x2c, 4, 0);
            if (how & 4) store(port + 0x18, 4, 0x18);
        }
        store(bar + 4, 4, 0x80000002);
        store(port + 0x00, 4, how & 8 && input.byte() == 0 ? u32(place(input)) : 0x1000);
        store(port + 0x08, 4, how & 8 && input.byte() == 0 ? u32(place(input)) : 0x2000);
        store(port + 0x14, 4, ~0u);
        store(port + 0x18, 4, 0x11);
        u32 slots = 0;
        for (unsigned n = how >> 1 & 3; n != unsigned(-1); --n) {
            const u32 slot = input.byte() & 31, table = 0x4000 + slot * 0x100;
            slots |= 1u << slot;
            const unsigned entries = input.byte() & 7;
            memory_.put<u32>(0x1000 + slot * 32, 5 | entries << 16);
            memory_.put<u64>(0x1008 + slot * 32, table);
            u8 fis[20] = {0x27, 0x80};
            for (unsigned i = 2; i < 16; ++i)
                fis[i] = input.byte();
            static constexpr u8 commands[] = {0x60, 0x61, 0x25, 0x35, 0xec, 0xa0, 0x06,
                                              0x2f, 0xa1, 0x20, 0x29, 0x39, 0xea, 0x47};
            if (!(fis[2] & 0x80)) fis[2] = commands[fis[2] % sizeof commands];
            if (fis[15] & 0x80) fis[1] = 0; // a control frame
            if ((fis[2] & 0xfe) == 0x60) fis[12] = u8(slot << 3), fis[11] &= 1;
            if (fis[15] & 0x20) fis[5] &= 0xf, fis[6] = fis[8] = fis[9] = fis[10] = 0;
            memory_.write(table, fis, sizeof fis);
            u8 packet[12];
            for (u8& byte : packet)
                byte = fis[2] == 0xa0 ? input.byte() : 0;
            memory_.write(table + 0x40, packet, sizeof packet);
            for (unsigned i = 0; i < entries; ++i) {
                memory_.put<u64>(table + 0x80 + 16 * i, place(input));
                memory_.put<u64>(table + 0x88 + 16 * i, u64{input.take<u16>()} << 32);
            }
        }
        if (how & 0x10) store(port + 0x34, 4, slots);
        store(port + 0x38, 4, slots);
    }

  private:
    Ahci ahci_{scheduler_, log_};
    AtapiCd* cd_ = nullptr;
};

class NvmeRig final : public DeviceRig {
  public:
    NvmeRig() { add(nvme_); }
    void drive(FuzzInput& input) override {
        const u8 how = input.byte();
        const u64 bar = 0xfe000000;
        if ((how & 0xc0) == 0xc0) { // off and on again
            store(bar + 0x14, 4, how & 0x20 ? 0x4000 : 0);
            store(bar + 0x24, 4, 0x00070007);
            store(bar + 0x28, 8, 0x1000);
            store(bar + 0x30, 8, 0x2000);
            store(bar + 0x14, 4, 0x00460001 | u32(how & 7) << 7);
            tails_[0] = tails_[1] = 0;
            if (how & 8) return;
            admin({.opcode = nvme::kCreateCq, .prp1 = 0x3000, .cdw10 = 7 << 16 | 1, .cdw11 = 3});
            return admin(
                {.opcode = nvme::kCreateSq, .prp1 = 0x4000, .cdw10 = 7 << 16 | 1, .cdw11 = 1 << 16 | 1});
        }
        if ((how & 0xc0) == 0x80) return nvme_.size_changed();
        nvme::Command c{};
        c.opcode = input.byte() & 0xf;
        c.flags = input.byte() == 0 ? input.byte() : 0;
        c.id = input.byte();
        c.nsid = how & 0x10 ? input.take<u32>() : 1;
        c.prp1 = place(input);
        c.prp2 = place(input);
        c.cdw10 = how & 0x08 ? input.take<u32>() : input.byte();
        c.cdw11 = how & 0x04 ? input.take<u32>() : 0;
        c.cdw12 = how & 0x02 ? input.take<u32>() : input.byte();
        c.cdw13 = how & 0x02 ? input.take<u32>() : 0;
        submit(how & 1, c, how & 0x20 ? input.byte() & 7 : 0);
    }

  private:
    void admin(const nvme::Command& c) {
        submit(0, c, 0);
        store(0xfe001004, 4, tails_[0]); // all completions are taken
    }
    void submit(unsigned queue, const nvme::Command& c, unsigned more) {
        memory_.put((queue ? 0x4000 : 0x1000) + 64 * tails_[queue], c);
        tails_[queue] = (tails_[queue] + 1 + more) % 8;
        store(0xfe001000 + 8 * queue, 4, tails_[queue]);
        if (c.id & 1) store(0xfe001004 + 8 * queue, 4, (tails_[queue] + 8 - more) % 8);
    }
    Nvme nvme_{disk_, {"S", 0}, scheduler_, log_};
    u32 tails_[2] = {0, 0};
};

class VirtioRig final : public DeviceRig {
  public:
    VirtioRig() { add(pci_function_); }
    void drive(FuzzInput& input) override {
        const u8 how = input.byte();
        // BAR 4 is the third: common configuration, then ISR, device configuration, notifications.
        const u64 modern = 0xfe100000;
        if ((how & 0xe0) == 0xe0) {
            for (const u8 status : {0, 1, 3})
                store(modern + 20, 1, status);
            store(modern + 8, 4, 0), store(modern + 12, 4, 0x7fffffff);
            store(modern + 8, 4, 1), store(modern + 12, 4, 1);
            store(modern + 20, 1, 11);
            for (u16 queue = 0; queue < 2; ++queue) {
                store(modern + 22, 2, queue);
                store(modern + 24, 2, 8);
                store(modern + 32, 8, 0x1000 + queue * 0x1000);
                store(modern + 40, 8, 0x1400 + queue * 0x1000);
                store(modern + 48, 8, 0x1800 + queue * 0x1000);
                store(modern + 28, 2, 1);
            }
            available_[0] = available_[1] = 0;
            return store(modern + 20, 1, 15);
        }
        const u32 queue = how & 1, ring = 0x1000 + queue * 0x1000;
        static constexpr u8 types[] = {0, 1, 4, 8, 11, 13, 0, 1};
        memory_.put<u64>(0x6000, types[input.byte() & 7]);
        memory_.put<u64>(0x6008, input.take<u16>());
        memory_.put<u64>(0x6010, input.byte());
        memory_.put<u64>(0x6018, input.take<u32>());
        const unsigned count = how >> 1 & 7;
        for (unsigned n = 0; n <= count; ++n) {
            const u8 flags = input.byte();
            const u64 at = ring + 16 * n;
            memory_.put<u64>(at, n == 0 && !(flags & 0x80) ? 0x6000 : place(input));
            memory_.put<u32>(at + 8, n == 0 && !(flags & 0x80) ? 16 : input.take<u16>() & 0x3ff0);
            memory_.put<u16>(at + 12, u16((n < count ? 1 : 0) | (flags & 6)));
            memory_.put<u16>(at + 14, u16(flags & 0x40 ? flags & 7 : n + 1));
        }
        const u16 next = ++available_[queue];
        memory_.put<u16>(ring + 0x404 + 2 * ((next - 1) % 8), how & 0x10 ? input.byte() : u8{0});
        memory_.put<u16>(ring + 0x402, next);
        store(modern + 0x3000 + 4 * queue, 2, queue);
    }

  private:
    VirtioPci pci_function_{std::make_unique<VirtioBlk>(disk_, VirtioBlk::Options{2, "S"}, log_),
                            {true, true, 3}};
    u16 available_[2] = {0, 0};
};

class FloppyRig : public DeviceRig {
  public:
    FloppyRig() {
        devices_ = {&dma_, &fdc_};
        dma_.map(ports_);
        fdc_.map(ports_);
        fdc_.drive(0).connected = true;
        fdc_.drive(0).insert(&disk_);
        fdc_.reset();
        port_ranges_ = {{0x3f0, 6}, {0x3f7, 1}, {0x00, 16}, {0x80, 16}, {0xc0, 32}};
    }
    void drive(FuzzInput& input) override {
        const u8 how = input.byte();
        if ((how & 0xf0) == 0xf0) {
            fdc_.drive(how & 1).insert(how & 2 ? &disk_ : nullptr);
            return;
        }
        if (how & 1) { // the DMA channel
            const u16 bytes = input.take<u16>();
            const u8 bytes_of_dma[][2] = {{0x0a, 6},
                                          {0x0c, 0},
                                          {0x0b, u8(how & 2 ? 0x46 : 0x4a)},
                                          {0x04, input.byte()},
                                          {0x04, input.byte()},
                                          {0x81, u8(input.byte() & 1)},
                                          {0x05, u8(bytes)},
                                          {0x05, u8(bytes >> 8)},
                                          {0xd4, 0},
                                          {0xd6, 0xc0},
                                          {0x0a, 2}};
            for (const auto& [port, value] : bytes_of_dma)
                ports_.out(port, 1, value);
        }
        if (how & 4) ports_.out(0x3f2, 1, how & 8 ? 0x1c : input.byte());
        if (how & 8) ports_.out(0x3f7, 1, 0);
        static constexpr u8 commands[] = {0xe6, 0xc5, 0x4d, 0x0f, 0x07, 0x08, 0x4a, 0x13,
                                          0x03, 0x16, 0x42, 0x14, 0x94, 0x0e, 0x04, 0x12};
        u8 command[9] = {commands[input.byte() & 15], u8(input.byte() & 7), 0, 0, 1, 2, 18, 0x1b, 0xff};
        if (command[0] == 0x4d) command[2] = 2, command[3] = 18;
        if (how & 0x10)
            for (unsigned n = 0; n < 9; ++n)
                command[n] = input.byte();
        else
            command[2] = command[0] == 0x4d ? 2 : input.byte() & 3, command[3] = command[1] >> 2 & 1,
            command[4] = input.byte() % 20;
        for (unsigned n = 0; n < 9 && (n == 0 || (ports_.in(0x3f4, 1) & 0xd0) == 0x90); ++n)
            ports_.out(0x3f5, 1, command[n]);
        for (unsigned n = how & 0x20 ? 2000 : how & 0x40 ? 12 : 0; n; --n)
            (ports_.in(0x3f4, 1) & 0x40) ? void(ports_.in(0x3f5, 1)) : ports_.out(0x3f5, 1, u8(n));
    }

  protected:
    test::RecordingLine irq_;
    Dma8237 dma_{memory_, log_};
    Fdc82077 fdc_{irq_, dma_, scheduler_, log_};
};

// The DMA controllers alone, with a device that asks for whatever the input says.
class DmaRig final : public FloppyRig {
  public:
    void drive(FuzzInput& input) override {
        const u8 how = input.byte();
        unsigned channel = how & 7;
        if (channel == 4) channel = 5;
        std::vector<u8> data(input.take<u16>());
        bool end = false;
        dma_.transfer(channel, data, how & 8 ? DmaDirection::WriteMemory : DmaDirection::ReadMemory, &end);
        dma_.set_request(channel, how & 16);
    }
};

class UhciRig final : public DeviceRig {
  public:
    UhciRig() {
        uhci_.attach(0, tablet_);
        add(uhci_);
        devices_.push_back(&tablet_);
    }
    void drive(FuzzInput& input) override {
        constexpr u16 base = 0xc000;
        const u8 how = input.byte();
        if (how & 1) tablet_.point(input.take<u16>(), input.take<u16>(), i8(input.byte()), input.byte());
        for (u32 n = 0; n < 1024; ++n)
            memory_.put<u32>(0x1000 + 4 * n, how & 2 ? u32(place(input)) & ~1u : 0x2002);
        memory_.put<u32>(0x2000, how & 4 ? 0x2002 : 1);
        memory_.put<u32>(0x2004, 0x3000);
        for (u32 n = 0; n < 8; ++n) {
            const u8 kind = input.byte();
            const u32 at = 0x3000 + 32 * n;
            static constexpr UsbPid pids[] = {UsbPid::Setup, UsbPid::In, UsbPid::Out, UsbPid::In};
            memory_.put<u32>(at, kind & 0x20 ? u32(place(input)) : (at + 32) | 4);
            memory_.put<u32>(at + 4, 1u << 23 | u32{input.byte()} << 24);
            memory_.put<u32>(at + 8, u32(pids[kind & 3]) | (kind & 4 ? u32{tablet_.address()} << 8 : 0) |
                                         (kind & 8 ? 1u << 15 : 0) |
                                         (kind & 0x10 ? input.take<u16>() & 0x7ffu : 7u) << 21);
            memory_.put<u32>(at + 12, kind & 0x40 ? u32(place(input)) : 0x4000 + 64 * n);
            u8 setup[8] = {}; // bmRequestType, bRequest, wValue, wIndex (0), wLength: USB 2.0, 9.3
            setup[0] = input.byte();
            setup[1] = input.byte() & 15;
            setup[2] = input.byte();
            setup[3] = input.byte() & 0x27;
            setup[6] = input.byte();
            memory_.write(0x4000 + 64 * n, setup, sizeof setup);
        }
        ports_.out(base + 8, 4, 0x1000);
        ports_.out(base + 0x10, 2, how & 8 ? 0x200 : 0xe);
        ports_.out(base + 0x10, 2, 0xe);
        ports_.out(base + 4, 2, 15);
        ports_.out(base, 2, 1);
    }

  private:
    Uhci uhci_{scheduler_, log_};
    UsbTablet tablet_{[this] { uhci_.wake(); }};
};

class NorFlashRig final : public DeviceRig {
  public:
    NorFlashRig() { devices_.push_back(&flash_); }
    void drive(FuzzInput& input) override {
        // Program, erase, program (40h), clear the status, lock, read the status, the identifier, the query,
        // write to the buffer, read the array: hw/nor_flash.h.
        static constexpr u8 commands[] = {0x10, 0x20, 0x40, 0x50, 0x60, 0x70, 0x90, 0x98, 0xe8, 0xff};
        static constexpr u8 confirm = 0xd0;
        const u8 how = input.byte();
        const u64 at = base + input.take<u16>();
        store(at, 1, commands[how % std::size(commands)]);
        if (how & 0x80) { // the write buffer: as many as its count says, or 64 fewer
            const u8 last = input.byte();
            store(at, 1, last);
            for (unsigned n = how & 0x40; n <= last; n += 4)
                store(at + n, 4, input.take<u32>());
        }
        store(at, 1, how & 0x20 ? confirm : input.byte());
    }

  private:
    static constexpr u64 base = 0xfe000000;
    std::vector<u8> cells_ = std::vector<u8>(64 * KiB, 0xff);
    NorFlash flash_{map_, base, cells_, false};
};

template <class Rig> std::unique_ptr<DeviceRig> make() {
    return std::make_unique<Rig>();
}

constexpr struct {
    const char* name;
    std::unique_ptr<DeviceRig> (*make)();
} rigs[] = {{"ide", make<IdeRig>},         {"ahci", make<AhciRig>},
            {"nvme", make<NvmeRig>},       {"virtio-blk", make<VirtioRig>},
            {"floppy", make<FloppyRig>},   {"dma8237", make<DmaRig>},
            {"e1000", make_e1000_rig},     {"pcnet", make_pcnet_rig},
            {"rtl8139", make_rtl8139_rig}, {"virtio-net", make_virtio_net_rig},
            {"uhci", make<UhciRig>},       {"nor-flash", make<NorFlashRig>}};

} // namespace

std::unique_ptr<DeviceRig> make_rig(const std::string& name) {
    for (const auto& rig : rigs)
        if (name == rig.name) return rig.make();
    return nullptr;
}

std::vector<std::string> rig_names() {
    std::vector<std::string> names;
    for (const auto& rig : rigs)
        names.push_back(rig.name);
    return names;
}

} // namespace dragoman::test
