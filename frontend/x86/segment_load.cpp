// Segment registers, LDTR and TR from selectors (SDM vol. 2, MOV, LLDT, LTR; vol. 3, 5.4 to 5.7).
#include "frontend/x86/cpuid.h"
#include "frontend/x86/descriptor.h"
#include "frontend/x86/exception.h"
#include "frontend/x86/system_memory.h"
#include "frontend/x86/system_registers.h"

namespace dragoman::x86 {

namespace {

constexpr u16 kRealAttributes = kSegP | kSegS | kSegWritable | kSegAccessed;
constexpr u16 kV86Attributes = kSegP | 3u << 5 | kSegS | kSegWritable | kSegAccessed;

u16 error_of(u16 selector) {
    return selector & 0xfffc;
}

bool fail(Cpu& cpu, Vector vector, u16 selector) {
    raise(cpu, vector, error_of(selector));
    return false;
}

bool load_stack_segment(Cpu& cpu, u16 selector, Vector vector) {
    if (is_null(selector) && vector == kGP) {
        // 64-bit mode takes a null SS below CPL 3, if its RPL is the CPL.
        if (!cpu.code64() || cpu.cpl == 3 || rpl(selector) != cpu.cpl) return fail(cpu, kGP, 0);
        cpu.seg[2] = null_segment(selector, cpu.cpl);
        return true;
    }
    Descriptor d;
    if (!check_stack_segment(cpu, selector, cpu.cpl, vector, d)) return false;
    if (!set_accessed(cpu, d)) return false;
    cpu.seg[2] = d.segment(selector);
    return true;
}

} // namespace

bool inside_limit(const ir::Segment& s, u64 offset, u64 size) {
    const u64 last = offset + size - 1;
    const bool expand_down = (s.attributes & (kSegS | kSegCode | kSegExpandDown)) == (kSegS | kSegExpandDown);
    if (!expand_down)
        return last <= s.limit || (s.base == 0 && s.limit == 0xffffffff); // flat: wraps unchecked
    const u64 top = s.attributes & kSegDB ? 0xffffffff : 0xffff;
    return offset > s.limit && last <= top;
}

bool read_descriptor(Cpu& cpu, u16 selector, Descriptor& d, Vector vector, bool wide) {
    u64 base = cpu.gdtr.base;
    u64 limit = cpu.gdtr.limit;
    if (selector & 4) {
        if (!(cpu.ldtr.attributes & kSegP)) return fail(cpu, vector, selector);
        base = cpu.ldtr.base;
        limit = cpu.ldtr.limit;
    }
    const u64 offset = selector & 0xfff8;
    if (offset + 7 > limit) return fail(cpu, vector, selector);
    d.selector = selector;
    d.address = base + offset;
    d.high = 0;
    if (!read_system(cpu, d.address, d.low)) return false;
    if (!wide || !cpu.long_mode() || d.is_segment()) return true;
    if (d.type() == kTaskGate) return true;
    if (offset + 15 > limit) return fail(cpu, vector, selector);
    return read_system(cpu, d.address + 8, d.high);
}

bool set_accessed(Cpu& cpu, Descriptor& d) {
    if (d.accessed()) return true;
    d.low |= u64{kSegAccessed} << 40;
    return write_system(cpu, d.address + 5, u8(d.low >> 40));
}

bool check_stack_segment(Cpu& cpu, u16 selector, unsigned cpl, Vector vector, Descriptor& d) {
    if (is_null(selector)) return fail(cpu, vector, 0);
    if (!read_descriptor(cpu, selector, d, vector)) return false;
    if (rpl(selector) != cpl || !d.writable() || d.dpl() != cpl) return fail(cpu, vector, selector);
    if (!d.present()) return fail(cpu, kSS, selector);
    return true;
}

void load_real_segment(Cpu& cpu, ir::Seg which, u16 selector) {
    ir::Segment& s = cpu.seg[unsigned(which)];
    s.selector = selector;
    s.base = u64{selector} << 4;
    if (cpu.v86()) {
        s.limit = 0xffff;
        s.attributes = kV86Attributes;
    } else { // real mode keeps the limit and the size, and every segment, CS too, can be written (20.1.1)
        s.attributes = u16((s.attributes & (kSegG | kSegDB)) | kRealAttributes);
    }
}

bool load_segment(Cpu& cpu, ir::Seg which, u16 selector, Vector vector) {
    if (cpu.real_mode() || cpu.v86()) {
        load_real_segment(cpu, which, selector);
        return true;
    }
    if (which == ir::Seg::SS) return load_stack_segment(cpu, selector, vector);
    ir::Segment& s = cpu.seg[unsigned(which)];
    if (is_null(selector)) {
        const ir::Segment before = s;
        s = null_segment(selector);
        if (cpu.model->has(
                Feature::NullKeepsBase)) { // APM vol. 3, CPUID Fn8000_0021_EAX, NullSelectorClearsBase
            s.base = before.base;
            s.limit = before.limit;
        }
        return true;
    }
    Descriptor d;
    if (!read_descriptor(cpu, selector, d, vector)) return false;
    if (!d.is_segment() || !d.readable()) return fail(cpu, vector, selector);
    const bool any_level = d.is_code() && d.conforming();
    if (!any_level && (rpl(selector) > d.dpl() || cpu.cpl > d.dpl())) return fail(cpu, vector, selector);
    if (!d.present()) return fail(cpu, kNP, selector);
    if (!set_accessed(cpu, d)) return false;
    s = d.segment(selector);
    return true;
}

bool load_ldtr(Cpu& cpu, u16 selector, Vector vector) {
    if (is_null(selector)) {
        cpu.ldtr = null_segment(selector);
        return true;
    }
    Descriptor d;
    if (selector & 4) return fail(cpu, vector, selector);
    if (!read_descriptor(cpu, selector, d, vector, true)) return false;
    if (d.is_segment() || d.type() != kLdt) return fail(cpu, vector, selector);
    if (!d.present()) return fail(cpu, vector == kTS ? kTS : kNP, selector);
    if (cpu.long_mode() && !canonical_base(cpu, d.base())) return fail(cpu, vector, selector);
    cpu.ldtr = d.segment(selector);
    return true;
}

bool load_tr(Cpu& cpu, u16 selector) {
    if (is_null(selector)) return fail(cpu, kGP, 0);
    Descriptor d;
    if (selector & 4) return fail(cpu, kGP, selector);
    if (!read_descriptor(cpu, selector, d, kGP, true)) return false;
    const bool tss = d.type() == kTss32 || (d.type() == kTss16 && !cpu.long_mode());
    if (d.is_segment() || !tss) return fail(cpu, kGP, selector);
    if (!d.present()) return fail(cpu, kNP, selector);
    if (cpu.long_mode() && !canonical_base(cpu, d.base())) return fail(cpu, kGP, selector);
    d.low |= u64{2} << 40; // busy
    if (!write_system(cpu, d.address + 5, u8(d.low >> 40))) return false;
    cpu.tr = d.segment(selector);
    return true;
}

void drop_inner_segments(Cpu& cpu) {
    for (const unsigned i : {0u, 3u, 4u, 5u}) {
        ir::Segment& s = cpu.seg[i];
        const bool conforming_code =
            (s.attributes & (kSegCode | kSegConforming)) == (kSegCode | kSegConforming);
        if (((s.attributes & kSegDplMask) >> 5) < cpu.cpl && !conforming_code) {
            // In 64-bit mode the base of FS and GS is left as it is.
            const u64 base = i >= 4 && cpu.long_mode() ? s.base : 0;
            s = null_segment(0, 3);
            s.base = base;
        }
    }
}

} // namespace dragoman::x86
