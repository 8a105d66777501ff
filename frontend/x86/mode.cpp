#include "frontend/x86/mode.h"

#include "frontend/x86/system_registers.h"

#include "base/bits.h"

namespace dragoman::x86 {

namespace {

// What a flat segment of its kind must be: base 0, limit 4 GiB - 1 and usable without a check.
constexpr u16 kDataRights = kSegP | kSegS | kSegCode | kSegExpandDown | kSegWritable;
constexpr u16 kFlatData = kSegP | kSegS | kSegWritable;
constexpr u16 kCodeRights = kSegP | kSegS | kSegCode | kSegReadable;

bool spans_all(const ir::Segment& s) {
    return s.base == 0 && s.limit == 0xffffffff;
}
bool flat_data(const ir::Segment& s) {
    return spans_all(s) && (s.attributes & kDataRights) == kFlatData;
}
bool flat_code(const ir::Segment& s) {
    return spans_all(s) && (s.attributes & kCodeRights) == kCodeRights;
}

constexpr u8 code_of(u8 bits) {
    return bits == 64 ? 2 : bits == 32 ? 1 : 0;
}
constexpr u8 bits_of(u32 code) {
    return code == 2 ? 64 : code == 1 ? 32 : 16;
}

} // namespace

u32 pack(const Mode& m) {
    u32 v = 0;
    unsigned at = 0;
    const auto put = [&](u32 value, unsigned width) {
        v |= value << at;
        at += width;
    };
    put(code_of(m.code_bits), 2);
    put(code_of(m.stack_bits), 2);
    put(m.cpl, 2);
    put(m.protected_mode, 1);
    put(m.v86, 1);
    put(m.view, 2);
    put(m.flat[0], 1); // no loop: every place is a constant then, and this runs at every system call
    put(m.flat[1], 1);
    put(m.flat[2], 1);
    put(m.flat[3], 1);
    put(m.fs_gs_flat[0], 1);
    put(m.fs_gs_flat[1], 1);
    put(m.emulation, 1);
    put(m.sse_undefined, 1);
    put(m.sse_traps, 1);
    put(m.wait_traps, 1);
    put(m.single_step, 1);
    put(m.alignment_check, 1);
    put(m.simd_unmasked, 1);
    put(m.fpu_pending, 1);
    put(m.avx, 1);
    put(m.x87_unmasked, 1);
    put(m.avx512, 1);
    put(m.tsc_refused, 1);
    return v;
}

Mode unpack(u32 packed) {
    Mode m;
    unsigned at = 0;
    const auto get = [&](unsigned width) {
        const u32 value = u32(bits(packed, at + width - 1, at));
        at += width;
        return value;
    };
    m.code_bits = bits_of(get(2));
    m.stack_bits = bits_of(get(2));
    m.cpl = u8(get(2));
    m.protected_mode = get(1);
    m.v86 = get(1);
    m.view = u8(get(2));
    for (bool& f : m.flat)
        f = get(1);
    for (bool& f : m.fs_gs_flat)
        f = get(1);
    m.emulation = get(1);
    m.sse_undefined = get(1);
    m.sse_traps = get(1);
    m.wait_traps = get(1);
    m.single_step = get(1);
    m.alignment_check = get(1);
    m.simd_unmasked = get(1);
    m.fpu_pending = get(1);
    m.avx = get(1);
    m.x87_unmasked = get(1);
    m.avx512 = get(1);
    m.tsc_refused = get(1);
    return m;
}

Mode current_mode(const Cpu& cpu) {
    Mode m;
    const bool long64 = cpu.code64();
    m.code_bits = long64 ? 64 : cpu.seg[1].attributes & kSegDB ? 32 : 16;
    m.stack_bits = long64 ? 64 : cpu.seg[2].attributes & kSegDB ? 32 : 16;
    m.cpl = cpu.cpl;
    m.v86 = cpu.v86();
    m.protected_mode = cpu.protected_mode() && !m.v86;
    m.view = u8(access_view(cpu));
    if (long64) {
        // ES, CS, SS and DS are treated as flat; FS and GS keep their base (SDM vol. 1, 3.4.4).
        for (bool& f : m.flat)
            f = true;
    } else {
        for (unsigned i = 0; i < 4; ++i)
            m.flat[i] = i == 1 ? flat_code(cpu.seg[i]) : flat_data(cpu.seg[i]);
        for (unsigned i = 0; i < 2; ++i)
            m.fs_gs_flat[i] = flat_data(cpu.seg[4 + i]);
    }
    m.emulation = cpu.cr0 & kCr0EM;
    m.sse_undefined = (cpu.cr0 & kCr0EM) || !(cpu.cr4 & kCr4OSFXSR);
    m.sse_traps = cpu.cr0 & kCr0TS;
    m.wait_traps = (cpu.cr0 & kCr0MP) && (cpu.cr0 & kCr0TS);
    m.single_step = (cpu.system_flags & kTF) || cpu.interrupt_shadow;
    m.alignment_check = cpu.cpl == 3 && (cpu.cr0 & kCr0AM) && (cpu.system_flags & kAC);
    m.simd_unmasked = ~cpu.mxcsr & 0x1f80;
    m.fpu_pending = cpu.fpu.status & 0x80;
    m.x87_unmasked = ~cpu.fpu.control & 0x3f;
    m.avx = cpu.avx_enabled();
    m.avx512 = cpu.avx512_enabled();
    m.tsc_refused = (cpu.cr4 & kCr4TSD) && cpu.cpl != 0;
    return m;
}

void update_key(Cpu& cpu) {
    cpu.view = u8(access_view(cpu));
    cpu.vectors_lazy = cpu.cpl != 3;
    cpu.vector_bytes = cpu.avx512_enabled() ? 64 : cpu.avx_enabled() ? 32 : 16;
    const ir::Segment& cs = cpu.seg[1];
    const u64 segment = cpu.code64() || spans_all(cs) ? 0 : cpu.code_segments.number(u32(cs.base), cs.limit);
    ir::use_key(cpu, pack(current_mode(cpu)) | segment << 32);
}

} // namespace dragoman::x86
