// Descriptor rings of the Am79C970A (sections "Buffer Management", "Receive Descriptors", "Transmit
// Descriptors", "Loopback Operation").
#include "base/bits.h"
#include "hw/net_frame.h"
#include "hw/pcnet.h"

#include <algorithm>
#include <boost/crc.hpp>

namespace dragoman::hw {

using namespace pcnet;

namespace {

// The rest of a long ring waits for the timer.
constexpr unsigned kDescriptorsAtOnce = 256;
constexpr u64 kSoon = 1000;            // ns
constexpr u64 kPollInterval = 1966080; // ns: 65536 clocks at 33.3 MHz, CSR47 as reset leaves it
constexpr std::size_t kHeader = 14, kLeastFrame = 60, kLongestFrame = 1518; // the last one with FCS
constexpr std::size_t kLongestReceived = 4095;                              // what MCNT can say

// "Logical address filter": the upper six bits of the address's CRC, least significant bit first.
unsigned multicast_hash(std::span<const u8> frame) {
    boost::crc_optimal<32, 0x04c11db7, 0xffffffff, 0, true, true> crc;
    crc.process_bytes(frame.data(), 6);
    return u32(crc.checksum()) >> 26;
}

// Does the frame end with its own check sequence?
bool fcs_is_good(std::span<const u8> frame) {
    if (frame.size() < kHeader + kFcs) return false;
    std::vector<u8> again(frame.begin(), frame.end() - kFcs);
    append_fcs(again);
    return std::equal(frame.begin(), frame.end(), again.begin());
}

} // namespace

// --- descriptors

// The counters run from minus the ring's length to minus one; a driver may write zero for the last one.
u32 Pcnet::ring_size(u16 length) const {
    return 0x10000u - csr(length);
}

u32 Pcnet::ring_index(u16 counter) const {
    const u16 length = u16(counter - RCVRC + RCVRL);
    return std::min<u32>(u16(csr(counter) - csr(length)), ring_size(length) - 1);
}

void Pcnet::ring_advance(u16 counter) {
    const u16 length = u16(counter - RCVRC + RCVRL);
    const u32 next = ring_index(counter) + 1;
    csr(counter) = next == ring_size(length) ? csr(length) : u16(csr(length) + next);
}

u32 Pcnet::wide(u32 address) const {
    return bcr(SWS) & kSize32 ? address : (csr(IADR1) & 0xff00u) << 16 | (address & 0xffffff);
}

Pcnet::Descriptor Pcnet::load(u16 base, u32 index) {
    if (!(bcr(SWS) & kSize32)) {
        const u64 at = u64{csr_pair(base)} + 8 * u64{index};
        const auto d = dma().get<std::array<u16, 4>>(at);
        return {at, wide(u32{d[1]} << 16 | d[0]), u32{d[1]} << 16 & 0xff000000, 4096u - (d[2] & 0xfff)};
    }
    const u64 at = u64{csr_pair(base)} + 16 * u64{index};
    const auto d = dma().get<std::array<u32, 4>>(at);
    const bool reordered = (bcr(SWS) & 0xff) == 3;
    return {at, reordered ? d[2] : d[0], d[1] & 0xffff0000, 4096u - (d[1] & 0xfff)};
}

// Gives the descriptor back: `status` is the message's length (receive) or TMD2. The half with OWN goes last.
void Pcnet::store(const Descriptor& d, u32 flags, u32 status, bool receive) {
    if (!(bcr(SWS) & kSize32)) {
        dma().put<u16>(d.at + 6, receive ? u16(status) : u16(status >> 16));
        dma().put<u8>(d.at + 3, u8(flags >> 24));
        return;
    }
    const bool reordered = (bcr(SWS) & 0xff) == 3;
    dma().put<u32>(d.at + (reordered ? 0 : 8), status);
    dma().put<u16>(d.at + 6, u16(flags >> 16));
}

// --- transmit

void Pcnet::transmit() {
    if (busy_ || !(csr(STATUS) & kTxOn) || suspended() || !bus_master()) return;
    busy_ = true;
    bool more = false;
    u16 events = 0;
    std::array<u8, 4096> data{};
    for (unsigned n = 0; csr(STATUS) & kTxOn; ++n) {
        more = n == kDescriptorsAtOnce;
        if (more) break;
        const Descriptor d = load(BADX, ring_index(XMTRC));
        if (!(d.flags & kOwn)) break;
        const u32 back = d.flags & ~(kOwn | kDescError | kTxCollisions);
        if (!state_.started && !(d.flags & kStartOfPacket)) { // the rest of a packet that failed
            store(d, back, 0, false);
            ring_advance(XMTRC);
            continue;
        }
        if (d.flags & kStartOfPacket) {
            packet_.clear();
            state_.started = true;
            state_.add_fcs = (d.flags & kTxAddFcs) || !(csr(MODE) & kNoTxFcs);
        }
        dma().read(d.address, data.data(), d.bytes);
        if (packet_.size() <= max_frame_bytes)
            packet_.insert(packet_.end(), data.begin(),
                           data.begin() +
                               long(std::min<std::size_t>(d.bytes, max_frame_bytes + 1 - packet_.size())));
        ring_advance(XMTRC);
        u32 errors = 0;
        if (d.flags & kEndOfPacket) {
            csr(FEATURES) |= kTxStarted;
            send(errors);
            state_.started = false;
            const bool quiet =
                (csr(EXTENDED) & kNoTxOkInt) || ((csr(EXTENDED) & kLastTxIntOnly) && !(d.flags & kTxLastInt));
            if (errors || !quiet) events |= kTxInt;
            if (packet_.size() + (state_.add_fcs ? kFcs : 0) > kLongestFrame) events |= kBabble;
        } else if (!(load(BADX, ring_index(XMTRC)).flags & kOwn)) {
            errors = kTxBufferError | kTxUnderflow; // the packet's rest is not there
            state_.started = false;
            events |= kTxInt;
            if (!(csr(MASKS) & kNoTxStopOnError)) csr(STATUS) &= u16(~kTxOn);
        }
        store(d, back | (errors ? kDescError : 0), errors, false);
    }
    busy_ = false;
    if (csr(STATUS) & kTxOn) {
        if (more)
            poll_tx_.arm(scheduler_.now() + kSoon);
        else if (!state_.demanded && !(csr(FEATURES) & kNoPolling))
            poll_tx_.arm(scheduler_.now() + kPollInterval);
    }
    raise(csr(STATUS) & kStop ? u16{0} : events);
}

// The whole packet goes out, or comes back.
void Pcnet::send(u32& errors) {
    std::vector<u8> frame = packet_;
    if (frame.size() > max_frame_bytes) {
        log_.print(LogItem::GuestError, "pcnet: a packet too long to send\n");
        return;
    }
    const u16 mode = csr(MODE);
    const bool loop = mode & kLoop, internal = loop && (mode & kInternalLoop);
    if (internal && (mode & kForceCollision)) {
        errors |= kTxRetry;
        return;
    }
    bool good = true;
    if ((csr(FEATURES) & kPadTx) && frame.size() < kLeastFrame) {
        frame.resize(kLeastFrame);
    } else if (!state_.add_fcs) { // it is in the packet
        good = fcs_is_good(frame);
        if (good) frame.resize(frame.size() - kFcs);
    }
    if (loop) {
        std::vector<u8> back = frame;
        if (good) append_fcs(back);
        take(back, true, good);
    }
    if (internal) return;
    if (!link_ && !(mode & kNoLinkTest)) errors |= kTxNoCarrier;
    // A frame with a bad check sequence is dropped where it arrives.
    if (backend_ && good && frame.size() >= kHeader) backend_->send(frame);
}

// --- receive

// The chain of buffers from the current one on, no longer than a frame is.
u32 Pcnet::rx_room() {
    const u32 size = ring_size(RCVRL);
    u32 index = ring_index(RCVRC), room = 0;
    for (unsigned n = 0; n < std::min<u32>(size, 64) && room < kLongestFrame; ++n) {
        const Descriptor d = load(BADR, index);
        if (!(d.flags & kOwn)) break;
        room += d.bytes;
        index = (index + 1) % size;
    }
    return room;
}

bool Pcnet::can_receive() {
    if (busy_ || !(csr(STATUS) & kRxOn) || suspended() || !bus_master()) return false;
    busy_ = true;
    const bool room = rx_room() >= kLongestFrame;
    busy_ = false;
    // The driver gives descriptors back without telling: look again, as the chip does.
    if (!room && !poll_rx_.armed()) poll_rx_.arm(scheduler_.now() + kPollInterval);
    return room;
}

bool Pcnet::wanted(std::span<const u8> frame, u32& flags) const {
    const u16 mode = csr(MODE);
    if (is_broadcast(frame) && !(mode & kNoBroadcast)) {
        flags |= kRxBroadcast;
        return true;
    }
    if (is_multicast(frame)) {
        const unsigned hash = multicast_hash(frame);
        if (bit(csr(u16(LADRF + hash / 16)), hash % 16)) {
            flags |= kRxLogical;
            return true;
        }
    } else if (!(mode & kNoPhysical)) {
        std::array<u8, 6> ours;
        for (unsigned n = 0; n < 6; ++n)
            ours[n] = u8(csr(u16(PADR + n / 2)) >> (n % 2 * 8));
        if (std::equal(ours.begin(), ours.end(), frame.begin())) {
            flags |= kRxPhysical;
            return true;
        }
    }
    return mode & kPromiscuous;
}

void Pcnet::receive(std::span<const u8> bytes) {
    if (busy_ || !(csr(STATUS) & kRxOn) || suspended() || !bus_master()) return;
    if (bytes.size() < kHeader || bytes.size() + kFcs > kLongestReceived) return;
    std::vector<u8> frame(bytes.begin(), bytes.end());
    frame.resize(std::max(frame.size(), kLeastFrame)); // padding
    append_fcs(frame);
    busy_ = true;
    take(frame, false, true);
    busy_ = false;
    update_interrupt();
}

void Pcnet::take(std::span<const u8> frame, bool looped, bool good) {
    u32 flags = good ? 0 : kRxCrc | kDescError;
    if (!(csr(STATUS) & kRxOn) || frame.size() < (looped ? 6 : kHeader) || frame.size() > kLongestReceived)
        return;
    if (!wanted(frame, flags)) return;
    // ASTRP_RCV: of an 802.3 frame whose length field tells of padding, only the data.
    if ((csr(FEATURES) & kStripRx) && frame.size() >= kHeader + kFcs) {
        const u16 length = get_be16(frame, 12);
        if (length < kLeastFrame - kHeader && kHeader + length + kFcs <= frame.size())
            frame = frame.first(kHeader + length);
    }
    store_packet(frame, flags);
}

void Pcnet::store_packet(std::span<const u8> packet, u32 flags) {
    Descriptor d = load(BADR, ring_index(RCVRC));
    if (!(d.flags & kOwn)) {
        if (++csr(MISSED) == 0) csr(FEATURES) |= kMissedOverflow;
        csr(STATUS) |= kMiss;
        return;
    }
    const std::size_t whole = packet.size();
    u32 begins = kStartOfPacket;
    while (csr(STATUS) & kRxOn) { // a turn for each buffer: at most as many as the packet has bytes
        const std::size_t part = std::min<std::size_t>(d.bytes, packet.size());
        dma().write(d.address, packet.data(), part);
        packet = packet.subspan(part);
        ring_advance(RCVRC);
        if (packet.empty()) {
            store(d, begins | flags | kEndOfPacket, u32(whole), true);
            break;
        }
        const Descriptor next = load(BADR, ring_index(RCVRC));
        if (!(next.flags & kOwn)) {
            store(d, begins | kDescError | kRxBuffer | kRxOverflow, 0, true);
            break;
        }
        store(d, begins, 0, true);
        begins = 0;
        d = next;
    }
    csr(STATUS) |= kRxInt;
}

} // namespace dragoman::hw
