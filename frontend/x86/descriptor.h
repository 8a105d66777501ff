// Segment, system and gate descriptors as they are in memory (SDM vol. 3, 3.4.5, 3.5, 6.11, 8.2).
#pragma once

#include "frontend/x86/cpu.h"

namespace dragoman::x86 {

// Types of system descriptors (SDM vol. 3, table 3-2). In long mode 0x9, 0xb, 0xc, 0xe and 0xf are the 64-bit
// forms.
enum SystemType : u8 {
    kTss16 = 0x1,
    kLdt = 0x2,
    kTss16Busy = 0x3,
    kCallGate16 = 0x4,
    kTaskGate = 0x5,
    kInterruptGate16 = 0x6,
    kTrapGate16 = 0x7,
    kTss32 = 0x9,
    kTss32Busy = 0xb,
    kCallGate32 = 0xc,
    kInterruptGate32 = 0xe,
    kTrapGate32 = 0xf,
};

struct Descriptor {
    u64 low = 0, high = 0; // `high` only of the 16-byte descriptors of long mode
    u64 address = 0;       // linear, of the descriptor itself
    u16 selector = 0;      // that named it

    unsigned type() const { return (low >> 40) & 0xf; }
    bool is_segment() const { return (low >> 44) & 1; } // S
    unsigned dpl() const { return (low >> 45) & 3; }
    bool present() const { return (low >> 47) & 1; }
    bool long_code() const { return (low >> 53) & 1; }   // L
    bool default_big() const { return (low >> 54) & 1; } // D/B

    bool is_code() const { return is_segment() && (type() & kSegCode); }
    bool is_data() const { return is_segment() && !(type() & kSegCode); }
    bool conforming() const { return type() & kSegConforming; } // of code
    bool readable() const { return !is_code() || (type() & kSegReadable); }
    bool writable() const { return is_data() && (type() & kSegWritable); }
    bool accessed() const { return type() & kSegAccessed; }

    u64 base() const { return ((low >> 16) & 0xffffff) | ((low >> 56) << 24) | (high & 0xffffffff) << 32; }
    u32 limit() const {
        const u32 raw = u32((low & 0xffff) | ((low >> 32) & 0xf0000));
        return (low >> 55) & 1 ? raw << 12 | 0xfff : raw;
    }
    u16 attributes() const { return u16((low >> 40) & 0xf0ff); }
    ir::Segment segment(u16 with_selector) const {
        return {.base = base(), .limit = limit(), .selector = with_selector, .attributes = attributes()};
    }

    // Gates
    u16 gate_selector() const { return u16(low >> 16); }
    u32 gate_offset() const { return u32((low & 0xffff) | ((low >> 32) & 0xffff0000)); }
    u64 gate_offset64() const { return gate_offset() | high << 32; }
    unsigned gate_parameters() const { return (low >> 32) & 0x1f; }
    unsigned gate_ist() const { return (low >> 32) & 7; }
};

constexpr bool is_null(u16 selector) {
    return (selector & 0xfffc) == 0;
}
constexpr unsigned rpl(u16 selector) {
    return selector & 3;
}
constexpr u16 with_rpl(u16 selector, unsigned level) {
    return u16((selector & 0xfffc) | level);
}

// Can `size` bytes at `offset` be accessed in this segment (SDM vol. 3, 5.3)? Not for 64-bit mode.
bool inside_limit(const ir::Segment& s, u64 offset, u64 size);

// Reads the descriptor that `selector` names from the GDT or the LDT; outside the table raises `vector` with
// the selector as error code. With `wide`, system descriptors of long mode are read in full (16 bytes).
bool read_descriptor(Cpu& cpu, u16 selector, Descriptor& d, Vector vector, bool wide = false);
// Sets the accessed bit in memory and in `d`. False: fault raised.
bool set_accessed(Cpu& cpu, Descriptor& d);

// ES..GS from a selector: MOV, POP, LxS and the like, in every mode. `vector`: #GP, or #TS for a task switch.
bool load_segment(Cpu& cpu, ir::Seg which, u16 selector, Vector vector = kGP);
// The checks for a stack segment at `cpl` (SDM vol. 2, MOV; vol. 3, 6.12.1): faults are `vector` (#GP or
// #TS), or #SS when not present. `d` is filled in.
bool check_stack_segment(Cpu& cpu, u16 selector, unsigned cpl, Vector vector, Descriptor& d);
bool load_ldtr(Cpu& cpu, u16 selector, Vector vector = kGP);
bool load_tr(Cpu& cpu, u16 selector);

// A segment register after a null selector: unusable, its DPL kept for a stack in long mode.
constexpr ir::Segment null_segment(u16 selector, unsigned dpl = 0) {
    return {.base = 0, .limit = 0, .selector = selector, .attributes = u16(dpl << 5)};
}
// As in real mode and virtual-8086 mode: base from the selector.
void load_real_segment(Cpu& cpu, ir::Seg which, u16 selector);
// The return to an outer level makes what it may not see unusable (SDM vol. 2, RET).
void drop_inner_segments(Cpu& cpu);

} // namespace dragoman::x86
