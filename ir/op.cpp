#include "ir/op.h"

namespace dragoman::ir {

namespace {

constexpr Flags kNoCarry = kAllFlags & ~kCF;
constexpr Flags Sub = kBySub;
constexpr Flags Cc = kByCond;
constexpr u8 Mem = kTouchesMemory;
constexpr u8 Fault = kMayFault;
constexpr u8 End = kEndsBlock;
constexpr u8 State = kTouchesState;
constexpr u8 Keep = kKeep;
constexpr u8 FlagsMaybe = kFlagsMaybe;

constexpr OpInfo table[] = {
#define OP(name, form, writes, reads, effects) {#name, Form::form, writes, reads, effects},
#include "ir/ops.inc"
#undef OP
};

} // namespace

const OpInfo& info(Op op) {
    return table[static_cast<u8>(op)];
}

} // namespace dragoman::ir
