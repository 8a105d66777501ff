// A guest of arbitrary bytes in any mode, run for a moment: for the test of random guests and the fuzzer.
#pragma once

#include "vcpu_machine.h"

#include <algorithm>
#include <cstdio>
#include <random>
#include <span>

namespace dragoman::test {

inline constexpr const char* kGuestModes[] = {"real",        "protected16", "protected32", "paged32",
                                              "virtual8086", "long64",      "long64 user"};

// Descriptors, gates and task states at random: bases and offsets in the code, types of every kind.
inline void random_tables(VcpuMachine& m, std::mt19937_64& random) {
    constexpr u64 kLdt = 0x1400, kTss = 0x1800, kBytes = 0x400;
    x86::Cpu& cpu = m.cpu();
    const auto descriptor = [&] {
        const u64 base = random() % 4 ? (random() % 2 ? 0 : kTss + random() % 64 * 16) : u32(random());
        const u64 limit = random() % 2 ? 0xfffff : random() % 0x300, type = random() & 0xff,
                  flags = random() & 0xf;
        const u64 present = random() % 8 ? 0x80 : 0;
        return (limit & 0xffff) | (base & 0xffffff) << 16 | (type | present) << 40 | (limit >> 16) << 48 |
               flags << 52 | (base >> 24) << 56;
    };
    const auto gate = [&] { // of any type, to a selector of any kind
        const u64 to = VcpuMachine::kCode + random() % 4096;
        return (to & 0xffff) | (random() & 0x7f) << 16 | ((random() & 0x7f) | 0x80) << 40 | (to >> 16) << 48;
    };
    for (const u64 table : {VcpuMachine::kGdt + 24, kLdt})
        for (u64 at = table; at < (table & ~u64{0x3ff}) + kBytes; at += 8)
            m.put<u64>(at, random() % 4 ? descriptor() : gate());
    for (u64 at = kTss; at < kTss + 0x800; at += 4)
        m.put<u32>(at, random() % 2 ? u32(random() & 0xff) : u32(VcpuMachine::kStack - random() % 256));
    for (unsigned v = 0; v < 32; ++v)
        if (random() % 2) m.put<u64>(VcpuMachine::kIdt + v * (cpu.long_mode() ? 16 : 8), gate());
    cpu.gdtr.limit = kBytes - 1;
    cpu.ldtr = {.base = kLdt, .limit = kBytes - 1, .selector = 0x50, .attributes = 0x82};
    cpu.tr = {.base = kTss,
              .limit = u32(random() % 0x200),
              .selector = 0x40,
              .attributes = u16(0x80 | (random() % 2 || cpu.long_mode() ? 0xb : 3))};
    for (unsigned n = 0; n < 16; ++n)
        if (n != 4 && random() % 2) m.reg(n) = random() & 0x7f;
}

// `code` (at most a page is used) at VcpuMachine::kCode, a HLT behind it; `seed` makes registers, handlers
// and flags. From std::size(kGuestModes) on the modes come again, with tables at random.
inline void prepare_hostile_guest(VcpuMachine& m, unsigned mode, std::span<const u8> code, u64 seed) {
    code = code.first(std::min<std::size_t>(code.size(), 4096));
    const u64 reach = code.size() + 1; // beyond is nothing worth the time that its translation takes
    std::mt19937_64 random(seed);
    const bool tables = mode / std::size(kGuestModes) % 2;
    mode %= std::size(kGuestModes);
    if (mode == 1 || mode == 2 || mode == 4) m.protected32();
    if (mode == 3) {
        m.protected32();
        m.paging32();
    }
    if (mode >= 5) m.long64();
    x86::Cpu& cpu = m.cpu();
    if (mode == 1) cpu.seg[1].attributes = 0x009b;
    for (unsigned v = 0; v < 32; ++v) { // handlers within the code
        const u64 to = VcpuMachine::kCode + random() % reach;
        if (mode == 0) m.put<u32>(v * 4, u32(to));
        if (mode >= 1 && mode <= 4) m.vector32(u8(v), u32(to), random() % 4 ? 14 : 15);
        if (mode < 5) continue;
        m.put<u64>(VcpuMachine::kIdt + v * 16, (to & 0xffff) | 8 << 16 | u64{0x8e} << 40);
        m.put<u64>(VcpuMachine::kIdt + v * 16 + 8, 0);
    }
    for (unsigned n = 0; n < 16; ++n)
        m.reg(n) = random() % 3 ? VcpuMachine::kCode + random() % reach
                   : mode >= 5  ? random()
                                : u32(random());
    m.reg(4) = VcpuMachine::kStack;
    u32 flags = 2 | (u32(random()) & (ir::kAllFlags | x86::kDF | x86::kAC | x86::kID | x86::kIOPL));
    if (mode == 4) {
        flags |= x86::kVM;
        for (unsigned i = 0; i < 6; ++i)
            x86::load_real_segment(cpu, ir::Seg(i), 0);
    }
    cpu.set_eflags(flags);
    if (mode == 4 || mode == 6) {
        if (mode == 6) {
            cpu.seg[1].attributes |= 3 << 5; // DPL 3
            cpu.seg[2].attributes |= 3 << 5;
        }
        x86::set_cpl(cpu, 3);
    }
    cpu.cr4 |= 0x600; // OSFXSR, OSXMMEXCPT
    if (tables && mode) random_tables(m, random);
    for (std::size_t i = 0; i < code.size(); ++i)
        m.put(VcpuMachine::kCode + i, code[i]);
    m.put<u8>(VcpuMachine::kCode + code.size(), 0xf4);
}

// Runs such a guest for a moment. Returns why it stopped: Difference if `way` verifies and the interpreter
// and generated code did not agree. A difference is explained on `log`.
inline runtime::StopReason run_hostile_guest(const Way& way, unsigned mode, std::span<const u8> code,
                                             u64 seed, u64 nanoseconds, std::FILE* log) {
    VcpuMachine m(way);
    m.log.set_output(log);
    prepare_hostile_guest(m, mode, code, seed);
    runtime::Alarm clock([&] { m.vcpu->request_stop(); });
    clock.set(nanoseconds);
    const auto reason = m.vcpu->run();
    clock.set(runtime::Alarm::never);
    return reason;
}

} // namespace dragoman::test
