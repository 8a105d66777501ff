#include "hw/floppy_drive.h"

#include <algorithm>

namespace dragoman::hw {

std::optional<FloppyGeometry> floppy_geometry(u64 sectors) {
    static constexpr FloppyGeometry formats[] = {
        {18, 80, 2, 0, 4}, {36, 80, 2, 3, 5}, {15, 80, 2, 0, 2}, {9, 80, 2, 2, 3},  {9, 40, 2, 2, 1},
        {8, 40, 2, 2, 1},  {9, 40, 1, 2, 1},  {8, 40, 1, 2, 1},  {21, 80, 2, 0, 4}, {20, 80, 2, 0, 4},
        {21, 82, 2, 0, 4}, {21, 83, 2, 0, 4}, {10, 80, 2, 2, 3},
    };
    for (const FloppyGeometry& format : formats)
        if (format.all() == sectors) return format;
    if (sectors < formats[0].all()) return formats[0];
    if (sectors < formats[1].all()) return formats[1];
    return {};
}

void FloppyDrive::insert(BlockDevice* image) {
    image_ = image;
    state_.changed = true;
    if (image) geometry_ = floppy_geometry(image->sectors()).value_or(FloppyGeometry{});
}

void FloppyDrive::step_to(u8 track) {
    track = std::min(track, last_track);
    if (track == state_.track) return;
    state_.track = track;
    if (image_) state_.changed = false;
}

void FloppyDrive::visit(const std::string& prefix, StateVisitor& visitor) {
    visitor.field((prefix + "drive").c_str(), state_);
    if (visitor.loading()) state_.track = std::min(state_.track, last_track);
}

} // namespace dragoman::hw
