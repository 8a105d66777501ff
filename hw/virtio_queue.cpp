#include "hw/virtio_queue.h"

#include "base/bits.h"
#include "hw/virtio_device.h"

#include <algorithm>

namespace dragoman::hw {

namespace {

enum : u16 { kNext = 1, kWrite = 2, kIndirect = 4 }; // descriptor flags, 2.6.5
constexpr u16 kNoInterrupt = 1;                      // available ring's flags
constexpr u16 kNoNotify = 1;                         // used ring's

struct Descriptor {
    u64 gpa;
    u32 bytes;
    u16 flags, next;
};

} // namespace

template <class Move> bool VirtioBuffers::walk(u64 offset, u64 count, Move move) const {
    for (const Segment& segment : segments_) {
        if (count == 0) break;
        if (offset >= segment.bytes) {
            offset -= segment.bytes;
            continue;
        }
        const u64 now = std::min<u64>(count, segment.bytes - offset);
        if (!move(segment.gpa + offset, now)) return false;
        offset = 0;
        count -= now;
    }
    return count == 0;
}

bool VirtioBuffers::read(DmaBus& memory, u64 offset, void* to, u64 count) const {
    u8* at = static_cast<u8*>(to);
    return walk(offset, count, [&](u64 gpa, u64 bytes) {
        const bool ok = memory.read(gpa, at, bytes);
        at += bytes;
        return ok;
    });
}

bool VirtioBuffers::write(DmaBus& memory, u64 offset, const void* from, u64 count) const {
    const u8* at = static_cast<const u8*>(from);
    return walk(offset, count, [&](u64 gpa, u64 bytes) {
        const bool ok = memory.write(gpa, at, bytes);
        at += bytes;
        return ok;
    });
}

bool VirtQueue::fail(const char* why) {
    device_.fail(why);
    return false;
}

bool VirtQueue::read16(DmaBus& memory, u64 gpa, u16& value) {
    return memory.read(gpa, &value, sizeof value) || fail("a ring outside memory");
}

bool VirtQueue::empty() {
    DmaBus* memory = device_.memory();
    if (!memory || !state_.enabled) return true;
    u16 index = 0;
    return !read16(*memory, state_.place.available + 2, index) || index == state_.next_available;
}

std::optional<VirtioChain> VirtQueue::pop() {
    DmaBus* memory = device_.memory();
    if (!memory || !state_.enabled) return {};
    const u64 available = state_.place.available;
    u16 index = 0;
    if (!read16(*memory, available + 2, index)) return {};
    const u16 waiting = u16(index - state_.next_available);
    if (waiting == 0) return {};
    if (waiting > state_.size) {
        fail("more buffers offered than the ring holds");
        return {};
    }
    VirtioChain chain;
    if (!read16(*memory, available + 4 + 2 * u64(state_.next_available % state_.size), chain.head)) return {};
    chain.generation = generation_;
    if (!walk(*memory, chain.head, chain)) return {};
    ++state_.next_available;
    if (!state_.quiet) want_notifications(true);
    return chain;
}

bool VirtQueue::walk(DmaBus& memory, u16 head, VirtioChain& chain) {
    u64 table = state_.place.descriptors;
    u32 entries = state_.size, index = head;
    bool indirect = false;
    for (unsigned count = 0;; ++count) {
        if (index >= entries) return fail("a descriptor's number out of range");
        if (count > max_size) return fail("a chain without end");
        Descriptor d;
        if (!memory.read(table + 16 * u64{index}, &d, sizeof d)) return fail("a descriptor outside memory");
        if (d.flags & kIndirect) { // 2.6.5.3
            if (indirect || (d.flags & kNext) || !device_.accepted(kVirtioIndirect))
                return fail("an indirect descriptor where none may be");
            if (d.bytes == 0 || d.bytes % 16) return fail("an indirect table of an impossible size");
            indirect = true;
            table = d.gpa;
            entries = std::min<u32>(d.bytes / 16, 1u << 16);
            index = 0;
            continue;
        }
        if (d.flags & kWrite)
            chain.in.add(d.gpa, d.bytes);
        else if (!chain.in.segments().empty())
            return fail("a buffer to read after one to write");
        else
            chain.out.add(d.gpa, d.bytes);
        if (!(d.flags & kNext)) return true;
        index = d.next;
    }
}

void VirtQueue::push(const VirtioChain& chain, u32 written) {
    DmaBus* memory = device_.memory();
    if (!memory || !state_.enabled || chain.generation != generation_) return;
    const struct { u32 head, written; } element{chain.head, written};
    const u64 used = state_.place.used;
    const u16 next = u16(state_.next_used + 1);
    if (!memory->write(used + 4 + 8 * u64(state_.next_used % state_.size), &element, sizeof element) ||
        !memory->write(used + 2, &next, sizeof next)) {
        fail("a ring outside memory");
        return;
    }
    state_.next_used = next;
}

void VirtQueue::want_notifications(bool on) {
    DmaBus* memory = device_.memory();
    if (!memory || !state_.enabled) return;
    const bool changed = state_.quiet == on;
    state_.quiet = !on;
    if (device_.accepted(
            kVirtioEventIndex)) { // avail_event: tell me about the buffer after those I have seen
        if (on) memory->put(state_.place.used + 4 + 8 * u64{state_.size}, state_.next_available);
    } else if (changed) {
        memory->put(state_.place.used, u16(on ? 0 : kNoNotify));
    }
}

bool VirtQueue::take_interrupt_wish() {
    DmaBus* memory = device_.memory();
    if (!memory || !state_.enabled) return false;
    const u64 available = state_.place.available;
    u16 word = 0;
    if (!device_.accepted(kVirtioEventIndex))
        return read16(*memory, available, word) && !(word & kNoInterrupt);
    const u16 before = state_.told_used;
    const bool known = state_.told_valid;
    state_.told_used = state_.next_used;
    state_.told_valid = true;
    if (!read16(*memory, available + 4 + 2 * u64{state_.size}, word)) return false;
    // Did next_used step over used_event? (2.6.7.2)
    return !known || u16(state_.next_used - word - 1) < u16(state_.next_used - before);
}

bool VirtQueue::set_size(u32 size) {
    if (size == 0 || size > initial_size_ || !std::has_single_bit(size)) return false;
    state_.size = u16(size);
    return true;
}

void VirtQueue::reset() {
    state_ = {};
    state_.size = initial_size_;
    ++generation_;
}

void VirtQueue::visit(StateVisitor& visitor, const std::string& prefix) {
    const auto field = [&](const char* name, auto& value) { visitor.field((prefix + name).c_str(), value); };
    field("descriptors", state_.place.descriptors);
    field("available", state_.place.available);
    field("used", state_.place.used);
    field("size", state_.size);
    field("vector", state_.vector);
    field("enabled", state_.enabled);
    field("next_available", state_.next_available);
    field("next_used", state_.next_used);
    field("told_used", state_.told_used);
    field("told_valid", state_.told_valid);
    field("quiet", state_.quiet);
    if (visitor.loading() && !set_size(state_.size)) state_.size = initial_size_;
}

} // namespace dragoman::hw
