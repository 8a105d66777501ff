// A floppy disk drive and the disk in it: where the head is, the change line, and how an image is laid out on
// tracks.
#pragma once

#include "base/block.h"
#include "hw/core/state.h"

#include <optional>
#include <string>

namespace dragoman::hw {

// One of the formats of the PC's drives (the types are those of CMOS register 10h).
struct FloppyGeometry {
    u8 sectors = 18, tracks = 80, heads = 2;
    u8 rate = 0;       // data rate select: 0 500, 1 300, 2 250 kb/s, 3 1 Mb/s
    u8 drive_type = 4; // 1 360 K, 2 1.2 M, 3 720 K, 4 1.44 M, 5 2.88 M
    u32 all() const { return u32(sectors) * tracks * heads; }
};

// The format whose size this is. A smaller image (a boot sector alone) is the beginning of a 1.44 M disk;
// nothing fits more than 2.88 M.
std::optional<FloppyGeometry> floppy_geometry(u64 sectors);

class FloppyDrive {
  public:
    // Null takes the disk out. The image is borrowed, and of a size that floppy_geometry() takes.
    void insert(BlockDevice* image);
    BlockDevice* image() const { return image_; }
    const FloppyGeometry& geometry() const { return geometry_; }
    bool connected = false; // is there a drive at all
    bool write_protected() const { return image_ != nullptr && image_->read_only(); }
    bool changed() const { return state_.changed; } // DSKCHG
    u8 track() const { return state_.track; }
    // Moves the head; a step with a disk in the drive clears the change line.
    void step_to(u8 track);
    // Is there a sector (counted from 1) under the head?
    bool has(u8 head, u8 sector) const {
        return image_ != nullptr && state_.track < geometry_.tracks && head < geometry_.heads &&
               sector != 0 && sector <= geometry_.sectors;
    }
    u32 lba(u8 head, u8 sector) const {
        return (u32(state_.track) * geometry_.heads + head) * geometry_.sectors + sector - 1;
    }
    void reset() { state_ = {}; }
    void visit(const std::string& prefix, StateVisitor& visitor);

    static constexpr u8 last_track = 83; // where the head's way ends

  private:
    struct State {
        u8 track = 0;
        bool changed = true;
    };
    BlockDevice* image_ = nullptr;
    FloppyGeometry geometry_;
    State state_;
};

} // namespace dragoman::hw
