// The admin command set (NVMe 1.4, 5): queues, features, events.
#include "base/bits.h"
#include "hw/nvme.h"

#include <algorithm>

namespace dragoman::hw {

using namespace nvme;

struct Nvme::AdminRow {
    u8 opcode;
    Reply (Nvme::*run)(const Command& command);
};

const Nvme::AdminRow* Nvme::find(u8 opcode) {
    static constexpr AdminRow rows[] = {
        {kCreateSq, &Nvme::create_sq},       {kGetLogPage, &Nvme::get_log_page},
        {kDeleteCq, &Nvme::delete_cq},       {kCreateCq, &Nvme::create_cq},
        {kIdentify, &Nvme::identify},        {kAbort, &Nvme::abort},
        {kSetFeatures, &Nvme::set_features}, {kGetFeatures, &Nvme::get_features},
    };
    for (const AdminRow& row : rows)
        if (row.opcode == opcode) return &row;
    return nullptr;
}

void Nvme::admin(const Ticket& ticket, const Command& command) {
    if (command.flags & 0xc3) return complete(ticket, kInvalidField);
    // These end later.
    if (command.opcode == kDeleteSq) return delete_sq(ticket, command);
    if (command.opcode == kAsyncEvent) return take_event_command(ticket);
    const AdminRow* row = find(command.opcode);
    if (!row) {
        log_.print(LogItem::Unimp, "nvme: admin command %02x is not implemented\n", command.opcode);
        return complete(ticket, kInvalidOpcode);
    }
    const auto [status, result] = (this->*row->run)(command);
    complete(ticket, status, result);
}

// What a command that reads gets, as much of it as `bytes`.
Nvme::Reply Nvme::give(const Command& command, u8* data, u32 bytes) {
    NvmeData to;
    if (const Status bad = to.gather(dma(), command.prp1, command.prp2, bytes, page_bytes())) return {bad, 0};
    return {to.move(dma(), data, bytes, true) ? kSuccess : kTransferError, 0};
}

// --- queues

Nvme::Reply Nvme::create_cq(const Command& c) {
    const u32 id = c.cdw10 & 0xffff, size = (c.cdw10 >> 16) + 1, vector = c.cdw11 >> 16;
    if (id == 0 || id >= queue_pairs || state_.cqs[id].on) return {kInvalidQueueId, 0};
    if (size < 2 || size > 2048) return {kInvalidQueueSize, 0};
    if (c.prp1 & (page_bytes() - 1)) return {kPrpOffsetInvalid, 0};
    if (!(c.cdw11 & 1) || (state_.configuration >> 20 & 0xf) != 4)
        return {kInvalidField, 0}; // contiguous; CC.IOCQES
    if (vector >= (msix_enabled() ? queue_pairs : 1)) return {kInvalidVector, 0};
    state_.cqs[id] = {
        .on = true, .interrupts = bit(c.cdw11, 1), .vector = u16(vector), .size = size, .base = c.prp1};
    return {kSuccess, 0};
}

Nvme::Reply Nvme::create_sq(const Command& c) {
    const u32 id = c.cdw10 & 0xffff, size = (c.cdw10 >> 16) + 1, cq = c.cdw11 >> 16;
    if (cq == 0 || cq >= queue_pairs || !state_.cqs[cq].on) return {kInvalidCq, 0};
    if (id == 0 || id >= queue_pairs || state_.sqs[id].on) return {kInvalidQueueId, 0};
    if (size < 2 || size > 2048) return {kInvalidQueueSize, 0};
    if (c.prp1 & (page_bytes() - 1)) return {kPrpOffsetInvalid, 0};
    if (!(c.cdw11 & 1) || (state_.configuration >> 16 & 0xf) != 6) return {kInvalidField, 0}; // CC.IOSQES
    state_.sqs[id] = {.on = true, .cq = u16(cq), .size = size, .base = c.prp1};
    return {kSuccess, 0};
}

Nvme::Reply Nvme::delete_cq(const Command& c) {
    const u32 id = c.cdw10 & 0xffff;
    if (id == 0 || id >= queue_pairs || !state_.cqs[id].on) return {kInvalidQueueId, 0};
    for (const SubmissionQueue& sq : state_.sqs)
        if (sq.on && sq.cq == id) return {kInvalidQueueDeletion, 0};
    state_.cqs[id] = {};
    update_line();
    return {kSuccess, 0};
}

// Ends when the commands taken from the queue have ended; those that are still in it are dropped (5.6).
void Nvme::delete_sq(const Ticket& ticket, const Command& c) {
    const u32 id = c.cdw10 & 0xffff;
    if (id == 0 || id >= queue_pairs || !state_.sqs[id].on || state_.sqs[id].deleting)
        return complete(ticket, kInvalidQueueId);
    SubmissionQueue& sq = state_.sqs[id];
    sq.deleting = true;
    sq.deleter = ticket.id;
    waiting_ &= ~(u64{1} << id);
    if (sq.running == 0) finish_delete(id);
}

void Nvme::finish_delete(unsigned id) {
    const Ticket deleter{0, state_.sqs[id].deleter, epoch_};
    state_.sqs[id] = {};
    complete(deleter, kSuccess);
}

Nvme::Reply Nvme::abort(const Command&) {
    return {kSuccess, 1}; // 5.1: the command was not aborted; it ends by itself
}

// --- features (5.21)

Nvme::Reply Nvme::set_features(const Command& c) {
    Features& f = state_.features;
    const u32 value = c.cdw11;
    if (bit(c.cdw10, 31)) return {kNotSaveable, 0};
    switch (c.cdw10 & 0xff) {
    case 0x01: f.arbitration = value; break;
    case 0x02: // there is one power state
        if (value & 0x1f) return {kInvalidField, 0};
        break;
    case 0x04: // only the composite temperature
        if (value >> 16 & 0xf) return {kInvalidField, 0};
        switch (value >> 20 & 3) {
        case 0: f.temperature_over = value & 0xffff; break;
        case 1: f.temperature_under = value & 0xffff; break;
        default: return {kInvalidField, 0};
        }
        if (smart_warning()) event(kHealthEvent, 1, 2);
        break;
    case 0x05: f.error_recovery = value & 0xffff; break;
    case 0x06: f.write_cache = value & 1; break;
    case 0x07:
        for (unsigned n = 1; n < queue_pairs; ++n)
            if (state_.sqs[n].on || state_.cqs[n].on) return {kSequenceError, 0};
        if ((value & 0xffff) == 0xffff || value >> 16 == 0xffff) return {kInvalidField, 0};
        return {kSuccess, queue_numbers};
    case 0x08: f.coalescing = value & 0xffff; break; // interrupts are not held back: that is allowed
    case 0x09:
        if ((value & 0xffff) >= queue_pairs) return {kInvalidField, 0};
        f.uncoalesced = with_bit(f.uncoalesced, value & 0xffff, bit(value, 16));
        break;
    case 0x0a: f.write_atomicity = value & 1; break;
    case 0x0b: f.events = value; break;
    default: return {kInvalidField, 0};
    }
    return {kSuccess, 0};
}

Nvme::Reply Nvme::get_features(const Command& c) {
    const Features& f = state_.features;
    switch (c.cdw10 & 0xff) {
    case 0x01: return {kSuccess, f.arbitration};
    case 0x02: return {kSuccess, 0};
    case 0x04:
        if (c.cdw11 >> 16 & 0xf) return {kInvalidField, 0};
        switch (c.cdw11 >> 20 & 3) {
        case 0: return {kSuccess, f.temperature_over};
        case 1: return {kSuccess, f.temperature_under};
        default: return {kInvalidField, 0};
        }
    case 0x05: return {kSuccess, f.error_recovery};
    case 0x06: return {kSuccess, f.write_cache};
    case 0x07: return {kSuccess, queue_numbers};
    case 0x08: return {kSuccess, f.coalescing};
    case 0x09: {
        const u32 vector = c.cdw11 & 0xffff;
        if (vector >= queue_pairs) return {kInvalidField, 0};
        return {kSuccess, vector | u32{bit(f.uncoalesced, vector)} << 16};
    }
    case 0x0a: return {kSuccess, f.write_atomicity};
    case 0x0b: return {kSuccess, f.events};
    default: return {kInvalidField, 0};
    }
}

// --- asynchronous events (5.2)

// The command waits without a place in the completion queue; its event finds one, or waits for it.
void Nvme::take_event_command(const Ticket& ticket) {
    State& s = state_;
    if (s.event_command_count == kEventCommands) return complete(ticket, kTooManyEvents);
    --s.sqs[0].running;
    --s.cqs[0].promised;
    s.event_commands[s.event_command_count++] = ticket.id;
    send_events();
}

void Nvme::event(EventType type, u8 information, u8 log_page) {
    Event& e = state_.events[type];
    if (e.waiting) return; // the first of its kind is told
    e = {.waiting = true, .masked = e.masked, .information = information, .log_page = log_page};
    send_events();
}

void Nvme::send_events() {
    for (unsigned type = 0; type < kEventTypes; ++type) {
        Event& e = state_.events[type];
        if (!e.waiting || e.masked || state_.event_command_count == 0 || !ready() || !has_room(0)) continue;
        e.waiting = false;
        e.masked = true; // until its log page is read
        const u16 id = state_.event_commands[--state_.event_command_count];
        post(0, id, kSuccess, type | u32{e.information} << 8 | u32{e.log_page} << 16);
    }
}

void Nvme::size_changed() {
    state_.namespace_changed = true;
    if (bit(state_.features.events, 8)) event(kNoticeEvent, 0, 4);
}

void Nvme::note_error(const Ticket& ticket, Status status) {
    State& s = state_;
    s.errors[s.error_count % kErrors] = {.count = s.error_count + 1,
                                         .sq = ticket.sq,
                                         .id = ticket.id,
                                         .status = u16(status << 1),
                                         .location = 0xffff,
                                         .lba = 0,
                                         .nsid = 0};
    ++s.error_count;
}

} // namespace dragoman::hw
