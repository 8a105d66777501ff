// Where indirect jumps find the block that they lead to. Each mode in use (Context::key) has a table of its
// own, into which generated code looks in line, with nothing to compare but the RIP. Behind these is one of
// all modes with more room: what is found there moves to the mode's table for the next time.
#pragma once

#include "base/types.h"

namespace dragoman::ir {

struct JumpCache {
    struct Entry {
        u64 pc;           // rip of a block; of one that is empty no rip that has its index
        const void* host; // the block's Compiled::far_entry
    };
    struct SecondEntry {
        u64 pc, key;
        const void* host;
        u64 unused; // 32 bytes, so that the index is a shift
    };
    static constexpr unsigned bits = 15, second_bits = 16;
    static constexpr unsigned tables = 6;

    // Of a rip: the same functions are emitted by the backend.
    static constexpr u64 index(u64 pc) { return pc & ((1u << bits) - 1); }
    static constexpr u64 second_index(u64 pc) { return (pc ^ pc >> second_bits) & ((1u << second_bits) - 1); }

    // Begins as zeros, of which this makes a cache.
    void begin();
    // The table of the mode; `unkeyed` if it has none.
    Entry* table_of(u64 key);
    // Puts it into both levels. Where all tables are taken a mode that asks often gets that of the one which
    // has asked for nothing for longest.
    void remember(u64 pc, u64 key, const void* host);
    // Takes it back, if it still leads there.
    void forget(u64 pc, u64 key, const void* host);
    void clear();

    SecondEntry second[1 << second_bits];
    Entry table[tables][1 << bits];
    Entry none[1 << bits];    // stays empty: where jumps look when they are to leave (ask_for_poll)
    Entry unkeyed[1 << bits]; // the same for a mode without a table

    // Its own. All public, for generated code goes by offsets.
    Entry* table_for(u64 key);     // null: it gets none now
    unsigned taken;                // tables in use
    u64 keys[tables];              // whose they are
    u64 remembered[tables], clock; // when they got something last
    u64 asks_key, asks;            // a mode without a table, and how often it asked, less the others
};

} // namespace dragoman::ir
