#include "runtime/block_table.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <memory>
#include <random>
#include <unordered_map>
#include <vector>

namespace dragoman::test {
namespace {

// Hashes that collide: places are shared, and the array is left at its end.
struct Key {
    u64 number;
    friend bool operator==(const Key&, const Key&) = default;
    friend std::size_t hash_value(const Key& key) { return key.number % 700 * 0x9e37 - 300; }
};
struct Block {
    Key key;
};

TEST(BlockTable, FindsWhatIsInIt) {
    const u32 seed = std::random_device{}();
    std::printf("seed %u\n", seed);
    std::mt19937 random(seed);
    runtime::BlockTable<Block> table;
    std::unordered_map<u64, std::unique_ptr<Block>> known;
    for (unsigned i = 0; i < 100'000; ++i) {
        const u64 number = random() % 3000;
        std::unique_ptr<Block>& block = known[number];
        ASSERT_EQ(table.find(Key{number}), block.get()) << "seed " << seed << ", round " << i;
        if (block) {
            table.erase(*block);
            block = nullptr;
        } else {
            block = std::make_unique<Block>(Block{number});
            table.insert(*block);
        }
    }
    for (const auto& [number, block] : known)
        EXPECT_EQ(table.find(Key{number}), block.get()) << "seed " << seed;
}

TEST(BlockTable, Grows) {
    runtime::BlockTable<Block> table;
    std::vector<Block> blocks(60'000);
    for (u64 n = 0; n < blocks.size(); ++n) {
        blocks[n].key.number = n;
        table.insert(blocks[n]);
    }
    for (Block& block : blocks)
        ASSERT_EQ(table.find(block.key), &block);
    for (Block& block : blocks) {
        table.erase(block);
        ASSERT_EQ(table.find(block.key), nullptr);
    }
}

} // namespace
} // namespace dragoman::test
