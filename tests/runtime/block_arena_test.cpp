// The memory of what is known of blocks.
#include "runtime/block_arena.h"

#include <gtest/gtest.h>

#include <cstring>
#include <deque>

namespace dragoman::runtime {
namespace {

struct Piece {
    u8* at;
    u64 bytes;
    u8 filled;
};

// As blocks do: the oldest go first, some of the young ones at once.
TEST(BlockArena, PiecesKeepTheirBytesAndAreUsedAgain) {
    BlockArena arena;
    std::deque<Piece> pieces;
    u64 in_use = 0, random = 1;
    const auto give_back = [&](std::size_t n) {
        const Piece piece = pieces[n];
        for (u64 i = 0; i < piece.bytes; ++i)
            ASSERT_EQ(piece.at[i], piece.filled) << "byte " << i << " of " << piece.bytes;
        BlockArena::release(piece.at, piece.bytes);
        in_use -= piece.bytes;
        pieces.erase(pieces.begin() + i64(n));
    };
    for (unsigned round = 0; round < 100'000; ++round) {
        random = random * 6364136223846793005 + 1442695040888963407;
        const u64 bytes = 1 + (random >> 40) % (round % 50 ? 1000 : 5000);
        u8* const at = static_cast<u8*>(arena.allocate(bytes));
        ASSERT_EQ(reinterpret_cast<u64>(at) % 8, 0u);
        std::memset(at, u8(round), bytes);
        pieces.push_back({at, bytes, u8(round)});
        in_use += bytes;
        if (round % 3 == 0 && pieces.size() > 10) give_back(pieces.size() - 5);
        while (in_use > 4 * BlockArena::kChunkBytes)
            give_back(0);
    }
    EXPECT_LE(arena.chunks(), 6u);
    while (!pieces.empty())
        give_back(0);
}

TEST(BlockArena, TheLastPieceOfASizeIsTheNext) {
    BlockArena arena;
    for (const u64 bytes : {u64{1}, u64{8}, u64{240}, BlockArena::kChunkBytes / 4}) {
        void* const first = arena.allocate(bytes);
        void* const second = arena.allocate(bytes);
        BlockArena::release(first, bytes);
        BlockArena::release(second, bytes);
        EXPECT_EQ(arena.allocate(bytes), second) << bytes << " bytes";
        EXPECT_EQ(arena.allocate(bytes), first) << bytes << " bytes";
        BlockArena::release(first, bytes);
        BlockArena::release(second, bytes);
    }
}

} // namespace
} // namespace dragoman::runtime
