#include "backend/x64/backend.h"

#include "backend/x64/emitter.h"
#include "backend/x64/listing.h"
#include "backend/x64/portable_code.h"
#include "softmmu/tlb.h"

#include <asm/prctl.h>
#include <cstring>
#include <sys/syscall.h>
#include <unistd.h>

namespace dragoman::backend {

namespace {

class X64Backend final : public Backend {
  public:
    X64Backend(CodeBuffer& buffer, const Options& options, const HostFeatures& features,
               const StubSets& stubs)
        : buffer_(buffer), options_(options), features_(features), stubs_(stubs),
          emitter_(options, features, stubs), mover_(buffer.executable(), stubs.bytes) {}

    u64 stub_bytes() const override { return stubs_.bytes; }

    bool compile(const ir::Block& block, const u8* at, u64 room, Compiled& out) override {
        const u8* code = emitter_.compile(block, at, room, out);
        if (!code) return false;
        std::memcpy(buffer_.writable_of(at), code, out.code_bytes);
        return true;
    }

    bool portable(const u8* entry, const Compiled& made, std::span<const std::unique_ptr<ir::Inst>> kept,
                  PortableCode& to) override {
        return mover_.take(entry, made, kept, emitter_.stub_jumps(), to);
    }

    bool place(const PortableCode& code, const u8* at, Compiled& out) override {
        return mover_.place(code, buffer_.writable_of(at), at, out);
    }

    std::string identity() const override {
        std::string text = describe() + ", TLB at " + std::to_string(options_.tlb_offset) + ", window at " +
                           (options_.window_base ? std::to_string(*options_.window_base) : "none") +
                           ", stubs";
        for (const Stubs& set : stubs_.sets)
            text += " " + std::to_string(set.commit - buffer_.executable());
        text += " to " + std::to_string(stubs_.bytes) + ", off:";
        for (const Switch& s : kSwitches)
            if (!(options_.*s.on)) text += " " + std::string(s.name);
        return text;
    }

    void link(const u8* code, const LinkSite& site, const u8* target_code, const Entries& target) override {
        const u32 near_entry = site.saved_flags ? target.saved_entry : target.entry;
        patch(code, site, target_code + (site.far ? target.far_entry : near_entry));
    }
    void unlink(const u8* code, const LinkSite& site) override { patch(code, site, code + site.stub_offset); }

    void run(ir::Context& ctx, const u8* entry) override {
        set_gs(&ctx);
        ctx.exit = ir::Exit::None;
        ctx.host_return = 0;
        ctx.interpreted_block = nullptr;
        reinterpret_cast<void (*)(ir::Context*, const u8*)>(
            reinterpret_cast<u64>(stubs_.of(ctx.vector_bytes).enter))(&ctx, entry);
    }

    std::string list(const u8* entry, u64 bytes) const override {
        return list_host_code(entry, bytes, reinterpret_cast<u64>(entry));
    }

    std::string describe() const override {
        return "host features: " + features_.describe() + (options_.inline_tlb ? "" : ", no inline TLB") +
               (options_.window_base ? "" : ", no host window") +
               (options_.inline_lookup ? "" : ", no inline lookup") +
               (options_.count_exact ? ", exact count" : "");
    }

  private:
    // JMP rel32, or Jcc rel32 with its two-byte opcode.
    void patch(const u8* code, const LinkSite& site, const u8* target) {
        const u8* const jump = code + site.jump_offset;
        const u8* const displacement = jump + (*jump == 0x0f ? 2 : 1);
        const i32 relative = i32(target - (displacement + 4));
        std::memcpy(buffer_.writable_of(displacement), &relative, sizeof relative);
    }

    // GS belongs to us: nothing in user space uses it on x86-64 Linux. It is a register of the thread and dear to write, so
    // what it holds is remembered for each thread.
    void set_gs(ir::Context* ctx) {
        thread_local const ir::Context* gs = nullptr;
        if (gs == ctx) return;
        if (features_.has(HostFeature::FsGsBase))
            asm volatile("wrgsbase %0" ::"r"(ctx));
        else
            syscall(SYS_arch_prctl, ARCH_SET_GS, ctx);
        gs = ctx;
    }

    CodeBuffer& buffer_;
    Options options_;
    HostFeatures features_;
    StubSets stubs_;
    Emitter emitter_;
    CodeMover mover_;
};

} // namespace

void Compiled::clear() {
    static_cast<Entries&>(*this) = {};
    numbers[0] = numbers[1] = host_instructions = calls = 0;
    kinds = {};
    movable = false;
    pc_numbers.clear();
    links.clear();
    points.clear();
    kept.clear();
}

Result<std::unique_ptr<Backend>> Backend::create(CodeBuffer& buffer, const Options& wanted, Log& log) {
    Options options = wanted;
    options.uncounted &= !options.count_exact;
    HostFeatures features = HostFeatures::detect();
    if (!options.use_bmi2) features.force_off(HostFeature::Bmi2);
    options.use_pext &= options.use_bmi2 && features.has(HostFeature::FastPext);
    options.bulk_misaligned &= features.has(HostFeature::FastMisalignedStrings);
    for (HostFeature needed : {HostFeature::Sse42, HostFeature::Lahf64})
        if (!features.has(needed))
            return Error{"the host processor lacks SSE4.2 or LAHF in 64-bit mode; it has: " +
                         features.describe()};
    const i64 tlb_end = options.tlb_offset + i64(sizeof(softmmu::Tlb));
    if (options.tlb_offset != i32(options.tlb_offset) || tlb_end != i32(tlb_end))
        return Error{"the TLB is more than 2 GiB away from the vCPU's state"};
    const unsigned vector_bytes = features.has(HostFeature::Avx512) ? 64
                                  : features.has(HostFeature::Avx2) ? 32
                                                                    : 16;
    Result<StubSets> stubs =
        make_stubs(buffer.writable(), buffer.executable(), buffer.bytes(), vector_bytes, options);
    if (!stubs) return stubs.error();
    if (log.enabled(LogItem::OutAsm)) list_host_code(nullptr, 0, 0); // a sandbox would not let it load later
    return std::unique_ptr<Backend>(new X64Backend(buffer, options, features, *stubs));
}

} // namespace dragoman::backend
