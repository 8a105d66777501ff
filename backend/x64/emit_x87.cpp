// x87 instructions as themselves. While a block computes with the x87 the guest's whole state (stack, TOP,
// tags, status and control word) is the host's: results, flags and masked stack faults are the processor's
// own. Nothing traps: the frontend makes these ops only where all exceptions are masked and none waits, and
// Stubs::take_x87 looks again.
#include "backend/x64/emitter.h"

#include "ir/x87.h"

namespace dragoman::backend {

using namespace asmjit;
using ir::Access;
using ir::Context;
using ir::X87Call;

namespace {

x86::Mem fpu_field(size_t field, unsigned bytes) {
    return in_context(i64(offsetof(Context, fpu) + field), bytes);
}

struct MemoryForm {
    InstId id;
    u8 bytes;
};
#define ARITHMETIC(prefix, bytes)                                                                            \
    {                                                                                                        \
        {x86::Inst::kId##prefix##add, bytes}, {x86::Inst::kId##prefix##mul, bytes},                          \
            {x86::Inst::kId##prefix##com, bytes}, {x86::Inst::kId##prefix##comp, bytes},                     \
            {x86::Inst::kId##prefix##sub, bytes}, {x86::Inst::kId##prefix##subr, bytes},                     \
            {x86::Inst::kId##prefix##div, bytes}, {x86::Inst::kId##prefix##divr, bytes},                     \
    }
constexpr MemoryForm kNone = {0, 0};
// By the low bits of the first byte (D8 to DF) and the ModRM byte's reg field (SDM vol. 2, table A-7 on).
constexpr MemoryForm kMemoryForms[8][8] = {
    ARITHMETIC(F, 4),
    {{x86::Inst::kIdFld, 4},
     kNone,
     {x86::Inst::kIdFst, 4},
     {x86::Inst::kIdFstp, 4},
     kNone,
     kNone,
     kNone,
     kNone},
    ARITHMETIC(Fi, 4),
    {{x86::Inst::kIdFild, 4},
     {x86::Inst::kIdFisttp, 4},
     {x86::Inst::kIdFist, 4},
     {x86::Inst::kIdFistp, 4},
     kNone,
     {x86::Inst::kIdFld, 10},
     kNone,
     {x86::Inst::kIdFstp, 10}},
    ARITHMETIC(F, 8),
    {{x86::Inst::kIdFld, 8},
     {x86::Inst::kIdFisttp, 8},
     {x86::Inst::kIdFst, 8},
     {x86::Inst::kIdFstp, 8},
     kNone,
     kNone,
     kNone,
     kNone},
    ARITHMETIC(Fi, 2),
    {{x86::Inst::kIdFild, 2},
     {x86::Inst::kIdFisttp, 2},
     {x86::Inst::kIdFist, 2},
     {x86::Inst::kIdFistp, 2},
     {x86::Inst::kIdFbld, 10},
     {x86::Inst::kIdFild, 8},
     {x86::Inst::kIdFbstp, 10},
     {x86::Inst::kIdFistp, 8}},
};
#undef ARITHMETIC

const MemoryForm& form_of(const X87Call& call) {
    return kMemoryForms[call.opcode >> 8][call.reg()];
}

} // namespace

void Emitter::want_x87(const Inst& inst) {
    if (x87_there_) return;
    OutOfLine& o = out_of_line(&Emitter::take_x87, inst);
    const Label take = o.entry, back = o.back = a.newLabel();
    a.mov(x86::ecx, in_context(offsetof(Context, x87_here), 4));
    a.jecxz(x86::rcx, back);
    a.jmp(take);
    a.bind(back);
    x87_there_ = true;
}

void Emitter::take_x87(const OutOfLine& o) {
    saved_for_exit();
    call_to(stubs_.take_x87);
    note_side_point();
    a.jmp(o.back);
}

void Emitter::keep_x87(const OutOfLine& o) {
    if (o.x87_there) call_to(stubs_.load_x87);
    x87_there_ = o.x87_there;
}

// After the instruction: nothing is noted of one that faults. RCX is kept in 64-bit code.
void Emitter::note_x87(const Inst& inst) {
    const X87Call call = X87Call::unpack(u64(inst.imm));
    const auto selector = [&](ir::Seg seg, size_t field) {
        if (call.notes & ir::kX87NoteSelectors) {
            a.movzx(x86::r14d, in_context(i64(offsetof(Context, seg) + u8(seg) * sizeof(ir::Segment) +
                                              offsetof(ir::Segment, selector)),
                                          2));
            a.mov(fpu_field(field, 2), x86::r14w);
        } else {
            a.mov(fpu_field(field, 2), 0);
        }
    };
    if (inst.from_memory && (call.notes & ir::kX87NoteData)) {
        if (block_->mode_bits == 64) {
            if (address(inst.mem, true) == Shape::Complex) loaded_ = kNoSlot;
        } else { // the offset in the segment
            address(inst.mem, true);
            a.mov(x86::rcx, in_context(i64(offsetof(Context, seg) + call.segment * sizeof(ir::Segment) +
                                           offsetof(ir::Segment, base)),
                                       8));
            a.not_(x86::rcx);
            a.lea(x86::r14d, x86::ptr(x86::r14, x86::rcx, 0, 1));
            loaded_ = kNoSlot;
        }
        a.mov(fpu_field(offsetof(ir::Fpu, dp), 8), x86::r14);
        selector(ir::Seg(call.segment), offsetof(ir::Fpu, ds));
    }
    const u64 rip = current_rip();
    if (rip == u64(i64(i32(rip)))) {
        a.mov(fpu_field(offsetof(ir::Fpu, ip), 8), imm(i32(rip)));
        note_pc(PcForm::Signed, rip);
    } else {
        move_pc(host::address, rip);
        a.mov(fpu_field(offsetof(ir::Fpu, ip), 8), x86::r14);
    }
    selector(ir::Seg::CS, offsetof(ir::Fpu, cs));
    if (call.notes & ir::kX87NoteOpcode) a.mov(fpu_field(offsetof(ir::Fpu, opcode), 2), call.opcode);
}

void Emitter::x87_memory(const Inst& inst, const Mem& m) {
    const MemoryForm& form = form_of(X87Call::unpack(u64(inst.imm)));
    Mem operand = m;
    operand.setSize(form.bytes);
    a.emit(form.id, operand);
}

// FLDCW. A control word that unmasks something goes by the helper, which leaves the block.
void Emitter::load_x87_control(const Inst& inst) {
    clobber(needed_before_);
    load_value(host::address, inst.a, 4, 0);
    a.mov(x86::ecx, x86::r14d);
    a.not_(x86::ecx);
    a.test(x86::ecx, 0x3f);
    x87_there_ = false; // where both ways meet
    const Label back = a.newLabel();
    a.jnz(interpret_out_of_line(inst, back));
    want_x87(inst);
    a.and_(x86::r14d, 0x1f3f);
    a.or_(x86::r14d, 0x40);
    a.mov(fpu_field(offsetof(ir::Fpu, control), 2), x86::r14w);
    a.fldcw(fpu_field(offsetof(ir::Fpu, control), 2));
    a.bind(back);
    x87_there_ = false;
}

void Emitter::emit_X87(const Inst& inst) {
    if (!x87_) return interpret(inst);
    if (!inst.a.is_none()) return load_x87_control(inst);
    const X87Call call = X87Call::unpack(u64(inst.imm));
    want_x87(inst);
    if (!inst.from_memory) {
        guest_flags(inst); // FCMOV reads them, FCOMI writes them
        const u8 bytes[] = {u8(0xd8 | call.opcode >> 8), u8(call.opcode)};
        a.embed(bytes, sizeof bytes);
    } else {
        access_memory(inst, inst.size, call.stores() ? Access::Write : Access::Read, &Emitter::x87_memory);
    }
    note_x87(inst);
}

void Emitter::emit_X87Status(const Inst& inst) {
    if (!x87_) return interpret(inst);
    want_x87(inst);
    if (at_ == FlagsAt::Eflags || at_ == FlagsAt::Nowhere) {
        a.fnstsw(x86::ax);
        define(inst.d, 2, host::rax);
    } else {
        a.fnstsw(x86::ptr(x86::rsp, frame::argument, 2));
        a.movzx(x86::ecx, x86::ptr(x86::rsp, frame::argument, 2));
        define(inst.d, 2, host::scratch);
    }
}

} // namespace dragoman::backend
