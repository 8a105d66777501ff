// The vCPU's use of code made before, in this run or with -tb-cache in others: what a translation depends on,
// and the way of a block to the record and back.
#include "base/bits.h"
#include "base/program_image.h"
#include "frontend/x86/mode.h"
#include "runtime/tb_cache.h"
#include "runtime/vcpu.h"

#include <cstring>

namespace dragoman::runtime {

using Source = x86::Translator::Source;

TbKey Vcpu::tb_key(const BlockKey& key, const u8* host) const {
    const x86::Cpu& cpu = memory_->cpu;
    const u64 in_page = key.gpa % softmmu::kPageSize;
    TbKey found{.place = cpu.code64() ? in_page : key.rip,
                .mode = u32(key.mode),
                .inline_time = cpu.platform && cpu.platform->time_line()};
    std::memcpy(&found.first, host, std::min(sizeof found.first, softmmu::kPageSize - in_page));
    const ir::Segment& cs = cpu.seg[unsigned(ir::Seg::CS)];
    if (!cpu.code64()) found.code_base = u32(cs.base), found.code_limit = cs.limit;
    return found;
}

// Everything but the key and the guest's bytes: what is missing here would be believed wrongly.
void Vcpu::open_tb_cache(const x86::CpuModel& model) {
    if (options_.tb_cache.empty()) {
        if (options_.reuse) tb_cache_ = std::make_unique<TbCache>("", "");
        return;
    }
    const std::string build = ProgramImage().build();
    if (build.empty()) {
        std::fprintf(stderr, "dragoman: -tb-cache: this build has no build-id, so the file is not used\n");
        return;
    }
    std::string identity = "build " + build + "\nprocessor " + model.name + " " + model.vendor;
    for (const u64 n : {u64{model.family}, u64{model.model}, u64{model.stepping}, u64{model.physical_bits},
                        u64{model.basic_leaves}, u64{model.extended_leaves}, model.tsc_hz})
        identity += " " + std::to_string(n);
    identity += "\nfeatures " + model.features.to_string();
    identity += "\npasses " + std::to_string(options_.passes.on);
    for (const bool on : {options_.side_exits, options_.follow_calls, options_.edge_loops, options_.verify})
        identity += on ? " 1" : " 0";
    identity += "\n" + backend_->identity() + "\n";
    tb_cache_ = std::make_unique<TbCache>(options_.tb_cache, std::move(identity));
    if (const std::string& why = tb_cache_->complaint(); !why.empty())
        std::fprintf(stderr, "dragoman: -tb-cache %s: %s; it is not used\n", options_.tb_cache.c_str(),
                     why.c_str());
}

bool Vcpu::wants_ir() const {
    return executor_->needs_ir() || log_.enabled(LogItem::InAsm) || log_.enabled(LogItem::Op) ||
           log_.enabled(LogItem::OpOpt);
}

// The page behind that of rip.
softmmu::Mmu::Fetched Vcpu::fetch_behind() {
    const u64 linear = align_down(linear_pc(), softmmu::kPageSize) + softmmu::kPageSize;
    return mmu_.fetch(cpu().code64() ? linear : u32(linear), fetch_view(cpu()));
}

// Within a run it is programs and libraries that come again, at other addresses. Stops end blocks early.
bool Vcpu::may_be_kept(const u8* host) const {
    if (!tb_cache_ || !host || !stops_.empty()) return false;
    return tb_cache_->has_file() || (memory_->cpu.cpl == 3 && memory_->cpu.code64());
}

// What was met before is worth compiling, and so is what is kept: programs are started again, and a file is
// to have all.
Vcpu::Begin Vcpu::how_to_begin(u64 gpa, u64 hash, const u8* host) {
    if (!options_.cold || !executor_->may_link() || !host) return Begin::Compiled;
    const bool kept = may_be_kept(host) && !tb_cache_->is_rewritten(gpa);
    if (!kept && !seen_.before(hash)) return Begin::Interpreted;
    return may_wait_for_code() ? Begin::Asked : Begin::Compiled;
}

const TbRecord* Vcpu::find_kept(const BlockKey& key, const TbKey& looks, u64 hash, const u8* host) {
    if (!may_be_kept(host)) return nullptr;
    return tb_cache_->find(looks, hash, {key.rip, host, key.gpa % softmmu::kPageSize},
                           [&] { return fetch_behind().host; });
}

// As Translator::translate and the backend left it when it was made.
CachedBlock* Vcpu::from_kept(const BlockKey& key, const TbRecord& record) {
    ir::Block block;
    block.pc = key.rip;
    block.linear_pc = linear_pc();
    block.mode_bits = cpu().code64() ? 64 : 32;
    block.guest_bytes = u32{record.guest[Source::First]} + record.guest[Source::Second];
    block.guest_instructions = record.guest_instructions;
    Source source;
    for (unsigned part = 0; part < Source::Parts; ++part)
        source.bytes[part] = record.guest[part];
    source.gpa[Source::First] = key.gpa;
    block.code_pages[0] = mmu_.fetch(block.linear_pc, fetch_view(cpu())).number;
    if (source.bytes[Source::Second]) {
        const auto second = fetch_behind();
        source.gpa[Source::Second] = second.gpa;
        block.code_pages[1] = second.number;
    }
    if (source.bytes[Source::Followed])
        source.gpa[Source::Followed] = align_down(key.gpa, softmmu::kPageSize) + record.followed;
    source.branch = x86::BranchKind(record.branch);
    source.near_branch = {.bytes = record.branch_bytes, .stack = record.branch_stack};
    source.end = record.end;
    const backend::PortableCode code = record.portable(key.rip);
    CachedBlock* const cached = cache_->insert(key, source, std::move(block), false, &code);
    if (cached) log_host_code(*cached);
    return cached;
}

void Vcpu::keep(const CachedBlock& block, const u8* host) {
    if (!may_be_kept(host) || !block.has_numbers() || !(tb_cache_->has_file() || cache_->made().movable))
        return;
    if (!tb_cache_->wants(block.key.gpa)) return;
    backend::PortableCode code;
    TbRecord header;
    const u8* parts[Source::Parts];
    if (!backend_->portable(block.entry, cache_->made(), block.kept(), code) ||
        !describe(block, host, header, parts))
        return;
    make_record(record_, header, parts, code);
    tb_cache_->keep(record_);
}

bool Vcpu::describe(const CachedBlock& block, const u8* host, TbRecord& header,
                    const u8* (&parts)[Source::Parts]) {
    const Source& source = block.source;
    const u8* const page = host - block.key.gpa % softmmu::kPageSize;
    const u64 followed = source.gpa[Source::Followed] % softmmu::kPageSize;
    parts[Source::First] = host;
    parts[Source::Second] =
        source.bytes[Source::Second] ? mmu_.map().lookup(source.gpa[Source::Second]).host : host;
    parts[Source::Followed] = page + followed;
    header = {.key = tb_key(block.key, host),
              .pc = block.key.rip,
              .followed = u16(followed),
              .end = source.end,
              .branch_stack = source.near_branch.stack,
              .branch_bytes = source.near_branch.bytes,
              .branch = u8(source.branch),
              .guest_instructions = u16(block.guest_instructions)};
    for (unsigned part = 0; part < Source::Parts; ++part)
        header.guest[part] = u16(source.bytes[part]);
    return parts[Source::Second] != nullptr;
}

} // namespace dragoman::runtime
