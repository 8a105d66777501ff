#include "hw/virtio_pci.h"

#include "base/assert.h"
#include "base/bits.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace dragoman::hw {

namespace {

constexpr u16 kVendor = 0x1af4, kModernDevices = 0x1040, kNoVector = 0xffff;
constexpr unsigned kLegacyBar = 0, kMsixBar = 1, kModernBar = 4;
constexpr u8 kQueueInterrupt = 1, kConfigInterrupt = 2; // ISR status, 4.1.4.5

// The modern BAR: each structure in a page of its own.
constexpr u32 kCommonAt = 0x0000, kIsrAt = 0x1000, kConfigAt = 0x2000, kNotifyAt = 0x3000, kPart = 0x1000;
constexpr u32 kNotifyMultiplier = 4;

// Legacy rings lie in one piece, in pages of 4 KiB (2.6.2).
constexpr u64 kLegacyAlign = 4096;

enum CapabilityType : u8 { kCommonCfg = 1, kNotifyCfg, kIsrCfg, kDeviceCfg, kPciCfg }; // 4.1.4

PciIdentity pci_identity(const VirtioDevice::Identity& device, const VirtioPci::Options& options) {
    PciIdentity identity{.vendor = kVendor, .class_code = device.class_code, .interrupt_pin = 1};
    if (options.legacy && device.transitional) { // 4.1.2.3
        identity.device = device.transitional;
        identity.subsystem_vendor = kVendor;
        identity.subsystem = device.id;
    } else {
        identity.device = u16(kModernDevices + device.id);
        identity.revision = 1;
    }
    return identity;
}

} // namespace

// `get` must not have side effects except where only whole accesses are made.
struct VirtioPci::Field {
    u8 offset, size;
    u64 (*get)(VirtioPci& p);
    void (*set)(VirtioPci& p, u64 value); // null: read-only

    // Where a part of the selected queue lies.
    template <u64 VirtQueue::Place::*part> static u64 place(VirtioPci& p) {
        return p.selected() ? p.selected()->state().place.*part : 0;
    }
    template <u64 VirtQueue::Place::*part> static void set_place(VirtioPci& p, u64 value) {
        VirtQueue* queue = p.selected();
        if (queue && !queue->enabled()) queue->state().place.*part = value;
    }
};

// 4.1.4.3
const VirtioPci::Field VirtioPci::kCommon[] = {
    {0, 4, [](VirtioPci& p) -> u64 { return p.state_.device_feature_select; },
     [](VirtioPci& p, u64 v) { p.state_.device_feature_select = u32(v); }},
    {4, 4,
     [](VirtioPci& p) -> u64 {
         const u32 half = p.state_.device_feature_select;
         return half < 2 ? u32(p.device_->offered() >> (32 * half)) : 0;
     },
     nullptr},
    {8, 4, [](VirtioPci& p) -> u64 { return p.state_.driver_feature_select; },
     [](VirtioPci& p, u64 v) { p.state_.driver_feature_select = u32(v); }},
    {12, 4,
     [](VirtioPci& p) -> u64 {
         const u32 half = p.state_.driver_feature_select;
         return half < 2 ? u32(p.state_.driver_features >> (32 * half)) : 0;
     },
     [](VirtioPci& p, u64 v) {
         const u32 half = p.state_.driver_feature_select;
         if (half >= 2 || (p.device_->status() & kVirtioFeaturesOk)) return;
         u64& features = p.state_.driver_features;
         features = (features & ~(u64{0xffffffff} << (32 * half))) | v << (32 * half);
         p.device_->accept(features);
     }},
    {16, 2, [](VirtioPci& p) -> u64 { return p.state_.config_vector; },
     [](VirtioPci& p, u64 v) { p.set_vector(p.state_.config_vector, v); }},
    {18, 2, [](VirtioPci& p) -> u64 { return p.device_->queues().size(); }, nullptr},
    {20, 1, [](VirtioPci& p) -> u64 { return p.device_->status(); },
     [](VirtioPci& p, u64 v) { p.set_status(u8(v)); }},
    {21, 1, [](VirtioPci& p) -> u64 { return p.device_->config_generation(); }, nullptr},
    {22, 2, [](VirtioPci& p) -> u64 { return p.state_.queue_select; },
     [](VirtioPci& p, u64 v) { p.state_.queue_select = u16(v); }},
    {24, 2, [](VirtioPci& p) -> u64 { return p.selected() ? p.selected()->size() : 0; },
     [](VirtioPci& p, u64 v) {
         VirtQueue* q = p.selected();
         if (q && !q->enabled()) (void)q->set_size(u32(v));
     }},
    {26, 2, [](VirtioPci& p) -> u64 { return p.selected() ? p.selected()->state().vector : kNoVector; },
     [](VirtioPci& p, u64 v) {
         if (VirtQueue* q = p.selected()) p.set_vector(q->state().vector, v);
     }},
    {28, 2, [](VirtioPci& p) -> u64 { return p.selected() && p.selected()->enabled(); },
     [](VirtioPci& p, u64 v) {
         VirtQueue* q = p.selected();
         if (q && v == 1) q->state().enabled = true;
     }},
    {30, 2, [](VirtioPci& p) -> u64 { return p.selected() ? p.state_.queue_select : 0; }, nullptr},
    {32, 8, Field::place<&VirtQueue::Place::descriptors>, Field::set_place<&VirtQueue::Place::descriptors>},
    {40, 8, Field::place<&VirtQueue::Place::available>, Field::set_place<&VirtQueue::Place::available>},
    {48, 8, Field::place<&VirtQueue::Place::used>, Field::set_place<&VirtQueue::Place::used>},
};

