// Turns one block into host code. One emit_ function for each row of ir/ops.inc, grouped in emit_*.cpp as the
// op table is; what they share is declared here and defined in emitter.cpp (the block, flags, operands) and
// emit_memory.cpp (addresses).
#pragma once

#include "backend/x64/backend.h"
#include "backend/x64/held_registers.h"
#include "backend/x64/host_features.h"
#include "backend/x64/shared_checks.h"
#include "backend/x64/stubs.h"
#include "ir/memory.h"
#include "ir/passes/passes.h"

#include <asmjit/x86.h>

namespace dragoman::backend {

// Where the guest's flags are at a point of the code; fixed while the block is compiled.
enum class FlagsAt : u8 {
    Nowhere, // nobody needs them
    Eflags,  // in EFLAGS
    Saved,   // in RAX (see registers.h); EFLAGS holds something else
    Both,
    Again // in neither: they can be made again by the op that made them (Emitter::again_)
};

// Knows how many instructions it has been given.
class CountingAssembler final : public asmjit::x86::Assembler {
  public:
    using asmjit::x86::Assembler::Assembler;
    u32 count = 0;

  private:
    using Operand_ = asmjit::Operand_;
    asmjit::Error _emit(asmjit::InstId id, const Operand_& o0, const Operand_& o1, const Operand_& o2,
                        const Operand_* rest) override {
        ++count;
        return asmjit::x86::Assembler::_emit(id, o0, o1, o2, rest);
    }
};

class Emitter final : private asmjit::ErrorHandler {
  public:
    Emitter(const Options& options, const HostFeatures& features, const StubSets& stubs);

    // Code for `block` to run at `at`. Null if it does not fit into `room` bytes. Valid until the next call.
    const u8* compile(const ir::Block& block, const u8* at, u64 room, Compiled& out);
    // Of the block compiled last: the offsets of its displacements that lead to stubs.
    const std::vector<u32>& stub_jumps() const { return stub_jumps_; }

  private:
    using Inst = ir::Inst;
    using Ref = ir::Ref;
    using Flags = ir::Flags;
    using Label = asmjit::Label;
    using Gp = asmjit::x86::Gp;
    using Mem = asmjit::x86::Mem;
    using InstId = asmjit::InstId;

#define OP(name, ...) void emit_##name(const Inst& inst);
#include "ir/ops.inc"
#undef OP
    using EmitFn = void (Emitter::*)(const Inst&);
    static const EmitFn table_[];

    // ---- code that is rarely run, emitted after the block's end, in the state in which it was asked for
    struct OutOfLine;
    using OutOfLineFn = void (Emitter::*)(const OutOfLine&);
    using Access = ir::Access;
    using AccessFn = void (Emitter::*)(const Inst&, const Mem&);
    enum class AddressAt : u8 { R14, BeyondTag, Constant }; // BeyondTag: R14 is linear - tag, RCX the index
    struct OutOfLine {
        OutOfLineFn emit = nullptr;
        Label entry, back;
        const Inst* inst = nullptr;
        AccessFn op = nullptr; // of an access: to be done on the host pointer
        u64 value = 0;         // target rip; or linear address
        u32 jump_offset = 0;   // of a link site
        u32 region = 0;        // of SharedChecks
        u8 size = 0;
        ir::Access access = ir::Access::Read;
        Label in_place;                        // the op in line, for an address that was found after all
        AddressAt address_at = AddressAt::R14; // when the check fails

        FlagsAt flags_at = FlagsAt::Nowhere;
        const std::vector<Flags>* needed_now = nullptr;
        Flags needed_before = 0, needed_after = 0;
        u8 home = 0, held = 0;
        bool x87_there = false;
        i32 guest_offset = 0;
        u32 instruction_index = 0;
    };
    OutOfLine& out_of_line(OutOfLineFn emit, const Inst& inst);
    void emit_out_of_line();

    // ---- the block (emitter.cpp)
    void prepare(const ir::Block& block);
    u32 emit_entries(const ir::Block& block);
    void take_vectors(); // at the beginning, if there may be none
    void emit_range(size_t first, size_t end, bool in_line);
    void find_needed(); // the flags around the op at position_
    // Counts what comes from here on for the guest instruction at `at`; for none.
    void count_for(size_t at);
    void count_for_none();
    void begin_instruction(size_t at);
    void note_side_point(); // the call just emitted may leave, or is made for, the current guest instruction
    u64 rip_of(i32 guest_offset) const;
    u64 current_rip() const {
        return rip_of(guest_offset_);
    }
    FlagsAt first_flags() const; // where the flags are wanted first

