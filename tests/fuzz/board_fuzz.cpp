// libFuzzer: the whole board (bridges, interrupt controllers, timers, keyboard, serial and parallel ports,
// floppy and IDE controllers, fw_cfg, power management, display) under programs of ports, registers, memory,
// time and a user who types. The chips are wired as the machine wires them.
#include "device_rig.h"
#include "hw/machine/pc.h"

namespace dragoman::test {
namespace {

constexpr u64 kRam = 2 * MiB;

class Ram final : public DmaBus {
  public:
    explicit Ram(std::span<u8> bytes) : bytes_(bytes) {}
    bool read(u64 gpa, void* to, u64 count) override {
        if (gpa > bytes_.size() || count > bytes_.size() - gpa) return std::memset(to, 0xff, count), false;
        return std::memcpy(to, bytes_.data() + gpa, count), true;
    }
    bool write(u64 gpa, const void* from, u64 count) override {
        if (gpa > bytes_.size() || count > bytes_.size() - gpa) return false;
        return std::memcpy(bytes_.data() + gpa, from, count), true;
    }

  private:
    std::span<u8> bytes_;
};

struct Terminal final : hw::CharBackend {
    void attach(hw::CharReceiver& receiver) override { to = &receiver; }
    void write(std::span<const u8>) override {}
    hw::CharReceiver* to = nullptr;
};

// First and number of ports of each chip; those of PCI cards are where the guest puts them.
constexpr struct {
    u16 first, count;
} kPorts[] = {{0x00, 0x20},  {0x20, 2},     {0x40, 4},     {0x60, 5},     {0x70, 4},    {0x80, 0x10},
              {0x92, 1},     {0xa0, 2},     {0xb2, 2},     {0xc0, 0x20},  {0xf0, 2},    {0x170, 8},
              {0x1ce, 3},    {0x1f0, 8},    {0x278, 3},    {0x2f8, 8},    {0x376, 1},   {0x378, 8},
              {0x3b0, 0x30}, {0x3f0, 8},    {0x3f8, 8},    {0x402, 1},    {0x4d0, 2},   {0x501, 4},
              {0x505, 1},    {0x510, 12},   {0x600, 0x40}, {0x700, 0x10}, {0xae00, 20}, {0xcf8, 8},
              {0xc000, 16},  {0xb000, 0x40}};

class Board {
  public:
    Board() {
        pc_->reset();
        pc_->set_up_without_firmware();
    }
    void play(FuzzInput& input) {
        for (unsigned n = 0; !input.empty() && n < 2000; ++n)
            step(input);
        while (!disk_.idle())
            disk_.finish(0);
    }

