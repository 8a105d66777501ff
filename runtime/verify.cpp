// Lockstep of the interpreter and generated code (-verify), one block at a time.
#include "runtime/executor.h"

#include "base/bits.h"
#include "ir/interpreter.h"
#include "ir/memory.h"
#include "ir/passes/passes.h"
#include "runtime/registers_text.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <string>
#include <type_traits>

namespace dragoman::runtime {

namespace {

// Stands between the interpreter and memory: remembers what was overwritten, and refuses what cannot be taken
// back.
class RecordingMemory final : public ir::Memory {
  public:
    explicit RecordingMemory(softmmu::Mmu& mmu) : mmu_(mmu) {}

    struct Write {
        u8* host;
        u32 size;
        u8 old_bytes[64], new_bytes[64];
    };

    void begin(ir::Memory& memory) {
        memory_ = &memory;
        writes_.clear();
        refused_ = false;
    }
    bool refused() const { return refused_; }
    const std::vector<Write>& writes() const { return writes_; }

    u8* acquire(ir::Context& ctx, u64 linear, u32 size, ir::Access access) override {
        const bool write = access != ir::Access::Read;
        if (!in_tlb(ctx, linear, size, write)) {
            for (u64 at : {linear, linear + size - 1}) {
                const auto t = mmu_.probe(at);
                if (!t.ok) continue; // the access itself will fault
                const softmmu::PhysicalMap::Page page = mmu_.map().lookup(t.gpa);
                if (!page.host || (write && (!page.writable || page.has_code))) return refuse(ctx);
            }
        }
        u8* host = memory_->acquire(ctx, linear, size, access);
        if (host && write) {
            // A bounce buffer (an access that crosses pages) is not where the bytes end up.
            if ((linear ^ (linear + size - 1)) >> softmmu::kPageBits) return refuse(ctx);
            record(host, size);
        }
        return host;
    }
    // These bytes are about to change.
    void record(u8* host, u32 size) {
        Write& w = writes_.emplace_back();
        w.host = host;
        w.size = size;
        std::memcpy(w.old_bytes, host, size);
    }
    void commit(ir::Context& ctx) override { memory_->commit(ctx); }

    // Puts the old bytes back, the last write first, keeping the new ones.
    void take_back() {
        for (Write& w : writes_)
            std::memcpy(w.new_bytes, w.host, w.size);
        for (auto w = writes_.rbegin(); w != writes_.rend(); ++w)
            std::memcpy(w->host, w->old_bytes, w->size);
    }

  private:
    // What the TLB leads to is memory, and for writes memory that holds no translated code.
    bool in_tlb(const ir::Context& ctx, u64 linear, u32 size, bool write) const {
        const softmmu::TlbEntry& entry = mmu_.tlb().find(softmmu::View(ctx.view), linear);
        return linear - (write ? entry.write_tag : entry.read_tag) <= softmmu::kPageSize - size;
    }
    u8* refuse(ir::Context& ctx) {
        refused_ = true;
        ctx.exit = ir::Exit::Restart;
        return nullptr;
    }

    softmmu::Mmu& mmu_;
    ir::Memory* memory_ = nullptr;
    std::vector<Write> writes_;
    bool refused_ = false;
};

// What of a block decides how it is verified.
struct Traits {
    bool unverified = false; // calls into C++, or what it does depends on incomparable flags
    bool vectors = false;    // may change the vector or x87 part of the Context
    bool beyond = false;     // stores into state beyond the Context
    // Flags that the manual leaves undefined and that a processor gives differently for different forms of
    // one instruction.
    ir::Flags incomparable = 0;
};

constexpr Traits traits_of(ir::Op op) {
    switch (op) {
    case ir::Op::Call: return {.unverified = true};
    case ir::Op::Vec:
    case ir::Op::Vex:
    case ir::Op::X87:
    case ir::Op::ClearUpper:
    case ir::Op::VLoad:
    case ir::Op::VStore: return {.vectors = true};
    case ir::Op::Rol:
    case ir::Op::Ror:
    case ir::Op::Rcl:
    case ir::Op::Rcr: return {.incomparable = ir::kOF};
    case ir::Op::DivWide:
    case ir::Op::IdivWide:
    case ir::Op::Shld:
    case ir::Op::Shrd: return {.incomparable = ir::kAllFlags};
    default: return {};
    }
}

Traits traits_of(const ir::Block& block) {
    static constexpr auto by_op = [] {
        std::array<Traits, 256> table;
        for (unsigned op = 0; op < table.size(); ++op)
            table[op] = traits_of(ir::Op(op));
        return table;
    }();
    Traits all;
    ir::Flags open = 0; // incomparable ones, not written since
    for (const ir::Inst& inst : block.insts) {
        all.unverified |= (ir::flags_read(inst) & open) != 0;
        open &= ~ir::flags_replaced(inst);
        const Traits& t = by_op[u8(inst.op == ir::Op::Rmw ? inst.sub : inst.op)];
        const bool state = inst.op == ir::Op::StoreState;
        all.unverified |= t.unverified;
        all.vectors |= t.vectors || (state && u64(inst.imm) >= offsetof(ir::Context, vec));
        all.beyond |= state && u64(inst.imm) >= sizeof(ir::Context);
        all.incomparable |= t.incomparable;
        open |= t.incomparable;
    }
    return all;
}

// A copy of what a block without calls can change: the Context, its vector and x87 part only when asked for.
class Snapshot {
  public:
    void take(const ir::Context& ctx, bool vectors) { copy(state_, ctx, vectors); }
    void put_back(ir::Context& ctx, bool vectors) const { copy(ctx, state_, vectors); }
    const ir::Context& state() const { return state_; }

