// What the manual distinguishes among the forms of forms.h, by their encodings and operands: on purpose not
// by the attributes of the instruction table.
#pragma once

#include "forms.h"

#include <initializer_list>

namespace dragoman::test {

// Has it an operand of such a register, also a hidden one?
bool any_register(const Form& f, std::initializer_list<ZydisRegisterClass> classes);
bool is_one_of(const Form& f, std::initializer_list<ZydisMnemonic> list);

bool vex(const Form& f);
bool evex(const Form& f);
bool avx512(const Form& f); // EVEX, and those of opmask registers
bool avx(const Form& f);    // VEX, but for those of general and opmask registers
bool sse(const Form& f);    // that CR4.OSFXSR enables
bool mmx(const Form& f);
bool x87(const Form& f); // but for FWAIT
bool fwait(const Form& f);
bool non_waiting(const Form& f);    // x87: does not ask for an exception that waits (SDM vol. 1, 8.3.11)
bool saves_fpu(const Form& f);      // FXSAVE, FXRSTOR
bool saves_extended(const Form& f); // XSAVE and its kin
bool extended_state(const Form& f); // these, and those of XCR0

bool exists(const Form& f, const FormMode& mode); // or raises #UD whatever the state is
bool privileged(const Form& f);                   // at CPL 0 only: elsewhere #GP (SDM vol. 3, 5.9)
bool hidden(const Form& f);                       // at CPL 0 only: elsewhere #UD
// They end in other ways than by the next instruction, or look at state of the system: their own tests run
// them.
bool transfers(const Form& f);
// All others, and those of them that run in the machine of form_machine.h, at this level.
bool runs_plainly(const Form& f, const FormMode& mode, unsigned cpl);
bool names_only(const Form& f); // a memory operand that is not accessed
bool writes_memory(const Form& f);
// Is its memory operand, if it is in RAM, the first thing that is looked at?
bool accesses_memory(const Form& f, const FormMode& mode);
// 16 bytes and more that have to be aligned (SDM vol. 2, the exception classes of 2.4 and 2.7).
bool aligned(const Form& f);
bool lockable(const Form& f); // SDM vol. 2, LOCK
bool divides(const Form& f);
bool simd_numeric(const Form& f);          // raises #XM (the exception classes 2 and 3)
bool suppresses_exceptions(const Form& f); // EVEX with {sae} or a rounding of its own

} // namespace dragoman::test
