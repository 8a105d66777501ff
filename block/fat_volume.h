// A folder of the host as a disk with a FAT file system ("fat:DIR", "fat:rw:DIR"): a copy of the folder as it
// is when the disk is opened, in a temporary file. With `rw` what the guest changed goes back when the disk
// is closed, each file whole or not at all; a process that is killed before leaves the folder as it was.
#pragma once

#include "block/fat_tree.h"
#include "block/raw_image.h"

#include <functional>
#include <mutex>
#include <optional>

namespace dragoman::block {

struct FatFolder {
    std::string path;
    bool floppy = false, writable = false;
    unsigned bits = 0; // of the file allocation table's entries: 12, 16, 32; 0: by what the volume holds
};
// "fat:[12:|16:|32:][floppy:][rw:]DIR"; nothing: the name is of another form.
std::optional<FatFolder> parse_fat_folder(const std::string& name);

// Where things lie, in sectors of 512 bytes.
struct FatGeometry {
    unsigned bits = 16;
    u64 disk_sectors = 0, start = 0; // of the volume on the disk
    u32 sectors = 0;                 // of the volume
    u32 cluster_sectors = 1, reserved = 1, fat_sectors = 0, root_entries = 0, clusters = 0;
    unsigned heads = 16, track_sectors = 63;
    u8 media = 0xf8;

    u64 fat_at() const { return start + reserved; }
    u64 root_at() const { return fat_at() + 2 * u64{fat_sectors}; }
    u64 data_at() const { return root_at() + root_entries * kFatEntryBytes / 512; }
    u64 cluster_at(u32 cluster) const { return data_at() + u64{cluster - 2} * cluster_sectors; }
    u32 cluster_bytes() const { return cluster_sectors * 512; }
    u32 end_mark() const { return bits == 32 ? 0x0fffffff : (1u << bits) - 1; }
};
// For what `root` holds; the error says what does not fit. Nodes get their clusters.
Result<FatGeometry> lay_out(const FatFolder& folder, FatNode& root);
// Writes the volume into an empty file of the disk's size, with the files below `folder`.
Status build_volume(const FatGeometry& geometry, const FatNode& root, const std::string& folder,
                    HostFile& file);

class FatVolume final : public Image {
  public:
    static Result<std::unique_ptr<Image>> open(const FatFolder& folder);

    const char* format() const override { return "vvfat"; } // the name it has elsewhere
    u64 bytes() const override { return disk_.bytes(); }
    bool read_only() const override { return !folder_.writable; }
    Outcome read(u64 at, u8* to, u64 count) override { return disk_.read(at, to, count); }
    Outcome write(u64 at, const u8* from, u64 count) override;
    Outcome flush() override { return {}; } // the folder is written when the volume is closed
    Outcome discard(u64, u64) override { return {}; }
    Outcome write_zeroes(u64 at, u64 count, bool unmap) override;
    Outcome resize(u64) override { return {BlockStatus::IoError, "a folder as a disk has a fixed size"}; }
    Result<Extent> extent(u64 at, u64 limit) override { return disk_.extent(at, limit); }
    Outcome close() override;

  private:
    FatVolume(FatFolder folder, int fd, std::unique_ptr<HostFile> file, FatGeometry geometry, FatNode root)
        : folder_(std::move(folder)), fd_(fd), disk_(std::move(file), false, false), geometry_(geometry),
          root_(std::move(root)), written_((geometry.disk_sectors + 7) / 8) {}
    ~FatVolume() override;
    void note_written(u64 at, u64 count);

    FatFolder folder_;
    int fd_; // the folder
    RawImage disk_;
    FatGeometry geometry_;
    FatNode root_; // as it was
    std::mutex lock_;
    std::vector<u8> written_; // a bit for each sector
    bool changed_ = false;
};

// What the volume holds now. The error says where it contradicts itself: then nothing of it can be trusted.
Result<FatNode> read_volume(const FatGeometry& geometry, Image& disk);
// Makes the folder `fd` hold `now` where that differs from `before`; `written(node)`: did the guest write to
// the file's clusters? The error names what could not be done; the rest is done all the same.
Status commit_folder(int fd, const FatGeometry& geometry, Image& disk, const FatNode& before,
                     const FatNode& now, const std::function<bool(const FatNode&)>& written);

} // namespace dragoman::block
