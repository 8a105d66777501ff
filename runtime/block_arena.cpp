#include "runtime/block_arena.h"

#include "base/assert.h"

#include <cstdlib>
#include <new>

namespace dragoman::runtime {

void BlockArena::Free::operator()(Chunk* chunk) const {
    std::free(chunk);
}

BlockArena::Chunk& BlockArena::chunk_of(void* piece) {
    return *reinterpret_cast<Chunk*>(align_down(reinterpret_cast<u64>(piece), kChunkBytes));
}

void* BlockArena::allocate(u64 bytes) {
    bytes = align_up(bytes, 8);
    DRAGOMAN_ASSERT(bytes <= kChunkBytes / 8);
    if (used_ + bytes > kChunkBytes) {
        current_ = 0;
        while (current_ < chunks_.size() && chunks_[current_]->pieces)
            ++current_;
        if (current_ == chunks_.size()) {
            void* const memory = std::aligned_alloc(kChunkBytes, kChunkBytes);
            if (!memory) throw std::bad_alloc();
            chunks_.emplace_back(new (memory) Chunk);
        }
        used_ = align_up(sizeof(Chunk), 8);
    }
    Chunk& chunk = *chunks_[current_];
    ++chunk.pieces;
    u8* const piece = reinterpret_cast<u8*>(&chunk) + used_;
    used_ += bytes;
    return piece;
}

void BlockArena::release(void* piece) {
    --chunk_of(piece).pieces;
}

} // namespace dragoman::runtime