  private:
    hw::PcConfig config() {
        hw::PcConfig c;
        c.ram = ram_;
        c.ram_below_4g = kRam;
        c.bios.resize(64 * KiB);
        c.ide[0] = hw::PcConfig::Drive{&disk_, false, "D"};
        c.ide[2] = hw::PcConfig::Drive{&disk_, true, "C"};
        c.floppies[0] = &disk_;
        c.serial = {&terminals_[0], &terminals_[1]};
        c.parallel = hw::PcConfig::Parallel{&terminals_[2]};
        c.panic_register = true;
        c.debug_console = &terminals_[3];
        c.debug_exit = hw::PcConfig::DebugExit{};
        return c;
    }
    hw::PcPins pins() {
        hw::PcPins p;
        const auto note = [this] { ++noted_; };
        p.intr = &intr_;
        p.nmi = p.smi = p.init = p.reset = p.power_off = p.ejected = note;
        p.exit = [this](int) { ++noted_; };
        p.panic = [this](u8) { ++noted_; };
        p.a20 = [this](bool) { ++noted_; };
        p.tsc = [this] { return clock_.now(); };
        return p;
    }
    void registers(FuzzInput& input) {
        const u8 how = input.byte();
        auto at = map_.mappings.begin();
        std::advance(at, (how & 0x1f) % map_.mappings.size());
        const auto mapping = at->second;
        const unsigned size = 1u << (how >> 5 & 3);
        const u64 offset = input.take<u32>() % mapping.bytes & ~u64{size - 1};
        if (!mapping.handler) return;
        if (how & 0x80)
            mapping.handler->write(offset, size, input.take<u32>());
        else
            mapping.handler->read(offset, size);
    }
    void user(FuzzInput& input) {
        const u8 what = input.byte();
        switch (what & 7) {
        case 0: return pc_->keyboard().key(hw::KeyCode(what >> 3), what & 0x80);
        case 1: return pc_->mouse().move(what - 64, input.byte() - 100, 0);
        case 2:
        case 3:
            if (hw::CharReceiver* to = terminals_[what & 1].to)
                for (unsigned n = 0; n < 20 && to->can_receive(); ++n)
                    to->receive(u8(what + n));
            return;
        case 4:
            if (hw::CharReceiver* to = terminals_[what >> 3 & 1].to) to->receive_break();
            return;
        case 5: pc_->acknowledge_interrupt(); return;
        case 6: pc_->lapic().write_tsc_deadline(input.take<u64>()); return;
        default: pc_->lapic().write_msr(0x800 + what / 8, input.take<u64>());
        }
    }
    void step(FuzzInput& input) {
        const u8 what = input.byte();
        const unsigned size = 1u << (what >> 4) % 3;
        switch (what & 15) {
        case 0:
        case 1:
        case 2:
        case 3: {
            const auto& range = kPorts[input.byte() % std::size(kPorts)];
            const u16 port = u16(range.first + input.byte() % range.count);
            if (what & 0x40)
                (void)pc_->port_in(port, size);
            else
                pc_->port_out(port, size, what & 0x80 ? input.byte() : input.take<u32>());
            return;
        }
        case 4: // any port
            pc_->port_out(input.take<u16>(), size, input.take<u32>());
            return;
        case 5: { // PCI configuration
            pc_->port_out(0xcf8, 4,
                          0x80000000 | (u32{input.byte()} & 0x1f) << 11 | (input.byte() & 0xfc) |
                              (what >> 6) << 8);
            pc_->port_out(0xcfc, 4, input.take<u32>());
            return;
        }
        case 6:
        case 7:
        case 8: return registers(input);
        case 9: { // memory: tables for DMA
            const u64 value = input.take<u64>();
            dma_.write(input.take<u32>() % kRam, &value, sizeof value);
            return;
        }
        case 10: clock_.set(clock_.now() + (u64{1} << (input.byte() % 40))); return scheduler_.run_due();
        case 11:
            disk_.later = what & 0x10;
            disk_.fail_every = what >> 5;
            return disk_.finish(what);
        case 12:
        case 13: return user(input);
        case 14: // at most so many pictures: they are large
            if (++pictures_ <= 4) pc_->vga()->render(surface_), (void)pc_->vga()->text_screen();
            return;
        default:
            while (!disk_.idle())
                disk_.finish(0);
            if (what & 0x10) return pc_->reset();
            hw::Device& device = *pc_->devices()[input.byte() % pc_->devices().size()];
            const hw::StateImage saved = hw::test::save(device);
            if (input.byte() & 1) step(input);
            hw::test::load(device, saved);
        }
    }

    std::vector<u8> ram_ = std::vector<u8>(kRam);
    hw::test::QuietLog log_;
    hw::SteppedClock clock_;
    hw::Scheduler scheduler_{clock_};
    hw::test::FakeMap map_;
    Ram dma_{ram_};
    FuzzDisk disk_;
    Terminal terminals_[4];
    hw::test::RecordingLine intr_;
    hw::Surface surface_;
    unsigned noted_ = 0, pictures_ = 0;
    std::unique_ptr<hw::Pc> pc_ = std::make_unique<hw::Pc>(config(), pins(), map_, dma_, scheduler_, log_);
};

} // namespace
} // namespace dragoman::test

extern "C" int LLVMFuzzerTestOneInput(const dragoman::u8* data, std::size_t size) {
    using namespace dragoman::test;
    FuzzInput input({data, size});
    std::make_unique<Board>()->play(input);
    return 0;
}
