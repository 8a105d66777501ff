// The meaning of the arithmetic ops of ops.inc on plain values. Flags are in EFLAGS positions; an op that
// keeps a flag keeps its bit in `flags`.
//
// Flags and results that the manual leaves undefined are what the host processor gives, so that generated
// code, which uses the host's instruction, agrees (ir/alu_host.h). A host of another kind uses
// ir/alu_portable.h.
#pragma once

#include "ir/op.h"

#include <bit>

namespace dragoman::ir {

// a, b, c and the result are operands of the op's size, zero-extended; what an op does not use is ignored.
//   Add Or Adc Sbb And Sub Xor Cmp Test Imul   a op b (Cmp and Test: the result is to be dropped)
//   Inc Dec Neg Not Popcnt Tzcnt Lzcnt Blsi Blsmsk Blsr   of a
//   Shl Shr Sar Rol Ror Rcl Rcr                a by count b, masked as the manual says
//   Shld Shrd                                  a filled from b, count c; not for bytes
//   Bt Bts Btr Btc                             bit b of a, modulo the operand's bits
//   Andn Bextr Bzhi Pdep Pext Adcx Adox        as in ops.inc; not for bytes and words
//   Rorx Sarx Shlx Shrx                        a by count b, modulo the operand's bits; not for bytes and
//   words Bsf Bsr                                    of b; b == 0: a (zero-extended from `size`); not for
//   bytes
using AluFn = u64 (*)(u64 a, u64 b, u64 c, Flags& flags);

// Null for an op that is not arithmetic.
AluFn alu_function(Op op, unsigned size);

// RDX:RAX = lo * b for MulWide and ImulWide; `size` 1, 2, 4 or 8. For bytes the product is all in `lo` (AX).
struct Wide {
    u64 lo, hi;
};
Wide multiply_wide(Op op, unsigned size, u64 lo, u64 b, Flags& flags);
// hi:lo / b for DivWide and IdivWide (for bytes AX is `lo`): quotient in lo, remainder in hi. False: #DE.
bool divide_wide(Op op, unsigned size, Wide& value, u64 b, Flags& flags);

// CRC32C of `crc` and the `size` low bytes of `data` (SDM vol. 2, CRC32).
u32 crc32c(u32 crc, u64 data, unsigned size);

// If *at == expected, *at = desired, as one locked access; returns the old *at. `at` may be misaligned.
u64 compare_exchange(void* at, unsigned size, u64 expected, u64 desired);

} // namespace dragoman::ir
