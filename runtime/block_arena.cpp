#include "runtime/block_arena.h"

#include "base/assert.h"

#include <bit>
#include <cstdlib>
#include <new>
#include <utility>

namespace dragoman::runtime {

void BlockArena::FreeChunk::operator()(Chunk* chunk) const {
    std::free(chunk);
}

u64 BlockArena::whole(u64 bytes) {
    return bytes <= kSmall ? align_up(bytes, 8) : std::bit_ceil(bytes);
}

u64 BlockArena::list_of(u64 whole) {
    return whole <= kSmall ? whole / 8 - 1 : kSmall / 8 - 1 + u64(std::bit_width(whole / kSmall)) - 1;
}

void* BlockArena::allocate(u64 bytes) {
    DRAGOMAN_ASSERT(bytes && bytes <= kChunkBytes / 4);
    bytes = whole(bytes);
    Free*& first = free_[list_of(bytes)];
    if (first) return std::exchange(first, first->next);
    if (used_ + bytes > kChunkBytes) {
        void* const memory = std::aligned_alloc(kChunkBytes, kChunkBytes);
        if (!memory) throw std::bad_alloc();
        chunks_.emplace_back(new (memory) Chunk{this});
        used_ = align_up(sizeof(Chunk), 8);
    }
    u8* const piece = reinterpret_cast<u8*>(chunks_.back().get()) + used_;
    used_ += bytes;
    return piece;
}

void BlockArena::release(void* piece, u64 bytes) {
    const u64 chunk = align_down(reinterpret_cast<u64>(piece), kChunkBytes);
    Free*& first = reinterpret_cast<Chunk*>(chunk)->owner->free_[list_of(whole(bytes))];
    first = new (piece) Free{first};
}

} // namespace dragoman::runtime
