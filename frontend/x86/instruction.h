// One decoded guest instruction, and the table of those that are supported.
#pragma once

#include "base/types.h"
#include "ir/flags.h"

#include <Zydis/Zydis.h>

#include <span>

namespace dragoman::x86 {

class Translation;

// A decoded instruction: Zydis's record with its visible and hidden operands. Of the common ones it has only
// what is read of them (Decoder::decode_common).
struct Instruction {
    ZydisDecodedInstruction zydis;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    u64 rip = 0;      // of its first byte
    u64 next_rip = 0; // of the byte after it, cut to the mode's width
    u8 bytes[15] = {};

    unsigned length() const { return zydis.length; }
    ZydisMnemonic mnemonic() const { return zydis.mnemonic; }
    unsigned operand_size() const { return zydis.operand_width / 8; } // bytes
    unsigned address_size() const { return zydis.address_width / 8; } // bytes
    bool lock() const { return zydis.attributes & ZYDIS_ATTRIB_HAS_LOCK; }
    bool rep() const { return zydis.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE); }
    bool repne() const { return zydis.attributes & ZYDIS_ATTRIB_HAS_REPNE; }
};

// What an instruction or a register bit needs of the processor's model. Base is on every model, I486 came
// with that processor, Nopl (NOP with an operand, and the other hints of 0F 18 to 0F 1F) with the Pentium
// Pro. Some come with the vendor, where the manuals differ (CpuModel::follow_vendor). The others are CPUID's
// (frontend/x86/features.inc).
enum class Feature : u8 {
    Base,
    I486,
    LegacySyscall, // AMD: SYSCALL and SYSRET outside 64-bit mode
    LongSysenter,  // Intel: SYSENTER and SYSEXIT in long mode
    SysretStack,   // Intel: SYSRET loads all of SS, and faults itself when RCX is not canonical
    NullKeepsBase, // AMD: a null selector leaves base and limit of the segment as they are
    AmdRegisters,  // AMD: its CPUID leaves and MSRs
    Nopl,
#define FEATURE(name, ...) name,
#include "frontend/x86/features.inc"
#undef FEATURE
    Count
};

enum InstructionAttribute : u8 {
    kEndsBlock = 1, // always ends a block
    kSensitive =
        2, // depends on or changes what a virtual machine must virtualize (design: sensitive instructions)
    kFpuOp = 4,          // #NM by Mode::fpu_traps()
    kMmxOp = 8,          // #UD by CR0.EM, #NM by CR0.TS
    kSseOp = 16,         // #UD by Mode::sse_undefined, #NM by Mode::sse_traps
    kNo64 = 32,          // #UD in 64-bit mode (Zydis refuses most already)
    kAvxOp = 128,        // VEX-encoded: #UD unless Mode::avx in protected mode, #NM by Mode::sse_traps
    kOnlyProtected = 64, // #UD in real and virtual-8086 mode
};

// Returns whether translation goes on with the next instruction; false when it emitted an op that ends the
// block.
using TranslateFn = bool (*)(Translation& t, const Instruction& insn);

struct InstructionInfo {
    ZydisMnemonic mnemonic;
    TranslateFn translate;
    Feature feature;
    ir::Flags writes, undefined, reads; // arithmetic flags; `undefined` is part of `writes`
    u8 attributes;
};

// The row of a decoded instruction (a mnemonic may have two: see instructions.inc). Null: not supported
// (raises #UD, logged once).
const InstructionInfo* find_instruction(const ZydisDecodedInstruction& decoded);
// All rows, for CPUID, coverage reports and tests.
std::span<const InstructionInfo> instruction_table();

} // namespace dragoman::x86
