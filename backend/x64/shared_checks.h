// Which accesses of a block can share one TLB check: those off the same base and index whose bytes lie close
// together. The first of them checks that all of their bytes are in one page that may be accessed so; the
// others need the host address only.
#pragma once

#include "ir/block.h"

#include <functional>
#include <vector>

namespace dragoman::backend {

struct SharedGroup {
    bool write = false; // one of them writes, and so the check is one for writing
    u8 aligned = 0;     // the alignment that one of them wants of its address, as a mask; each is off another
                        // by a multiple of it, or wants none
    u64 aligned_at = 0; // the offset of that one
    u64 first = 0;      // lowest byte of all, relative to the same origin as SharedChecks::Place::offset
    u32 span = 0;       // bytes from there to the end of the highest
    u8 slot = 0;        // of frame::addend
};

// From the first access of a group to the last of it or of any other group that begins in between: what has
// to be run with a check for each access when a shared one fails.
struct SharedRegion {
    u32 first = 0, last = 0; // positions in Block::insts
};

class SharedChecks {
  public:
    struct Place {
        u16 group = 0;  // index + 1; 0: an access of its own
        u64 offset = 0; // addresses wrap, and so do these
    };

    // What an op does to the memory that it names; no bytes: it shares with nobody.
    struct Use {
        u32 bytes = 0;
        bool write = false;
        u8 aligned = 0; // the mask of the alignment that it checks itself
    };
    // `use` tells it of each op; `x87`: its instructions are no calls into C++.
    void plan(const ir::Block& block, unsigned slots, bool x87,
              const std::function<Use(const ir::Inst&)>& use);
    void clear() { regions_.clear(); }
    // Of the op at a position; null if it shares with nobody.
    const SharedGroup* group(std::size_t position) const {
        const u16 number = places_[position].group;
        return number ? &groups_[number - 1] : nullptr;
    }
    u64 offset(std::size_t position) const { return places_[position].offset; }
    const std::vector<SharedRegion>& regions() const { return regions_; }

  private:
    struct Value { // of a register: something unknown, plus a constant
        u32 root = 0;
        u64 offset = 0;
        friend bool operator==(const Value&, const Value&) = default;
    };
    struct Candidate;

    Value& of(ir::Ref r) { return values_[r.id()]; }
    Candidate origin(const ir::Address& mem, unsigned width, u64& offset);
    void follow(const ir::Inst& inst, unsigned width);
    void make_regions(unsigned slots);

    std::vector<Place> places_;
    std::vector<SharedGroup> groups_;
    std::vector<SharedRegion> regions_, extents_; // extents_: of each group
    std::vector<u32> members_;                    // of each group
    Value values_[32];
    u32 roots_ = 0;
};

} // namespace dragoman::backend
