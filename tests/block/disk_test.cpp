// Raw images, the lock, and the asynchronous device on an image.
#include "block/disk.h"

#include "block/raw_image.h"
#include "block_test_support.h"

#include <atomic>
#include <csignal>
#include <future>
#include <sys/resource.h>

namespace dragoman::block::test {
namespace {

namespace fs = std::filesystem;

class DiskTest : public BlockTest {
  protected:
    std::string file(const std::string& name, std::size_t bytes) {
        std::ofstream out(dir / name, std::ios::binary);
        for (std::size_t i = 0; i < bytes; ++i)
            out.put(static_cast<char>(i / 512 + i));
        return path(name);
    }
    std::shared_ptr<Image> image(const std::string& name, bool read_only = false) {
        OpenOptions options;
        options.read_only = read_only;
        options.format = "raw";
        auto opened = open_image(name, options);
        EXPECT_TRUE(opened) << (opened ? "" : opened.error().message);
        return opened ? std::move(*opened) : nullptr;
    }
    // The status of one request, waited for.
    template <class Request> BlockStatus status(Request&& request) {
        std::optional<BlockStatus> result;
        request([&](BlockStatus s) { result = s; });
        workers.drain();
        workers.deliver();
        EXPECT_TRUE(result.has_value()) << "nothing was delivered";
        return result.value_or(BlockStatus::IoError);
    }
    Disk::Options reporting() {
        Disk::Options options;
        options.report = [this](const std::string& line) { reports.push_back(line); };
        options.stop = [this] { ++stops; };
        return options;
    }
    // While it lives no file may be longer than `bytes`: stands for full storage.
    struct Tight {
        explicit Tight(rlim_t bytes) {
            std::signal(SIGXFSZ, SIG_IGN);
            getrlimit(RLIMIT_FSIZE, &old);
            const rlimit tight{bytes, old.rlim_max};
            setrlimit(RLIMIT_FSIZE, &tight);
        }
        ~Tight() { setrlimit(RLIMIT_FSIZE, &old); }
        rlimit old{};
    };