// 4.1.4.8
const VirtioPci::Field VirtioPci::kLegacy[] = {
    {0, 4, [](VirtioPci& p) -> u64 { return u32(p.device_->offered()); }, nullptr},
    {4, 4, [](VirtioPci& p) -> u64 { return u32(p.device_->accepted_features()); },
     [](VirtioPci& p, u64 v) { p.device_->accept(v); }},
    {8, 4,
     [](VirtioPci& p) -> u64 {
         const VirtQueue* q = p.selected();
         return q && q->enabled() ? const_cast<VirtQueue*>(q)->state().place.descriptors / kLegacyAlign : 0;
     },
     [](VirtioPci& p, u64 v) {
         VirtQueue* q = p.selected();
         if (!q) return;
         if (v == 0) {
             p.set_status(0); // a page of 0 gives the queue up; drivers do so on their way to a reset
             return;
         }
         const u64 at = v * kLegacyAlign, available = at + 16 * u64{q->size()};
         const u64 used = align_up(available + 6 + 2 * u64{q->size()}, kLegacyAlign);
         q->state().place = {at, available, used};
         q->state().enabled = true;
     }},
    {12, 2, [](VirtioPci& p) -> u64 { return p.selected() ? p.selected()->size() : 0; }, nullptr},
    {14, 2, [](VirtioPci& p) -> u64 { return p.state_.queue_select; },
     [](VirtioPci& p, u64 v) { p.state_.queue_select = u16(v); }},
    {16, 2, [](VirtioPci&) -> u64 { return 0; }, [](VirtioPci& p, u64 v) { p.device_->notified(u16(v)); }},
    {18, 1, [](VirtioPci& p) -> u64 { return p.device_->status(); },
     [](VirtioPci& p, u64 v) { p.set_status(u8(v)); }},
    {19, 1, [](VirtioPci& p) -> u64 { return p.take_isr(); }, nullptr},
};

const VirtioPci::Field VirtioPci::kLegacyVectors[] = {
    {20, 2, kCommon[4].get, kCommon[4].set},
    {22, 2, kCommon[10].get, kCommon[10].set},
};

