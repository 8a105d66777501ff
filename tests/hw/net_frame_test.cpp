// Checksums and segmentation that cards do for the driver.
#include "hw/net_frame.h"

#include "net_test_support.h"

#include <gtest/gtest.h>
#include <random>

namespace dragoman::hw::test {
namespace {

// The receiver's view: a header with its checksum sums up to all ones.
bool sums_hold(const Frame& frame) {
    const std::span<const u8> all(frame);
    const u32 pseudo = 6u + u32(frame.size() - 34) + internet_sum(all.subspan(26, 8));
    return internet_sum(all.subspan(14, 20)) == 0xffff && internet_sum(all.subspan(34), pseudo) == 0xffff;
}

TEST(NetFrame, InternetSum) {
    const u8 example[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}; // RFC 1071, 3
    EXPECT_EQ(internet_sum(example), 0xddf2);
    EXPECT_EQ(internet_sum(std::span(example).first(3)), 0xf201) << "an odd byte is an upper half";
    EXPECT_EQ(internet_sum(std::vector<u8>(70000, 0xff)), 0xffff);
    EXPECT_EQ(internet_sum({}), 0);
}

TEST(NetFrame, PutChecksum) {
    Frame frame = tcp4(10);
    EXPECT_TRUE(put_checksum(frame, 14, 24, 34));
    EXPECT_EQ(internet_sum(std::span<const u8>(frame).subspan(14, 20)), 0xffff);
    const Frame before = frame;
    EXPECT_FALSE(put_checksum(frame, 14, frame.size() - 1, frame.size()));
    EXPECT_FALSE(put_checksum(frame, 14, 24, frame.size() + 1));
    EXPECT_FALSE(put_checksum(frame, 30, 24, 20));
    EXPECT_EQ(frame, before);
}

TEST(NetFrame, CutsTcp) {
    const Frame whole = tcp4(3001, 0x19); // FIN, PSH, ACK
    std::vector<Frame> parts;
    ASSERT_TRUE(
        segment_tcp(whole, 1000, [&](std::span<const u8> f) { parts.emplace_back(f.begin(), f.end()); }));
    ASSERT_EQ(parts.size(), 4u);
    Frame data;
    for (unsigned n = 0; n < parts.size(); ++n) {
        const Frame& f = parts[n];
        EXPECT_TRUE(sums_hold(f)) << n;
        EXPECT_EQ(get_be16(f, 16), f.size() - 14) << "total length";
        EXPECT_EQ(get_be16(f, 18), 0x1234 + n) << "identification";
        EXPECT_EQ(get_be32(f, 38), 0x1000u + 1000 * n) << "sequence";
        EXPECT_EQ(f[47], n == 3 ? 0x19 : 0x10) << "flags";
        data.insert(data.end(), f.begin() + 54, f.end());
    }
    EXPECT_EQ(data, Frame(whole.begin() + 54, whole.end()));
}

TEST(NetFrame, RefusesWhatIsNoTcp) {
    const auto none = [](std::span<const u8>) { FAIL() << "a segment of something that cannot be cut"; };
    EXPECT_FALSE(segment_tcp(ethernet(kMac, 0x0806, 100), 1000, none));
    EXPECT_FALSE(segment_tcp(tcp4(100), 47, none));
    Frame options = tcp4(0);
    options[46] = 0xf0; // a header of 60 bytes, of which 20 are there
    EXPECT_FALSE(segment_tcp(options, 1000, none));
    Frame udp = tcp4(100);
    udp[23] = 17;
    EXPECT_FALSE(segment_tcp(udp, 1000, none));
}

TEST(NetFrame, AnyBytes) {
    const u64 seed = std::random_device{}();
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    for (unsigned round = 0; round < 20000; ++round) {
        Frame frame = tcp4(random() % 200);
        frame.resize(random() % (frame.size() + 1));
        for (unsigned n = unsigned(random() % 8); n && !frame.empty(); --n)
            frame[random() % std::min<std::size_t>(frame.size(), 60)] = u8(random());
        std::size_t sent = 0;
        segment_tcp(frame, unsigned(random() % 300), [&](std::span<const u8> f) {
            EXPECT_LE(f.size(), frame.size());
            ++sent;
        });
        EXPECT_LE(sent, frame.size() / 48 + 1);
        put_checksum(frame, random() % 80, random() % 80, random() % 80);
    }
}

} // namespace
} // namespace dragoman::hw::test
