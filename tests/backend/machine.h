// A vCPU without a PC: Context and TLB side by side, and a small fake memory behind both the interpreter and
// generated code.
#pragma once

#include "backend/x64/backend.h"
#include "base/zeros.h"
#include "ir/builder.h"
#include "ir/interpreter.h"
#include "ir/memory.h"
#include "softmmu/tlb.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <new>
#include <string>
#include <vector>

namespace dragoman::test {

// Sixteen pages, chosen by bits 15:12 of the linear address, whatever is above.
enum class PageKind { Ram, Slow, ReadOnly, Absent };
inline PageKind kind_of(u64 linear) {
    switch ((linear >> 12) & 15) {
    case 9:
    case 10: return PageKind::Slow; // always through a bounce buffer, like MMIO
    case 12: return PageKind::ReadOnly;
    case 13: return PageKind::Absent;
    default: return PageKind::Ram;
    }
}

struct Vcpu {
    ir::Context ctx;
    softmmu::Tlb tlb;
};

class FlatMemory final : public ir::Memory {
  public:
    explicit FlatMemory(Vcpu& vcpu) : vcpu_(vcpu) {}

    u8* acquire(ir::Context& ctx, u64 linear, u32 size, ir::Access access) override {
        ++acquires;
        const bool write = access != ir::Access::Read;
        for (u64 at : {linear, linear + size - 1}) {
            const PageKind kind = kind_of(at);
            if (kind == PageKind::Absent || (write && kind == PageKind::ReadOnly)) {
                ctx.fault = {.vector = 14, .has_error = true, .error = u32(write) * 2, .address = at};
                ctx.exit = ir::Exit::Fault;
                return nullptr;
            }
        }
        const bool crosses = (linear ^ (linear + size - 1)) >> 12;
        if (!crosses && kind_of(linear) != PageKind::Slow) {
            softmmu::TlbEntry& entry = vcpu_.tlb.claim(softmmu::View(ctx.view), linear, {});
            const u64 page = linear & ~u64{0xfff};
            entry.addend = u64(byte(page)) - page;
            entry.read_tag = page;
            const bool writable = kind_of(linear) == PageKind::Ram;
            entry.write_tag = writable ? page : softmmu::empty_tag(softmmu::tlb_index(linear));
            if (page - kInWindow < ram.size()) fill_window(u8(ctx.view), page, writable);
            return byte(linear);
        }
        open_ = linear;
        size_ = write ? size : 0;
        for (u32 i = 0; i < size; ++i)
            bounce_[i] = *byte(linear + i);
        return bounce_;
    }
    void commit(ir::Context&) override {
        ++commits;
        for (u32 i = 0; i < size_; ++i)
            *byte(open_ + i) = bounce_[i];
        size_ = 0;
    }

    bool may_enter(ir::Context& ctx, unsigned part) override { return on_enter(ctx, part); }
    std::function<bool(ir::Context&, unsigned)> on_enter; // Machine's

    u8* byte(u64 linear) { return &ram[linear & 0xffff]; }

    // The linear addresses of which RAM itself is the host window, where window tags are filled.
    static constexpr u64 kInWindow = 0x10000;
    bool has_window = false;

    alignas(4096) std::array<u8, 0x10000> ram{};
    u64 acquires = 0, commits = 0;

  private:
    void fill_window(u8 view, u64 page, bool writable) {
        if (!has_window) return;
        auto& tags = const_cast<softmmu::TlbTables&>(vcpu_.tlb.tables()).window[view];
        const u64 index = softmmu::tlb_index(page);
        tags.read_tags[index] = page - 1;
        tags.write_tags[index] = writable ? page - 1 : softmmu::empty_window_tag(index);
    }

