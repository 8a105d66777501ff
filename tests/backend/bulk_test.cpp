// REP MOVS and REP STOS by the host's own (ir::Bulk): as a helper does them unit by unit, over pages that are
// in the host window and pages that are not. DRAGOMAN_SEED and DRAGOMAN_ROUNDS choose another run.
#include "machine.h"

#include "backend/x64/host_features.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

namespace dragoman::test {
namespace {

using namespace ir;

unsigned called = 0;
u64 mask = ~u64{0}; // of addresses

template <Bulk::Kind kind, unsigned size> u64 unit_by_unit(Context& ctx, u64, u64, u64) {
    ++called;
    const i64 step = ctx.direction_flag ? -i64(size) : i64(size);
    u64 &rcx = ctx.gpr[1], &rsi = ctx.gpr[6], &rdi = ctx.gpr[7];
    for (u64* r : {&rcx, &rdi, kind == Bulk::Move ? &rsi : &rdi})
        *r &= mask;
    while (rcx) {
        u64 value = ctx.gpr[0];
        if (kind == Bulk::Move) {
            const u8* from = ctx.memory->acquire(ctx, rsi, size, Access::Read);
            if (!from) return 0;
            std::memcpy(&value, from, size);
        }
        u8* to = ctx.memory->acquire(ctx, rdi, size, Access::Write);
        if (!to) return 0;
        std::memcpy(to, &value, size);
        ctx.memory->commit(ctx);
        if (kind == Bulk::Move) rsi += u64(step);
        rdi += u64(step);
        --rcx;
    }
    return 0;
}

template <Bulk::Kind kind, unsigned size>
constexpr Helper helper{"rep", unit_by_unit<kind, size>, 0, 0, {kind, size}};
const Helper* const kHelpers[] = {&helper<Bulk::Move, 1>, &helper<Bulk::Move, 2>, &helper<Bulk::Move, 4>,
                                  &helper<Bulk::Move, 8>, &helper<Bulk::Fill, 1>, &helper<Bulk::Fill, 2>,
                                  &helper<Bulk::Fill, 4>, &helper<Bulk::Fill, 8>};

Block block_of(const Helper& what, u8 view, u8 mode_bits) {
    Block b;
    b.pc = b.linear_pc = 0x1000;
    b.guest_instructions = 1;
    b.guest_bytes = 4;
    b.view = view;
    b.mode_bits = mode_bits;
    Builder builder(b);
    builder.insn(0);
    builder.call(what, {}, {}, {}, 0);
    builder.jump(0x1004);
    return b;
}

u64 setting(const char* name, u64 otherwise) {
    const char* const text = std::getenv(name);
    return text ? std::strtoull(text, nullptr, 0) : otherwise;
}

class InBulk {
  public:
    InBulk(backend::Options options, u64 seed)
        : m_(options, true), on_(options.bulk),
          misaligned_(options.bulk_misaligned &&
                      backend::HostFeatures::detect().has(backend::HostFeature::FastMisalignedStrings)),
          rng_(seed) {}

