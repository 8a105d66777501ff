// qcow2 headers that lie, images of QEMU's, repairs.
#include "block_test_support.h"

#include "block/big_endian.h"

namespace dragoman::block::test {
namespace {

class Qcow2 : public BlockTest {
  protected:
    template <class T> std::string be(T value) {
        u8 bytes[sizeof(T)];
        put_be<T>(bytes, value);
        return {reinterpret_cast<char*>(bytes), sizeof bytes};
    }
    void fill(Qcow2Image& image, u64 at, u64 count, u8 seed) {
        std::vector<u8> data(count);
        for (u64 i = 0; i < count; ++i)
            data[i] = u8(seed + i * 13 + i / 256);
        const Outcome o = image.write(at, data.data(), count);
        ASSERT_FALSE(o.failed()) << o.message;
    }
};

TEST_F(Qcow2, HeadersThatLieAreRefusedByName) {
    const std::string file = path("d");
    create(file, {.size = 64 * MiB});
    const std::string good = contents(file);
    struct {
        std::size_t at;
        std::string bytes, expected;
    } rows[] = {
        {0, "QFIx", "magic number"},
        {4, be<u32>(4), "qcow version 4"},
        {20, be<u32>(8), "clusters of 2^8"},
        {20, be<u32>(22), "clusters of 2^22"},
        {8, be<u64>(1 << 20) + be<u32>(10), "backing file's name lies outside"},
        {8, be<u64>(512) + be<u32>(5000), "backing file's name lies outside"},
        {24, be<u64>(~u64{0}), "a size of"},
        {24, be<u64>(u64{1} << 61), "too large for its cluster size"},
        {32, be<u32>(1), "encrypted"},
        {32, be<u32>(7), "unknown encryption"},
        {36, be<u32>(0x10000000), "L1 table of more than 32 MiB"},
        {36, be<u32>(100000), "L1 table lies outside"},
        {40, be<u64>(0x30001), "L1 table lies outside"},
        {40, be<u64>(u64{1} << 50), "L1 table lies outside"},
        {48, be<u64>(u64{1} << 50), "reference count table lies outside"},
        {48, be<u64>(123), "reference count table lies outside"},
        {56, be<u32>(0), "no reference count table"},
        {56, be<u32>(1000000), "more than 8 MiB"},
        {60, be<u32>(1000000), "more than 65536 snapshots"},
        {60, be<u32>(1) + be<u64>(u64{1} << 40), "snapshot table lies outside"},
        {72, be<u64>(4), "external data file"},
        {72, be<u64>(16), "extended L2 entries"},
        {72, be<u64>(u64{1} << 40), "incompatible feature bit 40"},
        {72, be<u64>(8), "compression type does not agree"},
        {96, be<u32>(7), "reference counts of 2^7"},
        {100, be<u32>(96), "a header of 96 bytes"},
        {100, be<u32>(105), "a header of 105 bytes"},
        {100, be<u32>(0x20000), "a header of 131072 bytes"},
        {112, be<u32>(0xe2792aca) + be<u32>(0x7fffffff), "extension reaches beyond"},
    };
    for (const auto& row : rows) {
        put(file, 0, good);
        put(file, row.at, row.bytes);
        EXPECT_NE(error_of(file, true, "qcow2").find(row.expected), std::string::npos)
            << "offset " << row.at << ": " << error_of(file, true, "qcow2") << ", expected " << row.expected;
    }
    // The name of a feature that only the image knows.
    put(file, 0, good);
    put(file, 72, be<u64>(4 | u64{1} << 5));
    put(file, 112 + 8 + 4 * 48, std::string("\0\5time travel\0", 14));
    EXPECT_NE(error_of(file, true, "qcow2").find("external data file, time travel"), std::string::npos)
        << error_of(file, true, "qcow2");
}

TEST_F(Qcow2, TablesThatLieDoNoHarm) {
    const std::string file = path("d");
    create(file, {.size = 4 * MiB, .cluster_bits = 9});
    {
        auto image = open(file);
        fill(*image, 0, 100 * KiB, 1);
        const auto mark = std::vector<u8>(512, 3);
        ASSERT_FALSE(image->write_compressed(200 * KiB, mark.data(), 512).failed());
    }
    const std::string good = contents(file);
    std::mt19937_64 random(7);
    for (unsigned n = 0; n < 300; ++n) {
        put(file, 0, good);
        std::filesystem::resize_file(file, good.size());
        for (unsigned i = 0; i < 4; ++i) { // any 8 bytes behind the header
            const u64 value = random() % 3 ? random() : (random() % 4096 * 512) | kQcow2Copied;
            put(file, 512 + random() % (good.size() - 520), be<u64>(value));
        }
        OpenOptions options;
        auto opened = open_image(file, options);
        if (!opened) continue;
        std::vector<u8> data(64 * KiB);
        for (u64 at = 0; at < 300 * KiB; at += data.size()) {
            (void)(*opened)->read(at, data.data(), data.size());
            (void)(*opened)->write(at + 100, data.data(), 5000);
            (void)(*opened)->discard(at, 20000);
        }
        (void)(*opened)->flush();
        (void)static_cast<Qcow2Image&>(**opened).check(Qcow2Repair::All);
    }
}

TEST_F(Qcow2, ADataClusterInTheTablesIsCorruptNotWritten) {
    const std::string file = path("d");
    create(file, {.size = MiB});
    {
        auto image = open(file);
        fill(*image, 0, 65536, 1);
    }
    // The first L2 entry now leads to the header, which could name any file as backing file.
    u64 l2 = 0;
    for (const unsigned char c : contents(file).substr(3 * 65536, 8))
        l2 = l2 << 8 | c;
    put(file, l2 & kQcow2OffsetMask, be<u64>(kQcow2Copied | 0x8000000000000000));
    put(file, l2 & kQcow2OffsetMask, be<u64>(kQcow2Copied | 65536)); // the reference count table
    const std::string before = contents(file).substr(65536, 65536);
    {
        auto image = open(file);
        std::vector<u8> data(4096, 0xff);
        const Outcome o = image->write(0, data.data(), data.size());
        EXPECT_TRUE(o.failed());
        EXPECT_NE(o.message.find("in the image's own tables"), std::string::npos) << o.message;
        EXPECT_TRUE(image->write(MiB / 2, data.data(), data.size()).failed()) << "nothing more is written";
    }
    EXPECT_EQ(contents(file).substr(65536, 65536), before);
    EXPECT_NE(error_of(file, false).find("marked as corrupt"), std::string::npos);
    EXPECT_EQ(error_of(file, true), "");
}

TEST_F(Qcow2, RepairsLeaksAndCounts) {
    const std::string file = path("d");
    create(file, {.size = MiB});
    {
        auto image = open(file);
        fill(*image, 0, 3 * 65536, 1);
    }
    put(file, 2 * 65536 + 2 * 5, be<u16>(0)); // a cluster in use is free, one that is not there is used
    put(file, 2 * 65536 + 2 * 100, be<u16>(1));
    auto image = open(file);
    auto found = image->check(Qcow2Repair::None);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->corruptions, 1u);
    EXPECT_EQ(found->leaks, 1u);
    found = image->check(Qcow2Repair::All);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->corruptions_fixed, 1u);
    EXPECT_EQ(found->leaks_fixed, 1u);
    expect_clean(*image);
}

