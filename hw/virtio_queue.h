// A split virtqueue (Virtual I/O Device 1.1, 2.6): the guest offers chains of buffers in the available ring,
// the device gives them back in the used ring. Everything in those rings is the guest's word: what it must
// not write makes the device ask for a reset, never more.
#pragma once

#include "base/io.h"
#include "hw/core/state.h"

#include <optional>
#include <string>
#include <vector>

namespace dragoman::hw {

class VirtioDevice;

// The buffers of one direction, end to end.
class VirtioBuffers {
  public:
    struct Segment {
        u64 gpa;
        u32 bytes;
    };
    void add(u64 gpa, u32 bytes) {
        segments_.push_back({gpa, bytes});
        bytes_ += bytes;
    }
    u64 bytes() const { return bytes_; } // what the guest says; bound it before allocating so much
    const std::vector<Segment>& segments() const { return segments_; }
    // Copies `count` bytes at `offset`. False: they are not all there, in the chain or in memory; then a part
    // may have been copied.
    bool read(DmaBus& memory, u64 offset, void* to, u64 count) const;
    bool write(DmaBus& memory, u64 offset, const void* from, u64 count) const;

  private:
    template <class Move> bool walk(u64 offset, u64 count, Move move) const;
    std::vector<Segment> segments_;
    u64 bytes_ = 0;
};

// One request: first what the device reads, then what it writes.
struct VirtioChain {
    u16 head = 0;
    u32 generation = 0; // of the queue: what was popped before a reset is not given back after it
    VirtioBuffers out;  // device-readable
    VirtioBuffers in;   // device-writable
};

class VirtQueue {
  public:
    static constexpr u16 max_size = 1024; // descriptors; also the longest chain

    VirtQueue(VirtioDevice& device, u16 size) : device_(device), initial_size_(size) { reset(); }

    // --- for the device

    // The next chain; nothing: none is there, the queue is not in use, or the device needs a reset now. Take
    // at most size() of them in one go: the device's own writes may fill the ring for ever.
    std::optional<VirtioChain> pop();
    void unpop(unsigned chains) {
        state_.next_available = u16(state_.next_available - chains);
    } // the last ones
    // Gives a chain back, of whose `in` buffers `written` bytes were filled (from the beginning on). The
    // interrupt is VirtioDevice::interrupt's.
    void push(const VirtioChain& chain, u32 written);
    bool empty(); // nothing that pop() would return
    u16 size() const { return state_.size; }
    bool enabled() const { return state_.enabled; }
    u32 generation() const { return generation_; } // of the chains that it takes back
    // Should the guest be told when it offers more? A hint, that it may ignore.
    void want_notifications(bool on);
    // Does the guest want an interrupt for what was pushed since this was last asked? (2.6.7)
    bool take_interrupt_wish();

    // --- for the transport

    struct Place { // guest-physical
        u64 descriptors = 0, available = 0, used = 0;
    };
    struct State {
        Place place;
        u16 size = 0;
        u16 vector = 0xffff; // MSI-X vector; 0xffff: none
        bool enabled = false;
        u16 next_available = 0, next_used = 0;
        u16 told_used = 0;       // next_used when take_interrupt_wish() was last asked
        bool told_valid = false; // told_used means something
        bool quiet = false;      // notifications are not wanted
    };
    State& state() { return state_; }
    u16 initial_size() const { return initial_size_; }
    // Sets the size that the guest chose; false, and nothing happens, when it is no power of two up to its
    // limit.
    bool set_size(u32 size);
    void reset();
    void visit(StateVisitor& visitor, const std::string& prefix); // prefix: of the fields' names

  private:
    bool walk(DmaBus& memory, u16 head, VirtioChain& chain);
    bool read16(DmaBus& memory, u64 gpa, u16& value);
    bool fail(const char* why);

    VirtioDevice& device_;
    u16 initial_size_;
    u32 generation_ = 0;
    State state_;
};

} // namespace dragoman::hw
