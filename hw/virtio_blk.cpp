#include "hw/virtio_blk.h"

#include <algorithm>
#include <cstring>

namespace dragoman::hw {

namespace {

// Feature bits (5.2.3).
constexpr unsigned kSegMax = 2, kGeometry = 4, kReadOnly = 5, kBlockSize = 6, kFlush = 9, kTopology = 10,
                   kConfigWce = 11, kMultiQueue = 12, kDiscard = 13, kWriteZeroes = 14;
// Request types and status (5.2.6).
enum Type : u32 {
    kIn = 0,
    kOut = 1,
    kFlushRequest = 4,
    kGetId = 8,
    kDiscardRequest = 11,
    kWriteZeroesRequest = 13
};
enum Status : u8 { kOk = 0, kIoError = 1, kUnsupported = 2 };

constexpr unsigned kWriteBackAt = 32;
constexpr u32 kSector = BlockDevice::sector_bytes;
// Larger requests are done in pieces, and no more than so much is under way: the guest decides how many there
// are.
constexpr u64 kPiece = 1 * MiB, kMostHeld = 32 * MiB;
constexpr u32 kMostRanges = 16, kMostRangeSectors = 1u << 22;

u64 features(const BlockDevice& image, unsigned queues) {
    u64 bits = u64{1} << kSegMax | u64{1} << kGeometry | u64{1} << kBlockSize | u64{1} << kFlush |
               u64{1} << kTopology | u64{1} << kConfigWce;
    if (image.read_only()) bits |= u64{1} << kReadOnly;
    if (queues > 1) bits |= u64{1} << kMultiQueue;
    if (image.can_discard()) bits |= u64{1} << kDiscard;
    if (image.can_write_zeroes()) bits |= u64{1} << kWriteZeroes;
    return bits;
}

constexpr VirtioDevice::Identity kIdentity{"virtio-blk", 2, 0x1001, 0x010000};

constexpr auto kSizes = [] {
    std::array<u16, VirtioBlk::max_queues> all{};
    all.fill(VirtioBlk::queue_size);
    return all;
}();

struct Range { // 5.2.6: struct virtio_blk_discard_write_zeroes
    u64 sector;
    u32 count, flags;
};

} // namespace

struct VirtioBlk::Request {
    unsigned queue = 0, epoch = 0;
    VirtioChain chain;
    u32 type = 0;
    u64 sector = 0;
    u64 at = 0, bytes = 0; // of the data: done, all
    std::vector<u8> piece;
    std::vector<Range> ranges;
    std::size_t range = 0;
    u64 held = 0;
};

VirtioBlk::VirtioBlk(BlockDevice& image, const Options& options, Log& log)
    : VirtioDevice(kIdentity, features(image, options.queues),
                   std::span(kSizes).first(std::clamp(options.queues, 1u, max_queues)), log),
      image_(image), serial_number_(options.serial_number) {
    const u64 cylinders = image.sectors() / (16 * 63);
    put_config<u64>(0, image.sectors());
    put_config<u32>(12, queue_size - 2); // seg_max: header and status take two descriptors
    put_config<u16>(16, u16(std::min<u64>(cylinders, 16383)));
    put_config<u8>(18, 16);
    put_config<u8>(19, 63);
    put_config<u32>(20, kSector);
    put_config<u16>(26, 1); // min_io_size, in blocks
    put_config<u8>(kWriteBackAt, 1);
    put_config<u16>(34, u16(queues().size()));
    if (image.can_discard()) {
        put_config<u32>(36, kMostRangeSectors);
        put_config<u32>(40, kMostRanges);
        put_config<u32>(44, 8); // discard_sector_alignment
    }
    if (image.can_write_zeroes()) {
        put_config<u32>(48, kMostRangeSectors);
        put_config<u32>(52, kMostRanges);
        put_config<u8>(56, image.can_discard());
    }
}

template <class T> void VirtioBlk::put_config(unsigned offset, T value) {
    std::memcpy(&config_[offset], &value, sizeof value);
}

void VirtioBlk::config_write(u64 offset, unsigned size, u64 value) {
    if (offset == kWriteBackAt && size == 1) put_config<u8>(kWriteBackAt, value & 1);
}

void VirtioBlk::size_changed() {
    put_config<u64>(0, image_.sectors());
    config_changed();
}

void VirtioBlk::device_reset() {
    ++epoch_;
    waiting_ = false;
    draining_ = under_way_ != 0;
    put_config<u8>(kWriteBackAt, 1);
}

void VirtioBlk::visit(StateVisitor& visitor) {
    VirtioDevice::visit(visitor);
    visitor.field("writeback", config_[kWriteBackAt]);
    if (!visitor.loading()) return;
    config_[kWriteBackAt] &= 1;
    ++epoch_;
}

// A driver that knows nothing of flushes must find everything on storage (5.2.6.2).
bool VirtioBlk::write_back() const {
    if (!accepted(kFlush)) return false;
    return !accepted(kConfigWce) || config_[kWriteBackAt];
}

void VirtioBlk::take(unsigned number) {
    VirtQueue& queue = queues()[number];
    for (unsigned left = queue.size(); left != 0; --left) {
        if (held_ >= kMostHeld || draining_) {
            waiting_ = true;
            break;
        }
        auto chain = queue.pop();
        if (!chain) break;
        auto request = std::make_shared<Request>();
        request->queue = number;
        request->epoch = epoch_;
        request->chain = std::move(*chain);
        start(request);
        if (!driver_ok() && accepted(kVirtioVersion1)) return;
    }
}

void VirtioBlk::start(const Pointer& request) {
    struct {
        u32 type, reserved;
        u64 sector;
    } header;
    static_assert(sizeof header == 16);
    Request& r = *request;
    DmaBus* ram = memory();
    if (!ram || !r.chain.out.read(*ram, 0, &header, sizeof header)) return fail("a request without a header");
    if (r.chain.in.bytes() == 0) return fail("a request without a place for its status");
    r.type = header.type;
    r.sector = header.sector;
    switch (header.type) {
    case kIn: return transfer(request, false);
    case kOut: return transfer(request, true);
    case kFlushRequest: return flush(request);
    case kGetId: return get_id(request);
    case kDiscardRequest:
    case kWriteZeroesRequest: {
        const bool offered = header.type == kDiscardRequest ? accepted(kDiscard) : accepted(kWriteZeroes);
        const u64 bytes = r.chain.out.bytes() - sizeof header;
        if (!offered || bytes == 0 || bytes % sizeof(Range)) return finish(request, kUnsupported);
        if (bytes / sizeof(Range) > kMostRanges) return finish(request, kIoError);
        r.ranges.resize(bytes / sizeof(Range));
        if (!r.chain.out.read(*ram, sizeof header, r.ranges.data(), bytes))
            return fail("a buffer outside memory");
        for (const Range& range : r.ranges) {
            const u32 known = header.type == kWriteZeroesRequest ? 1 : 0; // unmap
            if (range.flags & ~known) return finish(request, kUnsupported);
            if (range.count > kMostRangeSectors) return finish(request, kIoError);
        }
        return next_range(request);
    }
    default: return finish(request, kUnsupported);
    }
}

void VirtioBlk::transfer(const Pointer& request, bool writing) {
    Request& r = *request;
    r.bytes = writing ? r.chain.out.bytes() - 16 : r.chain.in.bytes() - 1;
    const u64 sectors = r.bytes / kSector;
    if (r.bytes % kSector || r.sector > image_.sectors() || sectors > image_.sectors() - r.sector)
        return finish(request, kIoError);
    if (writing && image_.read_only()) return finish(request, kIoError);
    r.held = std::min(r.bytes, kPiece);
    held_ += r.held;
    r.piece.resize(r.held);
    next_piece(request);
}

void VirtioBlk::next_piece(const Pointer& request) {
    Request& r = *request;
    const bool writing = r.type == kOut;
    if (r.at == r.bytes) return writing && !write_back() ? flush(request) : finish(request, kOk);
    const u64 now = std::min<u64>(r.bytes - r.at, kPiece);
    const u64 sector = r.sector + r.at / kSector;
    if (writing) {
        DmaBus* ram = memory();
        if (!ram || !r.chain.out.read(*ram, 16 + r.at, r.piece.data(), now)) {
            give_back(r);
            return fail("a buffer outside memory");
        }
        return image_.write(sector, u32(now / kSector), r.piece.data(), then(request, [this, request, now] {
                                request->at += now;
                                next_piece(request);
                            }));
    }
    image_.read(sector, u32(now / kSector), r.piece.data(), then(request, [this, request, now] {
                    Request& q = *request;
                    DmaBus* ram = memory();
                    if (!ram || !q.chain.in.write(*ram, q.at, q.piece.data(), now)) {
                        give_back(q);
                        return fail("a buffer outside memory");
                    }
                    q.at += now;
                    next_piece(request);
                }));
}

BlockDevice::Completion VirtioBlk::then(const Pointer& request, std::function<void()> next) {
    ++under_way_;
    return [this, request, next = std::move(next)](BlockStatus status) {
        if (--under_way_ == 0) draining_ = false;
        if (status != BlockStatus::Ok || request->epoch != epoch_) return finish(request, status);
        next();
    };
}

void VirtioBlk::next_range(const Pointer& request) {
    Request& r = *request;
    if (r.range == r.ranges.size())
        return r.type == kWriteZeroesRequest && !write_back() ? flush(request) : finish(request, kOk);
    const Range range = r.ranges[r.range++];
    auto done = then(request, [this, request] { next_range(request); });
    if (r.type == kDiscardRequest)
        image_.discard(range.sector, range.count, std::move(done));
    else
        image_.write_zeroes(range.sector, range.count, range.flags & 1, std::move(done));
}

void VirtioBlk::flush(const Pointer& request) {
    image_.flush(then(request, [this, request] { finish(request, kOk); }));
}

void VirtioBlk::get_id(const Pointer& request) {
    char id[20] = {};
    std::memcpy(id, serial_number_.data(), std::min(serial_number_.size(), sizeof id));
    const u64 bytes = std::min<u64>(sizeof id, request->chain.in.bytes() - 1);
    DmaBus* ram = memory();
    if (!ram || !request->chain.in.write(*ram, 0, id, bytes)) return fail("a buffer outside memory");
    finish(request, kOk);
}

void VirtioBlk::give_back(const Request& request) {
    held_ -= request.held;
}

void VirtioBlk::finish(const Pointer& request, BlockStatus status) {
    finish(request, u8(status == BlockStatus::Ok ? kOk : kIoError));
}

void VirtioBlk::finish(const Pointer& request, u8 status) {
    Request& r = *request;
    give_back(r);
    if (r.epoch == epoch_) {
        DmaBus* ram = memory();
        const u64 last = r.chain.in.bytes() - 1;
        if (ram && !r.chain.in.write(*ram, last, &status, 1)) return fail("a buffer outside memory");
        if (ram) {
            VirtQueue& queue = queues()[r.queue];
            queue.push(r.chain, u32(r.type == kIn && status == kOk ? last + 1 : 1));
            interrupt(queue);
        }
    }
    if (!waiting_ || held_ >= kMostHeld || draining_) return;
    waiting_ = false;
    for (unsigned n = 0; n < queues().size(); ++n)
        if (queues()[n].enabled() && memory()) take(n);
}

} // namespace dragoman::hw