    // ---- guest registers in the register for temporaries (emit_held.cpp)
    void plan_holds();
    void fetch_held();
    void write_through(size_t first, size_t last); // the held register, if one of these ops has changed it

    // ---- flags (emit_flags.cpp)
    void save_flags();          // EFLAGS may be lost afterwards; call clobber() when it is
    void clobber(Flags needed); // EFLAGS will be overwritten by something that is not the guest's
    // The same where few ways from here want the flags: those make them again, if that can be done.
    void clobber_cheaply(Flags needed);
    // How the flags of an op can be made again, as long as some registers stay what they are behind it.
    enum class Remake : u8 {
        No,
        InPlace,  // of its operands, or of its result, where these are
        Shift,    // of what a shift shifted, which a register still has
        ShiftCopy // or frame::shifted
    };
    void find_flag_makers();
    Remake find_remake(size_t at, size_t& last) const;
    size_t last_to_make_again(size_t at, ir::RegSet operands) const;
    bool only_accesses_lose_flags(size_t first, size_t last) const;
    std::optional<ir::RegSet> flags_come_from(size_t at, Remake way) const;
    std::optional<ir::RegSet> flags_come_from_place(const Inst& inst) const;
    Ref shifted_from(size_t at) const;
    void copy_shifted();
    bool never_in_eflags() const; // the flags of the present op: they are made again for whoever wants them
    void make_flags_again();
    void remake_in_place(const Inst& inst);
    void remake_shift(size_t at);
    void want_eflags();                        // the guest's flags are needed in EFLAGS
    bool wants_eflags_soon(size_t from) const; // before all of them are overwritten
    // Before the host instruction whose effect on EFLAGS is that of the IR instruction on the guest's flags.
    void guest_flags(const Inst& inst);
    void guest_flags(Flags writes, Flags replaced, Flags reads);
    void settle_flags() {
        a.cmp(asmjit::x86::ecx, asmjit::x86::ecx);
    }                                 // ir::kSettled
    void flags_to_value(unsigned to); // saved flags -> EFLAGS positions; RAX and EFLAGS are lost
    void value_to_flags();            // R14 -> saved flags; RCX and EFLAGS are lost

    // ---- operands (emitter.cpp); none of these touches EFLAGS
    bool in_register(Ref r) const;
    unsigned host_of(Ref r) const;        // number of its host register
    Mem slot(Ref r, unsigned size) const; // its place in memory, where it has no register
    void move_imm(unsigned to, u64 value);
    // ---- what moves with the block (PcNumber)
    void move_pc(unsigned to, u64 address);
    // The instruction just emitted ends with the number.
    void note_pc(PcForm form, u64 address, unsigned before_end = 4);
    // The same where it may have been emitted with fewer bytes: `begin` is where the instruction begins.
    void note_pc_signed(u32 begin, unsigned instruction_bytes, u64 address);
    // The operand as an instruction's source: register, memory or an immediate that fits; through `scratch`
    // otherwise.
    asmjit::Operand source(Ref r, unsigned size, i64 imm, unsigned scratch);
    // The same for instructions that take no immediate.
    asmjit::Operand register_or_memory(Ref r, unsigned size, i64 imm, unsigned scratch);
    // In a register: its own or `scratch`. Bits above `size` are undefined.
    unsigned value(Ref r, unsigned size, i64 imm, unsigned scratch);
    void load_value(unsigned to, Ref r, unsigned size, i64 imm); // bits above undefined for sizes 1 and 2
    void load_zero_extended(unsigned to, Ref r, unsigned size, i64 imm);
    // d = the low `size` bytes of a host register, with the merging and zero-extension of ir/inst.h. Of 4
    // bytes the upper half is 0 there already, as the host's 4-byte instructions leave it.
    void define(Ref d, unsigned size, unsigned from);
    bool is_narrow(Ref r) const { // the upper half is 0, before the present instruction
        return narrow_[position_] & ir::reg_set(r);
    }
    // Is an op that takes and gives `size` bytes of d done where d lies in memory? Not of 4: the host could
    // not forward such a store to the next load of all 8, which are an address often.
    static bool works_in_slot(Ref d, unsigned size) {
        return size == 8 || (size < 4 && d.is_gpr());
    }
    void
    narrow_temp(Ref d,
                unsigned size); // after a 1- or 2-byte host instruction wrote a temporary in its register