VirtioPci::VirtioPci(std::unique_ptr<VirtioDevice> device, const Options& options)
    : PciFunction(device->identity().name, pci_identity(device->identity(), options)),
      device_(std::move(device)), options_(options) {
    options_.legacy = options.legacy && device_->identity().transitional;
    DRAGOMAN_ASSERT(options_.legacy || options_.modern);
    device_->connect(*this);
    set_config(kPciStatus, 2, 0);
    if (options_.legacy)
        set_bar(kLegacyBar, BarKind::Io, std::bit_ceil(24 + device_->config().size()), &legacy_);
    if (options_.vectors) set_msix(kMsixBar, options_.vectors);
    if (options_.modern)
        add_capabilities();
    else
        device_->withdraw(u64{1} << kVirtioVersion1);
}

void VirtioPci::add_capabilities() {
    const auto add = [&](CapabilityType type, u8 bytes, u32 at) {
        const u8 capability = add_capability(0x09, bytes); // vendor-specific
        set_config(u8(capability + 2), 1, bytes);
        set_config(u8(capability + 3), 1, type);
        set_config(u8(capability + 4), 1, kModernBar);
        set_config(u8(capability + 8), 4, at);
        set_config(u8(capability + 12), 4, kPart);
        return capability;
    };
    add(kCommonCfg, 16, kCommonAt);
    add(kIsrCfg, 16, kIsrAt);
    add(kDeviceCfg, 16, kConfigAt);
    set_config(u8(add(kNotifyCfg, 20, kNotifyAt) + 16), 4, kNotifyMultiplier);
    window_ = add(kPciCfg, 20, 0); // BAR, offset, length and data are the driver's (4.1.4.7)
    set_config(u8(window_ + 4), 1, 0, 0xff);
    set_config(u8(window_ + 8), 4, 0, 0xffffffff);
    set_config(u8(window_ + 12), 4, 0, 0xffffffff);
    set_config(u8(window_ + 16), 4, 0, 0xffffffff);
    set_bar(kModernBar, BarKind::Memory64, 4 * kPart, &modern_);
}

void VirtioPci::reset() {
    PciFunction::reset();
    set_status(0);
}

void VirtioPci::visit(StateVisitor& visitor) {
    PciFunction::visit(visitor);
    visitor.field("device_feature_select", state_.device_feature_select);
    visitor.field("driver_feature_select", state_.driver_feature_select);
    visitor.field("driver_features", state_.driver_features);
    visitor.field("queue_select", state_.queue_select);
    visitor.field("config_vector", state_.config_vector);
    visitor.field("isr", state_.isr);
    device_->visit(visitor);
    if (visitor.loading()) set_intx(state_.isr != 0);
}

// --- interrupts

void VirtioPci::queue_interrupt(VirtQueue& queue) {
    if (msix_enabled()) {
        if (queue.state().vector != kNoVector) notify_msix(queue.state().vector);
        return;
    }
    state_.isr |= kQueueInterrupt;
    set_intx(true);
}

void VirtioPci::config_interrupt() {
    if (msix_enabled()) {
        if (state_.config_vector != kNoVector) notify_msix(state_.config_vector);
        return;
    }
    state_.isr |= kConfigInterrupt;
    set_intx(true);
}

u64 VirtioPci::take_isr() {
    const u8 isr = std::exchange(state_.isr, u8{0});
    set_intx(false);
    return isr;
}

void VirtioPci::set_vector(u16& vector, u64 value) {
    vector = value < options_.vectors ? u16(value) : kNoVector; // the driver reads back whether it got one
}

// --- registers

VirtQueue* VirtioPci::selected() {
    auto& queues = device_->queues();
    return state_.queue_select < queues.size() ? &queues[state_.queue_select] : nullptr;
}

void VirtioPci::set_status(u8 status) {
    device_->set_status(status);
    if (status) return;
    state_ = {};
    set_intx(false);
}

u64 VirtioPci::read_fields(std::span<const Field> fields, u64 offset, unsigned size) {
    u64 value = 0;
    for (const Field& f : fields) {
        if (f.offset >= offset + size || f.offset + f.size <= offset) continue;
        const u64 field = f.get(*this) & size_mask(f.size);
        value |= f.offset >= offset ? field << (8 * (f.offset - offset)) : field >> (8 * (offset - f.offset));
    }
    return value & size_mask(size);
}

