// libFuzzer: a FAT volume of arbitrary bytes is read and goes back into a folder, as a hostile guest's would
// with `fat:rw:`. The volume that the bytes are put over is a sound one. Nothing outside the folder may
// change, a link in it stays what it is, and where nobody complains the folder holds what the volume says.
#include "block/fat_volume.h"
#include "fuzz_input.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <sys/stat.h>
#include <unistd.h>

namespace {

using namespace dragoman;
namespace fs = std::filesystem;

void must(bool good, const std::string& what) {
    if (good) return;
    std::fprintf(stderr, "fat_fuzz: %s\n", what.c_str());
    std::abort();
}

constexpr const char* kKept = "nobody touches this";

// The host's side: a folder, and beside it a file that a link in the folder leads to.
class Host {
  public:
    Host() {
        std::string name = fs::temp_directory_path() / "fat-fuzz-XXXXXX";
        must(mkdtemp(name.data()) != nullptr, "mkdtemp");
        top_ = name;
        std::ofstream(top_ / "kept") << kKept;
        fill();
    }
    ~Host() { fs::remove_all(top_); }
    std::string folder() const { return top_ / "d"; }
    // As at first, to the times of the files.
    void fill() {
        fs::remove_all(folder());
        fs::create_directories(folder() + "/SUB/deep one");
        put("A.TXT", 100), put("a name that is long.text", 9000), put("SUB/B", 5), put("SUB/deep one/c", 600);
        fs::create_symlink("../kept", folder() + "/LINK");
    }
    void check(const block::FatNode* now) const {
        std::stringstream kept;
        kept << std::ifstream(top_ / "kept").rdbuf();
        must(kept.str() == kKept, "a file outside the folder was changed");
        must(fs::file_size(top_ / "kept") == std::strlen(kKept), "a file outside the folder was changed");
        must(std::distance(fs::directory_iterator(top_), {}) == 2, "something is new outside the folder");
        must(fs::is_symlink(folder() + "/LINK"), "the link in the folder was replaced");
        if (now) holds(folder(), *now);
    }

  private:
    void put(const char* name, std::size_t bytes) {
        const std::string path = folder() + "/" + name;
        std::ofstream(path) << std::string(bytes, 'x');
        const timespec times[2] = {{1000, 0}, {1000, 0}};
        must(utimensat(AT_FDCWD, path.c_str(), times, 0) == 0, "utimensat");
    }
    void holds(const std::string& path, const block::FatNode& folder) const {
        for (const block::FatNode& node : folder.children) {
            const std::string below = path + "/" + node.name;
            must(node.folder ? fs::is_directory(below) : fs::is_regular_file(below), below + " is missing");
            if (node.folder)
                holds(below, node);
            else
                must(fs::file_size(below) == node.bytes, below + " has another size");
        }
    }
    fs::path top_;
};

// The volume's beginning, where all is that the fuzzer changes; zeros follow.
class Volume final : public block::Image {
  public:
    Volume(const std::string& folder, unsigned bits, bool floppy) {
        const block::FatFolder what{folder, floppy, true, bits};
        auto root = block::scan_folder(folder);
        must(bool(root), "scan_folder");
        auto laid = block::lay_out(what, *root);
        must(bool(laid), "lay_out");
        geometry = *laid, before = std::move(*root);
        auto file = block::HostFile::create_temporary();
        must(bool(file) && block::build_volume(geometry, before, folder, **file), "build_volume");
        sound_.resize((geometry.data_at() + 64 * geometry.cluster_sectors) * 512);
        must(!(*file)->read(0, sound_.data(), sound_.size()).failed(), "read");
        bytes_ = sound_;
    }
    const char* format() const override { return "raw"; }
    u64 bytes() const override { return geometry.disk_sectors * 512; }
    bool read_only() const override { return false; }
    block::Outcome read(u64 at, u8* to, u64 count) override {
        must(at <= bytes() && count <= bytes() - at, "a read outside the volume");
        std::memset(to, 0, count);
        if (at < bytes_.size()) std::memcpy(to, &bytes_[at], std::min<u64>(count, bytes_.size() - at));
        return {};
    }
    block::Outcome write(u64, const u8*, u64) override { return {BlockStatus::IoError, "write"}; }
    block::Outcome flush() override { return {}; }
    block::Outcome discard(u64, u64) override { return {}; }
    block::Outcome write_zeroes(u64, u64, bool) override { return {}; }
    block::Outcome resize(u64) override { return {BlockStatus::IoError, "resize"}; }
    Result<Extent> extent(u64, u64 limit) override { return Extent{Content::Data, limit}; }

    void patch(u64 at, u8 value) {
        if (at >= bytes_.size()) return;
        bytes_[at] = value;
        patched_.push_back(at);
    }
    bool is_patched(const block::FatNode& file) const {
        return std::any_of(patched_.begin(), patched_.end(), [&](u64 at) {
            return std::any_of(file.clusters.begin(), file.clusters.end(), [&](u32 cluster) {
                const u64 first = geometry.cluster_at(cluster) * 512;
                return at >= first && at - first < geometry.cluster_bytes();
            });
        });
    }
    void restore() {
        for (const u64 at : patched_)
            bytes_[at] = sound_[at];
        patched_.clear();
    }

    block::FatGeometry geometry;
    block::FatNode before;

  private:
    std::vector<u8> sound_, bytes_;
    std::vector<u64> patched_;
};

} // namespace

// The first byte says which volume. Patches follow: what they are put into, where, how many bytes, the bytes.
extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
    static Host host;
    static Volume volumes[] = {
        {host.folder(), 12, true}, {host.folder(), 16, false}, {host.folder(), 32, false}};
    test::FuzzInput input({data, size});
    Volume& volume = volumes[input.byte() % std::size(volumes)];
    const block::FatGeometry& g = volume.geometry;
    while (!input.empty()) {
        const u8 what = input.byte();
        const u64 sectors[] = {g.start, g.fat_at(), g.root_at(), g.data_at(), g.cluster_at(2 + what / 8)};
        u64 at = sectors[what % 5] * 512;
        at += what % 5 == 0 ? input.byte() : input.take<u16>();
        for (unsigned n = 1u + input.byte() % 64; n > 0; --n)
            volume.patch(at++, input.byte());
    }
    if (auto now = block::read_volume(g, volume)) {
        const int fd = ::open(host.folder().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        must(fd >= 0, "the folder cannot be opened");
        const auto written = [&](const block::FatNode& file) { return volume.is_patched(file); };
        const Status done = block::commit_folder(fd, g, volume, volume.before, *now, written);
        ::close(fd);
        host.check(done ? &*now : nullptr);
        host.fill();
    }
    volume.restore();
    return 0;
}
