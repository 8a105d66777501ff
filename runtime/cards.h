// Cards besides disks and networks: random numbers, ports, memory balloon, shared folders, watchdog.
#pragma once

#include "base/log.h"
#include "base/result.h"
#include "hw/core/entropy.h"
#include "hw/core/scheduler.h"
#include "hw/machine/pc.h"
#include "hw/virtio_balloon.h"
#include "hw/virtio_console.h"
#include "runtime/chardevs.h"
#include "runtime/machine_events.h"
#include "runtime/memory_release.h"
#include "runtime/ninep.h"
#include "runtime/options.h"
#include "runtime/waker.h"

#include <memory>
#include <string>
#include <vector>

namespace dragoman::runtime {

class Cards {
  public:
    struct Hooks { // called inside guest accesses or by timers
        std::function<void()> watchdog;
        std::function<void(u8 events)> panic;
    };
    // All but `hooks` are borrowed.
    Cards(Waker& waker, hw::Scheduler& scheduler, Chardevs& chardevs, MachineEvents& events, Log& log,
          Hooks hooks)
        : waker_(waker), scheduler_(scheduler), chardevs_(chardevs), events_(events), log_(log),
          hooks_(std::move(hooks)) {}

    // Opens what the cards need, and puts them into `config`.
    Status open(const Options& options, softmmu::PhysicalMap& memory, hw::PcConfig& config);

    // While the machine runs: card `number`, of `options.cards`. Those that others hold on to cannot be had.
    Result<hw::PcConfig::Card> add_card(const Options& options, unsigned number);

    hw::VirtioBalloon* balloon() { return balloon_; } // null: there is none

  private:
    Result<std::unique_ptr<hw::PciFunction>> make(const Options& options, unsigned number);
    Result<hw::EntropySource*> open_rng(const Options& options, const CardOption& card);
    Result<std::unique_ptr<hw::VirtioDevice>> make_console(const Options& options, unsigned number);
    Result<std::unique_ptr<hw::VirtioDevice>> make_folder(const Options& options, const CardOption& card);
    std::unique_ptr<hw::VirtioDevice> make_balloon(const CardOption& card);

    Waker& waker_;
    hw::Scheduler& scheduler_;
    Chardevs& chardevs_;
    MachineEvents& events_;
    Log& log_;
    Hooks hooks_;
    std::unique_ptr<MemoryRelease> release_;
    u64 ram_bytes_ = 0;
    std::vector<std::unique_ptr<hw::EntropySource>> rngs_;
    std::vector<std::unique_ptr<NineP>> folders_;
    hw::VirtioBalloon* balloon_ = nullptr;
};

} // namespace dragoman::runtime
