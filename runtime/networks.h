// The machine's networks, and the cards that connect the guest to them.
#pragma once

#include "base/log.h"
#include "base/result.h"
#include "hw/core/scheduler.h"
#include "hw/machine/pc.h"
#include "runtime/boot_order.h"
#include "runtime/net_port.h"
#include "runtime/options.h"
#include "runtime/waker.h"

#include <memory>
#include <string>
#include <vector>

namespace dragoman::runtime {

class Networks {
  public:
    // All borrowed. `kick` asks for a service() soon; called inside guest accesses.
    Networks(Waker& waker, hw::Scheduler& scheduler, Log& log, std::function<void()> kick)
        : waker_(waker), scheduler_(scheduler), log_(log), kick_(std::move(kick)) {}

    // Opens every network, and puts its card into `config`.
    Status open(const Options& options, hw::PcConfig& config);

    // While the machine runs: one more network; a card for what `nic` says; without the card `id`; without
    // the network `id`, which must have no card.
    Status add_network(const NetworkOption& option);
    Result<hw::PcConfig::Card> add_card(const NicOption& nic);
    void remove_card(const std::string& id);
    Status remove_network(const std::string& id);

    void close(); // for the end: nothing is asked for any more

    // On the vCPU's thread, between guest instructions. A machine that is stopped gets no frames.
    void service(bool running);

    std::string describe() const;
    const std::vector<BootEntry>& boot_entries() const { return boot_entries_; }
    // Of the user network `id`; an empty one means the only one. `what`: see parse_host_forward.
    Status add_forward(const std::string& id, const std::string& what);
    Status remove_forward(const std::string& id, const std::string& what);
    Status plug(const std::string& id, bool in);

  private:
    Result<std::unique_ptr<NetPort>> open_network(const NetworkOption& option);
    Result<hw::PcConfig::Card> make_card(const NicOption& nic, bool boots_from_network);
    Status change_forward(const std::string& id, const std::string& what, bool add);

    Waker& waker_;
    hw::Scheduler& scheduler_;
    Log& log_;
    std::function<void()> kick_;
    std::vector<std::unique_ptr<NetPort>> ports_; // by number of the network; null: it was removed
    std::vector<NicOption> nics_;
    std::vector<BootEntry> boot_entries_;
};

} // namespace dragoman::runtime