    Vcpu& vcpu_;
    u64 open_ = 0;
    u32 size_ = 0;
    alignas(64) u8 bounce_[64];
};

// Below 2 GiB, as a window must be.
struct UnmapMemory {
    void operator()(FlatMemory* memory) const { munmap(memory, sizeof *memory); }
};
inline std::unique_ptr<FlatMemory, UnmapMemory> make_memory(Vcpu& vcpu) {
    void* const at = mmap(nullptr, sizeof(FlatMemory), PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    DRAGOMAN_ASSERT(at != MAP_FAILED);
    return std::unique_ptr<FlatMemory, UnmapMemory>(new (at) FlatMemory(vcpu));
}

inline std::unique_ptr<backend::CodeBuffer> make_buffer() {
    auto buffer = backend::CodeBuffer::create(256 * MiB);
    return std::move(*buffer);
}

// One processor with its memory, its backend and the code it has compiled.
class Machine {
  public:
    explicit Machine(backend::Options options = {}, bool window = false)
        : vcpu(std::make_unique<Vcpu>()), memory(make_memory(*vcpu)), buffer(make_buffer()), jumps(1) {
        options.tlb_offset =
            reinterpret_cast<const u8*>(&vcpu->tlb.tables()) - reinterpret_cast<const u8*>(&vcpu->ctx);
        memory->has_window = window;
        if (window)
            options.window_base = u32(reinterpret_cast<u64>(memory->ram.data()) - FlatMemory::kInWindow);
        auto made = backend::Backend::create(*buffer, options, log);
        DRAGOMAN_ASSERT(made);
        backend = std::move(*made);
        next = (backend->stub_bytes() + 15) & ~u64{15};
        ctx().memory = memory.get();
        memory->on_enter = [this](ir::Context& at, unsigned part) {
            const Made& entered = around(at.host_return);
            at.rip = entered.pc;
            return entered.code_pages[part] == may_be_entered;
        };
        jumps[0].begin();
        use_jump_cache(ctx(), jumps[0]);
        use_key(ctx(), 1);
        for (ir::Segment& seg : ctx().seg)
            seg = {.base = 0, .limit = 0xffffffff, .selector = 8, .attributes = 0xc093};
    }

    ir::Context& ctx() { return vcpu->ctx; }

    struct Code {
        const u8* entry; // where the code begins
        backend::Compiled compiled;
        const u8* start() const { return entry + compiled.entry; }
    };
    Code compile(const ir::Block& block) {
        Code code{buffer->executable() + next, {}};
        DRAGOMAN_ASSERT(backend->compile(block, code.entry, buffer->bytes() - next, code.compiled));
        note(block, code);
        return code;
    }
    // What `maker` compiles, moved here by way of its portable form.
    Code compile_elsewhere(const ir::Block& block, Machine& maker) {
        const Code made = maker.compile(block);
        backend::PortableCode portable;
        DRAGOMAN_ASSERT(maker.backend->portable(made.entry, made.compiled, made.compiled.kept, portable));
        std::copy_n(block.code_pages, 2, portable.code_pages);
        next += 64 * (made.compiled.code_bytes % 5);
        Code code{buffer->executable() + next, {}};
        DRAGOMAN_ASSERT(backend->place(portable, code.entry, code.compiled));
        note(block, code);
        return code;
    }
    // Indirect jumps to `rip` in this mode find it, with the flags saved.
    void remember(u64 rip, u64 key, const Code& code) {
        jumps[0].remember(rip, key, code.entry + code.compiled.saved_entry);
        use_key(ctx(), ctx().key);
    }
    std::string list(const Code& code) { return backend->list(code.entry, code.compiled.code_bytes); }

    static const backend::SidePoint* point_of(const Code& code, u64 host_return) {
        for (const backend::SidePoint& p : code.compiled.points)
            if (reinterpret_cast<u64>(code.entry) + p.return_offset == host_return) return &p;
        return nullptr;
    }
    // Runs; a jump that is not linked tells where it leads.
    void run(const u8* start) {
        backend->run(ctx(), start);
        if (!ctx().host_return) return;
        const Made& made = around(ctx().host_return);
        for (const backend::LinkSite& site : made.links)
            if (made.entry + site.return_offset == reinterpret_cast<const u8*>(ctx().host_return))
                ctx().rip = site.target;
    }
    void run(const Code& code) { run(code.start()); }
    // Runs, then does to rip and budget what a run loop does. `also`: a block that the first one is linked
    // to.
    void run(const ir::Block& block, const Code& code, const ir::Block* also = nullptr,
             const Code* also_code = nullptr) {
        run(code);
        if (!settle(block, code) && also) settle(*also, *also_code);
    }
    bool settle(const ir::Block& block, const Code& code) {
        const backend::SidePoint* p = point_of(code, ctx().host_return);
        if (!p) return false;
        const bool again = ctx().exit == ir::Exit::Fault || ctx().exit == ir::Exit::Restart;
        if (again) ctx().rip = block.pc + p->guest_offset;
        ctx().budget += block.guest_instructions - p->instruction_index - (again ? 0 : 1);
        return true;
    }
    void interpret(const ir::Block& block) {
        ir::interpret(ctx(), block);
        const bool again = ctx().exit == ir::Exit::Fault || ctx().exit == ir::Exit::Restart;
        const u32 retired = ctx().interpreted_instruction + (again ? 0 : 1);
        ctx().budget += i64(block.guest_instructions) - retired;
    }

    std::unique_ptr<Vcpu> vcpu;
    std::unique_ptr<FlatMemory, UnmapMemory> memory;
    std::unique_ptr<backend::CodeBuffer> buffer;
    Zeros<ir::JumpCache> jumps; // one
    Log log;
    std::unique_ptr<backend::Backend> backend;
    u64 next = 0;
    u32 may_be_entered = 0; // the number of the only code page that may, if generated code asks

  private:
    struct Made { // what a run loop knows of each block
        const u8* entry;
        u32 bytes;
        u64 pc;
        u32 code_pages[2];
        std::vector<backend::LinkSite> links;
    };
    void note(const ir::Block& block, const Code& code) {
        const backend::Compiled& c = code.compiled;
        std::erase_if(made_,
                      [&](const Made& m) { return m.entry + m.bytes > code.entry; }); // `next` was set back
        made_.push_back(
            {code.entry, c.code_bytes, block.pc, {block.code_pages[0], block.code_pages[1]}, c.links});
        next = (next + c.code_bytes + 15) & ~u64{15};
    }
    // The block whose code made the call that returns there.
    const Made& around(u64 host_return) const {
        const auto* const call = reinterpret_cast<const u8*>(host_return) - 1;
        const auto it =
            std::ranges::find_if(made_, [&](const Made& m) { return u64(call - m.entry) < m.bytes; });
        DRAGOMAN_ASSERT(it != made_.end());
        return *it;
    }
    std::vector<Made> made_;
};

inline ir::Block block_at(u64 pc, u32 instructions = 1) {
    ir::Block b;
    b.pc = b.linear_pc = pc;
    b.guest_instructions = instructions;
    b.guest_bytes = 4 * instructions;
    return b;
}

// reg += n; jump to target
inline ir::Block adding(u64 pc, unsigned reg, i64 n, u64 target) {
    ir::Block b = block_at(pc);
    ir::Builder builder(b);
    builder.insn(0);
    builder.alu(ir::Op::Add, 8, ir::Ref::gpr(reg), ir::Ref::gpr(reg), ir::Ref::imm(), n);
    builder.jump(target);
    return b;
}

} // namespace dragoman::test
