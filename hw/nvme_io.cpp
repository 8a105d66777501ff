// The NVM command set (NVMe 1.4, 6): read, write, flush, write zeroes, dataset management.
#include "base/bits.h"
#include "hw/nvme.h"

#include <algorithm>

namespace dragoman::hw {

using namespace nvme;

namespace {

constexpr u32 kSector = BlockDevice::sector_bytes;
constexpr u32 kMostBytes = 512 * KiB; // MDTS says so

Status status_of(BlockStatus status, bool writing) {
    switch (status) {
    case BlockStatus::Ok: return kSuccess;
    case BlockStatus::OutOfRange: return kLbaOutOfRange;
    case BlockStatus::ReadOnly: return kReadOnlyRange;
    case BlockStatus::NoSpace: return kCapacityExceeded;
    case BlockStatus::IoError: break;
    }
    return writing ? kWriteFault : kUnrecoveredRead;
}

} // namespace

struct Nvme::Request {
    Ticket ticket;
    Command command;
    NvmeData data;
    u32 bytes = 0; // of the buffer
    std::unique_ptr<u8[]> buffer;
    u32 range = 0; // of dataset management: the next one
};

// Counts a request to the image. `done` must look whether its ticket is still good.
BlockDevice::Completion Nvme::guarded(BlockDevice::Completion done) {
    ++under_way_;
    return [this, done = std::move(done)](BlockStatus status) {
        --under_way_;
        done(status);
        settle();
        pump();
    };
}

void Nvme::io(const Ticket& ticket, const Command& command) {
    struct Row {
        u8 opcode;
        Status (Nvme::*run)(const Pointer& request);
    };
    static constexpr Row rows[] = {{kWrite, &Nvme::read_write},
                                   {kRead, &Nvme::read_write},
                                   {kWriteZeroes, &Nvme::write_zeroes},
                                   {kDatasetManagement, &Nvme::dataset_management}};
    if (command.flags & 0xc3) return complete(ticket, kInvalidField); // no fused commands, no SGLs
    auto request = std::make_shared<Request>();
    request->ticket = ticket;
    request->command = command;
    if (command.opcode == kFlush)
        return command.nsid == 1 || command.nsid == 0xffffffff ? flush(request)
                                                               : complete(ticket, kInvalidNamespace);
    for (const Row& row : rows) {
        if (row.opcode != command.opcode) continue;
        if (command.nsid != 1) return complete(ticket, kInvalidNamespace);
        if (const Status bad = (this->*row.run)(request)) finish(request, bad);
        return;
    }
    complete(ticket, kInvalidOpcode);
}

Status Nvme::read_write(const Pointer& request) {
    Request& r = *request;
    const Command& c = r.command;
    const bool writing = c.opcode == kWrite;
    const u64 first = u64{c.cdw11} << 32 | c.cdw10;
    const u32 count = (c.cdw12 & 0xffff) + 1;
    if (first > image_.sectors() || count > image_.sectors() - first) return kLbaOutOfRange;
    if (count > kMostBytes / kSector) return kInvalidField;
    if (writing && image_.read_only()) return kReadOnlyRange;
    const u32 bytes = count * kSector;
    if (const Status bad = r.data.gather(dma(), c.prp1, c.prp2, bytes, page_bytes())) return bad;
    r.bytes = bytes;
    held_ += bytes;
    r.buffer = std::make_unique_for_overwrite<u8[]>(bytes);
    if (!writing) {
        image_.read(first, count, r.buffer.get(), guarded([this, request](BlockStatus status) {
                        Request& q = *request;
                        if (q.ticket.epoch != epoch_ || status != BlockStatus::Ok)
                            return finish(request, status_of(status, false));
                        const bool moved = bus_master() && q.data.move(dma(), q.buffer.get(), q.bytes, true);
                        statistics_.sectors_read += q.bytes / kSector;
                        ++statistics_.reads;
                        finish(request, moved ? kSuccess : kTransferError);
                    }));
        return kSuccess;
    }
    if (!r.data.move(dma(), r.buffer.get(), bytes, false)) return kTransferError;
    image_.write(first, count, r.buffer.get(), guarded([this, request](BlockStatus status) {
                     if (status != BlockStatus::Ok) return finish(request, status_of(status, true));
                     statistics_.sectors_written += request->bytes / kSector;
                     ++statistics_.writes;
                     written(request, bit(request->command.cdw12, 30));
                 }));
    return kSuccess;
}

// A write whose command says FUA, or any write while the volatile cache is off, is on storage when it
// completes.
void Nvme::written(const Pointer& request, bool through) {
    if (request->ticket.epoch == epoch_ && (through || !(state_.features.write_cache & 1)))
        return flush(request);
    finish(request, kSuccess);
}

void Nvme::flush(const Pointer& request) {
    image_.flush(guarded([this, request](BlockStatus status) { finish(request, status_of(status, true)); }));
}

Status Nvme::write_zeroes(const Pointer& request) {
    const Command& c = request->command;
    const u64 first = u64{c.cdw11} << 32 | c.cdw10;
    const u32 count = (c.cdw12 & 0xffff) + 1;
    if (!image_.can_write_zeroes()) return kInvalidOpcode;
    if (first > image_.sectors() || count > image_.sectors() - first) return kLbaOutOfRange;
    const bool deallocate = bit(c.cdw12, 25);
    image_.write_zeroes(first, count, deallocate, guarded([this, request](BlockStatus status) {
                            if (status != BlockStatus::Ok) return finish(request, status_of(status, true));
                            written(request, bit(request->command.cdw12, 30));
                        }));
    return kSuccess;
}

// 6.7: up to 256 ranges of 16 bytes: attributes, count, first sector. All but "deallocate" are hints.
Status Nvme::dataset_management(const Pointer& request) {
    Request& r = *request;
    const Command& c = r.command;
    const u32 bytes = ((c.cdw10 & 0xff) + 1) * 16;
    if (const Status bad = r.data.gather(dma(), c.prp1, c.prp2, bytes, page_bytes())) return bad;
    r.bytes = bytes;
    held_ += bytes;
    r.buffer = std::make_unique_for_overwrite<u8[]>(bytes);
    if (!r.data.move(dma(), r.buffer.get(), bytes, false)) return kTransferError;
    if (!bit(c.cdw11, 2)) {
        finish(request, kSuccess);
        return kSuccess;
    }
    if (image_.read_only()) return kReadOnlyRange;
    next_range(request);
    return kSuccess;
}

void Nvme::next_range(const Pointer& request) {
    Request& r = *request;
    struct Range {
        u32 attributes, count;
        u64 first;
    } range;
    if (u64{r.range} * sizeof range >= r.bytes || r.ticket.epoch != epoch_) return finish(request, kSuccess);
    std::memcpy(&range, r.buffer.get() + r.range++ * sizeof range, sizeof range);
    if (range.first > image_.sectors() || range.count > image_.sectors() - range.first)
        return finish(request, kLbaOutOfRange);
    image_.discard(range.first, range.count, guarded([this, request](BlockStatus status) {
                       if (status != BlockStatus::Ok) return finish(request, status_of(status, true));
                       next_range(request);
                   }));
}

void Nvme::finish(const Pointer& request, Status status) {
    held_ -= request->bytes;
    request->bytes = 0;
    if ((status & 0x700) == 0x200) ++statistics_.media_errors;
    complete(request->ticket, status);
}

} // namespace dragoman::hw
