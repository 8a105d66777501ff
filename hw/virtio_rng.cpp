#include "hw/virtio_rng.h"

#include <algorithm>
#include <array>
#include <limits>

namespace dragoman::hw {

namespace {

constexpr VirtioDevice::Identity kIdentity{"virtio-rng-pci", 4, 0x1005, 0x00ff00};
constexpr u16 kSizes[] = {64};
constexpr std::size_t kAtOnce = 4096; // bytes for one buffer: the driver asks again

} // namespace

VirtioRng::VirtioRng(EntropySource& source, Scheduler& scheduler, const Options& options, Log& log)
    : VirtioDevice(kIdentity, 0, kSizes, log), source_(source), scheduler_(scheduler), options_(options),
      next_period_(scheduler, [this] { serve(); }) {
    source_.on_ready([this] { serve(); });
}

u64 VirtioRng::allowance() {
    if (!options_.max_bytes) return std::numeric_limits<u64>::max();
    if (scheduler_.now() - period_start_ >= options_.period_ns) {
        period_start_ = scheduler_.now();
        given_ = 0;
    }
    return options_.max_bytes - std::min(given_, options_.max_bytes);
}

void VirtioRng::serve() {
    VirtQueue& queue = queues()[0];
    std::array<u8, kAtOnce> bytes;
    for (unsigned left = queue.size(); left; --left) {
        const u64 allowed = allowance();
        if (!allowed) {
            if (!queue.empty()) next_period_.arm(period_start_ + options_.period_ns);
            break;
        }
        const auto chain = queue.pop();
        if (!chain) break;
        const u64 wanted = std::min({chain->in.bytes(), u64{kAtOnce}, allowed});
        const std::size_t got = wanted ? source_.take(std::span(bytes).first(std::size_t(wanted))) : 0;
        if (wanted && !got) { // the source tells when there is more
            queue.unpop(1);
            break;
        }
        if (!chain->in.write(*memory(), 0, bytes.data(), got)) return fail("a buffer outside memory");
        given_ += got;
        queue.push(*chain, u32(got));
    }
    if (memory()) interrupt(queue);
}

void VirtioRng::device_reset() {
    next_period_.cancel();
}

void VirtioRng::visit(StateVisitor& visitor) {
    VirtioDevice::visit(visitor);
    visitor.field("given", given_);
    visitor.field("period_start", period_start_);
    if (!visitor.loading()) return;
    period_start_ = std::min(period_start_, scheduler_.now());
    next_period_.cancel();
    if (options_.max_bytes) next_period_.arm(period_start_ + options_.period_ns);
}

} // namespace dragoman::hw