    Workers workers{3, [] {}};
    std::vector<std::string> reports;
    unsigned stops = 0;
};

TEST_F(DiskTest, ReadsAndWrites) {
    const std::string name = file("disk", 8 * 512);
    {
        Disk disk(image(name), workers, reporting());
        EXPECT_EQ(disk.sectors(), 8u);
        std::vector<u8> data(1024, 0xa5), back(1024);
        EXPECT_EQ(status([&](auto done) { disk.write(3, 2, data.data(), done); }), BlockStatus::Ok);
        EXPECT_EQ(status([&](auto done) { disk.flush(done); }), BlockStatus::Ok);
        EXPECT_EQ(status([&](auto done) { disk.read(3, 2, back.data(), done); }), BlockStatus::Ok);
        EXPECT_EQ(back, data);
        EXPECT_EQ(status([&](auto done) { disk.write_zeroes(3, 1, false, done); }), BlockStatus::Ok);
        EXPECT_EQ(status([&](auto done) { disk.read(3, 2, back.data(), done); }), BlockStatus::Ok);
        EXPECT_TRUE(back[0] == 0 && back[511] == 0 && back[512] == 0xa5);
        EXPECT_EQ(status([&](auto done) { disk.read(7, 2, back.data(), done); }), BlockStatus::OutOfRange);
        EXPECT_EQ(status([&](auto done) { disk.write(~u64{0}, 2, back.data(), done); }),
                  BlockStatus::OutOfRange);
        EXPECT_EQ(status([&](auto done) { disk.discard(1, ~u64{0}, done); }), BlockStatus::OutOfRange);
        EXPECT_TRUE(reports.empty());
        fs::resize_file(name, 512);
        EXPECT_EQ(status([&](auto done) { disk.read(3, 1, back.data(), done); }), BlockStatus::IoError);
        EXPECT_EQ(reports, std::vector<std::string>{"disk image '" + name +
                                                    "': the file became shorter while in use"});
    }
    Disk disk(image(name, true), workers, reporting());
    std::vector<u8> data(512);
    EXPECT_EQ(status([&](auto done) { disk.write(0, 1, data.data(), done); }), BlockStatus::ReadOnly);
}

TEST_F(DiskTest, GrowsAndFillsUpItsLastSector) {
    const std::string name = file("disk", 700);
    Disk disk(image(name), workers, reporting());
    EXPECT_EQ(disk.sectors(), 2u);
    std::vector<u8> data(1024, 0xa5);
    EXPECT_EQ(status([&](auto done) { disk.read(0, 2, data.data(), done); }), BlockStatus::Ok);
    EXPECT_TRUE(data[699] == u8(700) && data[700] == 0 && data[1023] == 0);
    std::fill(data.begin(), data.end(), u8{7});
    EXPECT_EQ(status([&](auto done) { disk.write(1, 1, data.data(), done); }), BlockStatus::Ok);
    EXPECT_EQ(fs::file_size(name), 1024u);
    EXPECT_EQ(status([&](auto done) { disk.read(2, 1, data.data(), done); }), BlockStatus::OutOfRange);
    EXPECT_FALSE(disk.grow(4096).failed());
    EXPECT_EQ(disk.sectors(), 8u);
    EXPECT_EQ(status([&](auto done) { disk.write(7, 1, data.data(), done); }), BlockStatus::Ok);
}

TEST_F(DiskTest, DeliversOnTheThreadThatAsks) {
    std::promise<void> notified;
    Workers one(1, [&] { notified.set_value(); });
    Disk disk(image(file("disk", 512)), one, {});
    u8 sector[512];
    bool done = false;
    disk.read(0, 1, sector, [&](BlockStatus) { done = true; });
    notified.get_future().wait();
    EXPECT_FALSE(done) << "called by a worker";
    one.deliver();
    EXPECT_TRUE(done);
    EXPECT_EQ(sector[1], 1);
}

TEST_F(DiskTest, ErrorsNameTheFile) {
    EXPECT_EQ(error_of(path("nothing")),
              "disk image '" + path("nothing") + "': no such file (expected an existing image)");
    EXPECT_NE(error_of(dir.string()).find("is a directory"), std::string::npos);
    EXPECT_NE(error_of(dir.string(), false).find("is a directory"), std::string::npos);
    EXPECT_NE(error_of("/dev/null").find("neither a file nor a block device"), std::string::npos);
    EXPECT_NE(error_of(file("x", 512) + "/y").find("cannot be opened"), std::string::npos);
    put(file("v", 1024), 0, "KDMV");
    EXPECT_NE(error_of(path("v")).find("format vmdk is not built (expected raw or qcow2)"),
              std::string::npos);
    EXPECT_EQ(error_of(path("v"), true, "raw"), "");
}

TEST_F(DiskTest, OneWriterOrManyReaders) {
    const std::string name = file("disk", 512);
    {
        auto writer = image(name);
        EXPECT_NE(error_of(name, false).find("in use by another process"), std::string::npos);
        EXPECT_NE(error_of(name, true).find("being written"), std::string::npos);
    }
    auto reader = image(name, true);
    EXPECT_EQ(error_of(name, true), "");
    EXPECT_NE(error_of(name, false), "");
}

TEST_F(DiskTest, AGuessedRawImageStaysRaw) {
    const std::string name = file("disk", 4096);
    auto opened = open_image(name, {});
    ASSERT_TRUE(opened);
    std::vector<u8> data(512, 1);
    EXPECT_FALSE((*opened)->write(0, data.data(), 512).failed());
    std::copy_n("QFI\xfb", 4, data.begin());
    const Outcome o = (*opened)->write(0, data.data(), 512);
    EXPECT_TRUE(o.failed());
    EXPECT_NE(o.message.find("expected format=raw"), std::string::npos) << o.message;
    EXPECT_FALSE((*opened)->write(512, data.data(), 512).failed());
}

TEST_F(DiskTest, FullStorageIsReported) {
    Disk disk(image(file("disk", 4096)), workers, reporting());
    std::vector<u8> data(512, 1);
    const Tight tight(1024);
    for (unsigned n = 0; n < 3; ++n)
        EXPECT_EQ(status([&](auto done) { disk.write(4, 1, data.data(), done); }), BlockStatus::NoSpace);
    ASSERT_EQ(reports.size(), 1u) << "told once";
    EXPECT_NE(reports[0].find("write failed"), std::string::npos) << reports[0];
    EXPECT_EQ(stops, 0u);
}

TEST_F(DiskTest, FullStorageStopsAndGoesOn) {
    Disk::Options options = reporting();
    options.on_write_error = Disk::OnError::NoSpace;
    Disk disk(image(file("disk", 4096)), workers, options);
    std::vector<u8> data(512, 1);
    std::optional<BlockStatus> result;
    {
        const Tight tight(1024);
        disk.write(4, 1, data.data(), [&](BlockStatus s) { result = s; });
        workers.drain();
        workers.deliver();
        EXPECT_FALSE(result.has_value());
        EXPECT_EQ(stops, 1u);
    }
    disk.retry();
    workers.drain();
    workers.deliver();
    EXPECT_EQ(result, BlockStatus::Ok);
}

// The medium is changed while the machine stands still: its request ends all the same.
TEST_F(DiskTest, WhatStoppedTheMachineCanBeGivenUp) {
    Disk::Options options = reporting();
    options.on_write_error = Disk::OnError::Stop;
    Disk disk(image(file("disk", 4096)), workers, options);
    std::vector<u8> data(512, 1);
    std::optional<BlockStatus> result;
    const Tight tight(1024);
    disk.write(4, 1, data.data(), [&](BlockStatus s) { result = s; });
    workers.drain();
    workers.deliver();
    EXPECT_EQ(stops, 1u);
    EXPECT_FALSE(result.has_value());
    disk.give_up();
    EXPECT_EQ(result, BlockStatus::IoError);
    disk.retry();
    EXPECT_FALSE(workers.under_way());
}

TEST_F(DiskTest, FullStorageOfAQcow2ImageLosesNothing) {
    create(path("q"), {.size = 8 * MiB, .cluster_bits = 12});
    auto q = open(path("q"));
    std::vector<u8> data(64 * KiB, 7), back(64 * KiB);
    ASSERT_FALSE(q->write(0, data.data(), data.size()).failed());
    ASSERT_FALSE(q->flush().failed());
    {
        const Tight tight(fs::file_size(path("q")));
        const Outcome o = q->write(MiB, data.data(), data.size());
        EXPECT_EQ(o.status, BlockStatus::NoSpace) << o.message;
        EXPECT_FALSE(q->read(MiB, back.data(), back.size()).failed());
        EXPECT_EQ(back, std::vector<u8>(back.size())) << "nothing of it is there";
    }
    EXPECT_FALSE(q->write(MiB, data.data(), data.size()).failed());
    ASSERT_FALSE(q->flush().failed());
    expect_clean(*q);
}

TEST_F(DiskTest, TheTemporaryOverlayKeepsTheImage) {
    const std::string name = file("disk", 4096);
    const std::string before = contents(name);
    auto overlay = make_temporary_overlay(image(name, true));
    ASSERT_TRUE(overlay) << overlay.error().message;
    std::vector<u8> data(512, 9), back(1024);
    EXPECT_FALSE((*overlay)->write(512, data.data(), 512).failed());
    EXPECT_FALSE((*overlay)->read(0, back.data(), 1024).failed());
    EXPECT_EQ(back[511], u8(before[511]));
    EXPECT_EQ(back[512], 9);
    EXPECT_EQ(contents(name), before);
}

TEST_F(DiskTest, ManyAtOnce) {
    create(path("q"), {.size = 4 * MiB, .cluster_bits = 12});
    Disk disk(open(path("q")), workers, reporting());
    constexpr unsigned sectors = 8192, piece = 24;
    std::vector<u8> data(sectors * 512), back(data.size());
    for (std::size_t i = 0; i < data.size(); ++i)
        data[i] = u8(i * 7 + i / 512);
    unsigned good = 0, asked = 0;
    const auto count = [&](BlockStatus s) { good += s == BlockStatus::Ok; };
    for (unsigned at = 0; at < sectors; at += piece, ++asked) { // neighbours share clusters
        disk.write(at, std::min(piece, sectors - at), &data[at * 512], count);
        if (asked % 16 == 0) disk.flush([](BlockStatus) {});
    }
    workers.drain();
    workers.deliver();
    EXPECT_EQ(good, asked);
    EXPECT_EQ(status([&](auto done) { disk.read(0, sectors, back.data(), done); }), BlockStatus::Ok);
    EXPECT_EQ(back, data);
    EXPECT_EQ(status([&](auto done) { disk.flush(done); }), BlockStatus::Ok);
    expect_clean(static_cast<Qcow2Image&>(disk.image()));
}

class RingTest : public DiskTest {
  protected:
    void SetUp() override {
        DiskTest::SetUp();
        auto ring = Ring::open();
        if (!ring) GTEST_SKIP() << "no io_uring here";
        ringed = std::make_unique<Workers>(
            3, [this] { ++notified; }, std::move(ring));
    }
    std::unique_ptr<Workers> ringed;
    std::atomic<unsigned> notified{0};
};

TEST_F(RingTest, MoreReadsThanItHolds) {
    const std::string name = file("raw", 300 * 4096);
    std::ifstream in(name, std::ios::binary);
    const std::vector<u8> wanted{std::istreambuf_iterator<char>(in), {}};
    Disk disk(image(name), *ringed, {});
    std::vector<u8> got(wanted.size());
    unsigned done = 0;
    for (u32 n = 0; n < 300; ++n)
        disk.read(u64{n} * 8, 8, got.data() + n * 4096, [&](BlockStatus s) { done += s == BlockStatus::Ok; });
    EXPECT_EQ(done, 0u) << "nothing ends before deliver()";
    EXPECT_TRUE(ringed->under_way());
    ringed->drain();
    ringed->deliver();
    EXPECT_EQ(done, 300u);
    EXPECT_GT(notified, 0u);
    EXPECT_FALSE(ringed->under_way());
    EXPECT_EQ(got, wanted);
}

TEST_F(RingTest, WhatFailsThereIsReported) {
    const std::string name = file("raw", 64 * 512);
    Disk disk(image(name), *ringed, reporting());
    fs::resize_file(name, 32 * 512);
    std::vector<u8> got(64 * 512);
    std::optional<BlockStatus> ended;
    disk.read(0, 64, got.data(), [&](BlockStatus s) { ended = s; });
    for (unsigned n = 0; n < 2 && !ended; ++n) {
        ringed->drain();
        ringed->deliver();
    }
    EXPECT_EQ(ended, BlockStatus::IoError);
    ASSERT_EQ(reports.size(), 1u);
    EXPECT_NE(reports[0].find(name), std::string::npos) << reports[0];
}

TEST_F(RingTest, WhatWasWrittenIsRead) {
    const std::string name = file("raw", 64 * 512);
    Disk disk(image(name), *ringed, {});
    const std::vector<u8> news(4096, 0x77);
    std::vector<u8> got(4096);
    unsigned done = 0;
    disk.write(3, 8, news.data(), [&](BlockStatus) {
        ++done;
        disk.read(3, 8, got.data(), [&](BlockStatus) { ++done; });
    });
    for (unsigned n = 0; n < 3 && done < 2; ++n) {
        ringed->drain();
        ringed->deliver();
    }
    EXPECT_EQ(done, 2u);
    EXPECT_EQ(got, news);
}

} // namespace
} // namespace dragoman::block::test
