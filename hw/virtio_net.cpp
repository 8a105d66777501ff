#include "hw/virtio_net.h"

#include "base/bits.h"
#include "hw/net_frame.h"

#include <algorithm>
#include <cstring>

namespace dragoman::hw {

namespace {

constexpr std::size_t kMostQueues = 2 * VirtioNet::max_pairs;
constexpr auto kSizes = [] {
    std::array<u16, kMostQueues + 1> sizes{};
    sizes.fill(256);
    sizes.back() = 64; // of the control queue
    return sizes;
}();
constexpr VirtioDevice::Identity kIdentity{"virtio-net-pci", 1, 0x1000, 0x020000};
constexpr u64 kFeatures = u64{1} << kVirtioNetCsum | u64{1} << kVirtioNetMac | u64{1} << kVirtioNetTso4 |
                          u64{1} << kVirtioNetTso6 | u64{1} << kVirtioNetEcn | u64{1} << kVirtioNetMrgRxbuf |
                          u64{1} << kVirtioNetStatus | u64{1} << kVirtioNetCtrlVq |
                          u64{1} << kVirtioNetCtrlRx | u64{1} << kVirtioNetCtrlVlan |
                          u64{1} << kVirtioNetCtrlRxExtra | u64{1} << kVirtioNetCtrlMac;
constexpr std::size_t kTableEntries = 64; // of the filter; more of them turn it off

// struct virtio_net_hdr, 5.1.6
struct Header {
    u8 flags, gso_type;
    u16 header_bytes, gso_size, csum_start, csum_offset, buffers;
};
constexpr u8 kNeedsCsum = 1;
constexpr u8 kGsoNone = 0, kGsoTcp4 = 1, kGsoTcp6 = 4, kGsoEcn = 0x80;
constexpr u16 kLinkUp = 1;

} // namespace

VirtioNet::VirtioNet(const MacAddress& mac, NetBackend* backend, Log& log, unsigned pairs)
    : VirtioDevice(kIdentity, kFeatures | u64{pairs > 1} << kVirtioNetMq,
                   std::span(kSizes).last(2 * std::clamp(pairs, 1u, max_pairs) + 1), log),
      permanent_mac_(mac), mac_(mac), backend_(backend), max_pairs_(std::clamp(pairs, 1u, max_pairs)) {
    std::copy(mac.begin(), mac.end(), config_.begin());
    config_[8] = u8(max_pairs_); // max_virtqueue_pairs
    if (backend_) backend_->attach(*this);
    config_[6] = backend_ && backend_->link() ? kLinkUp : 0;
}

void VirtioNet::config_write(u64 offset, unsigned size, u64 value) {
    // Drivers from before the control queue wrote their address here (5.1.4.1).
    if (accepted(kVirtioVersion1) || offset + size > mac_.size()) return;
    std::memcpy(config_.data() + offset, &value, size);
    std::memcpy(mac_.data() + offset, &value, size);
}

void VirtioNet::device_reset() {
    mac_ = permanent_mac_;
    std::copy(mac_.begin(), mac_.end(), config_.begin());
    filter_ = {};
    addresses_.clear();
    vlans_.reset();
    active_pairs_ = 1;
    flows_.clear();
}

void VirtioNet::driver_ready() {
    if (backend_) backend_->room();
}

void VirtioNet::link_changed(bool up) {
    config_[6] = up ? kLinkUp : 0;
    config_changed();
}

std::size_t VirtioNet::header_bytes() const {
    return accepted(kVirtioVersion1) || accepted(kVirtioNetMrgRxbuf) ? 12 : 10;
}

// --- receiving

bool VirtioNet::can_receive() {
    for (unsigned pair = 0; driver_ok() && pair < active_pairs_; ++pair)
        if (!queues()[2 * pair].empty()) return true;
    return false;
}

// The one of the frame's conversation, or while there are no buffers in it the next one; null: none has any.
VirtQueue* VirtioNet::receive_queue(std::span<const u8> frame) {
    const unsigned first = active_pairs_ > 1 ? flows_.pair_for(frame, active_pairs_) : 0;
    for (unsigned n = 0; n < active_pairs_; ++n)
        if (VirtQueue& queue = queues()[2 * ((first + n) % active_pairs_)]; !queue.empty()) return &queue;
    return nullptr;
}

bool VirtioNet::wanted(std::span<const u8> frame) const {
    if (filter_.promiscuous) return true;
    if (accepted(kVirtioNetCtrlVlan) && get_be16(frame, 12) == 0x8100 && frame.size() >= 16 &&
        !vlans_[get_be16(frame, 14) & 0xfff])
        return false;
    if (is_broadcast(frame)) return !filter_.no_broadcast;
    const bool listed = std::any_of(addresses_.begin(), addresses_.end(), [&](const MacAddress& a) {
        return std::equal(a.begin(), a.end(), frame.begin());
    });
    if (is_multicast(frame))
        return !filter_.no_multicast && (filter_.all_multicast || filter_.multicast_overflow || listed);
    return !filter_.no_unicast && (filter_.all_unicast || filter_.unicast_overflow || listed ||
                                   std::equal(mac_.begin(), mac_.end(), frame.begin()));
}

void VirtioNet::receive(std::span<const u8> frame) {
    DmaBus* ram = memory();
    if (!ram || !driver_ok() || frame.size() < 14 || frame.size() > max_frame_bytes || !wanted(frame)) return;
    std::vector<u8> bytes(header_bytes());
    bytes.insert(bytes.end(), frame.begin(), frame.end());

    VirtQueue* const found = receive_queue(frame);
    if (!found) return;
    VirtQueue& queue = *found;
    std::vector<VirtioChain> chains;
    u64 space = 0;
    while (space < bytes.size() && chains.size() < queue.size()) {
        auto chain = queue.pop();
        if (!chain) break;
        if (chain->in.bytes() == 0) return fail("a receive buffer without room");
        space += chain->in.bytes();
        chains.push_back(std::move(*chain));
        if (!accepted(kVirtioNetMrgRxbuf)) break;
    }
    if (space < bytes.size()) { // the frame is lost
        if (driver_ok()) queue.unpop(unsigned(chains.size()));
        return;
    }
    if (bytes.size() - frame.size() == sizeof(Header)) {
        const u16 count = u16(chains.size());
        std::memcpy(bytes.data() + offsetof(Header, buffers), &count, sizeof count);
    }
    u64 done = 0;
    for (const VirtioChain& chain : chains) {
        const u64 part = std::min<u64>(chain.in.bytes(), bytes.size() - done);
        if (!chain.in.write(*ram, 0, bytes.data() + done, part))
            return fail("a receive buffer outside memory");
        done += part;
        queue.push(chain, u32(part));
    }
    interrupt(queue);
}

// --- sending

void VirtioNet::queue_notified(unsigned queue) {
    if (queue == control_queue()) return control();
    if (queue > control_queue()) return; // of a pair that the driver does not know
    if (queue % 2)
        transmit(queue / 2);
    else if (backend_)
        backend_->room();
}

void VirtioNet::transmit(unsigned pair) {
    VirtQueue& queue = queues()[2 * pair + 1];
    std::vector<u8> bytes;
    for (unsigned left = queue.size(); left; --left) {
        const auto chain = queue.pop();
        if (!chain) break;
        const u64 header = header_bytes(), count = chain->out.bytes();
        if (count >= header && count - header <= max_frame_bytes) {
            bytes.resize(count);
            if (!chain->out.read(*memory(), 0, bytes.data(), count)) return fail("a frame outside memory");
            transmit_frame(pair, std::span(bytes).first(header), std::span(bytes).subspan(header));
        } else {
            log_.print(LogItem::GuestError, "virtio-net: a frame of %llu bytes\n",
                       static_cast<unsigned long long>(count));
        }
        queue.push(*chain, 0);
    }
    interrupt(queue);
}

void VirtioNet::transmit_frame(unsigned pair, std::span<const u8> bytes, std::span<u8> frame) {
    Header header{};
    std::memcpy(&header, bytes.data(), bytes.size());
    if (!backend_ || frame.size() < 14) return;
    if (pairs() > 1) flows_.sent(frame, pair);
    bool ok = true;
    if (const u8 gso = header.gso_type & u8(~kGsoEcn); gso != kGsoNone) {
        ok = (gso == kGsoTcp4 || gso == kGsoTcp6) &&
             segment_tcp(frame, header.gso_size, [this](std::span<const u8> f) { backend_->send(f); });
    } else {
        if (header.flags & kNeedsCsum)
            ok = put_checksum(frame, header.csum_start, std::size_t{header.csum_start} + header.csum_offset,
                              frame.size());
        if (ok) backend_->send(frame);
    }
    if (!ok) log_.print(LogItem::GuestError, "virtio-net: a frame whose header does not fit it is dropped\n");
}

// --- the control queue, 5.1.6.5

void VirtioNet::control() {
    VirtQueue& queue = queues()[control_queue()];
    for (unsigned left = queue.size(); left; --left) {
        const auto chain = queue.pop();
        if (!chain) break;
        const u64 count = chain->out.bytes();
        std::vector<u8> bytes(std::min<u64>(count, 64 * KiB));
        if (count < 2 || chain->in.bytes() < 1) return fail("a control command without header or answer");
        if (!chain->out.read(*memory(), 0, bytes.data(), bytes.size()))
            return fail("a control command outside memory");
        const u8 answer = command(bytes[0], bytes[1], std::span(bytes).subspan(2)) ? 0 : 1;
        if (!chain->in.write(*memory(), 0, &answer, 1)) return fail("a control command outside memory");
        queue.push(*chain, 1);
    }
    interrupt(queue);
}

bool VirtioNet::command(u8 group, u8 what, std::span<const u8> data) {
    enum : u8 { kRx = 0, kMac = 1, kVlan = 2, kMq = 4 };
    if (group == kRx) {
        bool Filter::*const switches[] = {&Filter::promiscuous, &Filter::all_multicast,
                                          &Filter::all_unicast, &Filter::no_multicast,
                                          &Filter::no_unicast,  &Filter::no_broadcast};
        if (what >= std::size(switches) || data.empty()) return false;
        filter_.*switches[what] = data[0] != 0;
        return true;
    }
    if (group == kMac && what == 0) return set_filter_table(data);
    if (group == kMac && what == 1) {
        if (data.size() != mac_.size()) return false;
        std::copy(data.begin(), data.end(), mac_.begin());
        std::copy(data.begin(), data.end(), config_.begin());
        return true;
    }
    if (group == kVlan && what < 2) {
        if (data.size() < 2) return false;
        const unsigned id = data[0] | data[1] << 8;
        if (id >= vlans_.size()) return false;
        vlans_[id] = what == 0;
        return true;
    }
    if (group == kMq && what == 0) { // VQ_PAIRS_SET
        if (data.size() < 2 || !accepted(kVirtioNetMq)) return false;
        const u16 wanted = u16(data[0] | data[1] << 8);
        if (wanted < 1 || wanted > max_pairs_) return false;
        active_pairs_ = wanted;
        return true;
    }
    return false;
}

// Two tables, unicast and multicast: a 32-bit count and the addresses.
bool VirtioNet::set_filter_table(std::span<const u8> data) {
    std::vector<MacAddress> all;
    bool overflow[2] = {};
    for (bool& full : overflow) {
        u32 count;
        if (data.size() < sizeof count) return false;
        std::memcpy(&count, data.data(), sizeof count);
        data = data.subspan(sizeof count);
        if (count > data.size() / 6) return false;
        full = count > kTableEntries;
        for (u32 i = 0; i < count && !full; ++i)
            std::copy_n(data.begin() + 6 * i, 6, all.emplace_back().begin());
        data = data.subspan(std::size_t{count} * 6);
    }
    addresses_ = std::move(all);
    filter_.unicast_overflow = overflow[0];
    filter_.multicast_overflow = overflow[1];
    return true;
}

void VirtioNet::visit(StateVisitor& visitor) {
    VirtioDevice::visit(visitor);
    visitor.field("mac", mac_);
    visitor.field("config", config_);
    visitor.field("active_pairs", active_pairs_);
    flows_.visit(visitor);
    bool* const switches[] = {&filter_.promiscuous,      &filter_.all_multicast,     &filter_.all_unicast,
                              &filter_.no_multicast,     &filter_.no_unicast,        &filter_.no_broadcast,
                              &filter_.unicast_overflow, &filter_.multicast_overflow};
    u8 bits = 0;
    for (unsigned n = 0; n < std::size(switches); ++n)
        bits = with_bit(bits, n, *switches[n]);
    visitor.field("filter", bits);
    for (unsigned n = 0; n < std::size(switches); ++n)
        *switches[n] = bit(bits, n);

    std::array<MacAddress, 2 * kTableEntries> table{};
    std::copy(addresses_.begin(), addresses_.end(), table.begin());
    u32 count = u32(addresses_.size());
    visitor.field("addresses", count);
    visitor.field("table", table);
    std::array<u64, 64> words{};
    for (std::size_t id = 0; id < vlans_.size(); ++id)
        words[id / 64] |= u64{vlans_[id]} << id % 64;
    visitor.field("vlans", words);
    if (!visitor.loading()) return;
    active_pairs_ = std::clamp<u16>(active_pairs_, 1, u16(pairs()));
    addresses_.assign(table.begin(), table.begin() + std::min<std::size_t>(count, table.size()));
    for (std::size_t id = 0; id < vlans_.size(); ++id)
        vlans_[id] = bit(words[id / 64], id % 64);
}

} // namespace dragoman::hw
