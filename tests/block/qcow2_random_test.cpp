// Random requests against an array of bytes, on images of every shape, with the image checked by ourselves
// and by qemu-img.
#include "block_test_support.h"

#include <sstream>

namespace dragoman::block::test {
namespace {

using Bytes = std::vector<u8>;

class Qcow2Random : public BlockTest, public ::testing::WithParamInterface<unsigned> {
  protected:
    u64 pick(u64 most) { return random() % (most + 1); }
    Bytes noise(u64 count) {
        Bytes bytes(count);
        const u8 kind = u8(random());
        for (u8& b : bytes)
            b = kind < 40 ? 0 : kind < 90 ? u8(kind) : u8(random());
        return bytes;
    }
    void expect_same(Image& image, const char* when) {
        ASSERT_EQ(image.bytes(), model.size()) << when << log.str();
        Bytes back(model.size());
        const Outcome o = image.read(0, back.data(), back.size());
        ASSERT_FALSE(o.failed()) << o.message << log.str();
        const auto [a, b] = std::mismatch(back.begin(), back.end(), model.begin());
        ASSERT_TRUE(a == back.end()) << when << ": byte " << a - back.begin() << " is " << int(*a)
                                     << ", expected " << int(*b) << log.str();
    }
    void step(std::unique_ptr<Qcow2Image>& image, const std::string& file);

