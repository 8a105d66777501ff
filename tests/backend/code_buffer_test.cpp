// Memory for generated code: what of it is there before it is written to.
#include "backend/x64/code_buffer.h"

#include "base/huge_page.h"

#include <gtest/gtest.h>

#include <sys/mman.h>

namespace dragoman::test {
namespace {

using backend::CodeBuffer;

bool there(const u8* page) {
    unsigned char resident = 0;
    EXPECT_EQ(mincore(const_cast<u8*>(page), 1, &resident), 0);
    return resident & 1;
}

TEST(CodeBufferTest, TheNextHugePageIsMadeReadyWhenOneIsNearlyFull) {
    const auto buffer = std::move(*CodeBuffer::create(3 * kHugePage));
    const u8* const rx = buffer->executable();
    buffer->written(rx + kHugePage / 2);
    buffer->make_ready();
    if (!there(rx)) GTEST_SKIP() << "this host does not fill memory ahead";
    EXPECT_FALSE(there(rx + kHugePage));
    buffer->written(rx + kHugePage - 4096);
    buffer->make_ready();
    EXPECT_TRUE(there(rx + kHugePage));
    EXPECT_FALSE(there(rx + 2 * kHugePage));
}

TEST(CodeBufferTest, WhoWritesFirstMakesItReadyAlone) {
    const auto buffer = std::move(*CodeBuffer::create(3 * kHugePage));
    const u8* const rx = buffer->executable();
    buffer->written(rx + 4096);
    EXPECT_FALSE(there(rx));
    buffer->written(rx + kHugePage + 4096);
    if (!there(rx)) GTEST_SKIP() << "this host does not fill memory ahead";
    EXPECT_TRUE(there(rx + kHugePage));
    EXPECT_FALSE(there(rx + 2 * kHugePage));
}

TEST(CodeBufferTest, ReadyMemoryIsWrittenThroughOneMappingAndReadThroughTheOther) {
    const auto buffer =
        std::move(*CodeBuffer::create(2 * kHugePage + 4096)); // the last piece is no huge page
    const u8* const rx = buffer->executable();
    for (u64 at = 0; at < buffer->bytes(); at += 4096) {
        buffer->writable()[at] = u8(at / 4096);
        buffer->written(rx + at + 1);
        buffer->make_ready();
    }
    for (u64 at = 0; at < buffer->bytes(); at += 4096)
        ASSERT_EQ(rx[at], u8(at / 4096)) << at;
}

} // namespace
} // namespace dragoman::test