TEST_F(Qcow2, ADirtyImageIsRepairedWhenItIsOpened) {
    const std::string file = path("d");
    create(file, {.size = MiB});
    {
        auto image = open(file);
        fill(*image, 0, 3 * 65536, 1);
    }
    put(file, 72, be<u64>(kQcow2Dirty));
    put(file, 2 * 65536 + 2 * 4, std::string(6, '\0'));
    auto image = open(file);
    ASSERT_TRUE(image);
    EXPECT_EQ(image->header().incompatible, 0u);
    expect_clean(*image);
}

TEST_F(Qcow2, TheTableOfCountsGrows) {
    create(path("d"), {.size = 64 * MiB, .cluster_bits = 9, .refcount_order = 6});
    auto image = open(path("d"));
    const u32 before = image->header().refcount_table_clusters;
    fill(*image, 0, 8 * MiB, 1);
    ASSERT_FALSE(image->flush().failed());
    EXPECT_GT(image->header().refcount_table_clusters, before);
    expect_clean(*image);
    if (have_qemu_img()) {
        image.reset();
        EXPECT_EQ(run("qemu-img check " + path("d")), 0) << said;
    }
}

TEST_F(Qcow2, WhatWasFlushedOutlivesTheProcess) {
    // The file as it is after a flush, and some requests later without one, is an image without corruptions
    // that holds what was flushed.
    create(path("d"), {.size = 8 * MiB, .cluster_bits = 10});
    auto image = open(path("d"));
    std::mt19937_64 random(11);
    for (unsigned round = 0; round < 30; ++round) {
        fill(*image, random() % 1000 * KiB, 20 * KiB, u8(random()));
        ASSERT_FALSE(image->flush().failed());
        std::vector<u8> flushed(2 * MiB), after(2 * MiB);
        ASSERT_FALSE(image->read(0, flushed.data(), flushed.size()).failed());
        for (unsigned n = 0; n < 5; ++n)
            fill(*image, (3000 + random() % 4000) * KiB, 50 * KiB, u8(random()));
        (void)image->discard((3000 + random() % 4000) * KiB, 300 * KiB);
        std::filesystem::copy_file(path("d"), path("copy"),
                                   std::filesystem::copy_options::overwrite_existing);
        auto copy = open(path("copy"));
        ASSERT_TRUE(copy);
        ASSERT_FALSE(copy->read(0, after.data(), after.size()).failed());
        ASSERT_EQ(flushed, after) << "round " << round;
        auto checked = copy->check(Qcow2Repair::None);
        ASSERT_TRUE(checked);
        ASSERT_EQ(checked->corruptions, 0u) << checked->messages[0];
    }
}

