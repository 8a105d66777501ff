// libFuzzer: a virtio card (random numbers, ports, balloon, shared folder), the watchdog, the panic device or
// the parallel port, and a driver that means harm.
//
// The input is
// - u8: which card, bit 7: the driver does not begin as it should
// - steps: u8 what, then what step() takes for it
#include "fuzz_input.h"

#include "../hw/virtio_test_support.h"
#include "hw/i6300esb.h"
#include "hw/parallel_port.h"
#include "hw/pvpanic.h"
#include "hw/virtio_9p.h"
#include "hw/virtio_balloon.h"
#include "hw/virtio_console.h"
#include "hw/virtio_rng.h"
#include "runtime/ninep.h"

#include <cstdlib>
#include <filesystem>

namespace dragoman::test {
namespace {

using namespace hw;
using hw::test::Bench;
using hw::test::QuietLog;
using hw::test::VirtioBench;
using hw::test::VirtioDriver;

constexpr std::size_t kRam = 1 * MiB;

struct Numbers final : EntropySource {
    std::size_t take(std::span<u8> to) override {
        if (++calls % 4 == 0) return 0;
        std::fill(to.begin(), to.end(), u8(calls));
        return to.size();
    }
    void more() {
        if (ready_) ready_();
    }
    unsigned calls = 0;
};

struct Nobody final : MemoryGiver {
    void give_back(u64, u64) override {}
};

struct Terminal final : CharBackend {
    void attach(CharReceiver& receiver) override { to = &receiver; }
    void write(std::span<const u8> bytes) override { count += bytes.size(); }
    void type(std::span<const u8> bytes) {
        while (!bytes.empty() && to && to->can_receive())
            bytes = bytes.subspan(std::min(bytes.size(), to->receive_some(bytes)));
    }
    CharReceiver* to = nullptr;
    u64 count = 0;
};

// A shared folder in memory's file system, where the host has one.
runtime::Folder shared_folder() {
    static const std::string path = [] {
        char name[] = "/tmp/dragoman-fuzz-XXXXXX";
        const std::string made = mkdtemp(name);
        std::filesystem::create_directory(made + "/folder");
        return made;
    }();
    runtime::FolderOption option;
    option.path = path;
    option.read_only = true; // so that one input does not change what another one finds
    return std::move(*runtime::Folder::open(option));
}

struct Machine {
    Bench time;
    QuietLog log;
    Numbers numbers;
    Nobody nobody;
    Terminal terminal, agent;
    runtime::NineP server{shared_folder()};
    VirtioBalloon* balloon = nullptr;
    VirtioConsole* console = nullptr;

