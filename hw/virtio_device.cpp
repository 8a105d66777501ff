#include "hw/virtio_device.h"

#include "base/assert.h"
#include "base/bits.h"

#include <string>

namespace dragoman::hw {

namespace {

constexpr u64 kCommonFeatures = u64{1} << kVirtioAnyLayout | u64{1} << kVirtioIndirect |
                                u64{1} << kVirtioEventIndex | u64{1} << kVirtioVersion1;

} // namespace

VirtioDevice::VirtioDevice(const Identity& identity, u64 features, std::span<const u16> sizes, Log& log)
    : log_(log), identity_(identity), offered_(features | kCommonFeatures) {
    queues_.reserve(sizes.size());
    for (const u16 size : sizes) {
        DRAGOMAN_ASSERT(size <= VirtQueue::max_size && std::has_single_bit(size));
        queues_.emplace_back(*this, size);
    }
}

DmaBus* VirtioDevice::memory() {
    if (!transport_ || (status_ & kVirtioNeedsReset)) return nullptr;
    // Old drivers used the queues before they said DRIVER_OK (2.1.2 forbids it to those of version 1).
    if (accepted(kVirtioVersion1) && !(status_ & kVirtioDriverOk)) return nullptr;
    return transport_->memory();
}

void VirtioDevice::accept(u64 features) {
    if (!(status_ & kVirtioFeaturesOk)) accepted_ = features & offered_;
}

void VirtioDevice::set_status(u8 status) {
    if (status == 0) {
        reset();
        return;
    }
    const u8 before = status_;
    if (!accepted(kVirtioVersion1)) status &= u8(~kVirtioFeaturesOk); // a legacy driver does not know the bit
    // The driver clears no bit but by a reset (2.1.1).
    status_ = u8(before | (status & ~kVirtioNeedsReset));
    if (driver_ok() && !(before & kVirtioDriverOk)) driver_ready();
}

void VirtioDevice::notified(unsigned queue) {
    if (queue < queues_.size() && queues_[queue].enabled() && memory()) queue_notified(queue);
}

void VirtioDevice::fail(const char* why) {
    if (status_ & kVirtioNeedsReset) return;
    log_.print(LogItem::GuestError, "%s: %s; the device needs a reset\n", identity_.name, why);
    const bool tell = status_ & kVirtioDriverOk;
    status_ |= kVirtioNeedsReset;
    if (tell && accepted(kVirtioVersion1)) config_changed();
}

void VirtioDevice::interrupt(VirtQueue& queue) {
    if (queue.take_interrupt_wish()) transport_->queue_interrupt(queue);
}

void VirtioDevice::config_changed() {
    ++generation_;
    if (transport_ && (status_ & kVirtioDriverOk)) transport_->config_interrupt();
}

void VirtioDevice::reset() {
    status_ = 0;
    accepted_ = 0;
    for (VirtQueue& queue : queues_)
        queue.reset();
    device_reset();
}

void VirtioDevice::visit(StateVisitor& visitor) {
    visitor.field("accepted", accepted_);
    visitor.field("status", status_);
    visitor.field("generation", generation_);
    for (std::size_t n = 0; n < queues_.size(); ++n)
        queues_[n].visit(visitor, "queue" + std::to_string(n) + ".");
    if (visitor.loading()) accepted_ &= offered_;
}

} // namespace dragoman::hw
