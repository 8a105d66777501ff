// The legacy area of FXSAVE and XSAVE, and what their instructions share (SDM vol. 1, 10.5 and ch. 13).
#pragma once

#include "frontend/x86/system_helpers.h"
#include "frontend/x86/system_memory.h"

namespace dragoman::x86 {

inline constexpr u32 kMxcsrDefined = 0xffff; // MXCSR_MASK

// The area that FXSAVE writes, and XSAVE with a header behind it.
struct SaveArea {
    u16 control, status;
    u8 tag, reserved;
    u16 opcode;
    u64 ip, dp; // with 32-bit formats: offset, selector
    u32 mxcsr, mxcsr_mask;
    u8 st[8][16];
    u8 xmm[16][16];
    u8 unused[96];
};
static_assert(sizeof(SaveArea) == 512);
inline constexpr u32 kMxcsrAt = offsetof(SaveArea, mxcsr), kStAt = offsetof(SaveArea, st),
                     kXmmAt = offsetof(SaveArea, xmm);

// `wide`: with 64-bit pointers.
void put_x87(const Cpu& cpu, bool wide, SaveArea& area);
void get_x87(Cpu& cpu, bool wide, const SaveArea& area);

// Bytes of 16 vector registers that are kept together, from byte `at` of each register on.
struct VectorPart {
    u8 first, at, bytes;
};
inline constexpr VectorPart kXmm{0, 0, 16}, kYmmHigh{0, 16, 16}, kZmmHigh{0, 32, 32}, kHighZmm{16, 0, 64};
// Those that the mode has: 8 outside 64-bit mode.
inline unsigned vector_registers(const Cpu& cpu, const VectorPart& part) {
    return cpu.code64() ? 16 : part.first == 0 ? 8 : 0;
}
// Returns the bytes that were put.
u32 put_vectors(const Cpu& cpu, const VectorPart& part, u8* to);
void get_vectors(Cpu& cpu, const VectorPart& part, const u8* from); // null: zeros
bool any_vector_bits(const Cpu& cpu, const VectorPart& part);

// Memory as the program sees it, any number of bytes. False: a fault was raised.
bool read_area(Cpu& cpu, u64 linear, void* to, u32 bytes);
bool write_area(Cpu& cpu, u64 linear, const void* from, u32 bytes);
// True: #GP(0) was raised.
bool misaligned(Cpu& cpu, u64 linear, u32 alignment);

// Calls a helper with the linear address of a save area of `bytes` bytes (operand 0); its imm is
// size_and_length of 8 with REX.W, else of 4.
bool area_call(Translation& t, const Instruction& insn, const ir::Helper& helper, unsigned bytes,
               ir::Access access);
inline bool is_wide(u64 imm) {
    return size_in(imm) == 8;
}

} // namespace dragoman::x86
