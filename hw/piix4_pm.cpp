#include "hw/piix4_pm.h"

#include "base/bits.h"

#include <utility>

namespace dragoman::hw {

namespace {

enum : u16 { // PMSTS and PMEN (7.2.1, 7.2.2)
    kTimerOverflow = 1 << 0,
    kBusMaster = 1 << 4,
    kGlobal = 1 << 5,
    kPowerButton = 1 << 8,
    kRtc = 1 << 10,
    kWake = 1 << 15,
    kStatusBits = kTimerOverflow | kBusMaster | kGlobal | kPowerButton | kRtc | kWake,
    kEnableBits = kTimerOverflow | kGlobal | kPowerButton | kRtc,
};
enum : u16 { kSciEn = 1, kSusEn = 1 << 13 };                     // PMCNTRL; SUS_TYP 12:10
enum : u8 { kSmiEn = 1, kApmStatus = 1 << 5, kApmcEn = 1 << 1 }; // GLBCTL; GLBSTS; DEVACTB, byte 3
enum : u8 { kSmbBusy = 1, kSmbIntr = 2, kSmbDevErr = 4, kSmbErrors = 0x1e };

constexpr u8 kPmBase = 0x40, kDevactB = 0x58, kPmRegMisc = 0x80, kSmbBase = 0x90, kSmbHostCfg = 0xd2;
constexpr u32 kPmPortCount = 64, kSmbPortCount = 16;
constexpr u64 kHalfPeriod = u64{1} << 23; // ticks between two changes of the counter's bit 23
constexpr u64 kNsPerSecond = 1000000000;

// The tick that the clock shows at `ns`, and the first ns at which it shows `tick`.
u64 tick_at(u64 ns) {
    return u64(static_cast<unsigned __int128>(ns) * Piix4Pm::pm_timer_hz / kNsPerSecond);
}
u64 ns_of(u64 tick) {
    return u64((static_cast<unsigned __int128>(tick) * kNsPerSecond + Piix4Pm::pm_timer_hz - 1) /
               Piix4Pm::pm_timer_hz);
}

struct Row {
    u8 offset;
    u32 value, writable;
    u8 size;
};
constexpr Row kRows[] = {
    {kPciCommand, 0, 0x0001, 2}, {kPciStatus, 0x0280, 0, 2}, {kPmBase, 1, 0x0000ffc0, 4},
    {0x44, 0, ~0u, 4}, // CNTA
    {0x48, 0, ~0u, 4}, // CNTB
    {0x4c, 0, ~0u, 4}, // GPICTL
    {0x50, 0, ~0u, 4}, // DEVRESD
    {0x54, 0, ~0u, 4}, // DEVACTA
    {kDevactB, 0, ~0u, 4},       {kPmRegMisc, 0, 1, 1},      {kSmbBase, 1, 0x0000fff0, 4},
    {kSmbHostCfg, 0, 0x0f, 1},   {0xd3, 0, 0xff, 1}, // SMBSLVC
    {0xd4, 0, 0xff, 1},                              // SMBSHDW1
    {0xd5, 0, 0xff, 1},                              // SMBSHDW2
};

u8 byte_of(u64 value, unsigned n) {
    return u8(value >> (8 * n));
}

} // namespace

Piix4Pm::Piix4Pm(IoBus& ports, Scheduler& scheduler, IrqLine& sci, Log& log, Pins pins, Presence presence)
    : PciFunction(
          "piix4_pm",
          {.vendor = 0x8086, .device = 0x7113, .revision = 3, .class_code = 0x068000, .interrupt_pin = 1}),
      ports_(ports), scheduler_(scheduler), sci_(sci), log_(log), pins_(std::move(pins)),
      overflow_(scheduler, [this] {
          update_timer();
          update_sci();
      }) {
    for (const Row& row : kRows)
        set_config(row.offset, row.size, row.value, row.writable);
    set_config(kPciInterruptLine, 1, 9, 0xff); // SCI is ISA IRQ 9 by wire
    // DEVRESA-C: the bits by which firmware tables see which ISA devices are decoded.
    set_config(0x5c, 4, 0x10000000u | (presence.lpt ? 0x80000000u : 0), ~0u);
    set_config(0x60, 4, 0x60000000u, ~0u);
    set_config(0x64, 4, (presence.com1 ? 0x08000000u : 0) | (presence.com2 ? 0x90000000u : 0), ~0u);
    ports_.map(gpe0_base, 4, gpe_ports_);
    ports_.map(apm_base, 2, apm_ports_, {.min = 1, .max = 1});
    Piix4Pm::reset();
}

Piix4Pm::~Piix4Pm() {
    if (pm_at_) ports_.unmap(pm_at_, pm_ports_);
    if (smb_at_) ports_.unmap(smb_at_, smb_ports_);
    ports_.unmap(gpe0_base, gpe_ports_);
    ports_.unmap(apm_base, apm_ports_);
}

void Piix4Pm::reset() {
    PciFunction::reset();
    s_ = State{};
    s_.next_overflow = (ticks() | (kHalfPeriod - 1)) + 1;
    update_ports();
    update_sci();
}

void Piix4Pm::visit(StateVisitor& visitor) {
    PciFunction::visit(visitor);
    visitor.field("pm", s_);
    if (!visitor.loading()) return;
    s_.block_index %= sizeof s_.block;
    update_ports();
    update_timer();
}

void Piix4Pm::config_written(u8 offset, unsigned) {
    if (offset >= kPmBase) update_ports();
}

void Piix4Pm::update_ports() {
    auto place = [this](u16& at, u16 wanted, u32 count, IoHandler& handler, IoBus::Widths widths) {
        if (at == wanted) return;
        if (at) ports_.unmap(at, handler);
        at = wanted;
        if (at) ports_.map(at, count, handler, widths, true);
    };
    const u16 pm = u16((config_[kPmBase] & 0xc0) | config_[kPmBase + 1] << 8);
    const u16 smb = u16((config_[kSmbBase] & 0xf0) | config_[kSmbBase + 1] << 8);
    place(pm_at_, config_[kPmRegMisc] & 1 ? pm : 0, kPmPortCount, pm_ports_, {});
    place(smb_at_, config_[kSmbHostCfg] & 1 ? smb : 0, kSmbPortCount, smb_ports_, {.min = 1, .max = 1});
}

void Piix4Pm::press_power_button() {
    s_.pmsts |= kPowerButton;
    update_sci();
}

void Piix4Pm::raise_gpe(unsigned n) {
    s_.gpe_sts |= u16(1u << (n & 15));
    update_sci();
}

u64 Piix4Pm::ticks() const {
    return tick_at(scheduler_.now());
}

// Notices an overflow that has happened, and arms the next one if the guest wants to hear of it.
void Piix4Pm::update_timer() {
    if (ticks() >= s_.next_overflow) {
        s_.pmsts |= kTimerOverflow;
        s_.next_overflow = (ticks() | (kHalfPeriod - 1)) + 1;
    }
    if ((s_.pmen & kTimerOverflow) && !(s_.pmsts & kTimerOverflow))
        overflow_.arm(ns_of(s_.next_overflow));
    else
        overflow_.cancel();
}

void Piix4Pm::update_sci() {
    update_timer();
    // With SCI_EN clear these events would raise an SMI: none of the firmware at hand asks for that.
    const bool acpi =
        (s_.pmcntrl & kSciEn) && ((s_.pmsts & s_.pmen & kEnableBits) || (s_.gpe_sts & s_.gpe_en));
    // SMB_INTRSEL 4 = IRQ 9
    const bool smbus = (s_.hststs & kSmbErrors) && (s_.hstcnt & 1) && bits(config_[kSmbHostCfg], 3, 1) == 4;
    sci_.set(acpi || smbus);
}

u64 Piix4Pm::PmPorts::read(u64 offset, unsigned size) {
    owner_.update_timer();
    const u64 ticks = owner_.ticks(); // once: the clock may go on between the bytes
    u64 value = 0;
    for (unsigned i = 0; i < size; i++)
        value |= u64{owner_.pm_read(unsigned(offset) + i, ticks)} << (8 * i);
    return value;
}

void Piix4Pm::PmPorts::write(u64 offset, unsigned size, u64 value) {
    owner_.update_timer();
    // By register of 16 bits, so that writing SUS_EN and SUS_TYP together is seen as one.
    unsigned done = 0;
    while (done < size) {
        const unsigned at = unsigned(offset) + done;
        const unsigned part = (at & 1) || size - done == 1 ? 1 : 2;
        owner_.pm_write(at, part, u16(value >> (8 * done)));
        done += part;
    }
    owner_.update_sci();
}

u8 Piix4Pm::pm_read(unsigned offset, u64 ticks_now) const {
    switch (offset & ~1u) {
    case 0x00: return byte_of(s_.pmsts, offset & 1);
    case 0x02: return byte_of(s_.pmen, offset & 1);
    case 0x04: return byte_of(s_.pmcntrl, offset & 1);
    case 0x08:
    case 0x0a: return byte_of(ticks_now & 0xffffff, offset & 3);
    case 0x0c: return byte_of(s_.gpsts, offset & 1);
    case 0x0e: return byte_of(s_.gpen, offset & 1);
    case 0x10:
    case 0x12: return byte_of(s_.pcntrl, offset & 3);
    case 0x18: return byte_of(s_.glbsts, offset & 1);
    case 0x28:
    case 0x2a: return byte_of(s_.glbctl, offset & 3);
    default: return 0;
    }
}

void Piix4Pm::pm_write(unsigned offset, unsigned size, u16 value) {
    const unsigned shift = 8 * (offset & 1);
    const u16 lanes = u16(size_mask(size) << shift);
    const u16 placed = u16((value << shift) & lanes);
    auto merge = [&](u16 old) { return u16((old & ~lanes) | placed); };
    switch (offset & ~1u) {
    case 0x00: s_.pmsts &= u16(~placed); break;
    case 0x02: s_.pmen = merge(s_.pmen) & kEnableBits; break;
    case 0x04:
        s_.pmcntrl = merge(s_.pmcntrl) & 0x1c03; // SUS_EN and GBL_RLS read as zero
        if (placed & kSusEn) sleep(u8(bits(s_.pmcntrl, 12, 10)));
        break;
    case 0x0c: s_.gpsts &= u16(~placed); break;
    case 0x0e: s_.gpen = merge(s_.gpen); break;
    case 0x10: s_.pcntrl = (s_.pcntrl & 0xffff0000) | merge(u16(s_.pcntrl)); break;
    case 0x12: s_.pcntrl = (s_.pcntrl & 0xffff) | u32(merge(u16(s_.pcntrl >> 16))) << 16; break;
    case 0x18: s_.glbsts &= u16(~placed); break;
    case 0x28: s_.glbctl = (s_.glbctl & 0xffff0000) | merge(u16(s_.glbctl)); break;
    case 0x2a: s_.glbctl = (s_.glbctl & 0xffff) | u32(merge(u16(s_.glbctl >> 16))) << 16; break;
    case 0x08:
    case 0x0a: break; // PMTMR is read-only
    default: log_.once("piix4_pm: write of PM register 0x%02x is not emulated", offset); break;
    }
}

void Piix4Pm::sleep(u8 type) {
    // SUS_TYP (7.2.3) as the firmware's _S5 and _S4 packages use it; to disk means the power goes, too.
    if (type == 0 || type == 2) {
        if (pins_.power_off) pins_.power_off();
        return;
    }
    log_.once("piix4_pm: suspend type %u is not emulated; the guest wakes at once", type);
    s_.pmsts |= kWake;
}

u8 Piix4Pm::gpe_read(unsigned offset) {
    return offset < 2 ? byte_of(s_.gpe_sts, offset) : byte_of(s_.gpe_en, offset & 1);
}

void Piix4Pm::gpe_write(unsigned offset, u8 value) {
    const unsigned shift = 8 * (offset & 1);
    if (offset < 2)
        s_.gpe_sts &= u16(~(value << shift));
    else
        s_.gpe_en = u16((s_.gpe_en & ~(0xff << shift)) | value << shift);
    update_sci();
}

u8 Piix4Pm::apm_read(unsigned offset) {
    return offset == 0 ? s_.apmc : s_.apms;
}

void Piix4Pm::apm_write(unsigned offset, u8 value) {
    if (offset == 1) {
        s_.apms = value;
        return;
    }
    s_.apmc = value;
    if ((config_[kDevactB + 3] & kApmcEn) && (s_.glbctl & kSmiEn)) {
        s_.glbsts |= kApmStatus;
        if (pins_.smi) pins_.smi();
    }
    // For the FADT's ACPI_ENABLE and ACPI_DISABLE, which firmware leaves to us.
    if (value == 0xf1) s_.pmcntrl |= kSciEn;
    if (value == 0xf0) s_.pmcntrl &= u16(~kSciEn);
    update_sci();
}

u8 Piix4Pm::smb_read(unsigned offset) {
    switch (offset) {
    case 0: return s_.hststs;
    case 2: s_.block_index = 0; return s_.hstcnt;
    case 3: return s_.hstcmd;
    case 4: return s_.hstadd;
    case 5: return s_.hstdat0;
    case 6: return s_.hstdat1;
    case 7: {
        const u8 value = s_.block[s_.block_index];
        s_.block_index = u8((s_.block_index + 1) % sizeof s_.block);
        return value;
    }
    case 8: return s_.slvcnt;
    case 9: return s_.shdwcmd;
    case 0xa:
    case 0xb: return byte_of(s_.slvevt, offset & 1);
    default: return 0;
    }
}

void Piix4Pm::smb_write(unsigned offset, u8 value) {
    switch (offset) {
    case 0: s_.hststs &= u8(~(value & kSmbErrors)); break;
    case 2:
        s_.hstcnt = value & 0x1d; // START and KILL read as zero
        // Nobody is on the bus: no address is acknowledged.
        if (bit(value, 6)) s_.hststs = u8((s_.hststs & ~kSmbBusy) | kSmbDevErr);
        break;
    case 3: s_.hstcmd = value; break;
    case 4: s_.hstadd = value; break;
    case 5: s_.hstdat0 = value; break;
    case 6: s_.hstdat1 = value; break;
    case 7:
        s_.block[s_.block_index] = value;
        s_.block_index = u8((s_.block_index + 1) % sizeof s_.block);
        break;
    case 8: s_.slvcnt = value; break;
    case 0xa: s_.slvevt = u16((s_.slvevt & 0xff00) | value); break;
    case 0xb: s_.slvevt = u16((s_.slvevt & 0xff) | value << 8); break;
    default: break;
    }
    update_sci();
}

} // namespace dragoman::hw
