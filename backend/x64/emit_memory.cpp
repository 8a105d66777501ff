// Addresses, the inline TLB check (softmmu/tlb.h), and the way out of line where it fails.
#include "backend/x64/emitter.h"

#include "base/bits.h"
#include "softmmu/tlb.h"

#include <algorithm>

namespace dragoman::backend {

using namespace asmjit;
using ir::Access;
using ir::Context;
using ir::Op;
using softmmu::TlbEntry;

namespace {

constexpr unsigned kEntryBits = 5; // log2 sizeof(TlbEntry)
static_assert(sizeof(TlbEntry) == 1u << kEntryBits);

// A field of the TLB entry whose index is in RCX.
x86::Mem indexed(i64 offset) {
    x86::Mem m = x86::ptr(x86::rcx, i32(offset), 8);
    m.setSegment(x86::gs);
    return m;
}

} // namespace

// ---- addresses

// Simple: one instruction made it, from host registers that are still there. Direct: it is base +
// displacement.
Emitter::Shape Emitter::address(const ir::Address& m, bool linear, unsigned bytes) {
    const Gp wide = m.size == 8 && bytes == 8 ? Gp(x86::r14) : Gp(x86::r14d);
    Shape shape = Shape::Simple;
    const bool has_base = !m.base.is_none(), has_index = !m.index.is_none();
    if (!has_base && !has_index) {
        move_imm(host::address, u64(m.disp) & low_mask(std::min<unsigned>(m.size, bytes) * 8));
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
            a.lea(x86::r14, x86::ptr(x86::r14, x86::rcx));
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

void Emitter::host_index(unsigned entry_bits) {
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
    if (window()) return indexed(tlb_field(TlbTables::window_tags_of(block_->view, write)));
    return indexed(tlb_field(TlbTables::entries_of(block_->view) +
                             (write ? offsetof(TlbEntry, write_tag) : offsetof(TlbEntry, read_tag))));
}
Emitter::Mem Emitter::tlb_addend() const {
    return indexed(tlb_field(softmmu::TlbTables::entries_of(block_->view) + offsetof(TlbEntry, addend)));
}

// In R14 is what acquire or a window leads to.
Emitter::Mem Emitter::host_pointer(unsigned size) const {
    return x86::ptr(x86::r14, i32(options_.window_base), size);
}

// Whether the page of R14 may be accessed in place, for `size` bytes. RCX is lost; R14 is lost or not: see
// the result.
bool Emitter::tlb_check(unsigned size, Access access, bool keep_address, const Label& miss) {
    const Mem tag = tlb_tag(access);
    const u64 base = window() ? 1 : 0; // a window tag is one less than the page
    host_index(window() ? 3 : kEntryBits);
    if (keep_address && window()) {
        a.mov(x86::rcx, tag);
        a.sub(x86::rcx, x86::r14);
        a.cmp(x86::rcx, imm(i64(size) - i64(softmmu::kPageSize + base)));
        a.jb(miss);
        return true;
    }
    a.sub(x86::r14, tag);
    a.cmp(x86::r14, imm(i64(softmmu::kPageSize + base - size)));
    a.ja(miss);
    return false;
}

// The address as low_address can make it again from what is in registers.
bool Emitter::remakes(const ir::Address& m, Shape shape) const {
    return shape != Shape::Complex && m.linear_size == 8 && m.size == 8;
}

// On the way to `miss` R14 is linear, or linear - tag, and RCX the index: see slow_access.
Emitter::Checked Emitter::check(const Inst& inst, unsigned size, Access access, bool one_register,
                                const Label& miss) {
    clobber(needed_before_);
    if (alone_[position_].isValid() && !share_) a.bind(alone_[position_]);
    const Shape shape = address(inst.mem, true);
    loaded_ = kNoSlot;
    if (!options_.inline_tlb) {
        a.jmp(miss);
        return {x86::ptr(x86::r14, 0, size), true};
    }
    if (window()) {
        const bool again = remakes(inst.mem, shape);
        tlb_check(size, access, !again, miss);
        if (again)
            address(inst.mem, true, 4);
        else if (inst.mem.linear_size == 8)
            a.mov(x86::r14d, x86::r14d);
        return {host_pointer(size), !again};
    }
    tlb_check(size, access, false, miss);
    switch (shape) {
    case Shape::Direct: { // the address need not wait for the tag
        a.mov(x86::rcx, tlb_addend());
        const Mem m = x86::ptr(gp(host_of(inst.mem.base), 8), x86::rcx, 0, i32(inst.mem.disp), size);
        if (!one_register) return {m, false};
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
    return {x86::ptr(x86::r14, 0, size), false};
}

// In a region that is emitted once more out of line, a miss goes on there: C++ code that gives another page a
// slot would make a check that later accesses rely on void.
bool Emitter::check_in_region(const Inst& inst, unsigned size, Access access, bool one_register, Mem& at) {
    if (!share_) return false;
    alone_[position_] = a.newLabel();
    at = check(inst, size, access, one_register, alone_[position_]).at;
    return true;
}

Emitter::Mem Emitter::begin_read(const Inst& inst, unsigned size, bool one_register, Label& back) {
    Mem at;
    if (shared()) at = shared_access(inst, size, one_register);
    if (shared() || check_in_region(inst, size, Access::Read, one_register, at)) {
        back = a.newLabel();
        a.bind(back);
        return at;
    }
    OutOfLine& o = out_of_line(&Emitter::slow_access, inst);
    const size_t number = out_of_line_.size() - 1;
    const Label miss = o.entry;
    const Checked c = check(inst, size, Access::Read, one_register, miss);
    OutOfLine& again = out_of_line_[number];
    again.flags_at = at_;
    again.size = u8(size);
    again.access = Access::Read;
    again.address_kept = c.address_kept;
    again.direct = c.at.hasIndexReg();
    again.back = again.in_place = back = a.newLabel();
    a.bind(back);
    return c.at;
}

void Emitter::write_access(const Inst& inst, unsigned size, Access access, AccessFn write) {
    // These use no scratch register.
    const bool one_register = !(inst.op == Op::VStore || inst.op == Op::X87 ||
                                (inst.op == Op::Store && inst.a.is_reg() && in_register(inst.a)));
    Mem at;
    if (shared()) at = shared_access(inst, size, one_register);
    if (shared() || check_in_region(inst, size, access, one_register, at)) return (this->*write)(inst, at);
    out_of_line(&Emitter::slow_access, inst);
    const size_t number = out_of_line_.size() - 1;
    const Label miss = out_of_line_[number].entry;
    const Checked c = check(inst, size, access, one_register, miss);
    OutOfLine& o = out_of_line_[number];
    o.flags_at = at_;
    o.size = u8(size);
    o.access = access;
    o.write = write;
    o.address_kept = c.address_kept;
    const Label back = o.back = a.newLabel();
    o.in_place = a.newLabel();
    a.bind(o.in_place);
    (this->*write)(inst, c.at);
    a.bind(back);
}

// R14 = the linear address again, after a check that failed.
void Emitter::linear_again(const OutOfLine& o) {
    if (!o.address_kept) a.add(x86::r14, tlb_tag(o.access));
}

void Emitter::slow_access(const OutOfLine& o) {
    linear_again(o);
    a.mov(x86::ecx, imm(o.size));
    if (window()) {
        call_to(stubs_.find[block_->view][u8(o.access)]);
        note_side_point();
        if (o.write || o.x87_there) a.jnc(o.in_place);
    } else {
        call_to(stubs_.acquire[u8(o.access)]);
        note_side_point();
    }
    if (!o.write || o.inst->op == Op::X87) keep_x87(o);
    if (o.write) {
        (this->*o.write)(*o.inst, host_pointer(o.size));
        call_to(stubs_.commit);
        keep_x87(o);
    } else if (o.direct) { // the inline access adds RCX to the guest's address
        a.lea(x86::rcx, x86::ptr(gp(host_of(o.inst->mem.base), 8), i32(o.inst->mem.disp)));
        a.sub(x86::r14, x86::rcx);
        a.mov(x86::rcx, x86::r14);
    }
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
    out_of_line(&Emitter::find_or_interpret, inst);
    const Checked c = check(inst, size, access, aligned, out_of_line_[number].entry);
    OutOfLine& o = out_of_line_[number];
    o.flags_at = at_;
    o.size = u8(size);
    o.access = access;
    o.address_kept = c.address_kept;
    o.back = back;
    o.in_place = a.newLabel();
    a.bind(o.in_place);
    check_alignment();
    return c.at;
}

// The same for instructions that the interpreter takes when their memory cannot be accessed in place.
void Emitter::find_or_interpret(const OutOfLine& o) {
    if (window()) {
        linear_again(o);
        a.mov(x86::ecx, imm(o.size));
        call_to(stubs_.find_only[block_->view][u8(o.access)]);
        a.jnc(o.in_place);
    }
    interpret_slowly(o);
}

} // namespace dragoman::backend