    std::mt19937_64 random;
    std::ostringstream log; // what was done, for a failure
    Bytes model;
    std::vector<std::pair<std::string, Bytes>> snapshots;
};

void Qcow2Random::step(std::unique_ptr<Qcow2Image>& image, const std::string& file) {
    const u64 size = model.size(), cluster = image->header().cluster();
    const u64 at = pick(size - 1);
    const u64 count = std::min(size - at, 1 + pick(random() % 4 ? 3 * cluster : size / 4));
    Outcome o;
    switch (random() % 16) {
    default: {
        log << "\nwrite " << at << "+" << count;
        const Bytes data = noise(count);
        o = image->write(at, data.data(), count);
        std::copy(data.begin(), data.end(), model.begin() + long(at));
        break;
    }
    case 8: {
        const bool unmap = random() & 1;
        log << "\nzero " << at << "+" << count << (unmap ? " unmap" : "");
        o = image->write_zeroes(at, count, unmap);
        std::fill_n(model.begin() + long(at), count, u8(0));
        break;
    }
    case 9: {
        log << "\ndiscard " << at << "+" << count;
        o = image->discard(at, count);
        // Each byte is what it was or zero; without a backing file whole clusters are zero. Take what is
        // there.
        Bytes now(count);
        ASSERT_FALSE(image->read(at, now.data(), count).failed());
        for (u64 i = 0; i < count; ++i)
            ASSERT_TRUE(now[i] == 0 || now[i] == model[at + i]) << "byte " << at + i << log.str();
        std::copy(now.begin(), now.end(), model.begin() + long(at));
        break;
    }
    case 10: {
        const u64 first = at & ~(cluster - 1), bytes = std::min(cluster, size - first);
        log << "\ncompressed " << first;
        Bytes data = noise(bytes);
        o = image->write_compressed(first, data.data(), bytes);
        std::copy(data.begin(), data.end(), model.begin() + long(first));
        break;
    }
    case 11:
        log << "\nflush";
        o = image->flush();
        break;
    case 12: {
        log << "\nreopen";
        image.reset();
        image = open(file);
        ASSERT_TRUE(image);
        break;
    }
    case 13: {
        if (snapshots.size() > 4 || image->header().refcount_order < 3) break;
        const std::string name = "s" + std::to_string(random() % 1000000);
        log << "\nsnapshot " << name;
        const auto made = image->create_snapshot(name);
        ASSERT_TRUE(made) << made.error().message << log.str();
        snapshots.emplace_back(name, model);
        break;
    }
    case 14: {
        if (snapshots.empty()) break;
        const std::size_t n = pick(snapshots.size() - 1);
        if (random() & 1) {
            if (snapshots[n].second.size() != size) break;
            log << "\napply " << snapshots[n].first;
            const auto done = image->apply_snapshot(snapshots[n].first);
            ASSERT_TRUE(done) << done.error().message << log.str();
            model = snapshots[n].second;
        } else {
            log << "\ndelete " << snapshots[n].first;
            const auto done = image->delete_snapshot(snapshots[n].first);
            ASSERT_TRUE(done) << done.error().message << log.str();
            snapshots.erase(snapshots.begin() + long(n));
        }
        break;
    }
    case 15: {
        if (random() % 3) break;
        u64 other = std::max<u64>(512, (size / 2 + pick(size)) & ~u64{511});
        if (!snapshots.empty()) other = std::max(other, size);
        if (other > 2 * MiB) break;
        log << "\nresize " << other;
        o = image->resize(other);
        model.resize(other, 0);
        break;
    }
    }
    ASSERT_FALSE(o.failed()) << o.message << log.str();
}

TEST_P(Qcow2Random, IsWhatWasWritten) {
    const unsigned seed = GetParam();
    random.seed(seed);
    log << "seed " << seed;
    Qcow2CreateOptions options;
    options.cluster_bits = u32(9 + pick(seed % 5 ? 4 : 8));
    options.version = seed % 4 ? 3 : 2;
    options.refcount_order = options.version == 2 ? 4 : u32(pick(6));
    if (options.version == 3 && seed & 1) options.compression = Compression::Zstd;
    options.size = 512 * (1 + pick(2000));
    log << " cluster_bits " << options.cluster_bits << " version " << options.version << " order "
        << options.refcount_order << " size " << options.size;
    model.assign(options.size, 0);
    if (seed % 3 == 0) { // a raw backing file, shorter or longer
        const Bytes base = noise(512 * (1 + pick(2000)));
        std::ofstream(path("base.raw"), std::ios::binary)
            .write(reinterpret_cast<const char*>(base.data()), std::streamsize(base.size()));
        std::copy_n(base.begin(), std::min(base.size(), model.size()), model.begin());
        options.backing_file = "base.raw";
        options.backing_format = "raw";
        log << " base " << base.size();
    }
    const std::string file = path("disk.qcow2");
    create(file, options);
    auto image = open(file);
    ASSERT_TRUE(image);
    for (unsigned n = 0; n < 120 && !HasFatalFailure(); ++n) {
        step(image, file);
        if (n % 10 == 0 && !HasFatalFailure()) expect_same(*image, "while it is open");
    }
    if (HasFatalFailure()) return;
    ASSERT_FALSE(image->flush().failed());
    expect_clean(*image);
    image.reset();
    image = open(file, true);
    ASSERT_TRUE(image);
    expect_same(*image, "after it was closed");
    expect_clean(*image);
    image.reset();
    for (const auto& [name, bytes] : snapshots) {
        OpenOptions at;
        at.snapshot = name;
        auto old = open(file, true, at);
        ASSERT_TRUE(old);
        model = bytes;
        expect_same(*old, "a snapshot");
    }
    EXPECT_FALSE(HasFailure()) << log.str();
    if (!have_qemu_img())
        GTEST_SKIP() << "qemu-img (package qemu-utils) is not here: the image was not checked by it";
    EXPECT_EQ(run("qemu-img check -f qcow2 " + file), 0) << said << log.str();
    if (!snapshots.empty()) return;
    ASSERT_EQ(run("qemu-img convert -f qcow2 -O raw " + file + " " + path("out.raw")), 0)
        << said << log.str();
    const std::string raw = contents(path("out.raw"));
    EXPECT_TRUE(raw.size() == model.size() &&
                std::equal(model.begin(), model.end(), raw.begin(), [](u8 a, char b) { return a == u8(b); }))
        << "qemu-img reads something else\n"
        << log.str();
}

INSTANTIATE_TEST_SUITE_P(Seeds, Qcow2Random, ::testing::Range(1u, 41u));

} // namespace
} // namespace dragoman::block::test
