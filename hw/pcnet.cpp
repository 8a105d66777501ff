#include "hw/pcnet.h"

#include "base/bits.h"
#include "hw/net_frame.h"

#include <algorithm>
#include <numeric>

namespace dragoman::hw {

using namespace pcnet;

namespace {

constexpr PciIdentity kIdentity{.vendor = 0x1022,
                                .device = 0x2000,
                                .revision = 0x10,
                                .class_code = 0x020000,
                                .subsystem_vendor = 0,
                                .subsystem = 0,
                                .interrupt_pin = 1};

// Which registers the driver can write, which bits of them, and whether only while the chip is stopped or
// suspended. Those that are not listed read as what the chip put there.
struct Mask {
    u16 first, last, bits;
    bool halted;
};
constexpr Mask kCsrMasks[] = {
    {IADR0, IADR1, 0xffff, true},
    // Without look-ahead packets and big-endian buffers (LAPPEN, BSWP): their bits stay zero.
    {MASKS, MASKS, 0x5f58, false},
    {LADRF, LADRF + 3, 0xffff, true},
    {PADR, PADR + 2, 0xffff, true},
    {MODE, MODE, 0xffff, true},
    {18, 33, 0xffff, true},
    {34, 47, 0xffff, true},
    {60, 67, 0xffff, true},
    {RCVRC, RCVRC, 0xffff, true},
    {XMTRC, XMTRC, 0xffff, true},
    {RCVRL, RCVRL, 0xffff, true},
    {XMTRL, XMTRL, 0xffff, true},
    {FIFOS, FIFOS, 0x3fff, true},
    {82, 87, 0xffff, true},
    {MERRTO, MERRTO, 0xffff, true},
    {MISSED, MISSED, 0, false},
};
constexpr Mask kBcrMasks[] = {
    {MISC, MISC, 0x41ff, false},
    {LINK_LED, 7, 0x60ff, false},
    {DUPLEX, DUPLEX, 7, false},
    {16, 17, 0xffff, false}, // the base address of other buses: without an effect
    {BUS, BUS, 0xf367, false},
    {EEPROM, EEPROM, 0x0017, false},
    {21, 21, 0x00ff, false},
    {PCI_LATENCY, PCI_LATENCY, 0xffff, true},
};

template <std::size_t n> u16 writable(const Mask (&masks)[n], u16 number, bool halted) {
    for (const Mask& mask : masks)
        if (number >= mask.first && number <= mask.last) return mask.halted && !halted ? 0 : mask.bits;
    return 0;
}

// The address PROM (Table "Address PROM space"): the address, the mark of the hardware, a sum, 'WW'.
std::array<u8, kPromBytes> prom_of(const MacAddress& mac) {
    std::array<u8, kPromBytes> prom{};
    std::copy(mac.begin(), mac.end(), prom.begin());
    prom[9] = 0x11;
    prom[14] = prom[15] = 'W';
    const u16 sum = std::accumulate(prom.begin(), prom.end(), u16{0},
                                    [](u16 so_far, u8 byte) { return u16(so_far + byte); });
    prom[12] = u8(sum), prom[13] = u8(sum >> 8);
    return prom;
}

// The EEPROM begins as the PROM does; the sum of its first 36 bytes is 0xff (byte 31 makes it so).
Eeprom93c46::Words contents(const MacAddress& mac) {
    const auto prom = prom_of(mac);
    Eeprom93c46::Words words{};
    for (unsigned n = 0; n < prom.size() / 2; ++n)
        words[n] = u16(prom[2 * n] | prom[2 * n + 1] << 8);
    const unsigned sum = std::accumulate(prom.begin(), prom.end(), 0u);
    words[15] = u16(((0xff - sum) & 0xff) << 8);
    return words;
}

} // namespace

Pcnet::Pcnet(const MacAddress& mac, NetBackend* backend, Scheduler& scheduler, Log& log)
    : PciFunction("pcnet", kIdentity), backend_(backend), scheduler_(scheduler), log_(log), mac_(mac),
      eeprom_(contents(mac)), link_(backend && backend->link()), poll_tx_(scheduler, [this] { transmit(); }),
      poll_rx_(scheduler, [this] {
          if (backend_) backend_->room();
      }) {
    set_config(kPciStatus, 2, 0x0280);
    set_config(0x3e, 2, 0xff06); // MIN_GNT, MAX_LAT
    set_bar(0, BarKind::Io, kPorts, &registers_);
    set_bar(1, BarKind::Memory, 4096, &registers_); // 32 bytes in the chip; memory is mapped by pages here
    if (backend_) backend_->attach(*this);
    Pcnet::reset();
}

// H_RESET
void Pcnet::reset() {
    PciFunction::reset();
    eeprom_.reset();
    state_ = {};
    state_.prom = prom_of(mac_);
    bcr(MSRDA) = bcr(MSWRA) = 5;
    bcr(MISC) = 2;
    bcr(LINK_LED) = 0xc0, bcr(5) = 0x84, bcr(6) = 0x88, bcr(7) = 0x90;
    bcr(BUS) = 0x9001;
    bcr(SWS) = kPcnetStyle;
    bcr(PCI_LATENCY) = 0xff06;
    csr(FIFOS) = 0x1410;
    csr(CHIP_ID) = 0x1003, csr(CHIP_ID + 1) = 0x0262;
    csr(MERRTO) = 0x0200;
    csr(RCVRL) = csr(XMTRL) = csr(RCVRC) = csr(XMTRC) = 0xffff; // rings of one
    software_reset();
}

// S_RESET: what the chip does when RESET is read. The way registers are accessed stays.
void Pcnet::software_reset() {
    stop();
    state_.rap = 0;
    csr(MASKS) = 0;
    csr(FEATURES) = 0x0115;
    csr(EXTENDED) = 0;
    csr(MODE) = 0;
    for (unsigned n = 0; n < 3; ++n)
        csr(u16(PADR + n)) = u16(mac_[2 * n] | mac_[2 * n + 1] << 8);
    update_interrupt();
}

void Pcnet::stop() {
    csr(STATUS) = kStop;
    packet_.clear();
    state_.started = state_.demanded = false;
    poll_tx_.cancel();
    poll_rx_.cancel();
}

void Pcnet::link_changed(bool up) {
    link_ = up;
}

// --- interrupts

void Pcnet::raise(u16 events) {
    csr(STATUS) |= events;
    update_interrupt();
}

// In CSR4 and CSR5 an event's mask is the bit below it; in CSR5 that bit enables instead.
void Pcnet::update_interrupt() {
    u16& status = csr(STATUS);
    const u16 features = csr(FEATURES), extended = csr(EXTENDED);
    const bool by_features =
        (features & kUserInt) || (features & (kFeatureEvents & ~kUserInt) & ~(features << 1));
    const bool pending =
        (status & kMaskable & ~csr(MASKS)) || by_features || (extended & kExtendedEvents & (extended << 1));
    status = u16((status & ~(kErr | kIntr)) | (status & kStatusErrors ? kErr : 0) | (pending ? kIntr : 0));
    set_intx(pending && (status & kIntEnable));
}

// --- registers

u64 Pcnet::Registers::read(u64 offset, unsigned size) {
    Pcnet& o = owner_;
    if (offset + size <= kPromBytes) {
        u64 value = 0;
        for (unsigned n = 0; n < size; ++n)
            value |= u64{o.state_.prom[offset + n]} << (8 * n);
        return value;
    }
    const unsigned width = o.bcr(BUS) & kDoubleWord ? 4 : 2;
    if (offset < kPromBytes || offset >= kPromBytes + 4 * width || size != width || offset % width)
        return size_mask(size);
    return o.read_port(Port((offset - kPromBytes) / width));
}

void Pcnet::Registers::write(u64 offset, unsigned size, u64 value) {
    Pcnet& o = owner_;
    if (offset + size <= kPromBytes) {
        if (o.bcr(MISC) & kPromWritable)
            for (unsigned n = 0; n < size; ++n)
                o.state_.prom[offset + n] = u8(value >> (8 * n));
        return;
    }
    if (offset == kPromBytes && size == 4) o.bcr(BUS) |= kDoubleWord; // that is how a driver asks for it
    const unsigned width = o.bcr(BUS) & kDoubleWord ? 4 : 2;
    if (offset < kPromBytes || offset >= kPromBytes + 4 * width || size != width || offset % width) return;
    o.write_port(Port((offset - kPromBytes) / width), u16(value));
}

u32 Pcnet::read_port(Port port) {
    switch (port) {
    case RDP: return read_csr(state_.rap);
    case RAP: return state_.rap;
    case BDP: return read_bcr(state_.rap);
    case RESET: software_reset(); break;
    }
    return 0;
}

void Pcnet::write_port(Port port, u16 value) {
    switch (port) {
    case RDP: write_csr(state_.rap, value); break;
    case RAP: state_.rap = value & 0xff; break;
    case BDP: write_bcr(state_.rap, value); break;
    case RESET: break;
    }
}

u16 Pcnet::read_csr(u16 number) {
    if (number >= CSR_END) return 0;
    switch (number) {
    case IADR0_ALIAS:
    case IADR1_ALIAS: return csr(u16(number - IADR0_ALIAS + IADR0));
    case SWS_ALIAS: return bcr(SWS);
    default: return csr(number);
    }
}

void Pcnet::write_csr(u16 number, u16 value) {
    switch (number) {
    case STATUS: return write_status(value);
    case FEATURES: {
        u16& features = csr(FEATURES);
        features = u16((features & kFeatureEvents & ~value) | (value & ~(kFeatureEvents | kUserIntCommand)) |
                       (value & kUserIntCommand ? kUserInt : 0));
        return update_interrupt();
    }
    case EXTENDED: {
        u16& extended = csr(EXTENDED);
        const bool resumes = suspended() && !(value & kSuspend);
        extended = u16((extended & kExtendedEvents & ~value) | (value & ~kExtendedEvents));
        if (resumes) {
            transmit();
            if (backend_) backend_->room();
        }
        return update_interrupt();
    }
    case SWS_ALIAS: return set_style(value);
    case IADR0_ALIAS:
    case IADR1_ALIAS: return write_csr(u16(number - IADR0_ALIAS + IADR0), value);
    default: break;
    }
    const u16 mask = writable(kCsrMasks, number, halted());
    if (!mask) return;
    csr(number) = u16((csr(number) & ~mask) | (value & mask));
    if (number == MASKS) update_interrupt();
}

void Pcnet::write_status(u16 value) {
    if (value & kStop) {
        stop();
        return update_interrupt();
    }
    u16& status = csr(STATUS);
    status &= u16(~(value & kStatusEvents));
    status = u16((status & ~kIntEnable) | (value & kIntEnable));
    const u16 begun = u16(value & ~status & (kInit | kStart));
    if (begun) status &= u16(~kStop);
    if (begun & kInit) {
        status |= kInit;
        initialize();
    }
    if (begun & kStart) {
        csr(STATUS) |= u16(kStart | (csr(MODE) & kNoTx ? 0 : kTxOn) | (csr(MODE) & kNoRx ? 0 : kRxOn));
        transmit();
    }
    if ((value & kDemand) && (csr(STATUS) & kTxOn)) {
        state_.demanded = true;
        transmit();
    }
    update_interrupt();
    if (backend_ && (csr(STATUS) & kRxOn)) backend_->room();
}

u16 Pcnet::read_bcr(u16 number) const {
    if (number >= BCR_END) return 0;
    const u16 value = bcr(number);
    switch (number) {
    case LINK_LED: {
        const bool on = link_ && (value & kLedLink);
        return u16(value | (on ? kLedOut : 0));
    }
    case EEPROM: {
        const bool out = value & kEepromEnable ? eeprom_.out() : bit(value, 0);
        return u16((value & ~kEepromData) | kEepromValid | kEepromThere | (out ? kEepromData : 0));
    }
    default: return value;
    }
}

void Pcnet::write_bcr(u16 number, u16 value) {
    if (number == SWS) return set_style(value);
    const u16 mask = writable(kBcrMasks, number, halted());
    if (!mask) return;
    bcr(number) = u16((bcr(number) & ~mask) | (value & mask));
    if (number != EEPROM) return;
    const bool wires = value & kEepromEnable;
    eeprom_.set_wires(wires && (value & kEepromSelect), wires && (value & kEepromClock),
                      wires && (value & kEepromData));
}

// BCR20: 0 structures of 16 bits as the LANCE has them, 1 ILACC, 2 PCnet-PCI, 3 PCnet-PCI II. The data sheet
// reserves the other numbers: they change nothing.
void Pcnet::set_style(u16 value) {
    static constexpr u16 implied[] = {kPcnetStyle, kSize32, kSize32 | kPcnetStyle, kSize32 | kPcnetStyle};
    const unsigned style = value & 0xff;
    if (!halted()) return;
    if (style >= std::size(implied)) {
        log_.print(LogItem::GuestError, "pcnet: reserved software style %u\n", style);
        return;
    }
    bcr(SWS) = u16((value & 0x0400) | implied[style] | style);
}

// --- the initialization block (sections "Initialization Block" and "RLEN and TLEN")

void Pcnet::initialize() {
    if (busy_ || !bus_master()) return;
    busy_ = true;
    const u32 at = csr_pair(IADR0) & ~1u;
    u32 rx_ring, tx_ring;
    unsigned rx_log, tx_log;
    if (bcr(SWS) & kSize32) {
        std::array<u32, 7> block;
        dma().read(at & ~3u, block.data(), sizeof block);
        csr(MODE) = u16(block[0]);
        tx_log = bits(block[0], 31, 28), rx_log = bits(block[0], 23, 20);
        for (unsigned n = 0; n < 3; ++n)
            csr(u16(PADR + n)) = u16(block[1 + n / 2] >> (n % 2 * 16));
        for (unsigned n = 0; n < 4; ++n)
            csr(u16(LADRF + n)) = u16(block[3 + n / 2] >> (n % 2 * 16));
        rx_ring = block[5] & ~15u, tx_ring = block[6] & ~15u;
    } else {
        std::array<u16, 12> block;
        dma().read(at, block.data(), sizeof block);
        csr(MODE) = block[0];
        std::copy_n(block.begin() + 1, 3, &csr(PADR));
        std::copy_n(block.begin() + 4, 4, &csr(LADRF));
        rx_log = bits(block[9], 15, 13), tx_log = bits(block[11], 15, 13);
        rx_ring = wide((u32{block[9]} & 0xff) << 16 | (block[8] & ~7u));
        tx_ring = wide((u32{block[11]} & 0xff) << 16 | (block[10] & ~7u));
    }
    constexpr unsigned longest = 9; // rings of 512
    csr(RCVRL) = csr(RCVRC) = u16(-(1 << std::min(rx_log, longest)));
    csr(XMTRL) = csr(XMTRC) = u16(-(1 << std::min(tx_log, longest)));
    csr(LENGTHS) = u16(tx_log << 12 | rx_log << 8);
    csr(BADR) = u16(rx_ring), csr(BADR + 1) = u16(rx_ring >> 16);
    csr(BADX) = u16(tx_ring), csr(BADX + 1) = u16(tx_ring >> 16);
    busy_ = false;
    raise(kInitDone);
}

void Pcnet::visit(StateVisitor& visitor) {
    PciFunction::visit(visitor);
    eeprom_.visit(visitor);
    visitor.field("csr", state_.csr);
    visitor.field("bcr", state_.bcr);
    visitor.field("prom", state_.prom);
    visitor.field("rap", state_.rap);
    visitor.field("started", state_.started);
    visitor.field("demanded", state_.demanded);
    visitor.field("add_fcs", state_.add_fcs);
    visit_packet(visitor, packet_); // transmit() keeps no more
    if (!visitor.loading()) return;
    state_.rap &= 0xff;
    poll_tx_.cancel();
    poll_rx_.cancel();
    if (csr(STATUS) & kTxOn) poll_tx_.arm(scheduler_.now());
    update_interrupt();
}

} // namespace dragoman::hw
