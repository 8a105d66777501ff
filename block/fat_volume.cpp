#include "block/fat_volume.h"

#include "base/bits.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

namespace dragoman::block {

Result<std::unique_ptr<Image>> FatVolume::open(const FatFolder& folder) {
    auto root = scan_folder(folder.path);
    if (!root) return root.error();
    auto geometry = lay_out(folder, *root);
    if (!geometry) return geometry.error();
    auto file = HostFile::create_temporary();
    if (!file) return file.error();
    if (auto s = build_volume(*geometry, *root, folder.path, **file); !s) return s.error();
    const int fd = ::open(folder.path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return Error{"'" + folder.path + "': " + std::strerror(errno)};
    return std::unique_ptr<Image>(new FatVolume(folder, fd, std::move(*file), *geometry, std::move(*root)));
}

FatVolume::~FatVolume() {
    ::close(fd_);
}

void FatVolume::note_written(u64 at, u64 count) {
    const std::lock_guard guard(lock_);
    changed_ = true;
    for (u64 sector = at / 512; sector * 512 < at + count; ++sector)
        written_[sector / 8] |= u8(1u << sector % 8);
}

Outcome FatVolume::write(u64 at, const u8* from, u64 count) {
    note_written(at, count);
    return disk_.write(at, from, count);
}

Outcome FatVolume::write_zeroes(u64 at, u64 count, bool unmap) {
    note_written(at, count);
    return disk_.write_zeroes(at, count, unmap);
}

Outcome FatVolume::close() {
    if (read_only() || !changed_) return {};
    changed_ = false;
    const auto about = [&](const std::string& what) {
        return Outcome{BlockStatus::IoError, "fat:rw:" + folder_.path + ": " + what};
    };
    auto now = read_volume(geometry_, disk_);
    if (!now) return about(now.error().message + "; the folder is left as it was");
    const auto written = [&](const FatNode& file) {
        for (const u32 cluster : file.clusters)
            for (u32 n = 0; n < geometry_.cluster_sectors; ++n)
                if (const u64 sector = geometry_.cluster_at(cluster) + n;
                    bit(written_[sector / 8], sector % 8))
                    return true;
        return false;
    };
    const Status done = commit_folder(fd_, geometry_, disk_, root_, *now, written);
    root_ = std::move(*now);
    std::fill(written_.begin(), written_.end(), u8{0});
    return done ? Outcome{} : about(done.error().message);
}

} // namespace dragoman::block