  private:
    // Not what ask_for_poll sets: other threads do so at any time, and a copy put back would lose that.
    static void copy(ir::Context& to, const ir::Context& from, bool vectors) {
        static_assert(std::is_trivially_copyable_v<ir::Context>);
        constexpr size_t poll = offsetof(ir::Context, poll),
                         after_poll = poll + sizeof to.poll + sizeof to.jump_table;
        static_assert(offsetof(ir::Context, jump_table) == poll + sizeof to.poll);
        const size_t end = vectors ? sizeof(ir::Context) : offsetof(ir::Context, vec);
        u8* const t = reinterpret_cast<u8*>(&to);
        const u8* const f = reinterpret_cast<const u8*>(&from);
        std::memcpy(t, f, poll);
        std::memcpy(t + after_poll, f + after_poll, end - after_poll);
    }
    ir::Context state_;
};

class VerifyingExecutor final : public Executor {
  public:
    VerifyingExecutor(backend::Backend& backend, softmmu::Mmu& mmu, Log& log)
        : backend_(backend), log_(log), recorder_(mmu) {}

    bool needs_ir() const override { return true; }
    bool failed() const override { return failed_; }

    // A guest instruction that calls into C++ gets a block of its own, so that all others can be verified.
    unsigned preferred_length(const ir::Block& block) const override {
        unsigned begun = 0;
        for (const ir::Inst& inst : block.insts) {
            begun += inst.op == ir::Op::Insn;
            if (inst.op == ir::Op::Call) return std::max(1u, begun - 1);
        }
        return block.guest_instructions;
    }

    void run(x86::Cpu& cpu, CachedBlock& block) override {
        traits_ = traits_of(*block.ir);
        if (traits_.unverified || !interpret(cpu, block))
            return backend_.run(cpu, block.entry + block.code.entry);
        backend_.run(cpu, block.entry + block.code.entry);
        // A poll was asked for during the two runs: the second left the block at another poll than the first.
        const ir::Context& expected = expected_.state();
        const bool poll_between = cpu.exit == ir::Exit::Event &&
                                  (expected.exit != ir::Exit::Event || expected.rip != cpu.rip) &&
                                  std::atomic_ref(cpu.poll).load(std::memory_order_relaxed);
        if (!poll_between) compare(cpu, block);
    }

  private:
    // Runs the interpreter and takes everything back; its final state is in expected_. False: that was not
    // possible.
    bool interpret(x86::Cpu& cpu, CachedBlock& block) {
        // Blocks without calls work on the Context part alone, but for plain stores into what follows it.
        ir::Context& ctx = cpu;
        before_.take(ctx, traits_.vectors);
        ir::Memory* const memory = cpu.memory;
        recorder_.begin(*memory);
        if (traits_.beyond)
            for (const ir::Inst& inst : block.ir->insts)
                if (inst.op == ir::Op::StoreState && u64(inst.imm) >= sizeof(ir::Context))
                    recorder_.record(reinterpret_cast<u8*>(&ctx) + inst.imm, inst.size);
        cpu.memory = &recorder_;
        cpu.host_return = 0;
        ir::interpret(cpu, *block.ir);
        cpu.memory = memory;
        expected_.take(ctx, traits_.vectors);
        recorder_.take_back();
        before_.put_back(ctx, traits_.vectors);
        return !recorder_.refused();
    }

    template <class Differ>
    static void compare_x87(const ir::Fpu& e, const ir::Fpu& g, const Differ& differ) {
        for (unsigned i = 0; i < std::size(e.st); ++i) {
            u64 mantissa[2];
            u16 rest[2];
            std::memcpy(&mantissa[0], e.st[i], 8), std::memcpy(&mantissa[1], g.st[i], 8);
            std::memcpy(&rest[0], e.st[i] + 8, 2), std::memcpy(&rest[1], g.st[i] + 8, 2);
            differ("st, mantissa", mantissa[0], mantissa[1], i);
            differ("st, sign and exponent", rest[0], rest[1], i);
        }
        differ("x87 control", e.control, g.control);
        differ("x87 status", e.status, g.status);
        differ("x87 top", e.top, g.top);
        differ("x87 tags", e.tag, g.tag);
        differ("x87 opcode", e.opcode, g.opcode);
        differ("x87 ip", e.ip, g.ip);
        differ("x87 cs", e.cs, g.cs);
        differ("x87 dp", e.dp, g.dp);
        differ("x87 ds", e.ds, g.ds);
    }

