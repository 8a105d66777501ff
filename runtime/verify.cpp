// Lockstep of the interpreter and generated code (-verify), one block at a time.
#include "runtime/executor.h"

#include "base/bits.h"
#include "ir/interpreter.h"
#include "ir/memory.h"
#include "runtime/registers_text.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <string>

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
        for (u64 at : {linear, linear + size - 1}) {
            const auto t = mmu_.probe(at);
            if (!t.ok) continue; // the access itself will fault
            const softmmu::PhysicalMap::Page page = mmu_.map().lookup(t.gpa);
            if (!page.host || (write && (!page.writable || page.has_code))) return refuse(ctx);
        }
        u8* host = memory_->acquire(ctx, linear, size, access);
        if (host && write) {
            // A bounce buffer (an access that crosses pages) is not where the bytes end up.
            if ((linear ^ (linear + size - 1)) >> softmmu::kPageBits) return refuse(ctx);
            Write& w = writes_.emplace_back();
            w.host = host;
            w.size = size;
            std::memcpy(w.old_bytes, host, size);
        }
        return host;
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

// Flags that the manual leaves undefined and that a processor gives differently for different forms of one
// instruction.
ir::Flags incomparable_flags(const ir::Block& block) {
    ir::Flags flags = 0;
    for (const ir::Inst& inst : block.insts) {
        const ir::Op op = inst.op == ir::Op::Rmw ? inst.sub : inst.op;
        switch (op) {
        case ir::Op::Rol:
        case ir::Op::Ror:
        case ir::Op::Rcl:
        case ir::Op::Rcr: flags |= ir::kOF; break;
        case ir::Op::DivWide:
        case ir::Op::IdivWide:
        case ir::Op::Shld:
        case ir::Op::Shrd: flags |= ir::kAllFlags; break;
        default: break;
        }
    }
    return flags;
}

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
        const bool calls = std::any_of(block.ir->insts.begin(), block.ir->insts.end(),
                                       [](const ir::Inst& inst) { return inst.op == ir::Op::Call; });
        if (calls || !interpret(cpu, block)) return backend_.run(cpu, block.entry);
        backend_.run(cpu, block.entry);
        compare(cpu, block);
    }

  private:
    // Runs the interpreter and takes everything back; its final state is in expected_. False: that was not
    // possible.
    bool interpret(x86::Cpu& cpu, CachedBlock& block) {
        // Blocks without calls work on the Context part alone.
        ir::Context& ctx = cpu;
        before_ = ctx;
        ir::Memory* const memory = cpu.memory;
        recorder_.begin(*memory);
        cpu.memory = &recorder_;
        cpu.host_return = 0;
        ir::interpret(cpu, *block.ir);
        cpu.memory = memory;
        expected_ = ctx;
        recorder_.take_back();
        const u32 poll = cpu.poll; // another thread may have set it meanwhile
        ctx = before_;
        cpu.poll = poll;
        return !recorder_.refused();
    }

    void compare(const x86::Cpu& cpu, const CachedBlock& block) {
        std::string differences;
        const auto differ = [&](const char* what, u64 interpreter, u64 generated, unsigned number = 0) {
            if (interpreter == generated) return;
            char line[120];
            std::snprintf(line, sizeof line, "  %s %u: interpreter %016llx  generated code %016llx\n", what,
                          number, (unsigned long long)interpreter, (unsigned long long)generated);
            differences += line;
        };
        for (unsigned i = 0; i < ir::kGprs; ++i)
            differ("gpr", expected_.gpr[i], cpu.gpr[i], i);
        const ir::Flags mask = ir::kAllFlags & ~incomparable_flags(*block.ir);
        differ("flags", expected_.flags & mask, cpu.flags & mask);
        static constexpr const char* quarters[] = {"xmm low", "xmm high", "ymm low", "ymm high"};
        for (unsigned i = 0; i < 16; ++i)
            for (unsigned quarter = 0; quarter < 4; ++quarter) {
                u64 e, g;
                std::memcpy(&e, expected_.vec[i] + 8 * quarter, 8);
                std::memcpy(&g, cpu.vec[i] + 8 * quarter, 8);
                differ(quarters[quarter], e, g, i);
            }
        differ("mxcsr", expected_.mxcsr, cpu.mxcsr);
        differ("if", expected_.interrupt_flag, cpu.interrupt_flag);
        differ("df", expected_.direction_flag, cpu.direction_flag);
        // A poll may have been asked for between the two runs.
        const auto kind = [](ir::Exit exit) {
            return u64(exit == ir::Exit::Event ? ir::Exit::Lookup : exit);
        };
        differ("exit", kind(expected_.exit), kind(cpu.exit));
        differ("rip", expected_.rip, rip_of(cpu, block));
        if (expected_.exit == ir::Exit::Fault && cpu.exit == ir::Exit::Fault) {
            differ("vector", expected_.fault.vector, cpu.fault.vector);
            differ("error", expected_.fault.error, cpu.fault.error);
            differ("address", expected_.fault.address, cpu.fault.address);
        }
        for (const RecordingMemory::Write& w : recorder_.writes())
            for (u32 i = 0; i < w.size; ++i)
                if (w.new_bytes[i] != w.host[i]) differ("stored byte", w.new_bytes[i], w.host[i], i);
        if (!differences.empty()) report(cpu, block, differences);
    }

    // Context::rip is not set by a memory access that faults: the side point tells.
    static u64 rip_of(const x86::Cpu& cpu, const CachedBlock& block) {
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
        static_cast<ir::Context&>(before) = before_;
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
    ir::Context before_, expected_;
    bool failed_ = false;
};

} // namespace

std::unique_ptr<Executor> make_verifying_executor(backend::Backend& backend, softmmu::Mmu& mmu, Log& log) {
    return std::make_unique<VerifyingExecutor>(backend, mmu, log);
}

} // namespace dragoman::runtime
