#include "hw/core/io_bus.h"

#include "base/assert.h"
#include "base/bits.h"

#include <algorithm>

namespace dragoman::hw {

IoBus::IoBus() : by_port_(port_count, nullptr) {}

void IoBus::map(u16 base, u32 count, IoHandler& handler, Widths widths, bool override_existing) {
    DRAGOMAN_ASSERT(count > 0 && base + count <= port_count);
    DRAGOMAN_ASSERT(std::has_single_bit(widths.min) && std::has_single_bit(widths.max));
    DRAGOMAN_ASSERT(widths.min <= widths.max && widths.max <= 4);
    const auto first = by_port_.begin() + base;
    DRAGOMAN_ASSERT(override_existing || std::all_of(first, first + count, [](auto* c) { return !c; }));
    claims_.push_back(std::make_unique<Claim>(Claim{base, count, &handler, widths}));
    std::fill(first, first + count, claims_.back().get());
}

void IoBus::unmap(u16 base, IoHandler& handler) {
    const auto found = std::find_if(claims_.rbegin(), claims_.rend(), [&](const auto& claim) {
        return claim->base == base && claim->handler == &handler;
    });
    if (found == claims_.rend()) return;
    const u32 first = (*found)->base, last = first + (*found)->count;
    claims_.erase(std::next(found).base());
    // What this claim had covered shows again: a BAR that moves away must not leave a hole in the timer's
    // ports.
    std::fill(by_port_.begin() + first, by_port_.begin() + last, nullptr);
    for (const auto& claim : claims_) {
        const u32 from = std::max<u32>(first, claim->base), to = std::min(last, claim->base + claim->count);
        for (u32 port = from; port < to; port++)
            by_port_[port] = claim.get();
    }
}

// The one claim that holds all bytes of the access, or null.
const IoBus::Claim* IoBus::claim_of(u16 port, unsigned size) const {
    if (port + size > port_count) return nullptr;
    const Claim* claim = by_port_[port];
    for (unsigned i = 1; i < size; i++)
        if (by_port_[port + i] != claim) return nullptr;
    return claim;
}

u32 IoBus::in(u16 port, unsigned size) {
    if (const Claim* claim = claim_of(port, size)) return read_claim(*claim, port, size);
    u32 value = 0;
    for (unsigned i = 0; i < size; i++) {
        const u32 byte_port = port + i;
        const Claim* claim = byte_port < port_count ? by_port_[byte_port] : nullptr;
        const u32 byte = claim ? read_claim(*claim, u16(byte_port), 1) : 0xff;
        value |= byte << (8 * i);
    }
    return value;
}

void IoBus::out(u16 port, unsigned size, u32 value) {
    if (const Claim* claim = claim_of(port, size)) return write_claim(*claim, port, size, value);
    for (unsigned i = 0; i < size; i++) {
        const u32 byte_port = port + i;
        // Looked up anew for each byte: the byte before may have moved a claim.
        const Claim* claim = byte_port < port_count ? by_port_[byte_port] : nullptr;
        if (claim) write_claim(*claim, u16(byte_port), 1, (value >> (8 * i)) & 0xff);
    }
}

namespace {

// Where the unit of `min` bytes lies that contains a narrower access, and whether the claim has all of it.
struct Unit {
    u32 offset;  // from the claim's base
    unsigned at; // byte of the access inside the unit
    bool whole;
};

Unit unit_of(u32 base, u32 count, u16 port, unsigned size, unsigned min) {
    const u32 start = static_cast<u32>(align_down(port, min));
    const bool whole = start >= base && start + min <= base + count && port + size <= start + min;
    return {start - base, port - start, whole};
}

} // namespace

u32 IoBus::read_claim(const Claim& claim, u16 port, unsigned size) {
    const Claim c = claim; // the access may end the claim
    const u64 mask = size_mask(size);
    if (size < c.widths.min) {
        const Unit unit = unit_of(c.base, c.count, port, size, c.widths.min);
        if (!unit.whole) return static_cast<u32>(mask);
        return static_cast<u32>((c.handler->read(unit.offset, c.widths.min) >> (8 * unit.at)) & mask);
    }
    const u32 offset = u32{port} - c.base;
    const unsigned step = std::min(size, c.widths.max);
    u64 value = 0;
    for (unsigned i = 0; i < size; i += step)
        value |= (c.handler->read(offset + i, step) & size_mask(step)) << (8 * i);
    return static_cast<u32>(value);
}

void IoBus::write_claim(const Claim& claim, u16 port, unsigned size, u32 value) {
    const Claim c = claim;
    const u64 mask = size_mask(size);
    if (size < c.widths.min) {
        // The chip cannot see byte enables here: keep the rest of the unit as it reads.
        const Unit unit = unit_of(c.base, c.count, port, size, c.widths.min);
        if (!unit.whole) return;
        const unsigned shift = 8 * unit.at;
        const u64 old = c.handler->read(unit.offset, c.widths.min) & size_mask(c.widths.min);
        c.handler->write(unit.offset, c.widths.min, (old & ~(mask << shift)) | ((value & mask) << shift));
        return;
    }
    const u32 offset = u32{port} - c.base;
    const unsigned step = std::min(size, c.widths.max);
    for (unsigned i = 0; i < size; i += step)
        c.handler->write(offset + i, step, (value >> (8 * i)) & size_mask(step));
}

} // namespace dragoman::hw
