#include "hw/ioapic.h"

#include "base/assert.h"
#include "base/bits.h"

#include <cstdio>

namespace dragoman::hw {

namespace {

// Redirection table entries (3.2.4): 63:56 destination, 16 mask, 15 trigger mode, 14 remote IRR, 13 polarity,
// 12 delivery status, 11 destination mode, 10:8 delivery mode, 7:0 vector.
constexpr u64 kMasked = 1u << 16, kLevel = 1u << 15, kRemoteIrr = 1u << 14;
constexpr u64 kWritable = 0xff0000000001afff;

constexpr u32 kVersion = 0x00170011; // 24 entries, no EOI register

} // namespace

class Ioapic::Pin final : public IrqLine {
  public:
    Pin(Ioapic& owner, unsigned n) : owner_(owner), n_(n) {}
    void set(bool level) override { owner_.pin_changed(n_, level); }

  private:
    Ioapic& owner_;
    unsigned n_;
};

Ioapic::Ioapic(ApicSink& bus) : bus_(bus) {
    for (unsigned i = 0; i < pin_count; i++)
        pins_[i] = std::make_unique<Pin>(*this, i);
    Ioapic::reset();
}

Ioapic::~Ioapic() = default;

IrqLine& Ioapic::pin(unsigned n) {
    DRAGOMAN_ASSERT(n < pin_count);
    return *pins_[n];
}

void Ioapic::reset() {
    const u32 levels = s_.levels; // belong to the wires
    s_ = State{};
    s_.levels = levels;
    s_.redirection.fill(kMasked);
}

void Ioapic::visit(StateVisitor& visitor) {
    visitor.field("redirection", s_.redirection);
    visitor.field("select", s_.select);
    visitor.field("id", s_.id);
    visitor.field("levels", s_.levels);
}

void Ioapic::pin_changed(unsigned n, bool level) {
    const bool was = bit(s_.levels, n);
    s_.levels = with_bit(s_.levels, n, level);
    const u64 entry = s_.redirection[n];
    if (entry & kLevel)
        evaluate_level(n);
    else if (level && !was && !(entry & kMasked)) // an edge on a masked pin is lost (3.2.4, bit 16)
        send(n);
}

// An asserted level is sent once, and again after each EOI as long as it lasts.
void Ioapic::evaluate_level(unsigned n) {
    u64& entry = s_.redirection[n];
    if (!bit(s_.levels, n) || !(entry & kLevel) || (entry & (kMasked | kRemoteIrr))) return;
    const auto mode = DeliveryMode(bits(entry, 10, 8));
    const bool taken = send(n);
    // One that no local APIC took has no EOI to wait for: it is sent again with the next change.
    if (taken && (mode == DeliveryMode::Fixed || mode == DeliveryMode::LowestPriority)) entry |= kRemoteIrr;
}

bool Ioapic::send(unsigned n) {
    const u64 entry = s_.redirection[n];
    ApicMessage message;
    message.vector = u8(entry);
    message.mode = DeliveryMode(bits(entry, 10, 8));
    message.trigger = entry & kLevel ? TriggerMode::Level : TriggerMode::Edge;
    message.logical = bit(entry, 11);
    message.destination = u32(entry >> 56);
    return bus_.send(message);
}

void Ioapic::end_of_interrupt(u8 vector) {
    for (unsigned n = 0; n < pin_count; n++) {
        u64& entry = s_.redirection[n];
        if (u8(entry) != vector || !(entry & kRemoteIrr)) continue;
        entry &= ~kRemoteIrr;
        evaluate_level(n);
    }
}

u64 Ioapic::read(u64 offset, unsigned size) {
    const unsigned within = unsigned(offset & 15);
    if (within >= 4) return 0;
    const u64 at = offset & 0xff0;
    const u32 value = at == 0x00 ? s_.select : at == 0x10 ? read_register(u8(s_.select)) : 0;
    return (u64{value} >> (8 * within)) & size_mask(size);
}

void Ioapic::write(u64 offset, unsigned size, u64 value) {
    if (offset == 0x00)
        s_.select = value & 0xff;
    else if (offset == 0x10 && size >= 4)
        write_register(u8(s_.select), u32(value));
}

u32 Ioapic::read_register(u8 reg) const {
    switch (reg) {
    case 0x00:
    case 0x02: return s_.id; // IOAPICID, IOAPICARB
    case 0x01: return kVersion;
    default: break;
    }
    const unsigned n = (reg - 0x10u) / 2;
    if (reg < 0x10 || n >= pin_count) return 0;
    return u32(s_.redirection[n] >> (reg & 1 ? 32 : 0));
}

void Ioapic::write_register(u8 reg, u32 value) {
    if (reg == 0x00) s_.id = value & 0x0f000000;
    const unsigned n = (reg - 0x10u) / 2;
    if (reg < 0x10 || n >= pin_count) return;
    u64& entry = s_.redirection[n];
    const u64 lanes = reg & 1 ? 0xffffffff00000000 : 0xffffffff;
    const u64 placed = reg & 1 ? u64{value} << 32 : value;
    const u64 take = lanes & kWritable;
    entry = (entry & ~take) | (placed & take);
    // Software of chips without an EOI register ends an interrupt by making it edge-triggered and level
    // again.
    if (!(entry & kLevel)) entry &= ~kRemoteIrr;
    evaluate_level(n);
}

std::string Ioapic::describe() const {
    static constexpr const char* modes[] = {"fixed", "lowest", "SMI",      "reserved",
                                            "NMI",   "INIT",   "reserved", "ExtINT"};
    char text[160];
    std::snprintf(text, sizeof text, "IO-APIC %u: IOREGSEL %02x\n", s_.id >> 24, s_.select);
    std::string out = text;
    for (unsigned n = 0; n < pin_count; n++) {
        const u64 e = s_.redirection[n];
        std::snprintf(text, sizeof text, "pin %2u %016llx  vector %02x %-8s to %s %02x %s%s%s%s\n", n,
                      static_cast<unsigned long long>(e), unsigned(e & 0xff), modes[bits(e, 10, 8)],
                      bit(e, 11) ? "logical" : "physical", unsigned(e >> 56), e & kLevel ? "level" : "edge",
                      e & kMasked ? " masked" : "", e & kRemoteIrr ? " remote-IRR" : "",
                      bit(s_.levels, n) ? " asserted" : "");
        out += text;
    }
    return out;
}

} // namespace dragoman::hw
