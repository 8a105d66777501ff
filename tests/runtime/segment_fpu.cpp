#include "segment_fpu.h"

#include "../frontend/host_processor.h"

#include <cstring>

namespace dragoman::test {

namespace {

// The 80-bit format: numbers of every kind, also those that no instruction makes.
void random_number(std::mt19937_64& random, u8* to) {
    u64 mantissa = random() >> (random() % 4 ? 0 : random() % 64);
    u16 exponent = u16(0x3fff + random() % 80 - 40);
    switch (random() % 8) {
    case 0: exponent = 0; break;
    case 1: exponent = 0x7fff; break;
    case 2: exponent = u16(random() & 0x7fff); break;
    case 3: mantissa = u64{1} << 63; break;
    default: mantissa |= u64{1} << 63; break;
    }
    exponent |= u16(random() << 15);
    std::memcpy(to, &mantissa, 8);
    std::memcpy(to + 8, &exponent, 2);
}

} // namespace

void random_fpu(std::mt19937_64& random, x86::SaveArea& fx) {
    fx = {};
    fx.mxcsr = u32(random() & 0xffff) | 0x1f80;
    fx.control = u16((random() & 0x0f00) | (random() % 4 ? 0x7f : 0x40 | (random() & 0x3f)));
    fx.status = u16(random() & 0x7f7f);
    if (random() % 8) fx.status &= u16(~(~fx.control & 0x3f)); // else an exception waits
    if (fx.status & ~fx.control & 0x3f) fx.status |= 0x8080;
    fx.tag = random() % 3 ? 0xff : u8(random());
    if (host_tells_x87_pointers(fx.control, fx.status)) {
        fx.opcode = u16(random() & 0x7ff);
        fx.ip = u32(random());
        fx.dp = u32(random());
    }
    for (auto& st : fx.st)
        random_number(random, st);
    for (auto& xmm : fx.xmm)
        for (u8& byte : xmm)
            byte = u8(random());
}

void compare_fpu(const x86::SaveArea& before, const x86::SaveArea& host, const x86::SaveArea& ours,
                 const FpuDifference& found) {
    const auto value = [&](const char* name, u64 was, u64 theirs, u64 our) {
        if (theirs != our) found(name, 0, was, theirs, our);
    };
    value("FCW", before.control, host.control, ours.control);
    value("FSW", before.status, host.status, ours.status);
    value("abridged FTW", before.tag, host.tag, ours.tag);
    if (host_tells_x87_pointers(host.control, host.status)) {
        value("FOP", before.opcode, host.opcode, ours.opcode);
        value("FIP", before.ip, host.ip, ours.ip);
        value("FDP", before.dp, host.dp, ours.dp);
    }
    value("MXCSR", before.mxcsr, host.mxcsr, ours.mxcsr);
    const auto bytes = [&](const char* name, u32 number, const u8* was, const u8* theirs, const u8* our,
                           unsigned size) {
        if (!std::memcmp(theirs, our, size)) return;
        const unsigned at = std::memcmp(theirs, our, 8) ? 0 : size - 8;
        u64 v[3];
        for (unsigned i = 0; i < 3; ++i)
            std::memcpy(&v[i], (i == 0 ? was : i == 1 ? theirs : our) + at, 8);
        found(name, number, v[0], v[1], v[2]);
    };
    for (u32 i = 0; i < 8; ++i)
        bytes("ST", i, before.st[i], host.st[i], ours.st[i], 10);
    for (u32 i = 0; i < 8; ++i)
        bytes("XMM", i, before.xmm[i], host.xmm[i], ours.xmm[i], 16);
}

} // namespace dragoman::test
