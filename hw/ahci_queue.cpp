#include "hw/ahci_queue.h"

#include "base/bits.h"

#include <algorithm>

namespace dragoman::hw {

namespace {

constexpr u32 kSector = BlockDevice::sector_bytes;
// A command is done in pieces: 32 commands on each of 6 ports must not take all the host's memory.
constexpr u32 kPieceSectors = 256 * KiB / kSector;

} // namespace

struct AhciQueue::Command {
    u8 tag = 0;
    bool writing = false, through = false;
    u64 lba = 0;
    u32 left = 0, now = 0; // sectors
    PrdCursor list;
    u64 epoch = 0;
    std::unique_ptr<u8[]> piece;
};

// 13.6.4: the count in Features, the tag in Count 7:3, FUA in Device 7.
void AhciQueue::start(const u8* fis, const PrdCursor& list) {
    auto command = std::make_shared<Command>();
    Command& c = *command;
    c.tag = fis[12] >> 3;
    c.writing = fis[2] == write_command;
    c.through = bit(fis[7], 7) || !disk_.write_cache();
    c.lba = fis[4] | u64{fis[5]} << 8 | u64{fis[6]} << 16 | u64{fis[8]} << 24 | u64{fis[9]} << 32 |
            u64{fis[10]} << 40;
    c.left = fis[3] | u32{fis[11]} << 8;
    if (c.left == 0) c.left = 65536;
    c.list = list;
    c.epoch = epoch_;
    ++running_;
    const BlockDevice& image = disk_.image();
    if (c.lba > image.sectors() || c.left > image.sectors() - c.lba)
        return fail(command, {.error = kAtaIdnf, .lba = c.lba});
    if (c.writing && image.read_only()) return fail(command, {.error = kAtaAbrt, .lba = c.lba});
    c.piece = std::make_unique_for_overwrite<u8[]>(std::size_t{std::min(c.left, kPieceSectors)} * kSector);
    next_piece(command);
}

// A completion for a request to the image: forgotten ones are only counted.
template <class F> BlockDevice::Completion AhciQueue::guarded(const Pointer& command, F&& f) {
    ++at_image_;
    return [this, command, f = std::forward<F>(f)](BlockStatus status) {
        if (command->epoch != epoch_) {
            if (--forgotten_ == 0) port_.drained();
            return;
        }
        --at_image_;
        f(status);
    };
}

void AhciQueue::next_piece(const Pointer& command) {
    Command& c = *command;
    DmaBus* memory = port_.memory();
    if (!memory) return fail(command, {.memory = true, .lba = c.lba});
    c.now = std::min(c.left, kPieceSectors);
    if (c.writing) {
        const auto moved = c.list.move(*memory, c.piece.get(), c.now * kSector, false);
        if (c.epoch != epoch_) return; // the list lay over our own registers
        if (moved != PrdCursor::Outcome::Done)
            return fail(command, {.memory = moved == PrdCursor::Outcome::BadMemory,
                                  .list_too_short = moved == PrdCursor::Outcome::TooShort,
                                  .lba = c.lba});
        return disk_.image().write(c.lba, c.now, c.piece.get(),
                                   guarded(command, [this, command](BlockStatus s) { finish(command, s); }));
    }
    disk_.image().read(c.lba, c.now, c.piece.get(), guarded(command, [this, command](BlockStatus s) {
                           Command& r = *command;
                           if (s != BlockStatus::Ok) return finish(command, s);
                           DmaBus* ram = port_.memory();
                           const auto moved = ram ? r.list.move(*ram, r.piece.get(), r.now * kSector, true)
                                                  : PrdCursor::Outcome::BadMemory;
                           if (r.epoch != epoch_) return;
                           if (moved != PrdCursor::Outcome::Done)
                               return fail(command, {.memory = moved == PrdCursor::Outcome::BadMemory,
                                                     .list_too_short = moved == PrdCursor::Outcome::TooShort,
                                                     .lba = r.lba});
                           finish(command, s);
                       }));
}

// A piece was moved.
void AhciQueue::finish(const Pointer& command, BlockStatus status) {
    Command& c = *command;
    if (status != BlockStatus::Ok) {
        const u8 error = status == BlockStatus::OutOfRange ? kAtaIdnf : c.writing ? kAtaAbrt : kAtaUnc;
        return fail(command, {.error = error, .lba = c.lba});
    }
    c.lba += c.now;
    c.left -= c.now;
    c.now = 0;
    if (c.left != 0) return next_piece(command);
    if (c.writing && c.through) {
        c.through = false;
        return disk_.image().flush(guarded(command, [this, command](BlockStatus s) { finish(command, s); }));
    }
    --running_;
    port_.done(c.tag);
}

void AhciQueue::fail(const Pointer& command, Failure failure) {
    failure.tag = command->tag;
    forget();
    port_.failed(failure);
}

void AhciQueue::forget() {
    ++epoch_;
    forgotten_ += at_image_;
    at_image_ = 0;
    running_ = 0;
}

} // namespace dragoman::hw
