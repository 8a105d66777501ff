// The block, out-of-line code and operands.
#include "backend/x64/emitter.h"

#include "ir/vec.h"
#include "ir/vex.h"

#include <algorithm>
#include <cstring>

namespace dragoman::backend {

using namespace asmjit;
using ir::Context;

const Emitter::EmitFn Emitter::table_[] = {
#define OP(name, ...) &Emitter::emit_##name,
#include "ir/ops.inc"
#undef OP
};

namespace {

bool has_vectors(const ir::Block& block) {
    return std::any_of(block.insts.begin(), block.insts.end(), [](const ir::Inst& inst) {
        switch (inst.op) {
        case ir::Op::VLoad:
        case ir::Op::VStore:
        case ir::Op::Vec:
        case ir::Op::Vex:
        case ir::Op::ClearUpper: return true;
        default: return false;
        }
    });
}

} // namespace

Emitter::Emitter(const Options& options, const HostFeatures& features, const StubSets& stubs)
    : options_(options), features_(features), stub_sets_(stubs),
      of_guest_(options.uncounted ? host::uncounted : host::counted),
      bmi2_(options.use_bmi2 && features.has(HostFeature::Bmi2)),
      x87_(options.inline_x87 && features.has(HostFeature::Xsave)) {
    for (unsigned i = 0; i < ir::vec_op_count(); ++i) {
        const ir::VecOp& op = ir::vec_op(u16(i));
        const std::string_view name = op.mnemonic;
        const bool host_has = (!name.starts_with("aes") || features_.has(HostFeature::Aes)) &&
                              (!name.starts_with("pclmul") || features_.has(HostFeature::Pclmul)) &&
                              (!name.starts_with("sha") || features_.has(HostFeature::Sha));
        vec_ids_.push_back(host_has && !op.implicit_registers && (!op.flags || op.flags == ir::kAllFlags)
                               ? InstAPI::stringToInstId(Arch::kX64, name.data(), name.size())
                               : InstId(x86::Inst::kIdNone));
    }
    for (unsigned i = 0; i < ir::vex_op_count(); ++i) {
        const std::string_view name = ir::vex_op(u16(i)).mnemonic;
        vex_ids_.push_back(InstAPI::stringToInstId(Arch::kX64, name.data(), name.size()));
    }
}

void Emitter::handleError(asmjit::Error, const char* message, BaseEmitter*) {
    if (may_fail_) return;
    std::fprintf(stderr, "dragoman: cannot emit (%s): %s\n", message,
                 block_ && position_ < block_->insts.size() ? ir::print(block_->insts[position_]).c_str()
                                                            : "");
    DRAGOMAN_ASSERT(!"an instruction that asmjit accepts");
}

i64 Emitter::tlb_field(size_t field) const {
    return options_.tlb_offset + i64(field);
}

// ---- the block

const u8* Emitter::compile(const ir::Block& block, const u8* at, u64 room, Compiled& out) {
    code_.reset(ResetPolicy::kSoft);
    code_.init(Environment(Arch::kX64), reinterpret_cast<u64>(at));
    code_.setErrorHandler(this);
    code_.attach(&a);
    block_ = &block;
    stubs_ = stub_sets_.of(block.vector_bytes);
    out_ = &out;
    out.clear();
    prepare(block);

    const u32 before = emit_entries(block);
    if (options_.lazy_vectors && block.vectors_lazy && has_vectors(block)) take_vectors();
    if (shared_.loop()) begin_loop();
    take_budget();
    emit_range(0, block.insts.size(), true);
    count_for_none();
    out.host_instructions = a.count - before;
    emit_out_of_line();
    if (!records_.empty()) a.align(AlignMode::kZero, 8);
    for (const Record& record : records_) {
        a.bind(record.label);
        a.embed(&record.call, sizeof record.call);
        if (record.imm_from_pc)
            note_pc(PcForm::Eight, record.call.imm, sizeof record.call - offsetof(CallRecord, imm));
    }

    const asmjit::CodeBuffer& made = code_.sectionById(0)->buffer();
    if (made.size() > std::min(room, kMostCodeBytes)) return nullptr;
    DRAGOMAN_ASSERT(!code_.hasUnresolvedLinks() && code_.relocEntries().empty());
    out.code_bytes = u32(made.size());
    out.calls = u32(records_.size());
    std::sort(out.points.begin(), out.points.end(),
              [](const SidePoint& x, const SidePoint& y) { return x.return_offset < y.return_offset; });
    out.movable = movable_;
    if (!movable_) out.pc_numbers.clear();
    return made.data();
}

// Each falls through to where the block wants its flags, or leads to one that does. How many instructions
// came before that.
u32 Emitter::emit_entries(const ir::Block& block) {
    const bool from_far = block.code_pages[0] != ir::Block::no_number;
    const FlagsAt wanted =
        shared_.loop() && options_.saved_flags && needed_[0] ? FlagsAt::Saved : first_flags();
    at_ = FlagsAt::Saved;
    const bool of_two_pages = from_far && block.crosses_page();
    const Label start = a.newLabel();
    if (from_far) {
        const Label other = a.newLabel(), same = a.newLabel();
        a.bind(other); // in front of it all, a jump to there is four bytes shorter
        enter_other_page(0, same);
        a.bind(start);
        out_->far_entry = u32(a.offset());
        ask_for_page(0, block.linear_pc, other);
        a.bind(same);
    }
    if (of_two_pages) {
        OutOfLine& o = out_of_line(&Emitter::second_page_is_another, block.insts.front());
        o.back = a.newLabel();
        ask_for_page(1, block.second_page(), o.entry);
        a.bind(o.back);
    }
    const u32 before = a.count;
    if (wanted == FlagsAt::Saved) {
        // Not for those who come from above: to them it is the immediate operand of TEST EAX.
        if (from_far) a.db(0xa9);
        out_->entry = u32(a.offset());
        a.lahf();
        a.seto(x86::al);
        out_->saved_entry = u32(a.offset());
    } else {
        out_->saved_entry = u32(a.offset());
        if (wanted == FlagsAt::Eflags) want_eflags();
        out_->entry = u32(a.offset());
    }
    if (!from_far) out_->far_entry = out_->saved_entry;
    if (of_two_pages) {
        out_->saved_entry = out_->far_entry;
        out_of_line(&Emitter::entry_of_two_pages, block.insts.front()).back = start;
    }
    at_ = wanted;
    return before;
}

void Emitter::take_vectors() {
    const Label there = a.newLabel();
    a.mov(x86::ecx, in_context(offsetof(Context, vectors_here), 4));
    a.jecxz(x86::rcx, there);
    call_to(stubs_.take_vectors);
    a.bind(there);
}

void Emitter::emit_range(size_t first, size_t end, bool in_line) {
    for (position_ = first; position_ < end; ++position_) {
        const size_t at = position_; // an op may be emitted with the one before it
        const Inst& inst = block_->insts[at];
        needed_now_ = in_line && shared_.loop() ? &needed_in_rounds_ : &needed_;
        find_needed();
        if (late_stack_ && !bears_late_stack(inst)) move_stack();
        if (in_line && position_ == early_poll_) shared_.loop() ? end_round() : emit_early_poll();
        if (inst.op == ir::Op::Insn) {
            if (in_line) count_for(position_);
            begin_instruction(position_);
        }
        imm_from_pc_ = inst.from_pc;
        if (in_line) begin_shared_region();
        if (remake_[at] == Remake::ShiftCopy && needed_after_) copy_shifted();
        (this->*table_[u8(inst.op)])(inst);
        if (!needed_after_)
            at_ = FlagsAt::Nowhere;
        else if (never_in_eflags())
            at_ = FlagsAt::Again;
        write_through(at, position_);
        if (in_line) end_shared_region(at);
    }
}

void Emitter::count_for(size_t at) {
    count_for_none();
    const auto begin = block_->insts.begin() + i64(at) + 1;
    auto end = std::find_if(begin, block_->insts.end(), [](const Inst& i) { return i.op == ir::Op::Insn; });
    const bool goes_on = end > begin &&
                         end[-1].op == ir::Op::Jump && // the block ends, the guest does not jump
                         u64(end[-1].imm) == rip_of(i32(block_->guest_bytes));
    kind_ = &out_->kinds[u8(kind_of({begin, end - goes_on}))];
    ++kind_->guest;
    count_before_ = a.count;
}

void Emitter::count_for_none() {
    if (kind_) kind_->host += u16(a.count - count_before_);
    kind_ = nullptr;
}

void Emitter::find_needed() {
    needed_before_ = (*needed_now_)[position_] & live_[position_];
    needed_after_ = (*needed_now_)[position_ + 1] & live_[position_ + 1];
}

// What is needed of the flags, from the end to the start: everything where the block may be left.
void Emitter::prepare(const ir::Block& block) {
    out_of_line_.clear();
    records_.clear();
    stub_jumps_.clear();
    movable_ = block.mode_bits == 64 && block.linear_pc == block.pc && !block.pinned;
    at_ = FlagsAt::Eflags;
    home_ = 0xff;
    held_ = HeldRegisters::none;
    x87_there_ = false;
    guest_offset_ = 0;
    instruction_index_ = ~0u; // the first Insn makes it 0
    const size_t n = block.insts.size();
    DRAGOMAN_ASSERT(n && (ir::info(block.insts[n - 1].op).effects & ir::kEndsBlock));
    needed_.resize(n + 1);
    Flags needed = needed_[n] = ir::kAllFlags;
    for (size_t i = n; i-- > 0;) {
        const Inst& inst = block.insts[i];
        needed &= ~ir::flags_replaced(inst);
        needed |= ir::flags_read(inst);
        if (ir::may_leave(inst) || i == n - 1) needed = ir::kAllFlags;
        needed_[i] = needed;
    }
    live_.resize(n + 1);
    live_[0] = ir::kAllFlags;
    narrow_.resize(n + 1);
    narrow_[0] = 0;
    for (size_t i = 0; i < n; ++i) {
        const Inst& inst = block.insts[i];
        const Flags writes = ir::flags_written(inst);
        live_[i + 1] = (live_[i] & ~writes) | (writes & inst.live);
        narrow_[i + 1] = (narrow_[i] & ~ir::registers_written(inst)) | ir::registers_narrowed(inst);
    }
    needed_now_ = &needed_;
    find_flag_makers();
    early_poll_ = early_poll(block);
    plan_holds();

    share_ = in_copy_ = false;
    late_stack_ = 0;
    region_ = 0;
    alone_.assign(n, {});
    alone_at_.assign(n, FlagsAt::Nowhere);
    if (options_.share_checks && options_.inline_tlb)
        shared_.plan(block, window() ? kMostShared : frame::addends, x87_, round_end(block),
                     [this](const Inst& inst) { return shared_use(inst); });
    else
        shared_.clear();
    if (shared_.loop()) find_needed_in_rounds();
    ends_.assign(shared_.regions().size(), FlagsAt::Nowhere);
}

// Gives the temporary that this guest instruction names most its host register, or that to a guest register.
void Emitter::begin_instruction(size_t at) {
    const std::vector<Inst>& insts = block_->insts;
    ++instruction_index_;
    guest_offset_ = i32(insts[at].imm);
    const HeldRegisters::Hold hold = holds_.of(instruction_index_);
    held_ = hold.id;
    home_ = 0xff;
    if (hold.fetch) fetch_held();
    if (held_ != HeldRegisters::none) return;
    u8 uses[ir::kTemps] = {};
    unsigned best = 0;
    const auto count = [&](Ref r) {
        if (r.is_temp() && ++uses[r.index()] > best) best = uses[r.index()], home_ = r.id();
    };
    for (size_t i = at + 1; i < insts.size() && insts[i].op != ir::Op::Insn; ++i)
        for (Ref r : {insts[i].d, insts[i].a, insts[i].b, insts[i].c, insts[i].mem.base, insts[i].mem.index})
            count(r);
}

void Emitter::emit_Insn(const Inst&) {}

// Before the first op that overwrites EFLAGS for itself, or before one that wants them there. Wrong answers
// cost an instruction or two.
FlagsAt Emitter::first_flags() const {
    if (!needed_[0]) return FlagsAt::Nowhere;
    if (!options_.saved_flags) return FlagsAt::Eflags;
    for (size_t at = 0; at < block_->insts.size(); ++at) {
        const Inst& inst = block_->insts[at];
        const u8 effects = ir::info(inst.op).effects;
        switch (inst.op) {
        case ir::Op::Insn: continue;
        case ir::Op::Call:
        case ir::Op::JumpInd:
        case ir::Op::ExitHere:
        case ir::Op::ExitTo: return FlagsAt::Saved;
        case ir::Op::Jump: return u64(inst.imm) <= block_->pc ? FlagsAt::Saved : FlagsAt::Eflags;
        default: break;
        }
        if (effects & ir::kTouchesMemory)
            return keeps_eflags(at, inst.mem) ? FlagsAt::Eflags : FlagsAt::Saved;
        if (inst.from_memory && ir::may_leave(inst)) return FlagsAt::Saved;
        if (ir::flags_read(inst) || ir::flags_written(inst) || ir::may_leave(inst) ||
            (effects & ir::kEndsBlock))
            break;
    }
    return FlagsAt::Eflags;
}

u64 Emitter::rip_of(i32 guest_offset) const {
    const u64 rip = block_->pc + u64(i64(guest_offset));
    return block_->mode_bits == 64 ? rip : rip & 0xffffffff;
}

void Emitter::note_side_point() {
    out_->points.push_back({.return_offset = u16(a.offset()),
                            .guest_offset = i16(guest_offset_),
                            .instruction_index = u16(instruction_index_)});
}

Emitter::OutOfLine& Emitter::out_of_line(OutOfLineFn emit, const Inst& inst) {
    OutOfLine& o = out_of_line_.emplace_back();
    o.emit = emit;
    o.entry = a.newLabel();
    o.inst = &inst;
    o.flags_at = at_;
    o.needed_now = needed_now_;
    o.needed_before = needed_before_;
    o.needed_after = needed_after_;
    o.home = home_;
    o.held = held_;
    o.x87_there = x87_there_;
    o.guest_offset = guest_offset_;
    o.instruction_index = instruction_index_;
    return o;
}

void Emitter::emit_out_of_line() {
    for (size_t i = 0; i < out_of_line_.size(); ++i) {
        const OutOfLine o = out_of_line_[i];
        at_ = o.flags_at;
        position_ = size_t(o.inst - block_->insts.data());
        needed_now_ = o.needed_now;
        needed_before_ = o.needed_before;
        needed_after_ = o.needed_after;
        home_ = o.home;
        held_ = o.held;
        x87_there_ = o.x87_there;
        guest_offset_ = o.guest_offset;
        instruction_index_ = o.instruction_index;
        imm_from_pc_ = o.inst->from_pc;
        a.bind(o.entry);
        (this->*o.emit)(o);
    }
}

// ---- operands

bool Emitter::in_register(Ref r) const {
    if (!r.is_gpr()) return r.id() == home_;
    return of_guest_[r.index()] != host::memory || r.id() == held_;
}

unsigned Emitter::host_of(Ref r) const {
    return r.is_gpr() && r.id() != held_ ? of_guest_[r.index()] : host::temp;
}

Emitter::Mem Emitter::slot(Ref r, unsigned size) const {
    DRAGOMAN_ASSERT(r.is_reg() && !(r.is_gpr() && in_register(r)));
    if (r.is_gpr()) return in_frame(r.index(), size);
    return in_context(i64(offsetof(Context, tmp)) + 8 * r.index(), size);
}

void Emitter::move_imm(unsigned to, u64 value) {
    if (value <= ~0u)
        a.mov(gp(to, 4), imm(value));
    else
        a.mov(gp(to, 8), imm(i64(value)));
}

void Emitter::move_pc(unsigned to, u64 address) {
    const u32 begin = u32(a.offset());
    move_imm(to, address);
    switch (u32(a.offset()) - begin) {
    case 10: return note_pc(PcForm::Eight, address, 8);
    case 7: return note_pc(PcForm::Signed, address);
    default: return note_pc(PcForm::Unsigned, address);
    }
}

void Emitter::note_pc(PcForm form, u64 address, unsigned before_end) {
    const i64 distance = i64(address - block_->pc);
    const u32 offset = u32(a.offset()) - before_end;
    if (distance != i32(distance) || offset != u16(offset)) movable_ = false;
    out_->pc_numbers.push_back({.offset = u16(offset), .form = form, .distance = i32(distance)});
}

void Emitter::note_pc_signed(u32 begin, unsigned instruction_bytes, u64 address) {
    if (u32(a.offset()) - begin == instruction_bytes) return note_pc(PcForm::Signed, address);
    movable_ = false;
}

namespace {

// An immediate as an instruction of this size takes it.
i64 cut(i64 imm, unsigned size) {
    switch (size) {
    case 1: return i8(imm);
    case 2: return i16(imm);
    case 4: return i32(imm);
    default: return imm;
    }
}

} // namespace

Operand Emitter::source(Ref r, unsigned size, i64 value, unsigned scratch) {
    if (r == operand_) return operand_at_;
    if (r.is_imm()) {
        const i64 v = cut(value, size);
        if (imm_from_pc_) {
            load_value(scratch, r, size, value);
            return gp(scratch, size);
        }
        if (v == i32(v)) return imm(v);
        move_imm(scratch, u64(v));
        return gp(scratch, size);
    }
    if (in_register(r)) return gp(host_of(r), size);
    return slot(r, size);
}

Operand Emitter::register_or_memory(Ref r, unsigned size, i64 value, unsigned scratch) {
    if (!r.is_imm()) return source(r, size, value, scratch);
    load_value(scratch, r, size, value);
    return gp(scratch, size);
}

unsigned Emitter::value(Ref r, unsigned size, i64 imm, unsigned scratch) {
    if (r.is_reg() && in_register(r)) return host_of(r);
    load_value(scratch, r, size, imm);
    return scratch;
}

void Emitter::load_value(unsigned to, Ref r, unsigned size, i64 imm) {
    const unsigned wide = size == 8 ? 8 : 4;
    if (r.is_imm() && imm_from_pc_ && size == 8)
        move_pc(to, u64(imm));
    else if (r.is_imm()) {
        movable_ &= !imm_from_pc_;
        move_imm(to, u64(imm) & (size == 8 ? ~u64{0} : (u64{1} << size * 8) - 1));
    } else if (r == operand_)
        a.mov(gp(to, wide), operand_at_); // is as wide: see is_operand_of_next
    else if (in_register(r))
        a.mov(gp(to, wide), gp(host_of(r), wide));
    else
        a.mov(gp(to, wide), slot(r, wide));
}

void Emitter::load_zero_extended(unsigned to, Ref r, unsigned size, i64 imm) {
    if (size >= 4 || r.is_imm())
        load_value(to, r, size, imm);
    else if (in_register(r))
        a.movzx(gp(to, 4), gp(host_of(r), size));
    else
        a.movzx(gp(to, 4), slot(r, size));
}

void Emitter::define(Ref d, unsigned size, unsigned from) {
    if (in_register(d)) {
        const unsigned to = host_of(d);
        if (size >= 4) {
            if (size == 4 || to != from) a.mov(gp(to, size), gp(from, size));
        } else if (d.is_temp()) {
            a.movzx(gp(to, 4), gp(from, size));
        } else if (to != from) {
            a.mov(gp(to, size), gp(from, size));
        }
    } else if (size >= 4) {
        a.mov(slot(d, 8), gp(from, 8));
    } else if (d.is_temp()) {
        a.movzx(x86::ecx, gp(from, size));
        a.mov(slot(d, 8), x86::rcx);
    } else {
        a.mov(slot(d, size), gp(from, size));
    }
}

void Emitter::narrow_temp(Ref d, unsigned size) {
    if (d.is_temp() && size < 4) a.movzx(gp(host::temp, 4), gp(host::temp, size));
}

} // namespace dragoman::backend
