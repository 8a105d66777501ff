#include "ir/jump_cache.h"

#include <algorithm>
#include <cstring>

namespace dragoman::ir {

namespace {

constexpr u64 kAsks = 1024; // and a mode gets another's table

// Zeros are empty entries, but for a jump to 0.
constexpr JumpCache::Entry kEmptyFirst{1, nullptr};

} // namespace

void JumpCache::begin() {
    for (Entry* t : {none, unkeyed})
        t[0] = kEmptyFirst;
    for (Entry(&t)[1 << bits] : table)
        t[0] = kEmptyFirst;
}

JumpCache::Entry* JumpCache::table_of(u64 key) {
    const u64* const at = std::find(keys, keys + taken, key);
    return at < keys + taken ? table[at - keys] : unkeyed;
}

JumpCache::Entry* JumpCache::table_for(u64 key) {
    u64 n = u64(std::find(keys, keys + taken, key) - keys);
    if (n == taken) {
        if (taken < tables) {
            ++taken;
        } else {
            if (key == asks_key)
                ++asks;
            else if (asks)
                --asks;
            else
                asks_key = key, asks = 1;
            if (asks < kAsks) return nullptr;
            asks = 0;
            n = u64(std::min_element(remembered, remembered + tables) - remembered);
            std::memset(table[n], 0, sizeof table[n]);
            table[n][0] = kEmptyFirst;
        }
        keys[n] = key;
    }
    remembered[n] = ++clock;
    return table[n];
}

void JumpCache::remember(u64 pc, u64 key, const void* host) {
    second[second_index(pc)] = {pc, key, host, 0};
    if (Entry* const t = table_for(key)) t[index(pc)] = {pc, host};
}

void JumpCache::forget(u64 pc, u64 key, const void* host) {
    SecondEntry& far = second[second_index(pc)];
    if (far.host == host) far = {};
    Entry& near = table_of(key)[index(pc)];
    if (near.host == host) near = index(pc) ? Entry{} : kEmptyFirst;
}

void JumpCache::clear() {
    std::memset(table, 0, taken * sizeof table[0]);
    std::memset(second, 0, sizeof second);
    taken = 0;
    begin();
}

} // namespace dragoman::ir