    // ---- memory (emit_memory.cpp)
    enum class Shape : u8 { Direct, Simple, Complex };
    // To R14, or its low `bytes` bytes only, zero-extended; RCX is lost.
    Shape address(const ir::Address& mem, bool linear, unsigned bytes = 8);
    void constant_address(const ir::Address& mem, unsigned bytes);
    void tlb_index(); // RCX = where R14's page has its entry or tag; EFLAGS lost
    // The address, the TLB check and the op, which is emitted here and once more out of line. Saves flags.
    void access_memory(const Inst& inst, unsigned size, ir::Access access, AccessFn op);
    int moves_stack_behind(const Inst& inst) const;
    void access_by_call(const Inst& inst, unsigned size, ir::Access access, AccessFn op);
    int stub_size(unsigned size) const;
    void find_slowly(const OutOfLine& o);
    struct Checked {
        Mem at;
        AddressAt address_at;
    };
    // `keep`: EFLAGS, the guest's; else they are saved.
    Checked check(const Inst& inst, unsigned size, ir::Access access, bool one_register, bool keep,
                  const Label& miss);
    bool check_in_region(const Inst& inst, unsigned size, ir::Access access, bool one_register, Mem& at);
    void tlb_check(unsigned size, ir::Access access, bool keep_address, const Label& miss);
    bool keeps_eflags(size_t at, const ir::Address& mem) const; // the check of the access there
    bool stays_in_eflags(const ir::Address& mem) const {
        return (at_ == FlagsAt::Eflags || at_ == FlagsAt::Both) && keeps_eflags(position_, mem);
    }
    void tlb_check_beside_eflags(unsigned size, ir::Access access, const Label& miss);
    bool check_constant(const ir::Address& mem, unsigned size, ir::Access access, const Label& miss);
    static bool is_constant(const ir::Address& mem);
    bool is_simple(const ir::Address& mem) const;
    void linear_again(const OutOfLine& o);
    void slow_access(const OutOfLine& o);
    Mem check_or_interpret(const Inst& inst, unsigned size, ir::Access access, bool aligned,
                           const Label& back);
    void find_or_interpret(const OutOfLine& o);
    Mem host_pointer(unsigned size) const;
    Mem in_window(const ir::Address& mem, unsigned size);
    bool window() const {
        return options_.window_base.has_value();
    }
    Mem tlb_tag(Access access) const; // of where RCX leads
    Mem tlb_addend() const;

    // ---- accesses that share a check (emit_shared.cpp)
    // The region is emitted twice: in line, where the first access of a group checks for all of them, and out
    // of line with a check for each. There every first access has a label, where a shared check that fails
    // goes.
    const SharedGroup* shared() const {
        return share_ ? shared_.group(position_) : nullptr;
    }
    SharedChecks::Use shared_use(const Inst& inst) const;
    Mem shared_access(const Inst& inst, unsigned size, bool one_register);
    bool keeps_scratch(const Inst& inst) const;
    bool moves_stack_late(const Inst& inst) const;
    bool bears_late_stack(const Inst& inst) const;
    void move_stack();
    void begin_shared_region();
    void end_shared_region(size_t at); // behind the op there
    void region_alone(const OutOfLine& o);
    void bind_alone();
    bool checked_before(const SharedGroup& group) const {
        return group.ahead || checked_[group.slot];
    }
    // ---- loops with checks ahead (emit_loop.cpp)
    u32 round_end(const ir::Block& block) const;
    void find_needed_in_rounds();
    void begin_loop();
    void check_ahead(const SharedGroup& group, const Label& fail);
    void keep_least(const SharedGroup& group, bool first);
    void bytes_left(const Gp& value, i64 stride);
    void bytes_to_rounds(const Gp& value, i64 stride);
    void end_round();
    void next_round(const Inst& branch);
    void round_alone(const OutOfLine& o);
    void pause_loop(const OutOfLine& o);
    void meet_flags(FlagsAt at);

