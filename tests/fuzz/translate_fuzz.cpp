// libFuzzer: arbitrary bytes as code, in any mode and state: decoding, IR, passes, verifier, both executors.
//
// The input is
// - u8: mode, by kGuestModes, twice (the second time with random descriptor tables); bit 7: in lockstep
// - u16: way_of(), bit 8: generated code is not stopped
// - u32: control registers and modes of the floating-point units, bit by bit as in set_state()
// - u64: seed of registers, handlers, flags
// - the rest: code
#include "../runtime/hostile_guest.h"
#include "fuzz_input.h"
#include "guest_pair.h"

namespace dragoman::test {
namespace {

void set_state(VcpuMachine& m, u32 bits) {
    x86::Cpu& c = m.cpu();
    const auto bit = [&] {
        const bool set = bits & 1;
        bits >>= 1;
        return set;
    };
    const auto cr0 = [&](u64 mask) { c.cr0 ^= bit() ? mask : 0; };
    const auto cr4 = [&](u64 mask) { c.cr4 ^= bit() ? mask : 0; };
    cr0(x86::kCr0TS);
    cr0(x86::kCr0EM);
    cr0(x86::kCr0MP);
    cr0(x86::kCr0NE);
    cr0(x86::kCr0AM);
    cr4(x86::kCr4OSFXSR);
    cr4(x86::kCr4OSXMMEXCPT);
    cr4(x86::kCr4TSD);
    cr4(x86::kCr4UMIP);
    cr4(x86::kCr4FSGSBASE);
    cr4(x86::kCr4VME | x86::kCr4PVI);
    cr4(x86::kCr4OSXSAVE);
    if (bit()) c.xcr0 |= x86::kSseState | x86::kAvxState;
    if (bit() && x86::state_components(*c.model) & x86::kAvx512States)
        c.xcr0 |= x86::kSseState | x86::kAvxState | x86::kAvx512States;
    if (bit()) c.mxcsr &= ~u32{0x1f80};      // exceptions unmasked
    if (bit()) c.mxcsr |= 0x8040;            // FTZ, DAZ
    if (bit()) c.fpu.control &= u16(~0x3f);  // exceptions unmasked
    if (bit()) c.fpu.control &= u16(~0x300); // single precision
    u32 flags = c.eflags();
    for (const u32 flag : {x86::kTF, x86::kIF, x86::kNT, x86::kVIF})
        if (bit()) flags |= flag;
    for (const unsigned s : {0u, 2u, 3u, 4u, 5u})
        if (bit()) { // neither flat nor long
            c.seg[s].base = 0x100 * (s + 1);
            c.seg[s].limit = 0x8fff;
        }
    if (bit()) c.seg[3].attributes |= x86::kSegExpandDown;
    c.set_eflags(flags);
    x86::update_paging(c);
}

void play(std::span<const u8> bytes) {
    const HangGuard guard;
    FuzzInput input(bytes);
    const u8 mode = input.byte();
    const u16 way = input.take<u16>();
    const u32 state = input.take<u32>();
    const u64 seed = input.take<u64>();
    const std::span<const u8> code = input.rest();
    const auto prepare = [&](VcpuMachine& m) {
        prepare_hostile_guest(m, mode & 0x7f, code, seed);
        set_state(m, state);
    };
    PairOptions options{.generated = way_of(way & 0xff), .stepwise = !(way & 0x100)};
    if (mode & 0x80)
        expect_no_difference(run_lockstep(options, prepare));
    else
        expect_no_difference(run_pair(options, prepare));
}

} // namespace
} // namespace dragoman::test

extern "C" int LLVMFuzzerTestOneInput(const dragoman::u8* data, std::size_t size) {
    dragoman::test::play({data, size});
    return 0;
}
