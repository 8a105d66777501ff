// Which accesses of a block can share one TLB check: those off the same base and index whose bytes lie close
// together. The first of them checks that all of their bytes are in one page that may be accessed so; the
// others need the host address only.
//
// In a block that jumps to its own start a check may even cover many rounds: where an address changes by the
// same amount in each round, the check before the first tells how many stay in the page.
#pragma once

#include "ir/block.h"

#include <array>
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

    // Of a group that is checked before the first round of a loop:
    bool ahead = false;
    i64 stride = 0;     // bytes that it moves in each round
    ir::Address origin; // of its first byte, when a round begins
};

// A block that jumps to its own start, with checks ahead.
struct SharedLoop {
    u32 end = 0; // position where a round is over: nothing behind it touches memory or leaves, but the jump
    ir::Ref counter; // a register that tells the rounds
    i64 step = 0;    // what it changes by in each
    i64 stride = 0;  // of all groups that are checked ahead and move; 0: they move differently
    i64 offset = 0;  // at `end`, from what it was when the round began
    u8 width = 0;    // of the counter, in bytes: in 64-bit mode its lower half alone may be one
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
    // `use` tells it of each op; `x87`: its instructions are no calls into C++. `round_end`: where a round of
    // the loop that the block is would be over (SharedLoop::end); 0: it is none, or is not to be treated so.
    void plan(const ir::Block& block, unsigned slots, bool x87, u32 round_end,
              const std::function<Use(const ir::Inst&)>& use);
    void clear() {
        regions_.clear();
        is_loop_ = false;
    }
    const SharedLoop* loop() const { return is_loop_ ? &loop_ : nullptr; } // the region is all of it then
    const std::vector<SharedGroup>& groups() const { return groups_; }
    // Of the op at a position; null if it shares with nobody.
    const SharedGroup* group(std::size_t position) const {
        const u16 number = places_[position].group;
        return number ? &groups_[number - 1] : nullptr;
    }
    u64 offset(std::size_t position) const { return places_[position].offset; }
    const std::vector<SharedRegion>& regions() const { return regions_; }

  private:
    struct Value {    // of a register: something unknown, plus a constant
        u32 root = 0; // what register n holds at the start is n + 1; 0: nothing
        u64 offset = 0;
        friend bool operator==(const Value&, const Value&) = default;
    };
    struct Candidate {     // accesses off one origin: base + (index << scale)
        Value base, index; // their offsets are 0: they are in SharedGroup::first
        u8 scale = 0;
        bool from_pc = false; // of no registers: which move with the block, and which do not
        u16 group = 0;        // index + 1
    };

    Value& of(ir::Ref r) { return values_[r.id()]; }
    Candidate origin(const ir::Address& mem, unsigned width, u64& offset);
    void follow(const ir::Inst& inst, unsigned width);
    void follow_low(const ir::Inst& inst);
    bool try_plan(const ir::Block& block, unsigned slots, bool x87, u32 round_end,
                  const std::function<Use(const ir::Inst&)>& use);
    bool find_counter(unsigned width);
    void make_regions(const ir::Block& block, unsigned slots);
    void drop_places();
    bool plan_loop(u32 round_end, unsigned width, unsigned slots);
    i64 step_of(const Value& v, bool& steady) const;

    std::vector<Place> places_;
    std::vector<SharedGroup> groups_;
    std::vector<SharedRegion> regions_, extents_; // extents_: of each group
    std::vector<u32> members_;                    // of each group
    std::vector<Candidate> origins_;              // the same
    std::array<Value, 32> values_, at_round_end_;
    // Of the lower halves: what a 32-bit instruction moves by a constant, as most counters in C are.
    std::array<Value, ir::kGprs> lows_, lows_at_round_end_;
    SharedLoop loop_;
    bool is_loop_ = false;
    u32 roots_ = 0;
};

} // namespace dragoman::backend
