// For how long what was looked up by linear address may be believed: the jump cache's entries bear the tag of
// the epoch they were made in.
//
// An epoch ends with whatever may make a fetch translate differently. There is one for user code, which ends
// when another address space is loaded, and one for supervisor code, which goes on as long as that code came
// from global pages only: those stay mapped (SDM vol. 3, 4.10.2.4). The epoch of an address space that comes
// back unflushed (PCID) goes on.
#pragma once

#include "base/types.h"

#include <bitset>

namespace dragoman::softmmu {

class Epochs {
  public:
    // Of code at CPL 3, or of all other code. Never 0.
    u8 tag(bool user) const { return (user ? user_ : supervisor_).tag; }
    // Advances whenever a tag changes.
    u64 changes() const { return changes_; }
    // Advances when the tags are used up and begin again: no entry of before may be looked at any more.
    u64 generation() const { return generation_; }

    // Code is fetched here, from a mapping of this size.
    void fetched(u64 linear, bool user, bool global, u8 page_bits) {
        Epoch& epoch = user ? user_ : supervisor_;
        epoch.regions.set(region(linear));
        epoch.huge |= page_bits > kRegionBits;
        epoch.local |= !global;
        global_user_code_ |= user && global;
    }

    void end_all();
    // The mapping that holds `linear` is dropped. Epochs without code from there go on.
    void drop_page(u64 linear);

    struct Kept; // a user epoch while another address space is loaded
    Kept leave() const;
    // Loads another address space, whose last epoch goes on if `kept` is given.
    void enter(const Kept* kept);

  private:
    static constexpr unsigned kRegionBits = 22; // no mapping but those of 1 GiB is larger
    static constexpr u64 kRegions = 1024;
    static u64 region(u64 linear) {
        return (linear >> kRegionBits ^ linear >> (kRegionBits + 10)) % kRegions;
    }

    struct Epoch {
        u8 tag;
        std::bitset<kRegions> regions; // that code was fetched from
        bool huge = false;             // from 1 GiB pages too
        bool local = false;            // from pages that are not global too
    };
    static bool has_code(const Epoch& epoch, u64 linear) {
        return epoch.huge || epoch.regions.test(region(linear));
    }
    void begin(Epoch& epoch);

    Epoch user_{.tag = 1}, supervisor_{.tag = 2};
    u8 last_ = 2;
    u64 changes_ = 0, generation_ = 0;
    u64 forgotten_ = 0;             // how often all kept epochs ended
    bool global_user_code_ = false; // in any user epoch

  public:
    struct Kept {
        Epoch epoch;
        u64 forgotten;
    };
};

} // namespace dragoman::softmmu
