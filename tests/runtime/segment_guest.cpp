#include "segment_guest.h"

#include "frontend/x86/exception.h"

#include <cstring>

namespace dragoman::test {

using N = NativeSegments;

namespace {

constexpr u64 kPresent = 1, kWritable = 2, kUser = 4, kAccessed = 0x20, kDirty = 0x40,
              kNoExecute = u64{1} << 63;
constexpr u64 kTable = kPresent | kWritable | kUser | kAccessed;
constexpr u64 kLeaf = kPresent | kAccessed | kDirty;

u64 code_or_data(unsigned type, unsigned dpl, unsigned flags) { // base 0, limit 4 GiB - 1
    return 0xffff | u64(0x90 | type | dpl << 5) << 40 | u64{0xf} << 48 | u64(flags) << 52;
}

} // namespace

void SegmentGuest::map(u64 linear, u64 gpa, u64 bytes, u64 flags) {
    for (; bytes; bytes -= 0x1000, linear += 0x1000, gpa += 0x1000) {
        u64 table = kTables;
        for (unsigned level = 3; level > 0; --level) {
            const u64 at = table + (linear >> (12 + 9 * level) & 511) * 8;
            if (!m.get<u64>(at)) {
                m.put<u64>(at, next_table_ | kTable);
                next_table_ += 0x1000;
            }
            table = m.get<u64>(at) & ~u64{0xfff};
        }
        m.put<u64>(table + (linear >> 12 & 511) * 8, gpa | flags | kLeaf);
    }
}

SegmentGuest::SegmentGuest(const Way& way) : m(way, 64 * MiB) {
    map(kKernel, 0, 0x10000, kWritable);
    u64 gpa = kMemory;
    for (const u32 area : {N::code_area, N::data_area}) {
        const u64 flags = kUser | (area == N::data_area ? kWritable | kNoExecute : 0);
        for (const u32 part : {area, area + N::far_part}) {
            map(part, gpa, N::part_bytes, flags);
            gpa += N::part_bytes;
        }
    }
    map(N::entry_area, gpa, N::entry_bytes, kUser);

    // Linux's descriptors of the selectors that a program sees, and a 64-bit TSS (two slots).
    m.put(kGdt + 0x10, code_or_data(0xb, 0, 0xa));
    m.put(kGdt + 0x18, code_or_data(0x3, 0, 0xc));
    m.put(kGdt + 0x20, code_or_data(0xb, 3, 0xc));
    m.put(kGdt + 0x28, code_or_data(0x3, 3, 0xc));
    m.put(kGdt + 0x30, code_or_data(0xb, 3, 0xa));
    m.put<u64>(kTss + 4, kKernel + kStack);
    m.put<u16>(kTss + 0x66, 0x68);
    for (u64 v = 0; v < 256; ++v) {
        const u64 at = kKernel + kHandlers + v * 16;
        const bool open = v == 3 || v == 4;
        m.put<u64>(kIdt + v * 16, (at & 0xffff) | 0x10u << 16 | u64(0x8e | (open ? 0x60 : 0)) << 40 |
                                      (at >> 16 & 0xffff) << 48);
        m.put<u64>(kIdt + v * 16 + 8, at >> 32);
        m.put<u8>(kHandlers + v * 16, 0xf4);
    }

    x86::Cpu& c = m.cpu();
    c.gdtr = {kKernel + kGdt, 0x7f};
    c.idtr = {kKernel + kIdt, 0xfff};
    c.tr = {.base = kKernel + kTss, .limit = 0x67, .selector = 0x40, .attributes = 0x8b};
    EXPECT_TRUE(x86::write_cr4(c, x86::kCr4PAE | x86::kCr4OSFXSR));
    EXPECT_TRUE(x86::write_cr3(c, kTables));
    EXPECT_TRUE(x86::write_efer(c, x86::kEferLME | x86::kEferNXE | x86::kEferSCE));
    EXPECT_TRUE(x86::write_cr0(c, x86::kCr0PE | x86::kCr0PG | x86::kCr0WP | x86::kCr0NE | x86::kCr0AM));
    std::memset(m.map->ram() + kMemory, 0xcc, 2 * N::part_bytes);
}

void SegmentGuest::set_ldt(std::span<const u64> entries) {
    std::memcpy(m.map->ram() + kLdt, entries.data(), entries.size_bytes());
    m.cpu().ldtr = {
        .base = kKernel + kLdt, .limit = u32(entries.size_bytes() - 1), .selector = 0x50, .attributes = 0x82};
}

void SegmentGuest::put_code(u32 linear, u8 byte) {
    const u32 near = linear - N::code_area, far = near - N::far_part;
    if (near < N::part_bytes)
        m.map->store(kMemory + near, 1, byte);
    else if (far < N::part_bytes)
        m.map->store(kMemory + N::part_bytes + far, 1, byte);
}

SegmentResult SegmentGuest::run(SegmentState& state) {
    x86::Cpu& c = m.cpu();
    x86::set_cpl(c, 3);
    c.exit = ir::Exit::None;
    x86::Descriptor code;
    EXPECT_TRUE(x86::read_descriptor(c, state.selector[1], code, x86::kGP));
    c.seg[1] = code.segment(state.selector[1]);
    for (const unsigned i : {2u, 0u, 3u, 4u, 5u})
        EXPECT_TRUE(x86::load_segment(c, ir::Seg(i), state.selector[i]));
    for (unsigned i = 0; i < 8; ++i)
        c.gpr[i] = state.gpr[i];
    c.rip = state.eip;
    c.set_eflags(state.eflags);
    x86::get_x87(c, true, state.fx);
    x86::get_vectors(c, x86::kXmm, state.fx.xmm[0]);
    c.mxcsr = state.fx.mxcsr;
    x86::update_key(c);
    c.halted = false;
    m.run();

    x86::put_x87(c, true, state.fx);
    x86::put_vectors(c, x86::kXmm, state.fx.xmm[0]);
    state.fx.mxcsr = c.mxcsr;

    SegmentResult result;
    result.vector = unsigned(c.rip - 1 - kKernel - kHandlers) / 16;
    u64 frame = c.gpr[4] - kKernel;
    const bool has_error =
        result.vector == 8 || (result.vector >= 10 && result.vector <= 14) || result.vector == 17;
    if (has_error) result.error = m.get<u32>(frame);
    frame += has_error ? 8 : 0;
    if (result.vector == x86::kPF) result.cr2 = c.cr2;
    for (unsigned i = 0; i < 8; ++i)
        state.gpr[i] = u32(c.gpr[i]);
    state.eip = m.get<u32>(frame);
    state.selector[1] = m.get<u16>(frame + 8);
    state.eflags = m.get<u32>(frame + 16);
    state.gpr[4] = m.get<u32>(frame + 24);
    state.selector[2] = m.get<u16>(frame + 32);
    for (const unsigned i : {0u, 3u, 4u, 5u})
        state.selector[i] = c.seg[i].selector;
    return result;
}

} // namespace dragoman::test
