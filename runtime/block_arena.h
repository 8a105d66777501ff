// Memory for what is known of each block. Blocks come and go nearly in the order of their age, so pieces are
// cut off one after the other, and a chunk is used again when its last piece has been given back.
#pragma once

#include "base/bits.h"
#include "base/types.h"

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

    // Of at most an eighth of a chunk, aligned to 8. Its owner gives it back before the arena goes.
    void* allocate(u64 bytes);
    static void release(void* piece);

    u64 chunks() const { return chunks_.size(); }

  private:
    struct Chunk {
        u32 pieces = 0; // that are in use
    };
    struct Free {
        void operator()(Chunk* chunk) const;
    };
    static Chunk& chunk_of(void* piece);

    std::vector<std::unique_ptr<Chunk, Free>> chunks_;
    std::size_t current_ = 0;
    u64 used_ = kChunkBytes; // of the current one
};

} // namespace dragoman::runtime
