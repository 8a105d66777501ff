// The commands of the 82077AA that move data (data sheet, 5.1): sector by sector between the DMA channel, or
// the FIFO, and a buffer; side by side between that and the image.
#include "hw/fdc_82077.h"

#include "base/bits.h"

#include <algorithm>

namespace dragoman::hw {

namespace {

constexpr u32 kSector = BlockDevice::sector_bytes;
constexpr u8 kAbnormal = 0x40, kNotReady = 0x08; // ST0 (6)
constexpr u8 kEndOfCylinder = 0x80, kDataError = 0x20, kOverrun = 0x10, kNoData = 0x04, kProtected = 0x02,
             kMissingMark = 0x01;                            // ST1
constexpr u8 kDataErrorInData = 0x20, kWrongCylinder = 0x10; // ST2
constexpr u8 kSize512 = 2;
constexpr u8 kReadTrack = 0x02, kWrite = 0x05, kWriteDeleted = 0x09, kVerify = 0x16;
constexpr u8 kImpliedSeek = 0x40; // CONFIGURE

} // namespace

// A completion for the image: those of before a reset are only waited for.
BlockDevice::Completion Fdc82077::guarded(BlockDevice::Completion done) {
    ++at_image_;
    return [this, epoch = epoch_, kept = buffer_, done = std::move(done)](BlockStatus status) {
        if (epoch == epoch_) {
            --at_image_;
            return done(status);
        }
        if (--forgotten_ == 0 && std::exchange(deferred_, false)) {
            state_.phase = Phase::Command;
            execute();
        }
    };
}

void Fdc82077::transfer() {
    State& s = state_;
    const u8* p = s.command;
    const u8 code = p[0] & 0x1f;
    Transfer& t = transfer_;
    t = {};
    t.writing = code == kWrite || code == kWriteDeleted;
    t.verify = code == kVerify;
    t.multitrack = bit(p[0], 7) && code != kReadTrack;
    t.c = p[2];
    t.h = p[3];
    t.r = code == kReadTrack ? 1 : p[4];
    t.eot = s.last_eot = p[6];
    if (t.verify && bit(p[1], 7)) t.left = p[8] ? p[8] : 256; // EC: that many sectors
    s.phase = Phase::Execution;
    FloppyDrive* drive = target();
    if (drive && (s.config & kImpliedSeek)) {
        drive->step_to(t.c);
        s.positions[selected()] = t.c;
    }
    if (!find_sector()) return;
    if (t.writing && drive->write_protected()) return end_transfer(kProtected, 0);
    if (t.writing) return collect();
    load_side();
}

// Is the sector that the command names under the head? If not the command ends.
bool Fdc82077::find_sector() {
    const State& s = state_;
    Transfer& t = transfer_;
    t.side = t.h & 1;
    const FloppyDrive* drive = target();
    const u8 head = t.multitrack ? t.h & 1 : s.command[1] >> 2 & 1;
    u8 st1 = 0, st2 = 0;
    if (!drive || !drive->image() || drive->track() >= drive->geometry().tracks ||
        drive->geometry().rate != s.rate || !bit(s.command[0], 6))
        st1 = kMissingMark; // nothing passes under the head that could be understood
    else if (t.c != drive->track())
        st1 = kNoData, st2 = kWrongCylinder;
    else if (t.h != head || !drive->has(t.h, t.r) || s.command[5] != kSize512)
        st1 = kNoData;
    if (st1) end_transfer(st1, st2);
    return st1 == 0;
}

// Reads what is left of the present side; what lies beyond a short image is zeroes.
void Fdc82077::load_side() {
    Transfer& t = transfer_;
    const FloppyDrive& drive = *target();
    if (!drive.image()) return end_transfer(kMissingMark, 0); // taken out meanwhile
    BlockDevice& image = *drive.image();
    const u32 lba = drive.lba(t.h, t.r), last = std::max(t.r, std::min(t.eot, drive.geometry().sectors));
    t.first = t.r;
    t.loaded = t.single ? u8(1) : u8(last - t.r + 1);
    t.offset = 0;
    const u64 there = lba < image.sectors() ? std::min<u64>(t.loaded, image.sectors() - lba) : 0;
    std::fill_n(buffer_->begin(), t.loaded * kSector, u8{0});
    if (there == 0) return move_sector();
    image.read(lba, u32(there), buffer_->data(), guarded([this](BlockStatus status) {
                   Transfer& now = transfer_;
                   if (status == BlockStatus::Ok) return move_sector();
                   if (now.loaded == 1) return end_transfer(kDataError, kDataErrorInData);
                   now.single = true; // the sectors before the bad one are good
                   load_side();
               }));
}

// Writing: fills the buffer with the sectors of this side.
void Fdc82077::collect() {
    transfer_.first = transfer_.r;
    transfer_.offset = 0;
    transfer_.loaded = 0;
    move_sector();
}

// Moves the sector at `offset` to or from the host.
void Fdc82077::move_sector() {
    State& s = state_;
    Transfer& t = transfer_;
    const u32 bytes = t.formatting ? 4 : kSector;
    if (t.verify) return sector_moved(false);
    if (t.writing && !t.formatting) std::fill_n(buffer_->begin() + t.offset, kSector, u8{0});
    if (!s.dma) { // byte by byte through the FIFO
        t.at = 0;
        t.end = bytes;
        s.phase = Phase::Data;
        return set_irq(true);
    }
    bool terminal_count = false;
    const auto direction = t.writing ? DmaDirection::ReadMemory : DmaDirection::WriteMemory;
    const unsigned moved =
        dma_.transfer(dma_channel, std::span(buffer_->data() + t.offset, bytes), direction, &terminal_count);
    if (moved == 0) return end_transfer(kOverrun, 0); // nobody serves the channel
    sector_moved(terminal_count);
}

void Fdc82077::sector_moved(bool terminal_count) {
    Transfer& t = transfer_;
    if (state_.phase == Phase::Data) {
        state_.phase = Phase::Execution;
        set_irq(false);
    }
    if (t.formatting) {
        t.last = terminal_count;
        return format_sector();
    }
    if (t.writing) {
        ++t.loaded;
        const FloppyDrive& drive = *target();
        t.last = terminal_count;
        // To the image when the host has no more, or the side ends.
        if (terminal_count || t.r >= t.eot || t.r >= drive.geometry().sectors) return store();
        ++t.r;
        t.offset += kSector;
        return move_sector();
    }
    if (t.left && --t.left == 0) terminal_count = true;
    next_sector(terminal_count);
}

// The sector R is done: the next one, the other side, or the end.
void Fdc82077::next_sector(bool terminal_count) {
    Transfer& t = transfer_;
    const bool side_ends = t.r >= t.eot;
    const bool cylinder_ends = side_ends && (!t.multitrack || t.h == 1);
    if (!side_ends) {
        ++t.r;
    } else {
        t.r = 1;
        if (t.multitrack) t.h ^= 1;
        if (cylinder_ends) ++t.c;
    }
    if (terminal_count) return end_transfer(0, 0);
    if (cylinder_ends) return end_transfer(kEndOfCylinder, 0);
    if (t.writing) return find_sector() ? collect() : void();
    if (!side_ends && t.r < t.first + t.loaded) {
        t.offset += kSector;
        return move_sector();
    }
    if (find_sector()) load_side();
}

void Fdc82077::store() {
    Transfer& t = transfer_;
    const FloppyDrive& drive = *target();
    if (!drive.image()) return stored(BlockStatus::IoError); // taken out meanwhile
    const u32 lba = drive.lba(t.h, t.first);
    if (lba >= drive.image()->sectors()) return stored(BlockStatus::OutOfRange);
    drive.image()->write(lba, t.loaded, buffer_->data(),
                         guarded([this](BlockStatus status) { stored(status); }));
}

void Fdc82077::stored(BlockStatus status) {
    Transfer& t = transfer_;
    if (status == BlockStatus::ReadOnly) return end_transfer(kProtected, 0);
    if (status != BlockStatus::Ok) return end_transfer(kDataError, kDataErrorInData);
    if (!t.formatting) return next_sector(t.last);
    if (--t.left == 0 || t.last) return end_transfer(0, 0);
    move_sector();
}

// --- FORMAT TRACK: four bytes (C, H, R, N) from the host for each sector, which is filled with D

void Fdc82077::format() {
    State& s = state_;
    Transfer& t = transfer_;
    t = {};
    t.writing = t.formatting = true;
    t.left = s.command[3];
    t.filler = s.command[5];
    t.h = t.side = s.command[1] >> 2 & 1;
    s.phase = Phase::Execution;
    const FloppyDrive* drive = target();
    if (!drive || !drive->has(t.h, 1) || drive->geometry().rate != s.rate || !bit(s.command[0], 6))
        return end_transfer(kMissingMark, 0);
    t.c = drive->track();
    if (drive->write_protected()) return end_transfer(kProtected, 0);
    // An image has one format only.
    if (s.command[2] != kSize512 || t.left != drive->geometry().sectors) {
        log_.once("fdc82077: FORMAT TRACK with %u sectors of size code %u on an image of %u", t.left,
                  s.command[2], drive->geometry().sectors);
        return end_transfer(kNoData, 0);
    }
    move_sector();
}

void Fdc82077::format_sector() {
    Transfer& t = transfer_;
    const FloppyDrive& drive = *target();
    t.r = (*buffer_)[2];
    if ((*buffer_)[0] != t.c || ((*buffer_)[1] & 1) != t.h || (*buffer_)[3] != kSize512 ||
        !drive.has(t.h, t.r))
        return end_transfer(kNoData, 0);
    t.first = t.r;
    t.loaded = 1;
    std::fill_n(buffer_->begin(), kSector, t.filler);
    store();
}

void Fdc82077::end_transfer(u8 st1, u8 st2) {
    const Transfer t = transfer_;
    transfer_ = {};
    const FloppyDrive* drive = target();
    const u8 where = u8(t.side << 2 | selected());
    const u8 st0 =
        u8(where | (st1 | st2 ? kAbnormal : 0) | (drive && drive->connected ? 0 : kNotReady | kAbnormal));
    result({st0, st1, st2, t.c, t.h, t.r, kSize512}, true);
}

} // namespace dragoman::hw
