// What one address space has cached, out of sight of generated code: a small cache behind a TLB.
//
// It is direct-mapped: a page goes where its address says, and what was there is lost. To forget everything
// costs nothing.
#pragma once

#include "softmmu/page.h"

#include <array>

namespace dragoman::softmmu {

// `What` is known of a page under a view (of which there are `views`).
template <class What, unsigned views, u64 places> class Kept {
  public:
    struct Place {
        u64 page = 0;
        u32 generation = 0;
        Mapping mapping;
        u8 view = 0;
        What what{};
    };

    void put(u64 page, unsigned view, Mapping mapping, const What& what) {
        at(page, view) = {page, generation_, mapping, u8(view), what};
        large_ |= mapping.page_bits != kPageBits;
        keys_ |= 1u << mapping.key;
    }
    // Null: not here. Otherwise it is no more, and what is led to holds until the next call of put.
    const Place* take(u64 page, unsigned view) {
        Place& place = at(page, view);
        if (!holds(place) || place.page != page || place.view != view) return nullptr;
        place.generation = 0;
        return &place;
    }

    void forget() {
        large_ = false;
        keys_ = 0;
        if (++generation_) return;
        places_ = {}; // or what is as old as the counter would hold again
        generation_ = 1;
    }
    // What came from the mapping that holds `linear`.
    void forget_page(u64 linear) {
        const auto drop = [&](Place& place) {
            if ((place.page ^ linear) >> place.mapping.page_bits == 0) place.generation = 0;
        };
        if (large_)
            for (Place& place : places_)
                drop(place);
        else
            for (unsigned view = 0; view < views; ++view)
                drop(at(linear, view));
    }
    // What came from pages of these protection keys (a bit each, by Mapping::key).
    void forget_keys(u32 keys) {
        if (!(keys & keys_)) return;
        for (Place& place : places_)
            if (keys >> place.mapping.key & 1) place.generation = 0;
    }

  private:
    bool holds(const Place& place) const { return place.generation == generation_; }
    Place& at(u64 linear, unsigned view) {
        return places_[((linear >> kPageBits) + view * (places / views)) % places];
    }

    u32 generation_ = 1; // 0: of nothing
    bool large_ = false; // since everything was forgotten; keys_ too
    u32 keys_ = 0;
    std::array<Place, places> places_{};
};

} // namespace dragoman::softmmu
