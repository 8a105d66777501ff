// The virtio memory balloon (Virtual I/O Device 1.1, 5.5; 1.2 for reporting): the guest gives pages to the
// host, because it was asked to (inflating), or because they are free anyway (reporting).
#pragma once

#include "hw/core/memory_giver.h"
#include "hw/core/scheduler.h"
#include "hw/virtio_device.h"

#include <array>
#include <functional>
#include <optional>

namespace dragoman::hw {

class VirtioBalloon final : public VirtioDevice {
  public:
    struct Options {
        bool deflate_on_oom = false; // the guest may take pages back before it runs out of memory
        bool free_page_reporting = false;
    };
    // `changed`: the guest says how large it is now. The rest but `options` is borrowed.
    VirtioBalloon(MemoryGiver& giver, u64 ram_bytes, const Options& options, std::function<void()> changed,
                  Scheduler& scheduler, Log& log);

    // How much memory the guest shall keep, and how much it keeps.
    void set_target(u64 bytes);
    u64 guest_bytes() const;
    // What the guest said last about its memory (5.5.6.3), by tag; asks it to say it again.
    static constexpr unsigned stat_tags = 10;
    std::array<std::optional<u64>, stat_tags> stats();

    std::span<const u8> config() override { return config_; }
    void config_write(u64 offset, unsigned size, u64 value) override;
    void visit(StateVisitor& visitor) override;

  protected:
    void queue_notified(unsigned queue) override;
    void device_reset() override;

  private:
    void inflate();
    bool give_pages(const VirtioChain& chain);
    void give_reported(VirtQueue& queue);
    void take_stats();
    unsigned reporting_queue() const;

    MemoryGiver& giver_;
    u64 ram_bytes_;
    std::function<void()> changed_;
    std::array<u8, 8> config_{}; // num_pages, actual
    std::array<std::optional<u64>, stat_tags> stats_{};
    std::optional<VirtioChain> stats_chain_;
    Timer more_; // the rest of a long queue
};

} // namespace dragoman::hw
