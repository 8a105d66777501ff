#include "hw/nvme_prp.h"

#include <algorithm>

namespace dragoman::hw {

void NvmeData::add(u64 address, u32 bytes) {
    bytes_ += bytes;
    if (!parts_.empty() && parts_.back().address + parts_.back().bytes == address)
        parts_.back().bytes += bytes;
    else
        parts_.push_back({address, bytes});
}

nvme::Status NvmeData::gather(DmaBus& memory, u64 prp1, u64 prp2, u32 bytes, u32 page) {
    const u64 offset_mask = page - 1;
    if (prp1 & 3) return nvme::kPrpOffsetInvalid;
    const u32 first = std::min(bytes, u32(page - (prp1 & offset_mask)));
    add(prp1, first);
    u32 left = bytes - first;
    if (left == 0) return nvme::kSuccess;
    if (left <= page) {
        if (prp2 & offset_mask) return nvme::kPrpOffsetInvalid;
        add(prp2, left);
        return nvme::kSuccess;
    }
    // A list. Its last entry in a page names the next page of it, if there is more than one page of data
    // left; that one begins at offset 0, so each page of the list but the first gives entries.
    if (prp2 & 7) return nvme::kPrpOffsetInvalid;
    u64 at = prp2;
    while (left != 0) {
        u64 entry = 0;
        if (!memory.read(at, &entry, sizeof entry)) return nvme::kTransferError;
        if (entry & offset_mask) return nvme::kPrpOffsetInvalid;
        const bool last_of_page = ((at + sizeof entry) & offset_mask) == 0;
        if (last_of_page && left > page) {
            at = entry;
            continue;
        }
        at += sizeof entry;
        const u32 now = std::min(left, page);
        add(entry, now);
        left -= now;
    }
    return nvme::kSuccess;
}

bool NvmeData::move(DmaBus& memory, u8* data, u32 count, bool to_memory) const {
    for (const Part& part : parts_) {
        const u32 now = std::min(count, part.bytes);
        const bool ok =
            to_memory ? memory.write(part.address, data, now) : memory.read(part.address, data, now);
        if (!ok) return false;
        data += now;
        count -= now;
        if (count == 0) break;
    }
    return true;
}

} // namespace dragoman::hw