    // True: the host did it all.
    bool round() {
        const Helper& what = *kHelpers[below(std::size(kHelpers))];
        const unsigned size = what.bulk.size;
        const bool wide = below(3);
        mask = wide ? ~u64{0} : 0xffffffff;
        const Block block = block_of(what, u8(below(softmmu::kViews)), wide ? 64 : 32);
        Context &ctx = m_.ctx(), &wanted = reference_.ctx();
        for (u64& r : ctx.gpr)
            r = rng_();
        constexpr u64 base = FlatMemory::kInWindow;
        ctx.gpr[6] = base + below(0x9000), ctx.gpr[7] = base + below(0x9000);
        if (below(4) == 0) ctx.gpr[7] = ctx.gpr[6] + below(64);
        if (below(2)) ctx.gpr[6] &= ~u64{7}, ctx.gpr[7] &= ~u64{7};
        static constexpr u64 counts[] = {20, 200, 0x1000, 0x8000};
        ctx.gpr[1] = below(50) ? below(unsigned(counts[below(4)] / size)) : 0x10000 / size + below(2);
        const u64 rsi = ctx.gpr[6], rdi = ctx.gpr[7], bytes = ctx.gpr[1] * size;
        if (!wide)
            for (const unsigned r : {1, 6, 7})
                ctx.gpr[r] |= rng_() << 32;
        ctx.direction_flag = below(10) == 0;
        ctx.flags = Flags(rng_()) & kAllFlags;
        ctx.view = block.view;
        ctx.exit = Exit::None;

        m_.vcpu->tlb.flush(false);
        bool hot[16] = {};
        for (unsigned page = 0; page < 16; ++page) {
            if (below(20) == 0 || kind_of(page << 12) == PageKind::Absent) continue;
            m_.memory->acquire(ctx, base + (page << 12), 1, Access::Read);
            hot[page] = kind_of(page << 12) == PageKind::Ram;
        }
        std::copy_n(ctx.gpr, 16, wanted.gpr);
        wanted.direction_flag = ctx.direction_flag, wanted.flags = ctx.flags, wanted.view = ctx.view;
        reference_.memory->ram = m_.memory->ram;

        const bool moves = what.bulk.kind == Bulk::Move;
        const bool aligned = !(((moves ? rsi : 0) | rdi) & (size - 1));
        bool direct = on_ && bytes && !ctx.direction_flag && (aligned || misaligned_);
        const auto all_hot = [&](u64 at) {
            for (u64 page = at >> 12; page <= (at + bytes - 1) >> 12; ++page)
                direct &= page >= 16 && page < 32 && hot[page - 16];
        };
        if (direct && moves) all_hot(rsi);
        if (direct) all_hot(rdi);

        const auto code = m_.compile(block);
        called = 0;
        m_.run(block, code);
        EXPECT_EQ(called, direct ? 0u : 1u);
        reference_.interpret(block);
        EXPECT_EQ(ctx.exit == Exit::Fault, wanted.exit == Exit::Fault);
        EXPECT_TRUE(std::equal(ctx.gpr, ctx.gpr + 16, wanted.gpr));
        EXPECT_EQ(ctx.flags, wanted.flags);
        EXPECT_EQ(m_.memory->ram, reference_.memory->ram);
        if (m_.next > 128 * MiB) m_.next = (m_.backend->stub_bytes() + 15) & ~u64{15};
        return direct;
    }
    Machine m_;

  private:
    unsigned below(unsigned n) { return n ? unsigned(rng_() % n) : 0; }
    const bool on_, misaligned_;
    std::mt19937_64 rng_;
    Machine reference_;
};

void run_random(backend::Options options) {
    const u64 seed = setting("DRAGOMAN_SEED", std::random_device{}()),
              rounds = setting("DRAGOMAN_ROUNDS", 3000);
    std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
    InBulk machine(options, seed);
    unsigned direct = 0;
    for (u64 n = 0; n < rounds && !::testing::Test::HasFailure(); ++n)
        direct += machine.round();
    EXPECT_GE(direct, options.bulk ? rounds / 20 : 0);
    EXPECT_FALSE(::testing::Test::HasFailure()) << "DRAGOMAN_SEED=" << seed;
}

TEST(Bulk, AsUnitByUnit) {
    run_random({.uncounted = true});
}
TEST(Bulk, AsUnitByUnitCounted) {
    run_random({});
}
TEST(Bulk, AsUnitByUnitWhereMisalignedUnitsAreSlow) {
    run_random({.uncounted = true, .bulk_misaligned = false});
}
TEST(Bulk, IsOffWhereItIsTurnedOff) {
    run_random({.uncounted = true, .bulk = false});
}

} // namespace
} // namespace dragoman::test
