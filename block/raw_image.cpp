#include "block/raw_image.h"

#include <algorithm>
#include <cstring>

namespace dragoman::block {

Outcome RawImage::read(u64 at, u8* to, u64 count) {
    // The last sector of a file that does not end with a whole one is filled up with zeroes.
    const u64 end = bytes(), held = at < end ? std::min(count, end - at) : 0;
    std::memset(to + held, 0, count - held);
    return file_->read(at, to, held, HostFile::PastEnd::Error);
}

Outcome RawImage::write(u64 at, const u8* from, u64 count) {
    if (guarded_ && at == 0 && probe_format(from, std::size_t(count)) != "raw")
        return {BlockStatus::IoError, "disk image '" + file_->path() +
                                          "': the guest tried to write the header of another image format; "
                                          "expected format=raw if it may"};
    return file_->write(at, from, count);
}

Outcome RawImage::flush() {
    return read_only_ ? Outcome{} : file_->sync();
}

std::optional<Place> RawImage::place(u64 at, u64 count) {
    const u64 end = bytes();
    if (at > end || count > end - at) return {};
    return Place{file_->descriptor(), at};
}

Result<Image::Extent> RawImage::extent(u64 at, u64 limit) {
    if (file_->block_device()) return Extent{Content::Data, limit};
    const u64 data = file_->next_data(at);
    if (data > at) return Extent{Content::Zero, std::min(limit, data - at)};
    return Extent{Content::Data, std::min(limit, std::max<u64>(file_->next_hole(at) - at, 1))};
}

} // namespace dragoman::block
