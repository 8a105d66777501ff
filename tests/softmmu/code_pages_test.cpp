// Which events take a page's number away: those after which a fetch may translate differently (SDM vol. 3,
// 4.10.4.1).
#include "softmmu/code_pages.h"

#include <gtest/gtest.h>

#include <memory>

namespace dragoman::softmmu {
namespace {

constexpr u64 kUserCode = 0x400000, kKernelCode = 0xffffffff81000000;

class CodePagesTest : public ::testing::Test {
  protected:
    struct Numbers {
        CodePages::Numbers table;
    };
    u32 fill(u64 linear, bool user, bool global = false, u8 page_bits = 12, u64 gpa = 0x1000) {
        return pages.fill(linear, user, gpa, nullptr, {.global = global, .page_bits = page_bits}).number;
    }
    u32 number(u64 linear, bool user) const { return numbers->table[user][CodePages::slot(linear)]; }

    std::unique_ptr<Numbers> numbers = std::make_unique<Numbers>();
    std::unique_ptr<CodePages> storage = std::make_unique<CodePages>(numbers->table);
    CodePages& pages = *storage;
};

TEST_F(CodePagesTest, ANumberIsOfOnePhysicalPageAtOneLinearPage) {
    const u32 n = fill(kUserCode + 0x123, true, false, 12, 0x7456);
    EXPECT_NE(n, 0u);
    EXPECT_EQ(number(kUserCode, true), n);
    EXPECT_EQ(number(kUserCode, false), 0u) << "who may execute it is another question";
    const CodePages::Page* page = pages.find(kUserCode + 0xfff, true);
    ASSERT_NE(page, nullptr);
    EXPECT_EQ(page->linear, kUserCode);
    EXPECT_EQ(page->gpa, 0x7000u);
    EXPECT_EQ(pages.find(kUserCode + 0x1000, true), nullptr);
    EXPECT_EQ(pages.find(kUserCode, false), nullptr);

    EXPECT_EQ(fill(kUserCode, false, false, 12, 0x7000), n);
    const u32 moved = fill(kUserCode, true, false, 12, 0x8000);
    EXPECT_NE(moved, n);
    EXPECT_EQ(number(kUserCode, true), moved);
    EXPECT_EQ(fill(kUserCode, true, false, 12, 0x7000), n) << "the page that comes back has its number";
    EXPECT_NE(fill(kUserCode + 0x1000, true, false, 12, 0x7000), n) << "the same page elsewhere";
}

TEST_F(CodePagesTest, PagesOfOneSlotTakeTurns) {
    const u64 other = kUserCode + (CodePages::kSlots << kPageBits << 13); // the same low bits of the hash
    ASSERT_EQ(CodePages::slot(kUserCode) ^ CodePages::slot(other), 0u);
    fill(kUserCode, true, true);
    const u32 n = fill(other, true);
    EXPECT_EQ(pages.find(kUserCode, true), nullptr);
    EXPECT_EQ(number(kUserCode, true), n);
    pages.flush(true);
    EXPECT_EQ(number(other, true), 0u) << "it is not global, whatever lay here before";
    fill(other, true);
    fill(kUserCode, true, true);
    pages.flush(true);
    EXPECT_NE(pages.find(kUserCode, true), nullptr);
    pages.flush(false);
    EXPECT_EQ(number(other, true), 0u);
}

TEST_F(CodePagesTest, AFlushMayKeepGlobalPages) {
    fill(kUserCode, true);
    fill(kKernelCode, false, true, 21);
    pages.flush(true);
    EXPECT_EQ(pages.find(kUserCode, true), nullptr);
    EXPECT_NE(pages.find(kKernelCode, false), nullptr);
    pages.flush(false);
    EXPECT_EQ(pages.find(kKernelCode, false), nullptr);
    unsigned left = 0;
    pages.for_each([&](const CodePages::Page&, bool) { ++left; });
    EXPECT_EQ(left, 0u);
}

TEST_F(CodePagesTest, InvlpgDropsTheWholeMapping) {
    fill(kUserCode, true);
    fill(kUserCode + 0x1000, true);
    pages.flush_page(kUserCode + 0x1fff, false);
    EXPECT_NE(pages.find(kUserCode, true), nullptr);
    EXPECT_EQ(pages.find(kUserCode + 0x1000, true), nullptr);
    for (const u8 bits : {21, 22, 30}) {
        const u64 size = u64{1} << bits, at = 5 * size;
        fill(at, false, true, bits);
        fill(at + size / 2, false, true, bits, 0x2000);
        fill(at + size, false, true, bits, 0x3000);
        pages.flush_page(at + size - 1, true);
        EXPECT_NE(pages.find(at, false), nullptr) << "INVPCID leaves global pages";
        pages.flush_page(at + size - 1, false);
        EXPECT_EQ(pages.find(at, false), nullptr) << unsigned(bits);
        EXPECT_EQ(pages.find(at + size / 2, false), nullptr) << unsigned(bits);
        EXPECT_NE(pages.find(at + size, false), nullptr) << unsigned(bits);
    }
    EXPECT_NE(pages.find(kUserCode, true), nullptr);
}

TEST_F(CodePagesTest, AnAddressSpaceTakesItsPagesAlong) {
    const u32 n = fill(kUserCode, true), kernel = fill(kKernelCode, false, true);
    const auto kept = std::make_unique<CodePages::Kept>();
    pages.park(*kept);
    EXPECT_EQ(kept->take(kKernelCode, false), nullptr);
    EXPECT_EQ(number(kUserCode, true), 0u);
    EXPECT_EQ(number(kKernelCode, false), kernel);
    fill(kUserCode + 0x1000, true, true);
    const CodePages::Kept::Place* const place = kept->take(kUserCode, true);
    ASSERT_TRUE(place);
    const CodePages::Page* const back = &pages.unpark(*place);
    EXPECT_EQ(back, pages.find(kUserCode, true));
    EXPECT_EQ(number(kUserCode, true), n);
    pages.flush(true);
    EXPECT_EQ(number(kUserCode, true), 0u);
    EXPECT_NE(number(kUserCode + 0x1000, true), 0u);
}

TEST_F(CodePagesTest, NumbersThatAreUsedUpAreInNoSlot) {
    pages.give_out_from(CodePages::kNoNumber - 1);
    EXPECT_EQ(fill(kUserCode, true), CodePages::kNoNumber - 1);
    EXPECT_TRUE(pages.exhausted());
    EXPECT_EQ(fill(kUserCode + 0x1000, true), CodePages::kNoNumber);
    EXPECT_EQ(number(kUserCode + 0x1000, true), 0u);
    EXPECT_EQ(fill(kUserCode, true), CodePages::kNoNumber - 1) << "what was given stays";
    pages.restart();
    EXPECT_FALSE(pages.exhausted());
    EXPECT_EQ(number(kUserCode, true), 0u);
    EXPECT_EQ(fill(kUserCode, true), 1u);
}

TEST_F(CodePagesTest, AGuestMayGoThroughPagesWithoutEnd) {
    const u32 first = fill(kUserCode, true);
    for (u64 i = 0; i < 100'000; ++i)
        ASSERT_NE(fill(0x10000000 + (i << 12), true), first);
    EXPECT_NE(fill(kUserCode, true), 0u);
}

} // namespace
} // namespace dragoman::softmmu