    // ---- the accesses themselves, on a host operand (emit_load.cpp, emit_rmw.cpp, emit_vector.cpp)
    void load_to(const Inst& inst, const Mem& m);
    bool is_operand_of_next(size_t at) const; // the load there, of the op behind it
    void use_operand(const Inst& load, const Mem& m);
    void store_op(const Inst& inst, const Mem& m);
    void vload_op(const Inst& inst, const Mem& m);
    void vstore_op(const Inst& inst, const Mem& m);
    void rmw_op(const Inst& inst, const Mem& m);
    void rmw_by_count(const Inst& inst, const Mem& m);
    void rmw_bit(const Inst& inst, const Mem& m);
    void rmw_exchange(const Inst& inst, const Mem& m);
    void rmw_compare(const Inst& inst, const Mem& m);
    bool rmw_by_interpreter(const Inst& inst) const;

    // ---- arithmetic (emit_arith.cpp)
    void two_operands(InstId id, const Inst& inst, bool commutes);
    void compare(const Inst& inst); // of Cmp and Test
    void one_operand(InstId id, const Inst& inst);
    void shift(InstId id, InstId by_register, const Inst& inst);
    void double_shift(InstId id, const Inst& inst);
    void bit_op(InstId id, const Inst& inst);
    void scan(InstId id, const Inst& inst);
    void multiply(InstId id, const Inst& inst);
    void divide(InstId id, const Inst& inst);

    // ---- bits (emit_bits.cpp)
    void count_bits(InstId id, HostFeature needs, const Inst& inst);
    void bits_by(InstId id, HostFeature needs, const Inst& inst);
    void bits_with(InstId id, HostFeature needs, const Inst& inst);
    void add_with_flag(InstId id, const Inst& inst);

    // ---- calls and ends (emit_control.cpp)
    // For the current guest instruction.
    void call(const void* fn, u64 imm, bool imm_from_pc = false, ir::Bulk bulk = {});
    void interpret(const Inst& inst);          // the interpreter's meaning of the instruction, in place
    void interpret_slowly(const OutOfLine& o); // the same out of line, then back
    const Label& interpret_out_of_line(const Inst& inst, const Label& back);
    void poll(const Inst& inst, OutOfLineFn leave);
    void poll_by_compare(const Label& out);
    void poll_around_eflags(const Label& out, const Label& done);
    size_t early_poll(const ir::Block& block) const;
    void emit_early_poll();
    void event_before_branch(const OutOfLine& o);
    void leave_by_branch(const Inst& branch, bool taken_backward, bool else_backward);
    void event_to_target(const OutOfLine& o);
    void event_of_branch(const OutOfLine& o);
    void event_of_value(const OutOfLine& o);
    void event_of_register(const OutOfLine& o);
    void event_in_block(const OutOfLine& o);
    void saved_for_exit();
    void link_jump(const Inst& inst, u64 target);
    void link_jump_if(ir::Cond cond, const Inst& inst, u64 target);
    void link_stub(const OutOfLine& o);
    void side_exit(const OutOfLine& o);
    void take_budget();                  // of the whole block
    void give_back_budget(unsigned own); // own: 1 if the current instruction does not retire
    bool backward(i64 target) const;
    void jump_out(const OutOfLine& o);
    bool far(u64 target) const; // to another page, or from a block that lies in two
    void far_branch(const OutOfLine& o);
    void ask_for_page(unsigned part, u64 linear, const Label& other); // part: of Block::code_pages
    void enter_other_page(unsigned part, const Label& same);
    void second_page_is_another(const OutOfLine& o);
    void entry_of_two_pages(const OutOfLine& o);
    unsigned jump_target(const Inst& inst) const;
    void lookup_miss(const OutOfLine& o);
    void finish_flags(); // the guest's flags to EFLAGS, as every block expects them

    // ---- vectors (emit_vector.cpp)
    asmjit::Operand vector_source(const Inst& inst, unsigned size);
    // ---- x87 (emit_x87.cpp)
    void want_x87(const Inst& inst); // the guest's x87 state is needed in the host's FPU
    void take_x87(const OutOfLine& o);
    void keep_x87(const OutOfLine& o); // the same where code out of line joins code that has it there
    void x87_memory(const Inst& inst, const Mem& m);
    void load_x87_control(const Inst& inst);
    void note_x87(const Inst& inst);
    // ---- VEX (emit_vex.cpp)
    void vex_op(const Inst& inst, const Mem* memory);
    bool vex_by_interpreter(const Inst& inst) const;
    static bool vex_is_partial(const Inst& inst); // or raises exception flags before a store
    void vex_memory(const Inst& inst, const Mem& m);

