#include "hw/rtl8139.h"

#include "base/bits.h"
#include "hw/net_frame.h"

#include <algorithm>
#include <boost/crc.hpp>
#include <vector>

namespace dragoman::hw {

namespace {

constexpr PciIdentity kIdentity{.vendor = 0x10ec,
                                .device = 0x8139,
                                .revision = 0x10,
                                .class_code = 0x020000,
                                .subsystem_vendor = 0x10ec,
                                .subsystem = 0x8139,
                                .interrupt_pin = 1};

enum Register : u8 { // 5
    IDR0 = 0x00,
    MAR0 = 0x08,
    TSD0 = 0x10,
    TSAD0 = 0x20,
    RBSTART = 0x30,
    CR = 0x37,
    CAPR = 0x38,
    CBR = 0x3a,
    IMR = 0x3c,
    ISR = 0x3e,
    TCR = 0x40,
    RCR = 0x44,
    TCTR = 0x48,
    MPC = 0x4c,
    R9346CR = 0x50,
    CONFIG0 = 0x51,
    CONFIG1 = 0x52,
    TIMER_INT = 0x54,
    MSR = 0x58,
    CONFIG3 = 0x59,
    CONFIG4 = 0x5a,
    TSAD_STATUS = 0x60,
    BMCR = 0x62,
    BMSR = 0x64,
    ANAR = 0x66,
    ANLPAR = 0x68,
    ANER = 0x6a,
};

constexpr u8 kReset = 0x10, kRxEnable = 8, kTxEnable = 4, kBufferEmpty = 1; // CR
constexpr u16 kRxOk = 1, kTxOk = 4, kTxError = 8, kRxOverflow = 0x10, kLinkChange = 0x20,
              kTimeOut = 0x4000;                                                                  // ISR
constexpr u32 kOwn = 1u << 13, kTransmitOk = 1u << 15, kAborted = 1u << 30, kSizeMask = 0x1fff;   // TSD
constexpr u32 kAllPhysical = 1, kPhysicalMatch = 2, kMulticast = 4, kBroadcast = 8, kWrap = 0x80; // RCR
constexpr u16 kStatusOk = 1, kStatusBroadcast = 1 << 13, kStatusPhysical = 1 << 14,
              kStatusMulticast = 1 << 15;
constexpr u32 kVersion = 0x74000000; // TCR: RTL8139C
constexpr std::size_t kLeastFrame = 60, kHeader = 4, kUsualFrame = 1518, kLongestFrame = 4096;
constexpr u32 kTransmitLimit = 1792; // 5.3: bytes of a packet
constexpr u64 kTimerHz = 33'000'000;

// Which bits the driver can write; registers that are not listed it cannot.
struct Mask {
    u8 offset, size;
    u32 bits;
    bool locked; // only while 9346CR allows it
};
constexpr Mask kMasks[] = {
    {IDR0, 4, ~0u, true},
    {IDR0 + 4, 2, 0xffff, true},
    {MAR0, 4, ~0u, false},
    {MAR0 + 4, 4, ~0u, false},
    {TSD0, 4, 0x003f3fff, false},
    {TSD0 + 4, 4, 0x003f3fff, false},
    {TSD0 + 8, 4, 0x003f3fff, false},
    {TSD0 + 12, 4, 0x003f3fff, false},
    {TSAD0, 4, ~0u, false},
    {TSAD0 + 4, 4, ~0u, false},
    {TSAD0 + 8, 4, ~0u, false},
    {TSAD0 + 12, 4, ~0u, false},
    {RBSTART, 4, ~0u, false},
    {CR, 1, kReset | kRxEnable | kTxEnable, false},
    {CAPR, 2, 0xffff, false},
    {IMR, 2, 0xe07f, false},
    {TCR, 4, 0x030707f0, false},
    {RCR, 4, 0x0f03ffbf, false},
    {R9346CR, 1, 0xce, false},
    {CONFIG1, 1, 0xf3, true},
    {TIMER_INT, 4, ~0u, false},
    {CONFIG3, 1, 0x70, true},
    {CONFIG4, 1, 0xff, true},
    {BMCR, 2, 0x3300, false},
    {ANAR, 2, 0xffe0, false},
};

Eeprom93c46::Words contents(const MacAddress& mac) {
    Eeprom93c46::Words words{};
    words[0] = 0x8129;
    words[1] = words[3] = 0x10ec;
    words[2] = words[4] = 0x8139;
    words[5] = 0x4020; // latencies
    for (unsigned n = 0; n < 3; ++n)
        words[7 + n] = u16(mac[2 * n] | mac[2 * n + 1] << 8);
    return words;
}

// The upper six bits of the CRC over the address (5.2).
unsigned multicast_hash(std::span<const u8> frame) {
    boost::crc_optimal<32, 0x04c11db7, 0xffffffff, 0, true, false> crc;
    crc.process_bytes(frame.data(), 6);
    return u32(crc.checksum()) >> 26;
}

} // namespace

Rtl8139::Rtl8139(const MacAddress& mac, NetBackend* backend, Scheduler& scheduler, Log& log)
    : PciFunction("rtl8139", kIdentity), backend_(backend), scheduler_(scheduler), log_(log), mac_(mac),
      eeprom_(contents(mac)), link_(backend && backend->link()), timer_(scheduler, [this] {
          raise(kTimeOut);
          rearm_timer();
      }) {
    set_config(kPciStatus, 2, 0x0280);
    set_bar(0, BarKind::Io, register_bytes, &registers_);
    set_bar(1, BarKind::Memory, 4096, &registers_); // 256 bytes in the chip; memory is mapped by pages here
    if (backend_) backend_->attach(*this);
    software_reset();
}

u32 Rtl8139::get(unsigned offset, unsigned size) const {
    u32 value = 0;
    for (unsigned i = 0; i < size; ++i)
        value |= u32{state_.bytes[(offset + i) % register_bytes]} << (8 * i);
    return value;
}

void Rtl8139::put(unsigned offset, unsigned size, u32 value) {
    for (unsigned i = 0; i < size; ++i)
        state_.bytes[(offset + i) % register_bytes] = u8(value >> (8 * i));
}

void Rtl8139::reset() {
    PciFunction::reset();
    eeprom_.reset();
    software_reset();
}

void Rtl8139::software_reset() {
    state_ = {};
    state_.timer_zero = scheduler_.now();
    timer_.cancel();
    std::copy(mac_.begin(), mac_.end(), state_.bytes.begin() + IDR0);
    for (unsigned n = 0; n < 4; ++n)
        put(TSD0 + 4 * n, 4, kOwn);
    put(CAPR, 2, 0xfff0);
    put(TCR, 4, kVersion);
    put(CONFIG1, 1, 0x0c); // registers by ports and in memory
    put(BMCR, 2, 0x3100);
    put(ANAR, 2, 0x05e1);
    put(ANER, 2, 0x0001);
    update_interrupt();
}

void Rtl8139::link_changed(bool up) {
    link_ = up;
    raise(kLinkChange);
}

void Rtl8139::raise(u16 causes) {
    put(ISR, 2, get(ISR, 2) | causes);
    update_interrupt();
}

void Rtl8139::update_interrupt() {
    set_intx(get(ISR, 2) & get(IMR, 2));
}

// --- registers

void Rtl8139::refresh() {
    put(CR, 1, (get(CR, 1) & ~u32{kBufferEmpty}) | (ring_empty() ? kBufferEmpty : 0u));
    put(MSR, 1, link_ ? 0 : 4);
    put(BMSR, 2, link_ ? 0x782d : 0x7809);
    put(ANLPAR, 2, link_ ? 0x45e1 : 0);
    put(TCTR, 4, ticks());
    put(R9346CR, 1, (get(R9346CR, 1) & ~1u) | (eeprom_.out() ? 1u : 0u));
    u32 summary = 0; // 5.8
    for (unsigned n = 0; n < 4; ++n) {
        const u32 status = get(TSD0 + 4 * n, 4);
        summary |= (status & kOwn ? 1u << n : 0) | (status & kAborted ? 0x10u << n : 0) |
                   (status & kTransmitOk ? 0x1000u << n : 0);
    }
    put(TSAD_STATUS, 2, summary);
}

u64 Rtl8139::Registers::read(u64 offset, unsigned size) {
    owner_.refresh();
    u64 value = 0;
    for (unsigned i = 0; i < size; ++i)
        value |= u64{owner_.get(unsigned(offset + i), 1)} << (8 * i);
    return value;
}

u8 Rtl8139::writable(unsigned offset) const {
    const bool open = get(R9346CR, 1) >> 6 == 3;
    for (const Mask& mask : kMasks)
        if (offset >= mask.offset && offset < unsigned(mask.offset) + mask.size)
            return mask.locked && !open ? 0 : u8(mask.bits >> (8 * (offset - mask.offset)));
    return 0;
}

void Rtl8139::write_byte(unsigned offset, u8 value) {
    u8& byte = state_.bytes[offset];
    if (offset == ISR || offset == ISR + 1) {
        byte &= u8(~value); // ones acknowledge
        return;
    }
    const u8 mask = writable(offset);
    byte = u8((byte & ~mask) | (value & mask));
}

void Rtl8139::Registers::write(u64 offset, unsigned size, u64 value) {
    const unsigned first = unsigned(offset % register_bytes);
    const u8 before = u8(owner_.get(CR, 1));
    for (unsigned i = 0; i < size; ++i)
        owner_.write_byte((first + i) % register_bytes, u8(value >> (8 * i)));
    owner_.written(first, size, before);
}

// What the registers do that were written. A driver that leaves packets in the ring after it acknowledged
// ROK (it takes some number at a time) counts on the next one to announce them. A wire brings it soon; a peer
// that answers at once has sent all it may. So ROK stays up while the ring holds something.
void Rtl8139::written(unsigned first, unsigned size, u8 command_before) {
    const auto touched = [&](unsigned offset, unsigned bytes) {
        return first < offset + bytes && offset < first + size;
    };
    if (touched(CR, 1)) {
        if (get(CR, 1) & kReset) return software_reset();
        if (get(CR, 1) & ~command_before & kRxEnable) { // the ring begins anew
            put(CAPR, 2, 0xfff0);
            put(CBR, 2, 0);
        }
    }
    if (touched(ISR, 2) && (get(CR, 1) & kRxEnable) && !ring_empty()) raise(kRxOk);
    if (touched(IMR, 4)) update_interrupt();
    if (touched(R9346CR, 1)) write_9346(u8(get(R9346CR, 1)));
    if (touched(MPC, 4)) put(MPC, 4, 0);
    if (touched(TCTR, 4)) state_.timer_zero = scheduler_.now();
    if (touched(TCTR, 4) || touched(TIMER_INT, 4)) rearm_timer();
    for (unsigned n = 0; n < 4; ++n)
        if (touched(TSD0 + 4 * n + 1, 1) && !(get(TSD0 + 4 * n, 4) & kOwn)) transmit(n); // the byte with OWN
    if (backend_ && (touched(CR, 1) || touched(CAPR, 2) || touched(RCR, 4))) backend_->room();
}

void Rtl8139::write_9346(u8 value) {
    const bool wires = value >> 6 == 2;
    eeprom_.set_wires(wires && (value & 8), wires && (value & 4), wires && (value & 2));
}

u32 Rtl8139::ticks() const {
    return u32(u64((static_cast<unsigned __int128>(scheduler_.now() - state_.timer_zero) * kTimerHz) /
                   1'000'000'000));
}

void Rtl8139::rearm_timer() {
    timer_.cancel();
    const u32 at = get(TIMER_INT, 4);
    if (!at) return;
    const u32 left = at - ticks(); // modulo 2^32: it goes round in about two minutes
    timer_.arm(scheduler_.now() + (left ? u64{left} : u64{1} << 32) * 1'000'000'000 / kTimerHz + 1);
}

// --- transmit, 5.3

void Rtl8139::transmit(unsigned n) {
    const u32 status = get(TSD0 + 4 * n, 4), bytes = status & kSizeMask;
    if (!(get(CR, 1) & kTxEnable) || !bus_master()) return;
    if (bytes > kTransmitLimit) {
        log_.print(LogItem::GuestError, "rtl8139: a packet of %u bytes\n", bytes);
        put(TSD0 + 4 * n, 4, status | kOwn | kAborted);
        return raise(kTxError);
    }
    std::vector<u8> frame(bytes);
    if (bytes) dma().read(get(TSAD0 + 4 * n, 4), frame.data(), bytes);
    put(TSD0 + 4 * n, 4, status | kOwn | kTransmitOk);
    if (bits(get(TCR, 4), 18, 17) == 3)
        receive(frame);
    else if (backend_ && bytes >= 14)
        backend_->send(frame);
    raise(kTxOk);
}

// --- receive, 5.7 and 6.1

u32 Rtl8139::ring_bytes() const {
    return 8192u << bits(get(RCR, 4), 12, 11);
}

// A ring whose pointers meet is empty.
u32 Rtl8139::ring_free() const {
    const u32 size = ring_bytes(), read = (get(CAPR, 2) + 16) % size, write = get(CBR, 2) % size;
    return read == write ? size : (read - write + size) % size;
}

bool Rtl8139::ring_empty() const {
    return ring_free() == ring_bytes();
}

bool Rtl8139::can_receive() {
    return (get(CR, 1) & kRxEnable) && bus_master() && ring_free() > kUsualFrame + kHeader + kFcs;
}

bool Rtl8139::wanted(std::span<const u8> frame, u16& status) const {
    const u32 rcr = get(RCR, 4);
    if (is_broadcast(frame)) {
        status |= kStatusBroadcast;
        return rcr & kBroadcast;
    }
    if (is_multicast(frame)) {
        status |= kStatusMulticast;
        const unsigned hash = multicast_hash(frame);
        return (rcr & kMulticast) && bit(state_.bytes[MAR0 + hash / 8], hash % 8);
    }
    const bool ours = std::equal(frame.begin(), frame.begin() + 6, state_.bytes.begin() + IDR0);
    if (ours) status |= kStatusPhysical;
    return (rcr & kAllPhysical) || (ours && (rcr & kPhysicalMatch));
}

// With WRAP a packet goes on behind the ring's end, where the driver has room for it; else at its beginning.
void Rtl8139::store(u32 offset, std::span<const u8> bytes) {
    const u32 size = ring_bytes();
    const u64 base = get(RBSTART, 4);
    const bool wrap = (get(RCR, 4) & kWrap) && size < 64 * KiB;
    const std::size_t here = wrap ? bytes.size() : std::min<std::size_t>(bytes.size(), size - offset);
    dma().write(base + offset, bytes.data(), here);
    if (here < bytes.size()) dma().write(base, bytes.data() + here, bytes.size() - here);
}

void Rtl8139::receive(std::span<const u8> bytes) {
    u16 status = kStatusOk;
    if (!(get(CR, 1) & kRxEnable) || !bus_master() || bytes.size() < 14 || bytes.size() > kLongestFrame)
        return;
    if (!wanted(bytes, status)) return;
    std::vector<u8> packet(kHeader + std::max(bytes.size(), kLeastFrame)); // padded
    std::ranges::copy(bytes, packet.begin() + kHeader);
    append_fcs(packet, kHeader);
    const u32 length = u32(packet.size() - kHeader), taken = u32(align_up(packet.size(), 4));
    if (ring_free() <= taken) {
        put(MPC, 4, std::min(get(MPC, 4) + 1, 0xffffffu));
        return raise(kRxOverflow);
    }
    packet[0] = u8(status), packet[1] = u8(status >> 8);
    packet[2] = u8(length), packet[3] = u8(length >> 8);
    const u32 size = ring_bytes(), at = get(CBR, 2) % size;
    store(at, packet);
    put(CBR, 2, (at + taken) % size);
    raise(kRxOk);
}

void Rtl8139::visit(StateVisitor& visitor) {
    PciFunction::visit(visitor);
    eeprom_.visit(visitor);
    visitor.field("bytes", state_.bytes);
    visitor.field("timer_zero", state_.timer_zero);
    if (!visitor.loading()) return;
    state_.timer_zero = std::min(state_.timer_zero, scheduler_.now());
    rearm_timer();
    update_interrupt();
}

} // namespace dragoman::hw
