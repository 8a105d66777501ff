#include "hw/nvme.h"

#include "base/bits.h"
#include "hw/core/dword_registers.h"

#include <algorithm>
#include <bit>

namespace dragoman::hw {

namespace {

constexpr PciIdentity kIdentity{.vendor = 0x1b36,
                                .device = 0x0010,
                                .revision = 2,
                                .class_code = 0x010802, // mass storage, NVM, NVM Express
                                .interrupt_pin = 1};
constexpr unsigned kBar = 0, kMsixBar = 4;
constexpr u32 kDoorbells = 0x1000, kBarBytes = 0x4000;

enum Register : u32 { // 3.1
    kCap = 0x00,
    kCapUpper = 0x04,
    kVersion = 0x08,
    kMaskSet = 0x0c,
    kMaskClear = 0x10,
    kConfiguration = 0x14,
    kStatus = 0x1c,
    kAdminSizes = 0x24,
    kAdminSq = 0x28,
    kAdminSqUpper = 0x2c,
    kAdminCq = 0x30,
    kAdminCqUpper = 0x34,
};
constexpr u32 kMaxEntries = 2048;
// CAP: contiguous queues only, 7.5 s to become ready, NVM commands, pages of 4 to 64 KiB (3.1.1).
constexpr u64 kCapabilities = (kMaxEntries - 1) | 1u << 16 | 15u << 24 | u64{1} << 37 | u64{4} << 52;
// CC (3.1.5) and CSTS (3.1.6).
constexpr u32 kEnable = 1, kShutdown = 3u << 14, kConfigurationBits = 0x00fffff1;
constexpr u32 kReady = 1, kFatal = 2, kShutdownStatus = 3u << 2;

constexpr unsigned kCommandsAtOnce = 256; // then the rest waits for a timer
constexpr u64 kMostHeld = 32 * MiB;

void set_half(u64& to, bool upper, u32 value) {
    to = upper ? (to & 0xffffffff) | u64{value} << 32 : (to & ~u64{0xffffffff}) | value;
}

} // namespace

Nvme::Nvme(BlockDevice& image, const Options& options, Scheduler& scheduler, Log& log)
    : PciFunction("nvme", kIdentity), image_(image), options_(options), scheduler_(scheduler), log_(log),
      again_(scheduler, [this] { pump(); }) {
    set_bar(kBar, BarKind::Memory64, kBarBytes, this);
    set_msix(kMsixBar, queue_pairs);
}

// --- registers

u64 Nvme::read(u64 offset, unsigned size) {
    return read_dwords(offset, size, [this](u32 at) { return read_register(at); });
}

void Nvme::write(u64 offset, unsigned size, u64 value) {
    if (size < 4 || offset % 4) return; // 3.1: whole registers only
    for (unsigned i = 0; i < size; i += 4) {
        const u32 at = u32(offset) + i;
        if (at >= kDoorbells)
            write_doorbell((at - kDoorbells) / 4, u32(value >> (8 * i)));
        else
            write_register(at, u32(value >> (8 * i)));
    }
}

u32 Nvme::read_register(u32 offset) const {
    const State& s = state_;
    switch (offset) {
    case kCap: return u32(kCapabilities);
    case kCapUpper: return u32(kCapabilities >> 32);
    case kVersion: return 0x00010400;
    case kMaskSet:
    case kMaskClear: return s.mask;
    case kConfiguration: return s.configuration;
    case kStatus: return s.status;
    case kAdminSizes: return s.admin_sizes;
    case kAdminSq: return u32(s.admin_sq);
    case kAdminSqUpper: return u32(s.admin_sq >> 32);
    case kAdminCq: return u32(s.admin_cq);
    case kAdminCqUpper: return u32(s.admin_cq >> 32);
    default: return 0; // doorbells, too, read as zero
    }
}

void Nvme::write_register(u32 offset, u32 value) {
    State& s = state_;
    switch (offset) {
    case kMaskSet: s.mask |= value; break;
    case kMaskClear: s.mask &= ~value; break;
    case kConfiguration: return write_configuration(value);
    case kAdminSizes: s.admin_sizes = value & 0x0fff0fff; break;
    case kAdminSq: set_half(s.admin_sq, false, value & ~0xfffu); break;
    case kAdminSqUpper: set_half(s.admin_sq, true, value); break;
    case kAdminCq: set_half(s.admin_cq, false, value & ~0xfffu); break;
    case kAdminCqUpper: set_half(s.admin_cq, true, value); break;
    default: break;
    }
    update_line();
}

void Nvme::write_doorbell(u32 index, u32 value) {
    if (!ready()) return;
    const u32 queue = index / 2;
    const bool head = index & 1;
    if (queue >= queue_pairs || !(head ? state_.cqs[queue].on : state_.sqs[queue].on))
        return event(kErrorEvent, 0, 1); // write to an invalid doorbell register
    if (!head) {
        SubmissionQueue& sq = state_.sqs[queue];
        if (value >= sq.size) return event(kErrorEvent, 1, 1); // invalid doorbell write value
        sq.tail = value;
        if (sq.head != sq.tail) waiting_ |= u64{1} << queue;
        return pump();
    }
    CompletionQueue& cq = state_.cqs[queue];
    const auto distance = [&cq](u32 to) { return to >= cq.head ? to - cq.head : to + cq.size - cq.head; };
    if (value >= cq.size || distance(value) > distance(cq.tail)) return event(kErrorEvent, 1, 1);
    cq.head = value;
    update_line();
    if (queue == 0) send_events();
    pump();
}

// --- the controller's life (7.6)

void Nvme::write_configuration(u32 value) {
    State& s = state_;
    const u32 before = s.configuration;
    s.configuration = value & kConfigurationBits;
    if (before & ~s.configuration & kEnable) {
        // Controller reset: the registers of the admin queues stay, everything else goes.
        ++epoch_;
        waiting_ = 0;
        State fresh;
        fresh.configuration = s.configuration;
        fresh.status = s.status & kReady;
        fresh.admin_sizes = s.admin_sizes;
        fresh.admin_sq = s.admin_sq;
        fresh.admin_cq = s.admin_cq;
        s = fresh;
        update_line();
    }
    settle();
    if ((s.configuration & kShutdown) && !(before & kShutdown)) shut_down();
    if (!(s.configuration & kShutdown)) s.status &= ~kShutdownStatus;
}

void Nvme::settle() {
    const bool wanted = state_.configuration & kEnable;
    if (under_way_ != 0 || wanted == ready() || (state_.status & kFatal)) return;
    if (wanted)
        start();
    else
        state_.status &= ~kReady;
}

void Nvme::start() {
    State& s = state_;
    const u32 cc = s.configuration, page = cc >> 7 & 0xf;
    // CC.CSS NVM commands, CC.AMS round robin, a page size that CAP offers.
    if ((cc & 0x70) || (cc & 0x3800) || page > 4) return fail("a configuration that is not offered");
    const u64 offset = page_bytes() - 1;
    const u32 sq = (s.admin_sizes & 0xfff) + 1, cq = (s.admin_sizes >> 16 & 0xfff) + 1;
    if (sq < 2 || cq < 2 || ((s.admin_sq | s.admin_cq) & offset)) return fail("admin queues that cannot be");
    s.sqs[0] = {.on = true, .size = sq, .base = s.admin_sq};
    s.cqs[0] = {.on = true, .interrupts = true, .size = cq, .base = s.admin_cq};
    s.status |= kReady;
}

void Nvme::fail(const char* why) {
    log_.print(LogItem::GuestError, "nvme: %s\n", why);
    state_.status |= kFatal;
    waiting_ = 0;
}

// 7.6.2: what was written is on storage before the shutdown is complete.
void Nvme::shut_down() {
    state_.status = (state_.status & ~kShutdownStatus) | 1u << 2;
    image_.flush(guarded([this, epoch = epoch_](BlockStatus status) {
        if (status != BlockStatus::Ok) ++statistics_.media_errors;
        if (epoch == epoch_ && (state_.configuration & kShutdown))
            state_.status = (state_.status & ~kShutdownStatus) | 2u << 2;
    }));
}

// --- queues (4.1)

bool Nvme::has_room(unsigned number) const {
    const CompletionQueue& cq = state_.cqs[number];
    const u32 used = cq.tail >= cq.head ? cq.tail - cq.head : cq.tail + cq.size - cq.head;
    return used + cq.promised + 1 < cq.size;
}

// Takes commands from the queues in turn, as long as their completions have a place.
void Nvme::pump() {
    if (pumping_) return;
    pumping_ = true;
    unsigned taken = 0;
    u64 blocked = 0; // queues that wait for a completion queue
    while (taken < kCommandsAtOnce && ready() && !(state_.status & kFatal) && held_ < kMostHeld &&
           bus_master()) {
        const u64 open = waiting_ & ~blocked;
        if (open == 0) break;
        for (u64 round = open; round != 0 && taken < kCommandsAtOnce; round &= round - 1) {
            const unsigned n = unsigned(std::countr_zero(round));
            const SubmissionQueue& sq = state_.sqs[n];
            if (!sq.on || sq.deleting || sq.head == sq.tail) {
                waiting_ &= ~(u64{1} << n);
            } else if (!has_room(sq.cq)) {
                blocked |= u64{1} << n;
            } else {
                fetch(n);
                ++taken;
            }
        }
    }
    pumping_ = false;
    if (taken == kCommandsAtOnce) again_.arm(scheduler_.now() + 1000);
}

void Nvme::fetch(unsigned number) {
    SubmissionQueue& sq = state_.sqs[number];
    const u64 at = sq.base + u64{sq.head} * sizeof(nvme::Command);
    if (++sq.head >= sq.size) sq.head = 0;
    nvme::Command command;
    const u64 epoch = epoch_;
    if (!dma().read(at, &command, sizeof command)) return fail("a submission queue outside memory");
    if (epoch != epoch_) return;
    const Ticket ticket{u16(number), command.id, epoch};
    ++sq.running;
    ++state_.cqs[sq.cq].promised;
    if (number == 0)
        admin(ticket, command);
    else
        io(ticket, command);
}

void Nvme::complete(const Ticket& ticket, nvme::Status status, u32 result) {
    if (ticket.epoch != epoch_) return;
    SubmissionQueue& sq = state_.sqs[ticket.sq];
    --sq.running;
    --state_.cqs[sq.cq].promised;
    if (status & 0x7ff) note_error(ticket, status);
    post(ticket.sq, ticket.id, status, result);
    if (ticket.epoch == epoch_ && sq.deleting && sq.running == 0) finish_delete(ticket.sq);
    pump();
}

void Nvme::post(unsigned number, u16 id, nvme::Status status, u32 result) {
    const SubmissionQueue& sq = state_.sqs[number];
    CompletionQueue& cq = state_.cqs[sq.cq];
    const nvme::Completion entry{result,      0,  u16(sq.head),
                                 u16(number), id, u16(status << 1 | (cq.phase ? 1 : 0))};
    const u64 at = cq.base + u64{cq.tail} * sizeof entry;
    if (++cq.tail >= cq.size) {
        cq.tail = 0;
        cq.phase = !cq.phase;
    }
    if (!bus_master() || !dma().write(at, &entry, sizeof entry))
        return fail("a completion queue outside memory");
    if (!cq.interrupts) return;
    if (msix_enabled())
        notify_msix(cq.vector);
    else
        update_line();
}

// The pin stands for all vectors (7.5.1.1); bit 0 of the mask is its.
void Nvme::update_line() {
    bool level = false;
    for (const CompletionQueue& cq : state_.cqs)
        level |= cq.on && cq.interrupts && cq.head != cq.tail;
    set_intx(level && !(state_.mask & 1) && !msix_enabled());
}

void Nvme::reset() {
    PciFunction::reset();
    ++epoch_;
    waiting_ = 0;
    state_ = {};
    again_.cancel();
    update_line();
}

void Nvme::visit(StateVisitor& visitor) {
    PciFunction::visit(visitor);
    visitor.field("nvme", state_);
    visitor.field("statistics", statistics_);
    if (!visitor.loading()) return;
    // A saved state is input from a file.
    ++epoch_;
    waiting_ = 0;
    for (unsigned n = 0; n < queue_pairs; ++n) {
        SubmissionQueue& sq = state_.sqs[n];
        CompletionQueue& cq = state_.cqs[n];
        const auto bad = [](u32 size, u32 head, u32 tail) {
            return size < 2 || size > 4096 || head >= size || tail >= size;
        };
        if (bad(cq.size, cq.head, cq.tail)) cq = {};
        if (bad(sq.size, sq.head, sq.tail) || sq.cq >= queue_pairs) sq = {};
        cq.promised = sq.running = 0;
        sq.deleting = false;
        if (sq.on && sq.head != sq.tail) waiting_ |= u64{1} << n;
    }
    for (SubmissionQueue& sq : state_.sqs)
        if (!state_.cqs[sq.cq].on) sq = {};
    if (!state_.sqs[0].on) state_.status &= ~kReady;
    state_.event_command_count = std::min(state_.event_command_count, u32{kEventCommands});
    update_line();
    pump();
}

} // namespace dragoman::hw
