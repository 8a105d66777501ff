#include "ir/jump_cache.h"

#include "base/zeros.h"

#include <gtest/gtest.h>

namespace dragoman::test {
namespace {

using ir::JumpCache;

class Jumps : public testing::Test {
  protected:
    Jumps() : cache_(1), jumps(cache_[0]) { jumps.begin(); }
    const void* in_table(u64 key, u64 pc) {
        const JumpCache::Entry& e = jumps.table_of(key)[JumpCache::index(pc)];
        return e.pc == pc ? e.host : nullptr;
    }
    bool has_table(u64 key) { return jumps.table_of(key) != jumps.unkeyed; }

  private:
    Zeros<JumpCache> cache_;

  protected:
    JumpCache& jumps;
    const void* const a = &jumps.table[0];
    const void* const b = &jumps.table[1];
};

TEST_F(Jumps, EachModeHasItsOwn) {
    jumps.remember(0x1000, 1, a);
    jumps.remember(0x1000, 2, b);
    EXPECT_EQ(in_table(1, 0x1000), a);
    EXPECT_EQ(in_table(2, 0x1000), b);
    EXPECT_FALSE(has_table(3));
    jumps.forget(0x1000, 2, a);
    EXPECT_EQ(in_table(2, 0x1000), b) << "it leads elsewhere now";
    jumps.forget(0x1000, 2, b);
    EXPECT_EQ(in_table(2, 0x1000), nullptr);
    EXPECT_EQ(in_table(1, 0x1000), a);
}

TEST_F(Jumps, ToZeroFindNothingInWhatIsEmpty) {
    const auto finds = [&](const JumpCache::Entry* table) { return table[JumpCache::index(0)].pc == 0; };
    EXPECT_FALSE(finds(jumps.none));
    EXPECT_FALSE(finds(jumps.unkeyed));
    EXPECT_FALSE(finds(jumps.table[0]));
    jumps.remember(0, 1, a);
    EXPECT_EQ(in_table(1, 0), a);
    jumps.forget(0, 1, a);
    EXPECT_FALSE(finds(jumps.table_of(1)));
    jumps.remember(0, 1, a);
    jumps.clear();
    EXPECT_FALSE(has_table(1));
    jumps.remember(0x1000, 1, a);
    EXPECT_FALSE(finds(jumps.table_of(1)));
}

// One mode more than there are tables: it has to ask often, and then the one that has stood still for longest
// goes.
TEST_F(Jumps, AModeThatAsksOftenGetsATable) {
    constexpr u64 modes = JumpCache::tables;
    for (u64 key = 1; key <= modes; ++key)
        jumps.remember(0, key, a);
    jumps.remember(0x1000, 1, a);
    u64 asked = 0;
    for (; asked < 100000 && !has_table(modes + 1); ++asked)
        jumps.remember(0x3000, modes + 1, b);
    EXPECT_GT(asked, 100u);
    EXPECT_EQ(in_table(modes + 1, 0x3000), b);
    EXPECT_TRUE(has_table(1));
    EXPECT_FALSE(has_table(2));
    EXPECT_EQ(in_table(modes + 1, 0), nullptr) << "what the other had is gone";
    EXPECT_NE(jumps.table_of(modes + 1)[0].pc, 0u);
    for (u64 n = 0; n < 100000; ++n) // in turn, as if nobody asked
        jumps.remember(0x3000, 100 + n % 2, a);
    EXPECT_FALSE(has_table(100) || has_table(101));
}

} // namespace
} // namespace dragoman::test
