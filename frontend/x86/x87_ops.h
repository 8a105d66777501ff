// The x87 FPU's state (SDM vol. 1, ch. 8), and what its instructions are made of. ir::Fpu holds the status
// word without TOP and the abridged tag word.
#pragma once

#include "frontend/x86/cpu.h"
#include "frontend/x86/translation.h"
#include "ir/x87.h"

namespace dragoman::x86 {

enum X87StatusBit : u16 {
    kX87Exceptions = 0x3f, // IE DE ZE OE UE PE, masked by the same bits of the control word
    kX87StackFault = 0x40,
    kX87Summary = 0x80, // ES
    kX87C0 = 0x100,
    kX87C1 = 0x200,
    kX87C2 = 0x400,
    kX87Top = 0x3800,
    kX87C3 = 0x4000,
    kX87Busy = 0x8000,
};

// The status word with TOP, as FNSTSW stores it.
inline u16 status_word(const ir::Fpu& fpu) {
    return u16((fpu.status & ~kX87Top) | fpu.top << 11);
}
// Makes ES and B follow from the exception flags and their masks (SDM vol. 1, 8.1.3.3).
void update_summary(ir::Fpu& fpu);
// Loads the status word, TOP included. st[] stays: it is relative to TOP.
void set_status_word(ir::Fpu& fpu, u16 word);
// What the control word becomes when `word` is loaded: of the reserved bits only bit 6 is set.
constexpr u16 control_word(u16 word) {
    return u16((word & 0x1f3f) | 0x40);
}
void set_control_word(ir::Fpu& fpu, u16 word);
// The full tag word (SDM vol. 1, 8.1.7), and the abridged one made from it.
u16 full_tag_word(const ir::Fpu& fpu);
u8 abridged_tag_word(u16 full);
// FNINIT: the registers keep their contents.
void initialize(ir::Fpu& fpu);
// What an MMX instruction does to the state: TOP 0, no register empty.
void enter_mmx(ir::Fpu& fpu);

// A selector as FCS or FDS hold it: 0 on processors that have done without them (CPUID.7.0:EBX bit 13).
u16 kept_selector(const Cpu& cpu, u16 selector);

// FERR# goes away with the last exception that was not masked.
void update_ferr(const Cpu& cpu);

// Emits the report of an x87 exception that waits, if there is one: #MF, or FERR# without CR0.NE.
void wait_x87(Translation& t);

using ir::X87Call; // the immediate of a helper's Call

// Helpers; `a` is the linear address of the memory operand, imm an X87Call.
extern const ir::Helper x87_register_form;    // no memory operand
extern const ir::Helper x87_compare;          // FCOMI and its kin: write flags
extern const ir::Helper x87_conditional_move; // FCMOVcc: reads flags
extern const ir::Helper x87_load_form;        // reads memory
extern const ir::Helper x87_store_form;       // writes memory
extern const ir::Helper x87_store_raises;     // its exception alone, if it keeps it from storing; `a` is the offset
extern const ir::Helper x87_status;           // gives the status word
extern const ir::Helper x87_init, x87_clear, x87_load_control, x87_load_environment, x87_store_environment,
    x87_save, x87_restore;

} // namespace dragoman::x86