    void jump_to(const u8* stub) {
        a.long_().jmp(asmjit::imm(reinterpret_cast<u64>(stub)));
        stub_jumps_.push_back(u32(a.offset()) - 4);
    }
    void call_to(const u8* stub) {
        a.call(asmjit::imm(reinterpret_cast<u64>(stub)));
        stub_jumps_.push_back(u32(a.offset()) - 4);
    }
    bool bmi2() const {
        return bmi2_;
    }
    i64 tlb_field(size_t field) const;

    void handleError(asmjit::Error error, const char* message, asmjit::BaseEmitter* origin) override;

    Options options_;
    HostFeatures features_;
    StubSets stub_sets_;
    const u8* const of_guest_; // host::counted or host::uncounted
    Stubs stubs_;              // of the block being compiled
    bool bmi2_;
    std::vector<InstId> vec_ids_; // by Inst::vec; 0: not emitted directly
    std::vector<InstId> vex_ids_;

    asmjit::CodeHolder code_;
    CountingAssembler a;

    // Of the block being compiled.
    const ir::Block* block_ = nullptr;
    Compiled* out_ = nullptr;
    std::vector<OutOfLine> out_of_line_;
    struct Record {
        Label label;
        CallRecord call;
        bool imm_from_pc;
    };
    std::vector<Record> records_;
    bool movable_ = false;
    bool imm_from_pc_ = false; // Inst::from_pc of the present instruction
    Ref operand_;              // a temporary that is in memory at operand_at_ instead; none: there is none
    Mem operand_at_;
    std::vector<u32> stub_jumps_;
    std::vector<Flags> needed_; // by instruction: flags that somebody later may look at
    FlagsAt at_ = FlagsAt::Eflags;
    Flags needed_before_ = 0, needed_after_ = 0; // of the current IR instruction
    std::vector<Flags> live_; // by instruction: those that were computed, as far as somebody may look at them
    std::vector<ir::RegSet> narrow_; // by instruction: registers whose upper half is 0 before it
    static constexpr u32 kNoMaker = ~0u;
    std::vector<u32> again_;     // by instruction: the op that made the flags before it, which can make them
                                 // again at any place where they are needed; kNoMaker: there is none
    std::vector<Remake> remake_; // by instruction: how its flags are made again
    HeldRegisters holds_;
    SharedChecks shared_;
    const std::vector<Flags>* needed_now_ = nullptr; // that of the next two that holds for the present code
    std::vector<Flags> needed_in_rounds_;            // needed_ where the checks were made ahead
    Label round_, pause_;  // in line; between rounds, with a poll and the checks to come again
    bool share_ = false;   // in line, between the ends of a region
    bool in_copy_ = false; // in a region's copy out of line
    size_t end_of_copy_ = 0;
    size_t region_ = 0; // the next region of shared_, or the present one
    std::vector<Label>
        alone_; // by position: where the access is emitted with its own check, if a check may go there
    std::vector<FlagsAt> alone_at_; // and where the flags are when it goes there
    Label back_of_region_;          // behind the present one
    std::vector<FlagsAt> ends_;     // by region: where the flags are behind it
    std::vector<u8> checked_;       // by slot of frame::addend: whether its group has been checked
    static constexpr unsigned kMostShared = 16; // in a region; without a window frame::addends
    static constexpr u8 kNoSlot = 0xff;
    i32 late_stack_ = 0;            // so much is still to be added to the guest's RSP
    u8 loaded_ = kNoSlot;           // the slot whose value RCX has too
    u8 home_ = 0xff;                // the temporary in host::temp, or none
    u8 held_ = HeldRegisters::none; // the guest register that is held there instead, or none
    bool x87_;                      // x87 instructions are emitted as themselves
    bool x87_there_ = false;        // the guest's x87 state is known to be in the host's FPU
    i32 guest_offset_ = 0;
    u32 instruction_index_ = 0;
    size_t position_ = 0;
    KindCount* kind_ = nullptr; // of the guest instruction that is in line now
    u32 count_before_ = 0;      // CountingAssembler::count when it began
    static constexpr size_t kNoPoll = ~size_t{0};
    size_t early_poll_ = kNoPoll; // where the block's last branch polls
    bool may_fail_ = false;       // asmjit may refuse the next instruction
};

} // namespace dragoman::backend
