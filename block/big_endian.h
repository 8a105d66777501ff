// Numbers in the byte order of image formats.
#pragma once

#include "base/types.h"

namespace dragoman::block {

template <class T> T get_be(const u8* p) {
    T value = 0;
    for (unsigned i = 0; i < sizeof(T); ++i)
        value = T(value << 8 | p[i]);
    return value;
}

template <> inline u8 get_be<u8>(const u8* p) {
    return *p;
}

template <class T> void put_be(u8* p, T value) {
    for (unsigned i = 0; i < sizeof(T); ++i)
        p[i] = u8(value >> (8 * (sizeof(T) - 1 - i)));
}

} // namespace dragoman::block
