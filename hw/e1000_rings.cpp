// Descriptor rings of the 82540EM: receive (3.2), transmit (3.3) with checksum and TCP segmentation offload
// (3.5).
#include "base/bits.h"
#include "hw/e1000.h"
#include "hw/e1000_registers.h"
#include "hw/net_frame.h"

#include <algorithm>
#include <cstring>

namespace dragoman::hw {

using namespace e1000;

namespace {

// The rest of a long ring waits for the timer.
constexpr unsigned kDescriptorsAtOnce = 256;
constexpr u64 kBytesAtOnce = 512 * KiB;
constexpr u64 kSoon = 1000; // ns
constexpr std::size_t kLeastFrame = 60, kLongestFrame = 1518;
constexpr unsigned kLeastMss = 48;
constexpr u8 kFin = 1, kPsh = 8;

struct RxDescriptor { // 3.2.3
    u64 address;
    u16 length, checksum;
    u8 status, errors;
    u16 special;
};

template <class T> T load(std::span<const u8> bytes, std::size_t at) {
    T value;
    std::memcpy(&value, bytes.data() + at, sizeof value);
    return value;
}

// Receive checksum offload (3.2.9): the status and error bits of an IPv4 frame.
void check_sums(std::span<const u8> frame, u32 rxcsum, u8& status, u8& errors) {
    constexpr std::size_t ip = 14;
    constexpr u8 tcp_type = 6, udp_type = 17;
    constexpr u8 bad_ip = 0x40, bad_payload = 0x20;
    if (frame.size() < ip + 20 || get_be16(frame, 12) != 0x0800 || frame[ip] >> 4 != 4) return;
    const std::size_t header = (frame[ip] & 15) * 4u, total = get_be16(frame, ip + 2);
    if (header < 20 || total < header || ip + total > frame.size()) return;
    if (rxcsum & kRxcsumIp) {
        status |= kRxIpChecked;
        if (internet_sum(frame.subspan(ip, header)) != 0xffff) errors |= bad_ip;
    }
    const u8 type = frame[ip + 9];
    const std::size_t payload = total - header;
    const bool fragment = get_be16(frame, ip + 6) & 0x3fff;
    if (!(rxcsum & kRxcsumTcp) || fragment || (type != tcp_type && type != udp_type)) return;
    if (payload < 8 || (type == udp_type && get_be16(frame, ip + header + 6) == 0))
        return; // UDP without a sum
    const u32 pseudo = u32(type + payload) + internet_sum(frame.subspan(ip + 12, 8));
    status |= kRxTcpChecked;
    if (internet_sum(frame.subspan(ip + header, payload), pseudo) != 0xffff) errors |= bad_payload;
}

} // namespace

// --- transmit

void E1000::transmit() {
    const u32 size = ring_size(TDLEN);
    if (sending_ || !(word(TCTL) & kTxEnable) || !bus_master() || size == 0 || word(TDH) == word(TDT)) return;
    if (word(TDT) >= size) {
        log_.print(LogItem::GuestError, "e1000: transmit tail %u of %u descriptors\n", word(TDT), size);
        return;
    }
    sending_ = true; // a frame that loops back must not bring us here again
    u32 causes = 0;
    u64 bytes = 0;
    if (word(TDH) >= size) word(TDH) = 0;
    for (unsigned n = 0; word(TDH) != word(TDT) && n < kDescriptorsAtOnce && bytes < kBytesAtOnce; ++n) {
        const u64 at = ring(TDBAL) + 16 * u64{word(TDH)};
        std::array<u8, 16> descriptor;
        dma().read(at, descriptor.data(), descriptor.size());
        transmit_descriptor(descriptor);
        bytes += load<u32>(descriptor, 8) & 0xffff;
        if (descriptor[11] & kCmdRs) {
            const u8 status = descriptor[12] | kDescriptorDone;
            dma().write(at + 12, &status, 1);
            causes |= kIntTxWritten;
        }
        word(TDH) = (word(TDH) + 1) % size;
    }
    sending_ = false;
    if (word(TDH) != word(TDT))
        more_to_send_.arm(scheduler_.now() + kSoon);
    else
        causes |= kIntTxEmpty;
    raise(causes);
}

void E1000::transmit_descriptor(std::span<const u8, 16> d) {
    const u8 command = d[11];
    const u32 second = load<u32>(d, 8);
    state_.extended = command & kCmdDext;
    if (state_.extended && bits(second, 23, 20) == 0) return load_context(d);
    if (state_.extended) {
        if (!state_.started) {
            state_.popts = d[13];
            state_.segmented = command & kCmdTse;
        }
        append(load<u64>(d, 0), second & 0xfffff);
    } else {
        if (!state_.started) {
            state_.popts = 0;
            state_.segmented = false;
        }
        state_.legacy_checksum = command & kCmdIc;
        state_.legacy_css = d[13];
        state_.legacy_cso = d[10];
        append(load<u64>(d, 0), second & 0xffff);
    }
    state_.started = true;
    if (!(command & kCmdEop)) return;
    state_.vlan = (command & kCmdVle) && (word(CTRL) & kCtrlVlanMode);
    state_.tag = load<u16>(d, 14);
    if (packet_.size() > max_frame_bytes) {
        log_.print(LogItem::GuestError, "e1000: a packet too long to send\n");
    } else if (state_.segmented) {
        send_segmented();
    } else {
        if (state_.extended)
            finish_checksums(packet_);
        else if (state_.legacy_checksum)
            put_checksum(packet_, state_.legacy_css, state_.legacy_cso, packet_.size());
        send(packet_);
    }
    packet_.clear();
    state_.started = false;
}

void E1000::load_context(std::span<const u8, 16> d) {
    state_.context = {.ipcss = d[0],
                      .ipcso = d[1],
                      .tucss = d[4],
                      .tucso = d[5],
                      .tucmd = d[11],
                      .header = d[13],
                      .ipcse = load<u16>(d, 2),
                      .tucse = load<u16>(d, 6),
                      .mss = load<u16>(d, 14),
                      .payload = load<u32>(d, 8) & 0xfffff};
}

void E1000::append(u64 gpa, u32 bytes) {
    const std::size_t before = packet_.size();
    if (before > max_frame_bytes || !bytes) return; // too long already: it will be dropped
    packet_.resize(std::min<std::size_t>(before + bytes, max_frame_bytes + 1));
    dma().read(gpa, packet_.data() + before, packet_.size() - before);
}

void E1000::finish_checksums(std::span<u8> frame) {
    const Context& c = state_.context;
    const auto end = [&](u16 last) {
        return last ? std::min<std::size_t>(last + 1u, frame.size()) : frame.size();
    };
    if (state_.popts & 1) put_checksum(frame, c.ipcss, c.ipcso, end(c.ipcse));
    if (state_.popts & 2) put_checksum(frame, c.tucss, c.tucso, end(c.tucse));
}

// 3.5.2: the first `header` bytes go before every segment, with the fields that change made anew.
void E1000::send_segmented() {
    const Context& c = state_.context;
    const bool v4 = c.tucmd & kTucmdIp, tcp = c.tucmd & kTucmdTcp;
    const std::size_t header = c.header;
    if (c.mss < kLeastMss || header > packet_.size() || c.ipcss + 20u > header || c.tucss + 8u > header ||
        (tcp && c.tucss + 20u > header) || c.tucso + 2u > header) {
        log_.print(LogItem::GuestError, "e1000: a segmentation context that does not fit its packet\n");
        return;
    }
    const std::vector<u8> whole = packet_;
    std::vector<u8> frame;
    std::size_t offset = 0;
    const std::size_t payload = whole.size() - header;
    u16 index = 0;
    do {
        const std::size_t bytes = std::min<std::size_t>(c.mss, payload - offset);
        const bool last = offset + bytes == payload;
        frame.assign(whole.begin(), whole.begin() + long(header));
        frame.insert(frame.end(), whole.begin() + long(header + offset),
                     whole.begin() + long(header + offset + bytes));
        const u16 segment = u16(frame.size() - c.tucss);
        if (v4) {
            put_be16(frame, c.ipcss + 2u, u16(frame.size() - c.ipcss));
            put_be16(frame, c.ipcss + 4u, u16(get_be16(frame, c.ipcss + 4u) + index));
        } else {
            put_be16(frame, c.ipcss + 4u, segment);
        }
        if (tcp) {
            put_be32(frame, c.tucss + 4u, get_be32(frame, c.tucss + 4u) + u32(offset));
            if (!last) frame[c.tucss + 13u] &= u8(~(kFin | kPsh));
        } else {
            put_be16(frame, c.tucss + 4u, segment); // UDP length
        }
        // Software left the sum of the pseudo-header without the length.
        if (state_.popts & 2) {
            const u32 sum = u32{get_be16(frame, c.tucso)} + segment;
            put_be16(frame, c.tucso, u16((sum & 0xffff) + (sum >> 16)));
        }
        finish_checksums(frame);
        send(frame);
        offset += bytes;
        ++index;
    } while (offset < payload);
}

void E1000::send(std::vector<u8>& frame) {
    if (frame.size() < 14) return;
    if (state_.vlan) {
        const u16 vet = u16(word(VET));
        const u8 tag[4] = {u8(vet >> 8), u8(vet), u8(state_.tag >> 8), u8(state_.tag)};
        frame.insert(frame.begin() + 12, tag, tag + 4);
    }
    count(GPTC), count(TPT);
    count64(GOTCL, frame.size() + kFcs), count64(TOTL, frame.size() + kFcs);
    if (word(RCTL) & kRxLoopback)
        receive(frame);
    else if (backend_)
        backend_->send(frame);
}

// --- receive

u32 E1000::rx_buffer_bytes() const {
    const u32 bytes = 2048u >> bits(word(RCTL), 17, 16);
    return word(RCTL) & kRxSizeExtension ? std::min(bytes * 16, 16384u) : bytes;
}

u32 E1000::rx_free() const {
    const u32 size = ring_size(RDLEN), head = word(RDH), tail = word(RDT);
    if (head >= size || tail >= size) return 0;
    return tail >= head ? tail - head : size - head + tail;
}

bool E1000::can_receive() {
    return (word(RCTL) & kRxEnable) && bus_master() &&
           u64{rx_free()} * rx_buffer_bytes() >= kLongestFrame + 4 + kFcs;
}

bool E1000::wanted(std::span<const u8> frame, bool& inexact) const {
    const u32 rctl = word(RCTL);
    inexact = false;
    if ((rctl & kRxVlanFilter) && get_be16(frame, 12) == u16(word(VET)) && frame.size() >= 16) {
        const unsigned id = get_be16(frame, 14) & 0xfff;
        if (!bit(word(VFTA + id / 32 * 4), id % 32)) return false;
    }
    if (is_broadcast(frame)) return rctl & kRxBroadcast;
    for (u32 at = RAL; at < RAL + 16 * 8; at += 8) { // exact filters, 13.5.2
        if (!(word(at + 4) >> 31)) continue;
        const u64 address = u64{word(at + 4) & 0xffff} << 32 | word(at);
        if (std::memcmp(&address, frame.data(), 6) == 0) return true;
    }
    if (!is_multicast(frame)) return rctl & kRxUnicastPromiscuous;
    if (rctl & kRxMulticastPromiscuous) return true;
    static constexpr unsigned shifts[4] = {4, 3, 2, 0}; // which 12 bits of the address, 13.5.1
    const unsigned hash = (unsigned(frame[4] | frame[5] << 8) >> shifts[bits(rctl, 13, 12)]) & 0xfff;
    inexact = true;
    return bit(word(MTA + hash / 32 * 4), hash % 32);
}

void E1000::receive(std::span<const u8> bytes) {
    bool inexact = false;
    if (!(word(RCTL) & kRxEnable) || !bus_master() || bytes.size() < 14 || bytes.size() > max_frame_bytes)
        return;
    if (!wanted(bytes, inexact)) return;
    std::vector<u8> frame(bytes.begin(), bytes.end());
    frame.resize(std::max(frame.size(), kLeastFrame)); // padding
    RxDescriptor done{};
    const bool tagged = get_be16(frame, 12) == u16(word(VET));
    if (!(word(RCTL) & kRxLong) && frame.size() > kLongestFrame - kFcs + (tagged ? 4 : 0)) return;
    if (tagged && (word(CTRL) & kCtrlVlanMode)) {
        done.special = get_be16(frame, 14);
        done.status |= kRxVlan;
        frame.erase(frame.begin() + 12, frame.begin() + 16);
    }
    if (word(RXCSUM) & (kRxcsumIp | kRxcsumTcp))
        check_sums(frame, word(RXCSUM), done.status, done.errors);
    else
        done.status |= kRxIgnoreChecksum;
    const std::size_t pcss = word(RXCSUM) & 0xff;
    if (pcss < frame.size()) done.checksum = u16(~internet_sum(std::span(frame).subspan(pcss)));
    if (inexact) done.status |= kRxInexact;
    if (!(word(RCTL) & kRxStripCrc)) append_fcs(frame);

    const u32 size = ring_size(RDLEN), buffer = rx_buffer_bytes();
    if (u64{rx_free()} * buffer < frame.size()) {
        count(MPC);
        raise(kIntRxOverrun);
        return;
    }
    for (std::size_t offset = 0; offset < frame.size(); offset += buffer) {
        const u64 at = ring(RDBAL) + 16 * u64{word(RDH)};
        const std::size_t part = std::min<std::size_t>(buffer, frame.size() - offset);
        RxDescriptor d = done;
        d.address = dma().get<u64>(at);
        d.length = u16(part);
        d.status |= kDescriptorDone | (offset + part == frame.size() ? kRxEop : 0);
        dma().write(d.address, frame.data() + offset, part);
        dma().put(at, d);
        word(RDH) = (word(RDH) + 1) % size;
    }
    count(GPRC), count(TPR);
    if (is_multicast(bytes)) count(is_broadcast(bytes) ? BPRC : MPRC);
    count64(GORCL, bytes.size() + kFcs), count64(TORL, bytes.size() + kFcs);
    const u32 minimum = size >> (bits(word(RCTL), 9, 8) + 1); // RDMTS
    raise(kIntRxTimer | (rx_free() <= minimum ? u32{kIntRxMinimum} : 0u));
}

} // namespace dragoman::hw
