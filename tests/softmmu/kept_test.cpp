#include "softmmu/kept.h"

#include <gtest/gtest.h>

namespace dragoman::softmmu {
namespace {

constexpr u64 kPlaces = 16;
using Cache = Kept<int, 3, kPlaces>;

class KeptTest : public ::testing::Test {
  protected:
    void put(u64 page, unsigned view, int what, u8 page_bits = kPageBits, u8 key = 0) {
        kept.put(page, view, {.page_bits = page_bits, .key = key}, what);
    }
    int take(u64 page, unsigned view) { // -1: nothing
        const Cache::Place* const place = kept.take(page, view);
        return place ? place->what : -1;
    }
    Cache kept;
};

TEST_F(KeptTest, WhatIsTakenIsGone) {
    put(0x5000, 1, 51);
    put(0x5000, 2, 52);
    EXPECT_EQ(take(0x5000, 0), -1);
    EXPECT_EQ(take(0x5000, 1), 51);
    EXPECT_EQ(take(0x5000, 1), -1);
    EXPECT_EQ(take(0x5000, 2), 52);
}

TEST_F(KeptTest, APlaceIsOfTheLastPagePutThere) {
    constexpr u64 rival = 0x5000 + kPlaces * kPageSize;
    put(0x5000, 1, 1);
    put(rival, 1, 2);
    EXPECT_EQ(take(0x5000, 1), -1);
    EXPECT_EQ(take(rival, 1), 2);
    for (u64 page = 0; page < kPlaces * kPageSize;
         page += kPageSize) { // may be the same place in another view
        put(page, 0, 3);
        put(0x5000, 1, 4);
        if (take(page, 0) == -1) {
            EXPECT_EQ(take(0x5000, 1), 4);
        }
    }
}

TEST_F(KeptTest, ForgetsAPageInEveryView) {
    for (const unsigned view : {0, 1, 2})
        put(0x5000, view, 1), put(0x6000, view, 2);
    kept.forget_page(0x5fff);
    for (const unsigned view : {0, 1, 2}) {
        EXPECT_EQ(take(0x5000, view), -1);
        EXPECT_EQ(take(0x6000, view), 2);
    }
}

TEST_F(KeptTest, ForgetsTheWholeMapping) {
    for (const u8 bits : {21, 22, 30}) {
        const u64 size = u64{1} << bits, at = 5 * size;
        put(at + 0x3000, 1, 1, bits);
        put(at + size + 0x2000, 1, 2, bits);
        put(at - 0x1000, 2, 3);
        kept.forget_page(at + size - 1);
        EXPECT_EQ(take(at + 0x3000, 1), -1);
        EXPECT_EQ(take(at + size + 0x2000, 1), 2);
        EXPECT_EQ(take(at - 0x1000, 2), 3);
        kept.forget();
    }
}

TEST_F(KeptTest, ForgetsByProtectionKey) {
    put(0x5000, 1, 1, kPageBits, 3);
    put(0x6000, 1, 2, kPageBits, 3 + 16);
    kept.forget_keys(1u << 4);
    kept.forget_keys(1u << 3);
    EXPECT_EQ(take(0x5000, 1), -1);
    EXPECT_EQ(take(0x6000, 1), 2);
}

TEST_F(KeptTest, ForgetsEverythingAtOnce) {
    put(0x5000, 1, 1);
    kept.forget();
    EXPECT_EQ(take(0x5000, 1), -1);
    put(0x6000, 1, 2, 21, 3);
    kept.forget();
    put(0x5000, 1, 3);
    EXPECT_EQ(take(0x6000, 1), -1);
    EXPECT_EQ(take(0x5000, 1), 3);
}

} // namespace
} // namespace dragoman::softmmu