void VirtioPci::write_fields(std::span<const Field> fields, u64 offset, unsigned size, u64 value) {
    for (const Field& f : fields) {
        if (!f.set || f.offset >= offset + size || f.offset + f.size <= offset) continue;
        u64 mask = size_mask(size), part = value & mask;
        if (f.offset >= offset) {
            part >>= 8 * (f.offset - offset);
            mask >>= 8 * (f.offset - offset);
        } else {
            part <<= 8 * (offset - f.offset);
            mask <<= 8 * (offset - f.offset);
        }
        const u64 whole = size_mask(f.size);
        if ((mask & whole) != whole) part |= f.get(*this) & ~mask;
        f.set(*this, part & whole);
    }
}

u64 VirtioPci::read_config(u64 offset, unsigned size) {
    const std::span<const u8> config = device_->config();
    u64 value = 0;
    for (unsigned i = 0; i < size && offset + i < config.size(); ++i)
        value |= u64{config[offset + i]} << (8 * i);
    return value;
}

void VirtioPci::write_config(u64 offset, unsigned size, u64 value) {
    const u64 bytes = device_->config().size();
    if (offset < bytes && size <= bytes - offset)
        device_->config_write(offset, size, value & size_mask(size));
}

u64 VirtioPci::Modern::read(u64 offset, unsigned size) {
    const u64 at = offset % kPart;
    switch (offset - at) {
    case kCommonAt: return owner_.read_fields(kCommon, at, size);
    case kIsrAt: return at == 0 ? owner_.take_isr() : 0;
    case kConfigAt: return owner_.read_config(at, size);
    default: return 0;
    }
}

void VirtioPci::Modern::write(u64 offset, unsigned size, u64 value) {
    const u64 at = offset % kPart;
    switch (offset - at) {
    case kCommonAt: owner_.write_fields(kCommon, at, size, value); break;
    case kConfigAt: owner_.write_config(at, size, value); break;
    case kNotifyAt: owner_.device_->notified(unsigned(at / kNotifyMultiplier)); break;
    default: break;
    }
}

u64 VirtioPci::Legacy::read(u64 offset, unsigned size) {
    const u64 header = owner_.legacy_header();
    if (offset >= header) return owner_.read_config(offset - header, size);
    return owner_.read_fields(offset < 20 ? std::span<const Field>(kLegacy) : kLegacyVectors, offset, size);
}

void VirtioPci::Legacy::write(u64 offset, unsigned size, u64 value) {
    const u64 header = owner_.legacy_header();
    if (offset >= header)
        owner_.write_config(offset - header, size, value);
    else
        owner_.write_fields(offset < 20 ? std::span<const Field>(kLegacy) : kLegacyVectors, offset, size,
                            value);
}

// --- the window in configuration space: for firmware that cannot reach the BAR

bool VirtioPci::window(u64& offset, unsigned& size) const {
    offset = config_read(u8(window_ + 8), 4);
    size = config_read(u8(window_ + 12), 4);
    return config_[window_ + 4] == kModernBar && (size == 1 || size == 2 || size == 4) &&
           offset % size == 0 && offset < 4 * kPart;
}

void VirtioPci::config_reading(u8 offset, unsigned size) {
    u64 at;
    unsigned bytes;
    if (!window_ || offset + size <= window_ + 16u || offset >= window_ + 20 || !window(at, bytes)) return;
    const u64 value = modern_.read(at, bytes);
    std::memcpy(&config_[window_ + 16], &value, bytes);
}

void VirtioPci::config_written(u8 offset, unsigned size) {
    u64 at;
    unsigned bytes;
    if (!window_ || offset + size <= window_ + 16u || offset >= window_ + 20 || !window(at, bytes)) return;
    modern_.write(at, bytes, config_read(u8(window_ + 16), 4) & size_mask(bytes));
}

} // namespace dragoman::hw
