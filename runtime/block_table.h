// The blocks of the translation cache by key: one array, probed one place after the other, so that a search
// touches one line of it and then the block.
#pragma once

#include "base/types.h"
#include "base/zeros.h"

#include <utility>

namespace dragoman::runtime {

// `Block` has a member `key`, of a type that has == and hash_value.
template <class Block> class BlockTable {
  public:
    template <class Key> Block* find(const Key& key) const {
        const u64 hash = hash_value(key);
        for (u64 at = home(hash); places_[at].block; at = next(at))
            if (places_[at].hash == hash && places_[at].block->key == key) return places_[at].block;
        return nullptr;
    }
    void insert(Block& block) {
        if (++count_ * 4 > places_.size() * 3) grow();
        put({hash_value(block.key), &block});
    }
    // `block` is in it.
    void erase(const Block& block) {
        --count_;
        u64 hole = home(hash_value(block.key));
        while (places_[hole].block != &block)
            hole = next(hole);
        // What follows and would not be found beyond the hole moves into it.
        for (u64 at = next(hole); places_[at].block; at = next(at))
            if (((at - home(places_[at].hash)) & mask()) >= ((at - hole) & mask())) {
                places_[hole] = places_[at];
                hole = at;
            }
        places_[hole] = {};
    }

  private:
    struct Place {
        u64 hash = 0;
        Block* block = nullptr; // null: free
    };
    using Places = Zeros<Place>;
    u64 mask() const { return places_.size() - 1; }
    u64 home(u64 hash) const { return hash & mask(); }
    u64 next(u64 at) const { return (at + 1) & mask(); }
    void put(Place place) {
        u64 at = home(place.hash);
        while (places_[at].block)
            at = next(at);
        places_[at] = place;
    }
    void grow() {
        const Places before = std::exchange(places_, Places(places_.size() * 2, Places::Memory::AtOnce));
        for (u64 at = 0; at < before.size(); ++at)
            if (before[at].block) put(before[at]);
    }

    Places places_{1 << 16, Places::Memory::AtOnce}; // a power of two, at most three quarters in use
    u64 count_ = 0;
};

} // namespace dragoman::runtime
