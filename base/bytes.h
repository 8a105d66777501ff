// Little-endian values of a size that is known only when running. A std::memcpy of such a size is a call.
#pragma once

#include "base/types.h"

#include <cstring>

namespace dragoman {

template <class T> u64 load_as(const void* from) {
    T value;
    std::memcpy(&value, from, sizeof value);
    return value;
}
template <class T> void store_as(void* to, u64 value) {
    const T cut = T(value);
    std::memcpy(to, &cut, sizeof cut);
}

// The `size` bytes at `from`, zero-extended; 1 to 8.
inline u64 load_bytes(const void* from, unsigned size) {
    switch (size) {
    case 1: return load_as<u8>(from);
    case 2: return load_as<u16>(from);
    case 4: return load_as<u32>(from);
    case 8: return load_as<u64>(from);
    default:
        u64 value = 0;
        std::memcpy(&value, from, size);
        return value;
    }
}

inline void store_bytes(void* to, unsigned size, u64 value) {
    switch (size) {
    case 1: return store_as<u8>(to, value);
    case 2: return store_as<u16>(to, value);
    case 4: return store_as<u32>(to, value);
    case 8: return store_as<u64>(to, value);
    default: std::memcpy(to, &value, size);
    }
}

} // namespace dragoman
