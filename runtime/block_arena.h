// Memory for what is known of each block, in pieces of any size. A piece that was given back is the next of
// its size to be used: it is still in the host's caches, and blocks that come and go have the same few sizes.
#pragma once

#include "base/bits.h"
#include "base/types.h"

#include <array>
#include <memory>
#include <vector>

namespace dragoman::runtime {

class BlockArena {
  public:
    // Not in huge pages: to clear one takes as long as to translate a hundred blocks, which may be all there
    // are.
    static constexpr u64 kChunkBytes = 2 * MiB;

    BlockArena() = default;
    BlockArena(const BlockArena&) = delete;
    BlockArena& operator=(const BlockArena&) = delete;

    // At least one byte, at most a quarter of a chunk, aligned to 8. Its owner gives it back before the arena
    // goes.
    void* allocate(u64 bytes);
    // `bytes`: as they were asked for.
    static void release(void* piece, u64 bytes);

    u64 chunks() const { return chunks_.size(); }

  private:
    struct Chunk { // its beginning
        BlockArena* owner;
    };
    struct Free { // a piece that was given back
        Free* next;
    };
    struct FreeChunk {
        void operator()(Chunk* chunk) const;
    };
    // A size, in all of which pieces come: multiples of 8, beyond a KiB powers of two.
    static constexpr u64 kSmall = KiB;
    static u64 whole(u64 bytes);
    static u64 list_of(u64 whole);

    std::vector<std::unique_ptr<Chunk, FreeChunk>> chunks_;
    u64 used_ = kChunkBytes; // of the last
    std::array<Free*, kSmall / 8 + 10> free_{};
};

} // namespace dragoman::runtime