    std::unique_ptr<VirtioDevice> make(unsigned which) {
        switch (which) {
        case 0:
            return std::make_unique<VirtioRng>(numbers, time.scheduler, VirtioRng::Options{4096, 1'000'000},
                                               log);
        case 1: {
            auto made = std::make_unique<VirtioBalloon>(nobody, 64 * MiB, VirtioBalloon::Options{true, true},
                                                        std::function<void()>(), time.scheduler, log);
            balloon = made.get();
            return made;
        }
        case 2: {
            auto made = std::make_unique<VirtioConsole>(
                std::vector<VirtioConsole::PortConfig>{{0, true, "", &terminal}, {7, false, "agent", &agent}},
                log);
            console = made.get();
            return made;
        }
        default: return std::make_unique<Virtio9p>(server, "tag", log);
        }
    }
};

void play_virtio(unsigned which, bool begins, FuzzInput& in) {
    Machine m;
    VirtioBench bench(m.make(which), {.vectors = 2}, kRam);
    VirtioDriver driver(bench, !(which & 4));
    if (begins) (void)driver.start(driver.offered() & 0xffffff);
    for (unsigned steps = 0; !in.empty() && steps < 500; ++steps) {
        const u8 what = in.byte();
        switch (what % 10) {
        case 0: { // registers of the modern interface
            const u16 offset = in.take<u16>();
            bench.store(0xfe000000 + offset % 0x4000, 1u << (what >> 4 & 3), in.take<u32>());
            break;
        }
        case 1: // and of the legacy one
            bench.ports.out(u16(0xc000 + in.byte() % 64), 1u << (what >> 4) % 3, in.take<u32>());
            break;
        case 2: bench.pci.config_write(u8(in.byte() & ~3), 4, in.take<u32>()); break;
        case 3: { // memory, where the rings are
            const u32 at = in.take<u32>() % (kRam - 16);
            const u64 value = in.take<u64>();
            bench.dma.write(at, &value, sizeof value);
            break;
        }
        case 4:   // a chain as it should be, of any size
        case 5: { // with a message in it
            if (driver.queues.empty()) break;
            const unsigned queue = in.byte() % driver.queues.size();
            const u8 bytes[24] = {in.byte(), in.byte(), in.byte(), in.byte(), in.byte(), in.byte(),
                                  in.byte(), in.byte(), in.byte(), in.byte(), in.byte(), in.byte(),
                                  in.byte(), in.byte(), in.byte(), in.byte()};
            const u64 at = 0xc0000 + in.take<u16>();
            bench.dma.write(at, bytes, sizeof bytes);
            const u32 out = what % 10 == 5 ? in.byte() % 32 : in.take<u32>(), back = in.take<u16>();
            driver.offer(queue, {{at, out, false}, {at + 64, back, true}});
            driver.ring(queue);
            break;
        }
        case 6:
            if (!driver.queues.empty()) driver.ring(in.byte() % driver.queues.size());
            break;
        case 7: m.time.run_for(u64{in.take<u16>()} << (what >> 4)); break;
        case 8: // the host's side
            m.terminal.type(std::array<u8, 5>{1, 2, 3, 4, what});
            m.agent.type(std::array<u8, 2>{what, 2});
            m.numbers.more();
            if (m.balloon) m.balloon->set_target(u64{in.byte()} * MiB), (void)m.balloon->stats();
            if (m.console) m.console->set_host_open(7, what & 16);
            break;
        case 9:
            if (what & 16) bench.pci.reset();
            if (!(what & 32)) break;
            // The driver finds nothing where the guest has moved it from.
            bench.pci.config_write(kPciBar0, 4, 0xc000);
            bench.pci.config_write(kPciBar0 + 4, 4, 0xfebf0000);
            bench.pci.config_write(kPciBar0 + 16, 4, 0xfe000000);
            bench.pci.config_write(kPciBar0 + 20, 4, 0);
            bench.pci.config_write(kPciCommand, 2, 7);
            (void)driver.start(driver.offered() & 0xffffff);
            break;
        }
        (void)bench.load(0xfe000000 + what * 64u, 4);
    }
}

void play_others(FuzzInput& in) {
    Bench time;
    hw::test::FakeMemoryMap map;
    hw::test::FakeDma dma(4096);
    hw::test::RecordingLine line;
    Terminal printer;
    unsigned told = 0;
    I6300esb watchdog(time.scheduler, [&] { ++told; });
    PvpanicPci panic([&](u8) { ++told; });
    ParallelPort parallel(line, &printer);
    u32 bar = 0xfe000000;
    for (PciFunction* f : {static_cast<PciFunction*>(&watchdog), static_cast<PciFunction*>(&panic)}) {
        f->connect(time.bus, map, dma, &line);
        f->reset();
        f->config_write(kPciBar0, 4, bar += 0x10000);
        f->config_write(kPciCommand, 2, 7);
    }
    for (unsigned steps = 0; !in.empty() && steps < 500; ++steps) {
        const u8 what = in.byte(), offset = in.byte();
        const u32 value = in.take<u32>();
        const unsigned size = 1u << (what >> 4) % 3;
        switch (what % 6) {
        case 0: watchdog.config_write(u8(offset & ~3), 4, value); break;
        case 1: watchdog.config_write(0x68, 1, value); break;
        case 2:
            for (const auto& [handle, region] : map.regions)
                if (region.io)
                    region.io->write(offset & 15, size, value), (void)region.io->read(offset & 15, size);
            break;
        case 3: parallel.write(offset % 3, 1, value), (void)parallel.read(offset % 3, 1); break;
        case 4: time.run_for(value >> (what >> 4)); break;
        case 5: // the unlocking, and then a register
            for (const auto& [handle, region] : map.regions)
                for (const auto& [at, v] : {std::pair<u64, u64>{12, 0x80}, {12, 0x86}, {offset & 12u, value}})
                    region.io->write(at, 4, v);
            break;
        }
    }
}

} // namespace
} // namespace dragoman::test

extern "C" int LLVMFuzzerTestOneInput(const dragoman::u8* data, std::size_t size) {
    using namespace dragoman::test;
    FuzzInput in({data, size});
    const dragoman::u8 which = in.byte();
    if (which % 8 == 7)
        play_others(in);
    else
        play_virtio(which % 8, !(which & 0x80), in);
    return 0;
}
