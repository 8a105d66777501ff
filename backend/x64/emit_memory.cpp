// Addresses, the inline TLB check (softmmu/tlb.h), and the way out of line where it fails.
#include "backend/x64/emitter.h"

#include "base/bits.h"
#include "softmmu/tlb.h"

#include <algorithm>
#include <bit>

namespace dragoman::backend {

using namespace asmjit;
using ir::Access;
using ir::Context;
using ir::Op;
using softmmu::TlbEntry;

namespace {

constexpr unsigned kEntryBits = 5, kTagBits = 3; // log2 of the bytes of a TlbEntry, a window tag
static_assert(sizeof(TlbEntry) == 1u << kEntryBits);

} // namespace

// ---- addresses

// Simple: one instruction made it, from host registers that are still there. Direct: it is base +
// displacement.
Emitter::Shape Emitter::address(const ir::Address& m, bool linear, unsigned bytes) {
    const Gp wide = m.size == 8 && bytes == 8 ? Gp(x86::r14) : Gp(x86::r14d);
    Shape shape = Shape::Simple;
    const bool has_base = !m.base.is_none(), has_index = !m.index.is_none();
    if (!has_base && !has_index) {
        constant_address(m, bytes);
    } else {
        Gp base = x86::r14, index = x86::rcx;
        if (has_base && in_register(m.base)) {
            base = gp(host_of(m.base), 8);
        } else if (has_base) {
            a.mov(x86::r14, slot(m.base, 8));
            shape = Shape::Complex;
        }
        if (has_index && in_register(m.index)) {
            index = gp(host_of(m.index), 8);
        } else if (has_index) {
            a.mov(x86::rcx, slot(m.index, 8));
            shape = Shape::Complex;
        }
        const bool wide_disp = m.size == 8 && i64(i32(m.disp)) != m.disp; // a base that a pass found constant
        const i32 disp = wide_disp ? 0 : i32(m.disp);
        if (has_base && has_index)
            a.lea(wide, x86::ptr(base, index, m.scale, disp));
        else if (has_index)
            a.lea(wide, x86::ptr(u64(i64(disp)), index, m.scale));
        else if (disp)
            a.lea(wide, x86::ptr(base, disp));
        else if (base.id() != host::address || wide.size() != 8)
            a.mov(wide, gp(base.id(), wide.size()));
        if (wide_disp) {
            move_imm(host::scratch, u64(m.disp));
            a.lea(wide, x86::ptr(x86::r14, x86::rcx));
            shape = Shape::Complex;
        }
        if (m.size == 2) {
            a.movzx(x86::r14d, x86::r14w);
            shape = Shape::Complex;
        }
    }
    if (linear && m.seg != ir::Seg::None) {
        a.mov(x86::rcx, in_context(i64(offsetof(Context, seg) + u8(m.seg) * sizeof(ir::Segment) +
                                       offsetof(ir::Segment, base)),
                                   8));
        a.lea(m.linear_size == 8 ? Gp(x86::r14) : Gp(x86::r14d), x86::ptr(x86::r14, x86::rcx));
        return Shape::Complex;
    }
    if (linear && m.linear_size < m.size) {
        a.mov(x86::r14d, x86::r14d);
        return Shape::Complex;
    }
    return shape == Shape::Simple && m.size == 8 && has_base && !has_index ? Shape::Direct : shape;
}

void Emitter::constant_address(const ir::Address& m, unsigned bytes) {
    if (m.from_pc && m.size == 8 && bytes == 8) return move_pc(host::address, u64(m.disp));
    move_imm(host::address, u64(m.disp) & low_mask(std::min<unsigned>(m.size, bytes) * 8));
    if (!m.from_pc) return;
    if (m.size == 8)
        note_pc(PcForm::Low, u64(m.disp));
    else
        movable_ = false;
}

// RCX as tlb_tag and tlb_addend take it: for window tags the index, where PEXT is fast; else times the bytes.
void Emitter::tlb_index() {
    if (window() && options_.use_pext)
        return (void)a.pext(x86::ecx, x86::r14d, x86::ptr(x86::rsp, frame::page_mask, 4));
    const unsigned entry_bits = window() ? kTagBits : kEntryBits;
    if (bmi2()) {
        a.rorx(x86::ecx, x86::r14d, softmmu::kPageBits - entry_bits);
    } else {
        a.mov(x86::ecx, x86::r14d);
        a.shr(x86::ecx, softmmu::kPageBits - entry_bits);
    }
    a.and_(x86::ecx, imm((softmmu::kTlbEntries - 1) << entry_bits));
}

// Without a window: of the TLB entry; with one: the window tag.
Emitter::Mem Emitter::tlb_tag(Access access) const {
    using softmmu::TlbTables;
    const bool write = access != Access::Read;
    if (window()) return window_tag(options_, block_->view, access, tag_scale(options_));
    return indexed(tlb_field(TlbTables::entries_of(block_->view) +
                             (write ? offsetof(TlbEntry, write_tag) : offsetof(TlbEntry, read_tag))),
                   8);
}
Emitter::Mem Emitter::tlb_addend() const {
    return indexed(tlb_field(softmmu::TlbTables::entries_of(block_->view) + offsetof(TlbEntry, addend)), 8);
}

// In R14 is what acquire or find leads to: relative to the window, if there is one.
Emitter::Mem Emitter::host_pointer(unsigned size) const {
    return x86::ptr(x86::r14, options_.window_start(), size);
}

// The operand of an access whose page was found in the window. An address of 32 bits is made by the host, the
// window's start with it, without an instruction of its own; through R14 where it is not simple.
Emitter::Mem Emitter::in_window(const ir::Address& m, unsigned size) {
    const i64 late = m.base == ir::kRsp ? late_stack_ : 0;
    const i32 disp = i32(u32(u64(m.disp + late)) + *options_.window_base);
    if (is_constant(m) && !m.from_pc && disp >= 0) {
        Mem at(u64(disp), size);
        at.setAddrType(Mem::AddrType::kAbs);
        return at;
    }
    if (!is_simple(m)) {
        address(m, true, 4);
        return x86::ptr(x86::r14d, options_.window_start(), size);
    }
    if (m.base.is_none()) return x86::ptr(u64(i64(disp)), gp(host_of(m.index), 4), m.scale, size);
    const Gp base = gp(host_of(m.base), 4);
    return m.index.is_none() ? x86::ptr(base, disp, size)
                             : x86::ptr(base, gp(host_of(m.index), 4), m.scale, disp, size);
}

bool Emitter::is_constant(const ir::Address& m) {
    return m.base.is_none() && m.index.is_none() && m.seg == ir::Seg::None;
}

// One operand of the host, from registers.
bool Emitter::is_simple(const ir::Address& m) const {
    const auto there = [&](Ref r) { return r.is_none() || in_register(r); };
    return !is_constant(m) && m.seg == ir::Seg::None && m.size == m.linear_size && m.size > 2 &&
           there(m.base) && there(m.index) && i64(i32(m.disp)) == m.disp;
}

// Whether the page of R14 may be accessed in place, for `size` bytes. RCX is lost; R14 too, unless the
// address is to be kept, which takes a window.
void Emitter::tlb_check(unsigned size, Access access, bool keep_address, const Label& miss) {
    const Mem tag = tlb_tag(access);
    const u64 base = window() ? 1 : 0; // a window tag is one less than the page
    tlb_index();
    if (keep_address && window()) {
        a.mov(x86::rcx, tag);
        a.sub(x86::rcx, x86::r14);
        a.cmp(x86::rcx, imm(i64(size) - i64(softmmu::kPageSize + base)));
        return (void)a.jb(miss);
    }
    a.sub(x86::r14, tag);
    a.cmp(x86::r14, imm(i64(softmmu::kPageSize + base - size)));
    a.ja(miss);
}

// Flags that cannot be made again and are wanted soon, a carry in a long sum for one, stay in EFLAGS. To save
// them and fetch them back costs no more instructions, but takes several cycles, for which the sum would
// wait.
bool Emitter::keeps_eflags(size_t at, const ir::Address& m) const {
    return options_.keep_eflags && options_.use_pext && window() && !is_constant(m) &&
           again_[at] == kNoMaker && (*needed_now_)[at] & live_[at] && wants_eflags_soon(at);
}

// tlb_check without an instruction that touches EFLAGS. R14 stays.
void Emitter::tlb_check_beside_eflags(unsigned size, Access access, const Label& miss) {
    const Label hit = a.newLabel();
    tlb_index();
    a.mov(x86::rcx, tlb_tag(access));
    a.not_(x86::rcx);                                                // -page: the tag is page - 1
    a.lea(x86::rcx, x86::ptr(x86::r14, x86::rcx, 0, i32(size) - 1)); // the last byte's offset from the page
    a.pext(x86::rcx, x86::rcx, x86::ptr(x86::rsp, frame::off_page, 8));
    a.jecxz(x86::rcx, hit);
    a.jmp(miss);
    a.bind(hit);
}

// A constant address needs no index, and its tag is one constant.
bool Emitter::check_constant(const ir::Address& m, unsigned size, Access access, const Label& miss) {
    const u64 linear = u64(m.disp) & low_mask(m.linear_size * 8), page = linear & ~(softmmu::kPageSize - 1);
    if (!window() || !is_constant(m) || linear + size > page + softmmu::kPageSize) return false;
    const auto tags = softmmu::TlbTables::window_tags_of(block_->view, access != Access::Read);
    const Mem tag = in_context(tlb_field(tags + 8 * softmmu::tlb_index(linear)), 8);
    const u64 wanted = page - 1;
    const bool short_enough = u64(i64(i32(wanted))) == wanted;
    if (short_enough)
        a.cmp(tag, imm(i32(wanted)));
    else if (m.from_pc)
        move_pc(host::address, wanted);
    else
        move_imm(host::address, wanted);
    if (!short_enough) a.cmp(tag, x86::r14);
    if (m.from_pc) {
        movable_ &= m.linear_size == 8 && page;
        note_pc(PcForm::TagSlot, page, short_enough ? 8 : 4);
        if (short_enough) note_pc(PcForm::Signed, wanted);
    }
    a.jne(miss);
    return true;
}

// On the way to `miss` R14 is linear, or linear - tag, and RCX the index, or neither: see linear_again.
Emitter::Checked Emitter::check(const Inst& inst, unsigned size, Access access, bool one_register, bool keep,
                                const Label& miss) {
    if (!keep) share_ ? clobber_cheaply(needed_before_) : bind_alone();
    loaded_ = kNoSlot;
    if (options_.inline_tlb && check_constant(inst.mem, size, access, miss)) {
        if (!one_register) return {in_window(inst.mem, size), AddressAt::Constant};
        address(inst.mem, true, 4);
        return {host_pointer(size), AddressAt::Constant};
    }
    const Shape shape = address(inst.mem, true);
    if (!options_.inline_tlb) {
        a.jmp(miss);
        return {x86::ptr(x86::r14, 0, size), AddressAt::R14};
    }
    if (window()) {
        const bool again = is_simple(inst.mem);
        const AddressAt at = again && !keep ? AddressAt::BeyondTag : AddressAt::R14;
        keep ? tlb_check_beside_eflags(size, access, miss) : tlb_check(size, access, !again, miss);
        if (!one_register) {
            if (again) return {in_window(inst.mem, size), at};
            return {x86::ptr(x86::r14d, options_.window_start(), size), at};
        }
        if (again)
            address(inst.mem, true, 4);
        else
            a.mov(x86::r14d, x86::r14d);
        return {host_pointer(size), at};
    }
    tlb_check(size, access, false, miss);
    switch (shape) {
    case Shape::Direct: { // the address need not wait for the tag
        a.mov(x86::rcx, tlb_addend());
        const Mem m = x86::ptr(gp(host_of(inst.mem.base), 8), x86::rcx, 0, i32(inst.mem.disp), size);
        if (!one_register) return {m, AddressAt::BeyondTag};
        a.lea(x86::r14, m);
        break;
    }
    case Shape::Simple:
        address(inst.mem, true);
        a.add(x86::r14, tlb_addend());
        break;
    case Shape::Complex:
        a.add(x86::r14, tlb_tag(access));
        a.add(x86::r14, tlb_addend());
        break;
    }
    return {x86::ptr(x86::r14, 0, size), AddressAt::BeyondTag};
}

// In a region that is emitted once more out of line, a miss goes on there: C++ code that gives another page a
// slot would make a check that later accesses rely on void.
bool Emitter::check_in_region(const Inst& inst, unsigned size, Access access, bool one_register, Mem& at) {
    if (!share_) return false;
    alone_[position_] = a.newLabel();
    const bool keep = stays_in_eflags(inst.mem);
    if (!keep) clobber_cheaply(needed_before_);
    alone_at_[position_] = at_;
    at = check(inst, size, access, one_register, keep, alone_[position_]).at;
    return true;
}

// Of Stubs::find_size and its like; -1: that size has none, or there is no window.
int Emitter::stub_size(unsigned size) const {
    return window() && size && !(size & (size - 1)) && size <= 64 ? std::countr_zero(size) : -1;
}

// PUSH and POP in 64-bit code have most of the accesses that share a check: the store or load, then an LEA.
// What RSP moves by; 0: the access is another.
int Emitter::moves_stack_behind(const Inst& inst) const {
    const ir::Address& m = inst.mem;
    const i64 by = inst.op == Op::Store ? -8 : inst.op == Op::Load ? 8 : 0;
    const i64 at = by < 0 ? by : 0;
    if (!by || inst.size != 8 || m.size != 8 || m.base != ir::kRsp || m.index.is_reg() || m.disp != at ||
        m.seg != ir::Seg::None || inst.d == ir::kRsp || late_stack_ || position_ + 1 >= end_of_copy_)
        return 0;
    const Inst& next = block_->insts[position_ + 1];
    const bool moves = next.op == Op::Lea && next.d == ir::kRsp && next.size == 8 && next.mem.size == 8 &&
                       next.mem.base == ir::kRsp && next.mem.index.is_none() && next.mem.disp == by;
    return moves ? int(by) : 0;
}

// In a region's copy an access is a call, which is shorter: the copy is run where pages are not in the window
// yet, or a group lies over the end of one.
void Emitter::access_by_call(const Inst& inst, unsigned size, Access access, AccessFn op) {
    bind_alone();
    clobber(needed_before_);
    loaded_ = kNoSlot;
    const int moves = moves_stack_behind(inst);
    if (moves) {
        call_to(moves < 0 ? stubs_.reach_push[block_->view] : stubs_.reach_pop[block_->view]);
    } else {
        address(inst.mem, true);
        call_to(stubs_.reach[block_->view][u8(access)][stub_size(size)]);
    }
    note_side_point();
    (this->*op)(inst, host_pointer(size));
    if (moves < 0) {
        ++position_; // the LEA
        return call_to(stubs_.commit_push);
    }
    if (access == Access::Read) return;
    call_to(inst.op == Op::Rmw ? stubs_.commit : stubs_.commit_if_needed);
}

void Emitter::access_memory(const Inst& inst, unsigned size, Access access, AccessFn op) {
    // An addend in RCX is in the way of ops that need a scratch register.
    const bool one_register = !window() && access != Access::Read &&
                              !(inst.op == Op::VStore || inst.op == Op::X87 ||
                                (inst.op == Op::Store && inst.a.is_reg() && in_register(inst.a)));
    if (in_copy_ && stub_size(size) >= 0 && !x87_there_ && inst.op != Op::X87 && options_.inline_tlb)
        return access_by_call(inst, size, access, op);
    Mem at;
    if (shared()) at = shared_access(inst, size, one_register);
    if (shared() || check_in_region(inst, size, access, one_register, at)) return (this->*op)(inst, at);
    const size_t number = out_of_line_.size();
    const Label miss = out_of_line(&Emitter::slow_access, inst).entry;
    const bool keep =
        !alone_[position_].isValid() && stays_in_eflags(inst.mem); // not in the copy of a region
    const Checked c = check(inst, size, access, one_register, keep, miss);
    OutOfLine& o = out_of_line_[number];
    o.flags_at = at_;
    o.size = u8(size);
    o.access = access;
    o.op = op;
    o.address_at = c.address_at;
    const Label back = o.back = a.newLabel();
    (this->*op)(inst, c.at);
    a.bind(back);
}

// R14 = the linear address again, after a check that failed.
void Emitter::linear_again(const OutOfLine& o) {
    if (o.address_at == AddressAt::BeyondTag) a.add(x86::r14, tlb_tag(o.access));
    if (o.address_at == AddressAt::Constant) address(o.inst->mem, true);
}

// R14 = the host pointer of an access whose check has failed, or leaves.
void Emitter::find_slowly(const OutOfLine& o) {
    const unsigned view = block_->view, access = u8(o.access);
    const int size = stub_size(o.size);
    if (size >= 0 && o.address_at == AddressAt::BeyondTag)
        return call_to(stubs_.find_beyond_tag[view][access][size]);
    linear_again(o);
    if (size >= 0) return call_to(stubs_.find_size[view][access][size]);
    a.mov(x86::ecx, imm(o.size));
    call_to(window() ? stubs_.find[view][access] : stubs_.acquire[access]);
}

void Emitter::slow_access(const OutOfLine& o) {
    clobber(needed_before_);
    find_slowly(o);
    note_side_point();
    const bool x87 = o.inst->op == Op::X87, writes = o.access != Access::Read, rmw = o.inst->op == Op::Rmw;
    const bool flags_later = writes && !rmw; // EFLAGS does not outlast commit_if_needed
    if (!flags_later) meet_flags(o.flags_at);
    if (x87) keep_x87(o);
    (this->*o.op)(*o.inst, host_pointer(o.size));
    if (writes) call_to(rmw ? stubs_.commit : stubs_.commit_if_needed);
    if (flags_later) meet_flags(o.flags_at);
    if (writes || !x87) keep_x87(o);
    a.jmp(o.back);
}

// The host operand, or the whole instruction by the interpreter, with the flags saved before, if it cannot be
// accessed in place or is not `aligned`.
Emitter::Mem Emitter::check_or_interpret(const Inst& inst, unsigned size, Access access, bool aligned,
                                         const Label& back) {
    const auto check_alignment = [&] {
        if (!aligned) return;
        OutOfLine& o = out_of_line(&Emitter::interpret_slowly, inst);
        o.back = back;
        a.test(x86::r14b, size - 1);
        a.jnz(o.entry);
    };
    Mem at;
    if (shared()) return shared_access(inst, size, aligned);
    if (check_in_region(inst, size, access, aligned, at)) {
        check_alignment();
        return at;
    }
    const size_t number = out_of_line_.size();
    const Label miss = out_of_line(&Emitter::find_or_interpret, inst).entry;
    const Checked c = check(inst, size, access, aligned || window(), false, miss); // find leads to R14
    OutOfLine& o = out_of_line_[number];
    o.flags_at = at_;
    o.size = u8(size);
    o.access = access;
    o.address_at = c.address_at;
    o.back = back;
    o.in_place = a.newLabel();
    a.bind(o.in_place);
    check_alignment();
    return c.at;
}

// The same for instructions that the interpreter takes when their memory cannot be accessed in place.
void Emitter::find_or_interpret(const OutOfLine& o) {
    clobber(needed_before_);
    if (window()) {
        linear_again(o);
        a.mov(x86::ecx, imm(o.size));
        call_to(stubs_.find_only[block_->view][u8(o.access)]);
        a.jnc(o.in_place);
    }
    interpret_slowly(o);
}

} // namespace dragoman::backend
