#include "hw/lapic.h"

#include "base/bits.h"
#include "hw/core/map_priority.h"

#include <utility>

namespace dragoman::hw {

namespace {

constexpr u64 kBsp = 1u << 8, kExtd = 1u << 10, kEn = 1u << 11;             // IA32_APIC_BASE
constexpr u32 kMasked = 1u << 16, kLevel = 1u << 15, kRemoteIrr = 1u << 14; // LVT entries
constexpr u32 kSvrEnable = 1u << 8;
constexpr u8 kSendIllegalVector = 1 << 5, kReceivedIllegalVector = 1 << 6; // ESR

bool get(const std::array<u32, 8>& v, unsigned n) {
    return bit(v[n / 32], n % 32);
}
void put(std::array<u32, 8>& v, unsigned n, bool on) {
    v[n / 32] = with_bit(v[n / 32], n % 32, on);
}
int highest(const std::array<u32, 8>& v) {
    for (int i = 7; i >= 0; i--)
        if (v[unsigned(i)]) return i * 32 + 31 - std::countl_zero(v[unsigned(i)]);
    return -1;
}

} // namespace

Lapic::Lapic(const Config& config, Scheduler& scheduler, MemoryMap& memory, ApicSink& bus, IrqLine& intr,
             Log& log, Pins pins)
    : config_(config), scheduler_(scheduler), memory_(memory), bus_(bus), intr_(intr), log_(log),
      pins_(std::move(pins)), timer_(scheduler, [this] { timer_fired(); }) {
    Lapic::reset();
}

Lapic::~Lapic() {
    if (mapping_) memory_.unmap(mapping_);
}

void Lapic::reset() {
    s_.base = default_base | kEn | (config_.bootstrap ? kBsp : 0);
    init();
}

void Lapic::init() {
    State fresh;
    fresh.base = s_.base;
    fresh.id = config_.id;
    fresh.lint0 = s_.lint0;
    fresh.lint1 = s_.lint1;
    fresh.lvt.fill(kMasked);
    // The MP specification's virtual wire (3.6.2.2): software that knows nothing of APICs gets its 8259
    // interrupts.
    if (config_.bootstrap) fresh.lvt[kLint0] = 0x700;
    s_ = fresh;
    if (x2apic()) s_.ldr = (s_.id & 0xffff0) << 12 | 1u << (s_.id & 15);
    update_mapping();
    update_timer();
    update_intr();
}

void Lapic::visit(StateVisitor& visitor) {
    visitor.field("lapic", s_);
    if (!visitor.loading()) return;
    update_mapping();
    update_timer();
    intr_level_ = has_interrupt();
    intr_.set(intr_level_);
}

bool Lapic::enabled() const {
    return hardware_enabled() && (s_.svr & kSvrEnable);
}

void Lapic::update_mapping() {
    const bool wanted = hardware_enabled() && !x2apic();
    const u64 at = align_down(s_.base & low_mask(config_.address_bits), 4096);
    if (mapping_ && (!wanted || at != mapped_at_)) {
        memory_.unmap(mapping_);
        mapping_ = 0;
    }
    if (wanted && !mapping_) {
        mapping_ = memory_.map_io(at, 4096, *this, kMapApic);
        mapped_at_ = at;
    }
}

bool Lapic::write_apic_base(u64 value) {
    const u64 allowed =
        (low_mask(config_.address_bits) & ~u64{0xfff}) | kBsp | kEn | (config_.x2apic ? kExtd : 0);
    if (value & ~allowed) return false;
    const bool was_on = s_.base & kEn, was_x2 = s_.base & kExtd, on = value & kEn, x2 = value & kExtd;
    // SDM vol. 3, 11.12.5: into x2APIC only from xAPIC, out of it only by disabling.
    if (x2 && (!on || !was_on)) return false;
    if (was_x2 && on && !x2) return false;
    settle_timer();
    s_.base = value;
    if (was_on && !on)
        init();
    else if (x2 && !was_x2)
        s_.ldr = (s_.id & 0xffff0) << 12 | 1u << (s_.id & 15);
    update_mapping();
    update_timer();
    update_intr();
    return true;
}

// Priorities and acceptance (SDM vol. 3, 11.8).

u8 Lapic::ppr() const {
    const int in_service = highest(s_.isr);
    const u8 isrv = in_service < 0 ? 0 : u8(in_service & 0xf0);
    return (s_.tpr & 0xf0) >= isrv ? s_.tpr : isrv;
}

int Lapic::highest_deliverable() const {
    if (!hardware_enabled()) return -1;
    const int vector = highest(s_.irr);
    return vector >= 0 && (vector & 0xf0) > (ppr() & 0xf0) ? vector : -1;
}

bool Lapic::takes_extint() const {
    if (!hardware_enabled()) return s_.lint0; // the pin is INTR then
    return s_.extint || (s_.lint0 && (s_.lvt[kLint0] & (kMasked | 0x700)) == 0x700);
}

bool Lapic::has_interrupt() const {
    return takes_extint() || highest_deliverable() >= 0;
}

int Lapic::acknowledge() {
    const int vector = highest_deliverable();
    if (vector >= 0) {
        put(s_.irr, unsigned(vector), false);
        put(s_.isr, unsigned(vector), true);
        update_intr();
        return vector;
    }
    if (!takes_extint() || !pins_.extint) return -1;
    s_.extint = 0;
    const u8 from_8259 = pins_.extint();
    update_intr();
    return from_8259;
}

void Lapic::update_intr() {
    const bool level = has_interrupt();
    if (level == intr_level_) return;
    intr_level_ = level;
    intr_.set(level);
}

void Lapic::set_tpr(u8 cr8) {
    s_.tpr = u8(cr8 << 4);
    update_intr();
}

bool Lapic::is_destination(const ApicMessage& m) const {
    if (!hardware_enabled() || (m.exclude && m.excluded_id == s_.id)) return false;
    if (m.destination == (m.x2apic ? 0xffffffff : 0xff)) return true;
    if (!m.logical) return m.destination == (x2apic() ? s_.id : s_.id & 0xff);
    if (x2apic()) return m.destination >> 16 == s_.ldr >> 16 && (m.destination & s_.ldr & 0xffff);
    const u32 ldr = s_.ldr >> 24;
    if (s_.dfr >> 28 == 0xf) return m.destination & ldr & 0xff;                    // flat
    return (m.destination & 0xf0) == (ldr & 0xf0) && (m.destination & ldr & 0x0f); // cluster
}

bool Lapic::deliver(u8 vector, TriggerMode trigger, DeliveryMode mode) {
    if (!hardware_enabled()) return false;
    switch (mode) {
    case DeliveryMode::Fixed:
    case DeliveryMode::LowestPriority:
        if (!(s_.svr & kSvrEnable)) return false;
        if (vector < 16) {
            error(kReceivedIllegalVector);
            return true;
        }
        put(s_.irr, vector, true);
        put(s_.tmr, vector, trigger == TriggerMode::Level);
        update_intr();
        return true;
    case DeliveryMode::Smi:
        if (pins_.smi) pins_.smi();
        return true;
    case DeliveryMode::Nmi:
        if (pins_.nmi) pins_.nmi();
        return true;
    case DeliveryMode::Init:
        if (pins_.init) pins_.init();
        return true;
    case DeliveryMode::Startup:
        if (pins_.startup) pins_.startup(vector);
        return true;
    case DeliveryMode::ExtInt:
        s_.extint = 1;
        update_intr();
        return true;
    case DeliveryMode::Reserved: log_.once("lapic: message with the reserved delivery mode"); break;
    }
    return true;
}

void Lapic::end_of_interrupt() {
    const int vector = highest(s_.isr);
    if (vector < 0) return;
    put(s_.isr, unsigned(vector), false);
    const bool level = get(s_.tmr, unsigned(vector));
    if (level) {
        for (Lvt lvt : {kLint0, kLint1}) {
            if ((s_.lvt[lvt] & 0xff) != u32(vector) || !(s_.lvt[lvt] & kRemoteIrr)) continue;
            s_.lvt[lvt] &= ~kRemoteIrr;
            evaluate_level_pin(lvt);
        }
        bus_.end_of_interrupt(u8(vector));
    }
    update_intr();
}

// Local sources (SDM vol. 3, 11.5.1).

void Lapic::pin_changed(Lvt lvt, bool level) {
    u8& pin = lvt == kLint0 ? s_.lint0 : s_.lint1;
    const bool rising = level && !pin;
    pin = level;
    if (!hardware_enabled()) {
        if (rising && lvt == kLint1 && pins_.nmi) pins_.nmi(); // the pin is NMI then
    } else if ((s_.lvt[lvt] & kLevel) && DeliveryMode(bits(s_.lvt[lvt], 10, 8)) == DeliveryMode::Fixed) {
        evaluate_level_pin(lvt);
    } else if (rising) {
        local_interrupt(lvt);
    }
    update_intr();
}

void Lapic::evaluate_level_pin(Lvt lvt) {
    u32& entry = s_.lvt[lvt];
    const bool pin = lvt == kLint0 ? s_.lint0 : s_.lint1;
    if (!pin || !(entry & kLevel) || (entry & (kMasked | kRemoteIrr))) return;
    if (DeliveryMode(bits(entry, 10, 8)) != DeliveryMode::Fixed) return;
    entry |= kRemoteIrr;
    deliver(u8(entry), TriggerMode::Level, DeliveryMode::Fixed);
}

void Lapic::local_interrupt(Lvt lvt) {
    const u32 entry = s_.lvt[lvt];
    if (entry & kMasked) return;
    const bool fixed_only = lvt == kTimer || lvt == kError;
    const auto mode = fixed_only ? DeliveryMode::Fixed : DeliveryMode(bits(entry, 10, 8));
    // ExtINT is not a message but the state of the pin: takes_extint().
    if (mode != DeliveryMode::ExtInt) deliver(u8(entry), TriggerMode::Edge, mode);
}

void Lapic::error(u8 bits) {
    // A bit that is already pending raises nothing: an illegal vector in the error LVT itself must end
    // somewhere.
    const u8 added = u8(bits & ~s_.esr_pending);
    s_.esr_pending |= bits;
    if (added) local_interrupt(kError);
}

// Interprocessor interrupts (SDM vol. 3, 11.6).

void Lapic::send_ipi() {
    ApicMessage m;
    m.vector = u8(s_.icr);
    m.mode = DeliveryMode(bits(s_.icr, 10, 8));
    m.logical = bit(s_.icr, 11);
    m.x2apic = x2apic();
    m.destination = x2apic() ? u32(s_.icr >> 32) : u32(s_.icr >> 56);
    const bool fixed = m.mode == DeliveryMode::Fixed || m.mode == DeliveryMode::LowestPriority;
    if (fixed && m.vector < 16) {
        error(kSendIllegalVector);
        return;
    }
    if (m.mode == DeliveryMode::Init && bit(s_.icr, 15) && !bit(s_.icr, 14)) return; // INIT level de-assert
    const u32 everybody = m.x2apic ? 0xffffffff : 0xff;
    switch (bits(s_.icr, 19, 18)) {
    case 1: // self
        if (fixed)
            deliver(m.vector, TriggerMode::Edge, DeliveryMode::Fixed);
        else
            log_.once("lapic: IPI to itself with delivery mode %u is ignored", unsigned(m.mode));
        return;
    case 2: m.destination = everybody; break;
    case 3:
        m.destination = everybody;
        m.exclude = true;
        break;
    default: break;
    }
    if (m.mode == DeliveryMode::Init || m.mode == DeliveryMode::Startup) {
        // A processor does not start or stop itself this way.
        if (m.destination != everybody && is_destination(m))
            log_.once("lapic: INIT or SIPI to itself is ignored");
        m.exclude = true;
    }
    m.excluded_id = s_.id;
    bus_.send(m);
}

} // namespace dragoman::hw
