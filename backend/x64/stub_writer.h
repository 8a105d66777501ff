// Writes one set of stubs (stubs.h): each function emits one of them, or a piece that several have. In
// stubs.cpp, stub_memory.cpp and stub_state.cpp.
#pragma once

#include "backend/x64/stubs.h"
#include "ir/context.h"
#include "ir/inst.h"
#include "ir/memory.h"

// Fields of Context and of its Fpu as operands.
#define FIELD(name, bytes)     in_context(offsetof(ir::Context, name), bytes)
#define FPU_FIELD(name, bytes) in_context(offsetof(ir::Context, fpu) + offsetof(ir::Fpu, name), bytes)

namespace dragoman::backend {

class StubWriter {
  public:
    // Borrows both.
    StubWriter(asmjit::x86::Assembler& assembler, unsigned vector_bytes, const Options& options)
        : a(assembler), vector_bytes_(vector_bytes), options_(options) {}

    void begin(); // before all others
    void end();   // behind them

    // Those of struct Stubs.
    void enter();
    void call();
    void acquire(ir::Access access);
    void commit();
    void commit_if_needed(const u8* commit);
    void commit_push(const u8* commit_if_needed);
    void find(unsigned view, ir::Access access, bool only);
    void find_size(const u8* find, unsigned size);
    void find_beyond_tag(const u8* find_size, unsigned view, ir::Access access);
    void reach(const u8* find_size, unsigned view, ir::Access access, unsigned size);
    void reach_stack(const u8* reach, int offset);
    void bulk(const u8* call, unsigned view, bool wide, ir::Bulk what);
    void may_enter(unsigned part);
    void exit_link();
    void exit_link_saved();
    void look_up();
    void jump_missed();
    void exit_jump();
    void exit_event();
    void exit_side();
    void exit_here();
    void take_x87();
    void load_x87();
    void take_vectors();
    // Called by others.
    void exit_lookup();
    void warm();
    void put_x87_back();

  private:
    using Mem = asmjit::x86::Mem;
    using Label = asmjit::Label;

    void jump_entry(const asmjit::x86::Gp& rip, const Mem& table);
    static Mem stack(int offset) { return asmjit::x86::ptr(asmjit::x86::rsp, offset, 8); }

    asmjit::x86::Gp guest_rsp() const {
        return gp((options_.uncounted ? host::uncounted : host::counted)[ir::kRsp.index()], 8);
    }
    void jump_to(const u8* stub);
    Mem window_tag(unsigned view, ir::Access access) const { // of the page whose index is RCX / 8
        return backend::window_tag(options_, view, access, 0);
    }
    void exit_with(ir::Exit why);
    void leave_live();
    void to_cpp();   // all of the guest to Context; RAX, RCX, R12 and EFLAGS are lost
    void from_cpp(); // the inverse, and RET; or leaves
    void call_cpp(const void* fn, int pad);
    void write_beside_code(unsigned view);
    void check_pages(const asmjit::x86::Gp& begin, unsigned view, ir::Access access, const Label& missing);

    // ---- the guest's state. `depth`: of the stack, in bytes, over what run() keeps there.
    void spill_registers(int depth); // general ones and x87; no other register is lost, but EFLAGS
    void load_registers(int depth);  // general ones
    void spill_flags();              // RAX to Context::flags; RAX and RCX are lost
    void load_flags();               // the inverse; RCX is lost
    // Vector registers and MXCSR, if they are not where they are to be. RCX and EFLAGS are lost.
    void spill_vectors(int depth);
    void load_vectors(int depth); // not those that are to stay in Context
    void load_all_vectors(int depth);
    void test_uppers(); // ZF unless a vector register of Context has more than its low 16 bytes. RCX is lost
    void to_host_mxcsr(int depth);
    void load_mxcsr(int depth);
    void x87_component(); // what XSAVE is to move, to EDX:EAX

    asmjit::x86::Assembler& a;
    const unsigned vector_bytes_;
    const Options& options_;
    Label acquire_[3], warm_;
    Label leave_called_, leave_spilled_, put_x87_back_, load_x87_;
};

} // namespace dragoman::backend
