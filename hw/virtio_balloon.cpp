#include "hw/virtio_balloon.h"

#include "base/bits.h"

#include <algorithm>
#include <cstring>

namespace dragoman::hw {

namespace {

constexpr VirtioDevice::Identity kIdentity{"virtio-balloon-pci", 5, 0x1002, 0x00ff00};
enum Queue : unsigned { kInflate = 0, kDeflate = 1, kStats = 2 };
constexpr u16 kSizes[] = {128, 128, 128, 128};
enum Feature : unsigned { kStatsVq = 1, kDeflateOnOom = 2, kReporting = 5 }; // 5.5.3
constexpr u64 kPage = 4096;      // also where the guest's are larger
constexpr u64 kMaxPages = 16384; // named by one chain; Linux: 256
constexpr u64 kAtOnce = 4 * kMaxPages;

u64 features(const VirtioBalloon::Options& o) {
    return u64{1} << kStatsVq | u64{o.deflate_on_oom} << kDeflateOnOom |
           u64{o.free_page_reporting} << kReporting;
}

u32 word(const std::array<u8, 8>& config, unsigned offset) {
    u32 value;
    std::memcpy(&value, config.data() + offset, sizeof value);
    return value;
}

} // namespace

VirtioBalloon::VirtioBalloon(MemoryGiver& giver, u64 ram_bytes, const Options& options,
                             std::function<void()> changed, Scheduler& scheduler, Log& log)
    : VirtioDevice(kIdentity, features(options), kSizes, log), giver_(giver), ram_bytes_(ram_bytes),
      changed_(std::move(changed)), more_(scheduler, [this] { inflate(); }) {}

void VirtioBalloon::set_target(u64 bytes) {
    const u32 pages = u32((ram_bytes_ - std::min(bytes, ram_bytes_)) / kPage);
    std::memcpy(config_.data(), &pages, sizeof pages);
    config_changed();
}

u64 VirtioBalloon::guest_bytes() const {
    return ram_bytes_ - std::min(ram_bytes_, word(config_, 4) * kPage);
}

void VirtioBalloon::config_write(u64 offset, unsigned size, u64 value) {
    if (offset < 4 || offset + size > config_.size()) return; // "actual" is the driver's
    const u64 before = guest_bytes();
    std::memcpy(config_.data() + offset, &value, size);
    if (guest_bytes() != before && changed_) changed_();
}

// A queue exists for each feature that was accepted, in this order.
unsigned VirtioBalloon::reporting_queue() const {
    return accepted(kStatsVq) ? 3 : 2;
}

void VirtioBalloon::queue_notified(unsigned queue) {
    if (accepted(kReporting) && queue == reporting_queue())
        give_reported(queues()[queue]);
    else if (queue == kInflate || queue == kDeflate)
        inflate();
    else if (queue == kStats && accepted(kStatsVq))
        take_stats();
}

// Both queues: pages that the guest takes back come when it touches them.
void VirtioBalloon::inflate() {
    u64 budget = kAtOnce;
    for (const unsigned n : {kInflate, kDeflate}) {
        VirtQueue& queue = queues()[n];
        while (budget >= kMaxPages) {
            const auto chain = queue.pop();
            if (!chain) break;
            budget -= kMaxPages;
            if (n == kInflate && !give_pages(*chain)) return;
            queue.push(*chain, 0);
        }
        if (!memory()) return;
        interrupt(queue);
        if (!queue.empty()) more_.arm(0);
    }
}

bool VirtioBalloon::give_pages(const VirtioChain& chain) {
    const u64 count = chain.out.bytes() / sizeof(u32);
    if (count > kMaxPages) {
        fail("more pages at once than a driver has");
        return false;
    }
    std::vector<u32> pages(count);
    if (!chain.out.read(*memory(), 0, pages.data(), count * sizeof(u32))) {
        fail("page numbers outside memory");
        return false;
    }
    // Neighbours in one go. The driver takes the highest first.
    std::sort(pages.begin(), pages.end());
    for (std::size_t n = 0; n < pages.size();) {
        std::size_t end = n + 1;
        while (end < pages.size() && pages[end] - pages[end - 1] <= 1)
            ++end;
        giver_.give_back(pages[n] * kPage, (u64{pages[end - 1]} - pages[n] + 1) * kPage);
        n = end;
    }
    return true;
}

void VirtioBalloon::give_reported(VirtQueue& queue) {
    for (unsigned left = queue.size(); left; --left) {
        const auto chain = queue.pop();
        if (!chain) break;
        for (const VirtioBuffers::Segment& s : chain->in.segments())
            giver_.give_back(s.gpa, s.bytes);
        queue.push(*chain, 0);
    }
    if (memory()) interrupt(queue);
}

void VirtioBalloon::take_stats() {
    auto chain = queues()[kStats].pop();
    if (!chain) return;
    struct [[gnu::packed]] Entry {
        u16 tag;
        u64 value;
    };
    const u64 count = std::min<u64>(chain->out.bytes() / sizeof(Entry), 64);
    for (u64 n = 0; n < count; ++n) {
        Entry entry;
        if (!chain->out.read(*memory(), n * sizeof entry, &entry, sizeof entry))
            return fail("statistics outside memory");
        if (entry.tag < stat_tags) stats_[entry.tag] = u64{entry.value};
    }
    stats_chain_ = std::move(chain); // it goes back when somebody asks again
}

std::array<std::optional<u64>, VirtioBalloon::stat_tags> VirtioBalloon::stats() {
    if (stats_chain_ && memory()) {
        queues()[kStats].push(*stats_chain_, 0);
        stats_chain_.reset();
        interrupt(queues()[kStats]);
    }
    return stats_;
}

void VirtioBalloon::device_reset() {
    more_.cancel();
    stats_chain_.reset();
    stats_.fill({});
    const u32 none = 0;
    std::memcpy(config_.data() + 4, &none, sizeof none);
}

void VirtioBalloon::visit(StateVisitor& visitor) {
    VirtioDevice::visit(visitor);
    visitor.field("config", config_);
    u16 head = stats_chain_ ? stats_chain_->head : 0;
    bool held = stats_chain_.has_value();
    visitor.field("stats_head", head);
    visitor.field("stats_held", held);
    if (!visitor.loading()) return;
    stats_chain_.reset();
    if (held) {
        stats_chain_.emplace();
        stats_chain_->head = head;
        stats_chain_->generation = queues()[kStats].generation();
    }
    more_.arm(0);
}

} // namespace dragoman::hw
