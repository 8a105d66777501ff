// The commands of the 82077AA that say or set something, and those that move heads (data sheet, 5).
#include "hw/fdc_82077.h"

#include "base/bits.h"

#include <algorithm>

namespace dragoman::hw {

namespace {

constexpr u8 kSeekEnd = 0x20, kEquipmentCheck = 0x10, kAbnormal = 0x40, kInvalid = 0x80; // ST0 (6.1)
constexpr u8 kMissingMark = 0x01;                                                        // ST1

} // namespace

struct Fdc82077::Row {
    u8 mask, code, bytes; // the command byte under `mask`; bytes of the command phase
    void (Fdc82077::*run)();
    bool data = false; // uses the image
};

const Fdc82077::Row* Fdc82077::find(u8 command) {
    using F = Fdc82077;
    static constexpr Row rows[] = {
        {0xff, 0x03, 3, &F::specify},        {0xff, 0x04, 2, &F::sense_drive},
        {0xff, 0x07, 2, &F::recalibrate},    {0xff, 0x08, 1, &F::sense_interrupt},
        {0xff, 0x0e, 1, &F::dumpreg},        {0x3f, 0x0f, 3, &F::seek},
        {0xff, 0x10, 1, &F::version},        {0xff, 0x12, 2, &F::perpendicular},
        {0xff, 0x13, 4, &F::configure},      {0x7f, 0x14, 1, &F::lock},
        {0xbf, 0x0a, 2, &F::read_id},        {0x1f, 0x06, 9, &F::transfer, true}, // READ DATA
        {0x1f, 0x0c, 9, &F::transfer, true},                                      // READ DELETED DATA
        {0x1f, 0x05, 9, &F::transfer, true},                                      // WRITE DATA
        {0x1f, 0x09, 9, &F::transfer, true},                                      // WRITE DELETED DATA
        {0x9f, 0x02, 9, &F::transfer, true},                                      // READ TRACK
        {0x1f, 0x16, 9, &F::transfer, true},                                      // VERIFY
        {0xbf, 0x0d, 6, &F::format, true},
    };
    for (const Row& row : rows)
        if ((command & row.mask) == row.code) return &row;
    return nullptr;
}

void Fdc82077::execute() {
    State& s = state_;
    const Row* row = find(s.command[0]);
    if (!row) {
        log_.print(LogItem::Unimp, "fdc82077: command %02x is not implemented\n", s.command[0]);
        return result({kInvalid}, false);
    }
    s.need = row->bytes;
    if (s.have < s.need) return;
    if (row->data &&
        forgotten_) { // what the image still does for a command of before a reset must not land on this one's
        deferred_ = true;
        s.phase = Phase::Execution;
        return;
    }
    (this->*row->run)();
}

FloppyDrive* Fdc82077::target() {
    const unsigned n = selected();
    return n < drives && drives_[n].connected ? &drives_[n] : nullptr;
}

void Fdc82077::specify() {
    state_.step_time = state_.command[1] >> 4;
    state_.head_unload = state_.command[1] & 0xf;
    state_.head_load = state_.command[2] >> 1;
    state_.dma = !(state_.command[2] & 1);
    result({}, false);
}

void Fdc82077::sense_drive() {
    const FloppyDrive* drive = target();
    u8 st3 = u8(0x28 | (state_.command[1] & 7));
    if (drive && drive->track() == 0) st3 |= 0x10;
    if (drive && drive->write_protected()) st3 |= 0x40;
    result({st3}, false);
}

// 6.4: of the interrupts of reset and seeks, one at a time.
void Fdc82077::sense_interrupt() {
    State& s = state_;
    for (u8 n = 0; n < 4; ++n) {
        const u8 mask = u8(1u << n);
        if (!((s.seek_pending | s.reset_pending) & mask)) continue;
        const u8 status = s.seek_pending & mask ? s.seek_status[n] : u8(0xc0 | n);
        if (s.seek_pending & mask)
            s.seek_pending &= u8(~mask);
        else
            s.reset_pending &= u8(~mask);
        set_irq(false);
        return result({status, s.positions[n]}, false);
    }
    result({kInvalid}, false);
}

void Fdc82077::configure() {
    state_.config = state_.command[2];
    state_.pretrack = state_.command[3];
    result({}, false);
}

// OW says which of the drive bits are meant.
void Fdc82077::perpendicular() {
    const u8 value = state_.command[1];
    state_.perpendicular = u8((value & 0x80 ? value & 0x3c : state_.perpendicular & 0x3c) | (value & 3));
    result({}, false);
}

void Fdc82077::dumpreg() {
    const State& s = state_;
    const u8* p = s.positions;
    result({p[0], p[1], p[2], p[3], u8(s.step_time << 4 | s.head_unload), u8(s.head_load << 1 | u8(!s.dma)),
            s.last_eot, u8((s.locked ? 0x80 : 0) | s.perpendicular), s.config, s.pretrack},
           false);
}

void Fdc82077::version() {
    result({0x90}, false);
}

void Fdc82077::lock() {
    state_.locked = bit(state_.command[0], 7);
    result({u8(state_.locked ? 0x10 : 0)}, false);
}

// --- seeking (5.2)

void Fdc82077::recalibrate() {
    start_seek(selected(), 0, true);
}

void Fdc82077::seek() {
    const State& s = state_;
    const u8 n = selected(), to = s.command[2];
    if (!bit(s.command[0], 7)) return start_seek(n, to, false);
    // RELATIVE SEEK: DIR (bit 6) towards the centre.
    start_seek(n, s.positions[n] + (bit(s.command[0], 6) ? to : -to), false);
}

void Fdc82077::start_seek(unsigned n, int to, bool to_zero) {
    State& s = state_;
    const u8 head = s.command[1] & 4;
    result({}, false); // the controller takes other commands meanwhile
    const u8 target = u8(std::clamp(to, 0, 255));
    const bool there = n < drives && drives_[n].connected;
    if (!there) { // no TRACK 0 will ever come from a drive that is not there
        s.seek_status[n] = u8(kSeekEnd | (to_zero ? kAbnormal | kEquipmentCheck : 0) | head | n);
        s.positions[n] = to_zero ? 0 : target;
        s.seek_pending |= u8(1u << n);
        return set_irq(true);
    }
    s.seeks[n] = {.running = true, .target = target, .head = head};
    // A step takes 1 ms to 16 ms, at 500 kb/s half of that.
    const unsigned steps = std::max(1u, unsigned(std::abs(int(drives_[n].track()) - target)));
    const u64 step = u64(16 - s.step_time) * (s.rate == 0 ? 500'000 : s.rate == 3 ? 250'000 : 1'000'000);
    seek_timers_[n].arm(scheduler_.now() + steps * step);
}

void Fdc82077::end_seek(unsigned n) {
    State& s = state_;
    const Seek seek = s.seeks[n];
    s.seeks[n] = {};
    if (!seek.running) return;
    drives_[n].step_to(seek.target);
    s.positions[n] = seek.target;
    s.seek_status[n] = u8(kSeekEnd | seek.head | n);
    s.seek_pending |= u8(1u << n);
    if (s.phase == Phase::Command) set_irq(true); // else it comes when the command's own has been read
}

void Fdc82077::read_id() {
    State& s = state_;
    const u8 head = s.command[1] >> 2 & 1, where = u8(head << 2 | selected());
    FloppyDrive* drive = target();
    const bool readable =
        drive && drive->has(head, 1) && drive->geometry().rate == s.rate && bit(s.command[0], 6);
    if (!readable)
        return result({u8(kAbnormal | where), kMissingMark, 0, s.positions[selected()], head, 1, 2}, true);
    id_sector_ = u8(id_sector_ % drive->geometry().sectors + 1);
    result({where, 0, 0, drive->track(), head, id_sector_, 2}, true);
}

} // namespace dragoman::hw