TEST_F(Qcow2, BackingFilesBelowOneAnother) {
    create(path("a"), {.size = MiB});
    {
        auto a = open(path("a"));
        fill(*a, 0, 200000, 1);
    }
    create(path("b"), {.size = 2 * MiB, .backing_file = "a", .backing_format = "qcow2"});
    {
        auto b = open(path("b"));
        fill(*b, 70000, 10, 9);
    }
    create(path("c"), {.size = MiB, .backing_file = "b"});
    auto c = open(path("c"));
    ASSERT_TRUE(c);
    auto a = open(path("a"), true);
    std::vector<u8> x(200000), y(200000);
    ASSERT_FALSE(a->read(0, x.data(), x.size()).failed());
    for (unsigned i = 0; i < 10; ++i)
        x[70000 + i] = u8(9 + i * 13);
    ASSERT_FALSE(c->read(0, y.data(), y.size()).failed());
    EXPECT_EQ(x, y);
    create(path("loop"), {.size = MiB, .backing_file = "loop"});
    EXPECT_NE(error_of(path("loop")).find("more than 64"), std::string::npos);
    create(path("net"), {.size = MiB, .backing_file = "http://x/y"});
    EXPECT_NE(error_of(path("net")).find("expected the name of a file"), std::string::npos);
}

TEST_F(Qcow2, ReadsWhatQemuWrites) {
    if (!have_qemu_img()) GTEST_SKIP() << "qemu-img (package qemu-utils) is not here";
    std::ofstream raw(path("raw"), std::ios::binary);
    std::mt19937 random(3);
    for (unsigned block = 0; block < 300; ++block)
        for (unsigned i = 0; i < 4096; ++i)
            raw.put(block % 3 == 0 ? '\0' : block % 3 == 1 ? char(i / 7) : char(random()));
    raw.close();
    const std::string want = contents(path("raw"));
    for (const char* how :
         {"-O qcow2", "-O qcow2 -c", "-O qcow2 -c -o compression_type=zstd", "-O qcow2 -o compat=0.10",
          "-O qcow2 -o cluster_size=512,refcount_bits=1", "-O qcow2 -c -o cluster_size=2M",
          "-O qcow2 -o preallocation=metadata,lazy_refcounts=on"}) {
        ASSERT_EQ(run(std::string("qemu-img convert ") + how + " " + path("raw") + " " + path("q")), 0)
            << said;
        {
            auto image = open(path("q"));
            ASSERT_TRUE(image) << how;
            std::string got(want.size(), 'x');
            ASSERT_EQ(image->bytes(), want.size());
            ASSERT_FALSE(image->read(0, reinterpret_cast<u8*>(got.data()), got.size()).failed());
            EXPECT_TRUE(got == want) << how;
            expect_clean(*image);
            fill(*image, 10000, 100000, 5);
        }
        EXPECT_EQ(run("qemu-img check " + path("q")), 0) << how << said;
        std::filesystem::remove(path("q"));
    }
}

} // namespace
} // namespace dragoman::block::test
