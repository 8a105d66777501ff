#include "runtime/debug_memory.h"

#include "base/bits.h"
#include "frontend/x86/system_registers.h"

#include <algorithm>
#include <cstring>

namespace dragoman::runtime {

namespace {

constexpr u64 kPage = softmmu::PhysicalMap::page_size;

// Splits [at, at+bytes) at page ends and calls f(at, offset, count) for each part.
template <class F> bool by_page(u64 at, u64 bytes, F f) {
    for (u64 done = 0; done < bytes;) {
        const u64 count = std::min(bytes - done, kPage - (at + done) % kPage);
        if (!f(at + done, done, count)) return false;
        done += count;
    }
    return true;
}

// The size of the next access in a part of a page: `unit` where it is aligned, else bytes.
unsigned piece(u64 at, u64 left, unsigned unit) {
    return at % unit == 0 && left >= unit ? unit : 1;
}

} // namespace

bool read_physical(softmmu::PhysicalMap& map, u64 gpa, u8* to, u64 bytes, unsigned unit) {
    return by_page(gpa, bytes, [&](u64 at, u64 offset, u64 count) {
        const auto page = map.lookup(at);
        if (!page.host && !page.io) return false;
        for (u64 i = 0; i < count;) {
            const unsigned size = piece(at + i, count - i, page.io ? unit : 8);
            const u64 value = map.load(at + i, size);
            std::memcpy(to + offset + i, &value, size);
            i += size;
        }
        return true;
    });
}

bool write_physical(softmmu::PhysicalMap& map, u64 gpa, const u8* from, u64 bytes, unsigned unit) {
    return by_page(gpa, bytes, [&](u64 at, u64 offset, u64 count) {
        const auto page = map.lookup(at);
        if (!page.io && !(page.host && page.writable)) return false;
        for (u64 i = 0; i < count;) {
            const unsigned size = piece(at + i, count - i, page.io ? unit : 8);
            u64 value = 0;
            std::memcpy(&value, from + offset + i, size);
            map.store(at + i, size, value);
            i += size;
        }
        return true;
    });
}

bool to_physical(Vcpu& vcpu, u64 linear, u64& gpa) {
    if (!vcpu.cpu().long_mode())
        linear &= 0xffffffff;
    else if (!x86::canonical(vcpu.cpu(), linear))
        return false;
    const auto translation = vcpu.mmu().probe(linear);
    gpa = translation.gpa;
    return translation.ok;
}

bool read_linear(Vcpu& vcpu, u64 linear, u8* to, u64 bytes, unsigned unit) {
    return by_page(linear, bytes, [&](u64 at, u64 offset, u64 count) {
        u64 gpa;
        return to_physical(vcpu, at, gpa) && read_physical(vcpu.mmu().map(), gpa, to + offset, count, unit);
    });
}

bool write_linear(Vcpu& vcpu, u64 linear, const u8* from, u64 bytes, unsigned unit) {
    return by_page(linear, bytes, [&](u64 at, u64 offset, u64 count) {
        u64 gpa;
        return to_physical(vcpu, at, gpa) &&
               write_physical(vcpu.mmu().map(), gpa, from + offset, count, unit);
    });
}

} // namespace dragoman::runtime