    void compare(const x86::Cpu& cpu, const CachedBlock& block) {
        const ir::Context& expected = expected_.state();
        std::string differences;
        const auto differ = [&](const char* what, u64 interpreter, u64 generated, unsigned number = 0) {
            if (interpreter == generated) return;
            char line[120];
            std::snprintf(line, sizeof line, "  %s %u: interpreter %016llx  generated code %016llx\n", what,
                          number, (unsigned long long)interpreter, (unsigned long long)generated);
            differences += line;
        };
        for (unsigned i = 0; i < ir::kGprs; ++i)
            differ("gpr", expected.gpr[i], cpu.gpr[i], i);
        const ir::Flags mask = ir::kAllFlags & ~traits_.incomparable;
        differ("flags", expected.flags & mask, cpu.flags & mask);
        for (unsigned i = 0; traits_.vectors && i < std::size(cpu.vec); ++i)
            for (unsigned part = 0; part < sizeof cpu.vec[i] / 8; ++part) {
                u64 e, g;
                std::memcpy(&e, expected.vec[i] + 8 * part, 8);
                std::memcpy(&g, cpu.vec[i] + 8 * part, 8);
                static constexpr const char* names[] = {"vector bits 63:0",    "vector bits 127:64",
                                                        "vector bits 191:128", "vector bits 255:192",
                                                        "vector bits 319:256", "vector bits 383:320",
                                                        "vector bits 447:384", "vector bits 511:448"};
                differ(names[part], e, g, i);
            }
        if (traits_.vectors) compare_x87(expected.fpu, cpu.fpu, differ);
        for (unsigned i = 0; traits_.vectors && i < std::size(cpu.opmask); ++i)
            differ("opmask", expected.opmask[i], cpu.opmask[i], i);
        differ("mxcsr", expected.mxcsr, cpu.mxcsr);
        differ("if", expected.interrupt_flag, cpu.interrupt_flag);
        differ("df", expected.direction_flag, cpu.direction_flag);
        // Generated code polls at the end of a block, the interpreter does not.
        const auto kind = [](ir::Exit exit) {
            return u64(exit == ir::Exit::Event ? ir::Exit::Lookup : exit);
        };
        differ("exit", kind(expected.exit), kind(cpu.exit));
        differ("rip", expected.rip, rip_of(cpu, block));
        if (expected.exit == ir::Exit::Fault && cpu.exit == ir::Exit::Fault) {
            differ("vector", expected.fault.vector, cpu.fault.vector);
            differ("error", expected.fault.error, cpu.fault.error);
            differ("address", expected.fault.address, cpu.fault.address);
        }
        for (const RecordingMemory::Write& w : recorder_.writes())
            for (u32 i = 0; i < w.size; ++i)
                if (w.new_bytes[i] != w.host[i]) differ("stored byte", w.new_bytes[i], w.host[i], i);
        if (!differences.empty()) report(cpu, block, differences);
    }

    // Context::rip is not set by a memory access that faults: the side point tells; nor by a jump that is not
    // linked.
    static u64 rip_of(const x86::Cpu& cpu, const CachedBlock& block) {
        if (cpu.host_return)
            if (const auto* site = block.link_site(reinterpret_cast<const u8*>(cpu.host_return)))
                return site->target;
        const bool stopped = cpu.exit == ir::Exit::Fault || cpu.exit == ir::Exit::Restart;
        const auto* point = stopped && cpu.host_return
                                ? block.side_point(reinterpret_cast<const u8*>(cpu.host_return))
                                : nullptr;
        return point ? block.key.rip + point->guest_offset : cpu.rip;
    }

    void report(const x86::Cpu& cpu, const CachedBlock& block, const std::string& differences) {
        failed_ = true;
        std::FILE* out = log_.output();
        std::fprintf(out,
                     "dragoman: -verify: interpreter and generated code differ in the block at %016llx (gpa "
                     "%llx):\n%s",
                     (unsigned long long)block.linear_pc, (unsigned long long)block.key.gpa,
                     differences.c_str());
        x86::Cpu before = cpu;
        before_.put_back(before, traits_.vectors);
        std::fprintf(out, "state before:\n%s", describe_registers(before).c_str());
        std::fprintf(out, "guest bytes:");
        for (unsigned part = 0; part < 2; ++part)
            for (u32 i = 0; i < block.source.bytes[part]; ++i)
                std::fprintf(out, " %02x", unsigned(cpu.mmu->map().load(block.source.gpa[part] + i, 1)));
        std::fprintf(out, "\nIR:\n%s\nhost code:\n%s\n", ir::print(*block.ir).c_str(),
                     backend_.list(block.entry, block.code.code_bytes).c_str());
    }

    backend::Backend& backend_;
    Log& log_;
    RecordingMemory recorder_;
    Traits traits_; // of the block that runs
    Snapshot before_, expected_;
    bool failed_ = false;
};

} // namespace

std::unique_ptr<Executor> make_verifying_executor(backend::Backend& backend, softmmu::Mmu& mmu, Log& log) {
    return std::make_unique<VerifyingExecutor>(backend, mmu, log);
}

} // namespace dragoman::runtime
