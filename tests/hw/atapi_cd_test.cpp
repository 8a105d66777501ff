// The packet commands of the CD-ROM drive (SPC-2, MMC-3).
#include "ide_bench.h"

#include <random>

namespace dragoman::hw::test {
namespace {

using Sense = std::array<u8, 3>;

struct Cd : IdeBench {
    Cd() {
        EXPECT_EQ(sense(), (Sense{6, 0x29, 0})) << "the reset is reported once";
        irq15 = {};
    }
};

u32 be32(const std::vector<u8>& d, std::size_t at) {
    return u32{d[at]} << 24 | u32{d[at + 1]} << 16 | u32{d[at + 2]} << 8 | d[at + 3];
}

TEST(AtapiCd, IdentifyPacket) {
    Cd t;
    t.out(0x177, 0xec); // IDENTIFY DEVICE aborts and shows the signature
    EXPECT_EQ(t.cd_status(), 0x51);
    EXPECT_EQ(t.in(0x174), 0x14);
    EXPECT_EQ(t.in(0x175), 0xeb);
    t.out(0x177, 0xa1);
    const auto id = t.take(512, 0x170);
    EXPECT_EQ(t.word(id, 0), 0x85c0);
    EXPECT_EQ(t.word(id, 27), 'D' << 8 | 'R');
    EXPECT_EQ(t.cd_status(), 0x50);
}

TEST(AtapiCd, PhasesOfAPacket) {
    Cd t;
    t.out(0x174, 0xfe);
    t.out(0x175, 0xff);
    t.out(0x171, 0);
    t.out(0x177, 0xa0);
    EXPECT_EQ(t.in(0x172), 1) << "command phase";
    EXPECT_EQ(t.cd_status() & 8, 8);
    EXPECT_EQ(t.irq15.rises, 0u);
    t.give({0x12, 0, 0, 0, 36, 0, 0, 0, 0, 0, 0, 0}, 0x170);
    EXPECT_EQ(t.irq15.rises, 1u);
    EXPECT_EQ(t.in(0x172), 2) << "data to the host";
    EXPECT_EQ(t.in(0x174) | t.in(0x175) << 8, 36);
    t.cd_status();
    const auto data = t.take(36, 0x170);
    EXPECT_EQ(t.irq15.rises, 2u);
    EXPECT_EQ(t.in(0x172), 3) << "done";
    EXPECT_EQ(t.cd_status(), 0x50);
    EXPECT_EQ(data[0], 5);
    EXPECT_EQ(std::string(data.begin() + 8, data.begin() + 16), "DRAGOMAN");
}

TEST(AtapiCd, ReadInPieces) {
    Cd t;
    EXPECT_EQ(t.packet({0x00}).size(), 0u);
    EXPECT_EQ(t.cd_status(), 0x50);
    for (const u16 limit : {u16(2048), u16(0xfffe), u16(0x1000), u16(510), u16(1), u16(0)}) {
        const auto data = t.packet({0x28, 0, 0, 0, 0, 3, 0, 0, 60}, limit);
        ASSERT_EQ(data.size(), 60u * 2048) << "limit " << limit;
        EXPECT_TRUE(std::equal(data.begin(), data.end(), t.disc.data.begin() + 3 * 2048))
            << "limit " << limit;
    }
    EXPECT_EQ(t.packet({0xa8, 0, 0, 0, 0, 1, 0, 0, 0, 2}).size(), 4096u);
    EXPECT_EQ(t.packet({0x28, 0, 0, 0, 0, 63, 0, 0, 2}).size(), 0u);
    EXPECT_EQ(t.cd_status(), 0x51);
    EXPECT_EQ(t.sense(), (Sense{5, 0x21, 0}));
    t.disc.bad.insert(40);
    EXPECT_EQ(t.packet({0x28, 0, 0, 0, 0, 10, 0, 0, 1}).size(), 0u);
    EXPECT_EQ(t.in(0x171) >> 4, 3) << "sense key in Error";
    EXPECT_EQ(t.sense(), (Sense{3, 0x11, 0}));
    EXPECT_EQ(t.sense(), (Sense{0, 0, 0})) << "told once";
}

TEST(AtapiCd, ReadCd) {
    Cd t;
    const auto data = t.packet({0xbe, 0, 0, 0, 0, 2, 0, 0, 1, 0x10});
    EXPECT_TRUE(std::equal(data.begin(), data.end(), t.disc.data.begin() + 2 * 2048));
    std::FILE* quiet = std::fopen("/dev/null", "w");
    t.log.set_output(quiet);
    const auto raw = t.packet({0xbe, 0, 0, 0, 0, 2, 0, 0, 2, 0xf8});
    std::fclose(quiet);
    t.log.set_output(stderr);
    ASSERT_EQ(raw.size(), 2u * 2352);
    const std::vector<u8> head(raw.begin() + 2352, raw.begin() + 2352 + 16);
    EXPECT_EQ(head, (std::vector<u8>{0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 2, 3, 1}));
    EXPECT_TRUE(
        std::equal(raw.begin() + 2352 + 16, raw.begin() + 2352 + 16 + 2048, t.disc.data.begin() + 3 * 2048));
    t.packet({0xbe, 0, 0, 0, 0, 2, 0, 0, 1, 0x20});
    EXPECT_EQ(t.sense(), (Sense{5, 0x24, 0}));
}

TEST(AtapiCd, Describes) {
    Cd t;
    const auto capacity = t.packet({0x25});
    EXPECT_EQ(be32(capacity, 0), 63u);
    EXPECT_EQ(be32(capacity, 4), 2048u);
    const auto toc = t.packet({0x43, 0, 0, 0, 0, 0, 0, 0, 100});
    ASSERT_EQ(toc.size(), 20u);
    EXPECT_EQ(toc[1], 18);
    EXPECT_EQ(toc[14], 0xaa);
    EXPECT_EQ(be32(toc, 16), 64u);
    const auto msf = t.packet({0x43, 2, 0, 0, 0, 0, 0xaa, 0, 100});
    ASSERT_EQ(msf.size(), 12u);
    EXPECT_EQ(be32(msf, 8), 0x00000240u + 0u) << "64 + 150 frames: 0:02:64";
    EXPECT_EQ(t.packet({0x43, 0, 1, 0, 0, 0, 0, 0, 12}).size(), 12u);
    EXPECT_EQ(t.packet({0x43, 0, 2, 0, 0, 0, 0, 0, 200}).size(), 48u);
    EXPECT_EQ(t.packet({0x43, 0, 0, 0, 0, 0, 0, 0, 4}).size(), 4u) << "allocation length cuts";
    const auto page = t.packet({0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 128});
    ASSERT_EQ(page.size(), 30u);
    EXPECT_EQ(page[8], 0x2a);
    EXPECT_EQ(page[1], 28);
    EXPECT_EQ(t.packet({0x5a, 0, 0x3f, 0, 0, 0, 0, 1, 0}).size(), 54u);
    t.packet({0x5a, 0, 0x11, 0, 0, 0, 0, 0, 128});
    EXPECT_EQ(t.sense(), (Sense{5, 0x24, 0}));
    const auto config = t.packet({0x46, 0, 0, 0, 0, 0, 0, 0, 200});
    EXPECT_EQ(be32(config, 0), config.size() - 4);
    EXPECT_EQ(config[7], 8) << "CD-ROM profile";
    EXPECT_EQ(t.packet({0x51, 0, 0, 0, 0, 0, 0, 0, 200}).size(), 34u);
    EXPECT_EQ(t.packet({0x52, 1, 0, 0, 0, 1, 0, 0, 200}).size(), 36u);
    EXPECT_EQ(t.packet({0x42, 2, 0x40, 1, 0, 0, 0, 0, 200}).size(), 16u);
    EXPECT_EQ(t.packet({0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8}).size(), 8u);
    t.packet({0x2a});
    EXPECT_EQ(t.sense(), (Sense{5, 0x20, 0})) << "WRITE(10)";
}

TEST(AtapiCd, TrayAndMedia) {
    Cd t;
    EXPECT_EQ(t.packet({0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8}), (std::vector<u8>{0, 6, 4, 0x10, 0, 2, 0, 0}));
    t.packet({0x1e, 0, 0, 0, 1}); // lock
    t.packet({0x1b, 0, 0, 0, 2}); // eject
    EXPECT_EQ(t.sense(), (Sense{5, 0x53, 2}));
    EXPECT_FALSE(t.cd->change_disc(nullptr));
    t.packet({0x1e});
    t.packet({0x1b, 0, 0, 0, 2});
    EXPECT_TRUE(t.cd->tray_open());
    t.packet({0x00});
    EXPECT_EQ(t.sense(), (Sense{2, 0x3a, 2}));
    t.packet({0x1b, 0, 0, 0, 3});
    t.packet({0x00});
    EXPECT_EQ(t.sense(), (Sense{6, 0x28, 0}));
    t.packet({0x00});
    EXPECT_EQ(t.cd_status(), 0x50);

    FakeDisk another(400);
    EXPECT_TRUE(t.cd->change_disc(&another));
    EXPECT_EQ(t.packet({0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8})[4], 2) << "new media";
    t.packet({0x00});
    EXPECT_EQ(t.sense(), (Sense{6, 0x28, 0}));
    EXPECT_EQ(be32(t.packet({0x25}), 0), 99u);
    EXPECT_TRUE(t.cd->change_disc(nullptr));
    t.sense();
    t.packet({0x28, 0, 0, 0, 0, 0, 0, 0, 1});
    EXPECT_EQ(t.sense(), (Sense{2, 0x3a, 1}));
}

TEST(AtapiCd, DeviceReset) {
    Cd t;
    t.out(0x177, 0xa0);
    t.out(0x177, 0x08);
    EXPECT_EQ(t.cd_status(), 0);
    EXPECT_EQ(t.in(0x174), 0x14);
    EXPECT_EQ(t.in(0x176), 0xa0);
    EXPECT_EQ(t.packet({0x25}).size(), 8u);
}

TEST(AtapiCd, RandomPacketsAreHarmless) {
    const u64 seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    Cd t;
    std::FILE* quiet = std::fopen("/dev/null", "w");
    t.log.set_output(quiet);
    const u8 codes[] = {0x00, 0x03, 0x12, 0x1b, 0x1e, 0x25, 0x28, 0x2b, 0x42, 0x43, 0x46,
                        0x4a, 0x4e, 0x51, 0x52, 0x55, 0x5a, 0xa8, 0xb9, 0xbb, 0xbd, 0xbe};
    for (unsigned round = 0; round < 5000; ++round) {
        std::vector<u8> cdb(12);
        for (u8& b : cdb)
            b = u8(random() % 2 ? 0 : random() % 4 ? random() % 8 : random());
        cdb[0] = random() % 10 ? codes[random() % std::size(codes)] : u8(random());
        const bool moves = cdb[0] == 0x28 || cdb[0] == 0xa8 || cdb[0] == 0xbe || cdb[0] == 0xb9;
        const u16 limit = moves ? 0xfffe : u16(random() % 4 ? 0xfffe : random() % 40);
        if (random() % 3 == 0) {
            t.descriptors(0x1000, {{u32(random() % (1 << 20)), u32(random() % 0x10000)}});
            t.out(0x171, 1);
            t.out(0x177, 0xa0);
            t.give(cdb, 0x170);
            t.start_dma(0x1000, true, 1);
        } else {
            t.packet(cdb, limit);
        }
        if (t.cd->disc() == nullptr && random() % 4 == 0) t.cd->change_disc(&t.disc, true);
    }
    t.cd->change_disc(&t.disc, true);
    t.log.set_output(stderr);
    std::fclose(quiet);
    for (unsigned i = 0; i < 3; ++i)
        t.sense();
    EXPECT_EQ(be32(t.packet({0x25}), 0), 63u);
}

} // namespace
} // namespace dragoman::hw::test
