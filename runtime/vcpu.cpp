#include "runtime/vcpu.h"

#include "base/bits.h"
#include "base/huge_page.h"
#include "frontend/x86/debug.h"
#include "frontend/x86/exception.h"
#include "frontend/x86/listing.h"
#include "frontend/x86/machine_check.h"
#include "frontend/x86/mode.h"
#include "frontend/x86/smm.h"
#include "frontend/x86/system_registers.h"
#include "ir/interpreter.h"
#include "runtime/registers_text.h"
#include "runtime/tb_cache.h"

#include <chrono>
#include <cstdlib>
#include <new>

namespace dragoman::runtime {

namespace {

u64 code_base(const x86::Cpu& cpu) {
    return cpu.code64() ? 0 : cpu.seg[unsigned(ir::Seg::CS)].base;
}

u64 linear_rip(const x86::Cpu& cpu) {
    const u64 linear = code_base(cpu) + cpu.rip;
    return cpu.code64() ? linear : linear & 0xffffffff;
}

} // namespace

void* Vcpu::Memory::operator new(std::size_t bytes) {
    const std::size_t whole = align_up(bytes, kHugePage);
    void* const memory = std::aligned_alloc(kHugePage, whole);
    if (!memory) throw std::bad_alloc();
    ask_for_huge_pages(memory, whole);
    return memory;
}

void Vcpu::Memory::operator delete(void* memory) {
    std::free(memory);
}

Vcpu::Vcpu(softmmu::PhysicalMap& map, Log& log)
    : memory_(std::make_unique<Memory>()), log_(log), mmu_(map, memory_->tlb, log), guest_memory_(mmu_),
      translator_(mmu_, log) {}

Vcpu::~Vcpu() = default;

Result<std::unique_ptr<Vcpu>> Vcpu::create(softmmu::PhysicalMap& map, const x86::CpuModel& model,
                                           x86::Platform& platform, Log& log, const Options& options) {
    std::unique_ptr<Vcpu> vcpu(new Vcpu(map, log));
    vcpu->options_ = options;
    vcpu->translator_.set_side_exits(options.side_exits ? x86::Translator::max_side_exits : 0);
    vcpu->translator_.set_follow_calls(options.follow_calls);
    vcpu->translator_.set_edge_loops(options.edge_loops);
    if (!options.interpret) {
        auto buffer = backend::CodeBuffer::create(options.cache_bytes);
        if (!buffer) return buffer.error();
        vcpu->buffer_ = std::move(*buffer);
        backend::Options& emit = vcpu->options_.backend;
        emit.tlb_offset = reinterpret_cast<const u8*>(&vcpu->memory_->tlb.tables()) -
                          reinterpret_cast<const u8*>(static_cast<ir::Context*>(&vcpu->memory_->cpu));
        emit.loop_checks &= !options.verify; // which compares round by round
        emit.uncounted &= !options.verify;   // and the count
        if (emit.window && emit.inline_tlb) vcpu->window_ = softmmu::HostWindow::create(map);
        if (vcpu->window_) {
            emit.window_base = u32(vcpu->window_->base());
            vcpu->mmu_.set_window(vcpu->window_.get(), options.window_heat);
        }
        auto backend = backend::Backend::create(*vcpu->buffer_, emit, log);
        if (!backend) return backend.error();
        vcpu->backend_ = std::move(*backend);
    }
    vcpu->cache_ = std::make_unique<TranslationCache>(map, vcpu->buffer_.get(), vcpu->backend_.get());
    vcpu->executor_ = options.interpret ? make_interpreting_executor()
                      : options.verify  ? make_verifying_executor(*vcpu->backend_, vcpu->mmu_, log)
                                        : make_generated_executor(*vcpu->backend_);
    x86::Cpu& cpu = vcpu->cpu();
    cpu.budget = kBudget;
    cpu.model = &model;
    cpu.platform = &platform;
    cpu.log = &log;
    vcpu->cache_->set_context(&cpu);
    if (vcpu->backend_) vcpu->open_tb_cache(model);
    if (vcpu->executor_->may_link()) vcpu->start_compiler();
    vcpu->reset();
    return vcpu;
}

void Vcpu::reset() {
    x86::Cpu& c = cpu();
    c.mmu = &mmu_;
    c.memory = &guest_memory_;
    ir::use_jump_cache(c, cache_->jump_cache());
    x86::reset(c);
    kick(); // one that came just now may have been lost with the old state
    mmu_.flush(false);
    previous_site_ = nullptr;
}

void Vcpu::kick() {
    ir::ask_for_poll(cpu());
    std::atomic_ref(cpu().poll).notify_all();
}

void Vcpu::request_stop() {
    stop_.store(true, std::memory_order_release);
    kick();
}

u64 Vcpu::linear_pc() const {
    return linear_rip(memory_->cpu);
}

u64 Vcpu::instructions_retired() const {
    return u64(kBudget - memory_->cpu.budget);
}

bool Vcpu::polled() {
    return ir::poll_asked_for(cpu());
}

void Vcpu::service() {
    ++counters_.events;
    ir::take_back_poll(cpu());
    if (service_) service_();
    x86::Cpu& c = cpu();
    if (c.monitor.waiting) x86::wake(c); // it may have been what MWAIT waits for
}

// In the order of SDM vol. 3, table 6-2.
bool Vcpu::take_event(bool interrupts) {
    x86::Cpu& c = cpu();
    if (interrupts && c.machine_check_pending) {
        x86::deliver_machine_check(c);
        return true;
    }
    if (interrupts && c.smi_pending && !c.smm && !c.interrupt_shadow && !x86::task_trap_due(c)) {
        x86::enter_smm(c);
        ++counters_.interrupts;
        return true;
    }
    return deliver_debug_trap() || (interrupts && take_interrupt());
}

bool Vcpu::take_interrupt() {
    x86::Cpu& c = cpu();
    if (c.interrupt_shadow) return false;
    if (c.nmi_pending && !c.nmi_blocked) {
        c.nmi_pending = false;
        c.nmi_blocked = true;
        x86::deliver_interrupt(c, x86::kNMI, x86::EventKind::Nmi);
    } else if (c.interrupt_line && c.interrupt_flag) {
        const int vector = c.platform->acknowledge_interrupt();
        if (vector < 0) return false;
        x86::deliver_interrupt(c, u8(vector), x86::EventKind::External);
    } else {
        return false;
    }
    ++counters_.interrupts;
    return true;
}

// Is the second page of a block that has one still what it was?
bool Vcpu::second_page_stays(const CachedBlock& block) {
    if (!block.crosses_page()) return true;
    const auto second = fetch_behind();
    return second.ok && second.number == block.code_pages[1];
}

CachedBlock* Vcpu::next_block() {
    x86::Cpu& c = cpu();
    if (mmu_.tlb().code().exhausted()) {
        cache_->invalidate_all();
        mmu_.restart_code_numbers();
    }
    x86::update_key(c);
    if (c.code_segments.exhausted()) {
        cache_->invalidate_all();
        cache_->clear_jump_cache();
        c.code_segments.restart();
        x86::update_key(c);
    }

    const u64 linear = linear_rip(c);
    const softmmu::View view = fetch_view(c);
    const u8* host = nullptr;
    BlockKey key{.rip = c.rip, .mode = c.key};
    const bool inside = c.code64() || c.rip <= c.seg[unsigned(ir::Seg::CS)].limit;
    if (inside && x86::canonical(mmu_.paging(), linear, 1)) {
        const auto fetched = mmu_.fetch(linear, view);
        if (!fetched.ok) {
            x86::raise_page_fault(c, fetched.fault);
            return nullptr;
        }
        key.gpa = fetched.gpa;
        host = fetched.host;
        CachedBlock* const block = cache_->find(key);
        if (block && fetched.number == block->code_pages[0] && second_page_stays(*block))
            return block->entry || !backend_ ? block : translate(key, host, block);
        if (block) cache_->invalidate(*block);
    }
    return translate(key, host, nullptr);
}

std::string Vcpu::guest_text(const ir::Block& block, const x86::Translator::Source& source) {
    std::vector<u8> bytes(source.bytes[0] + source.bytes[1]);
    mmu_.map().read(source.gpa[0], bytes.data(), source.bytes[0]);
    if (source.bytes[1]) mmu_.map().read(source.gpa[1], bytes.data() + source.bytes[0], source.bytes[1]);
    return x86::list_guest(block, bytes);
}

CachedBlock* Vcpu::translate(const BlockKey& key, const u8* host, CachedBlock* cold) {
    if (cold && waits_for_code(*cold)) return cold; // which is no translation
    // One of some is timed, for all of them: to read the clock takes as long as to translate an instruction.
    constexpr u64 kTimed = 8;
    using Clock = std::chrono::steady_clock;
    const bool timed = translate_calls_++ % kTimed == 0;
    const Clock::time_point begin = timed ? Clock::now() : Clock::time_point();
    CachedBlock* block = cold ? warm(*cold, host) : nullptr;
    // A cold block of which nothing has come was too long.
    if (!block) block = make_block(key, host, x86::Translator::max_instructions / (cold ? 2 : 1));
    if (timed)
        counters_.translation_ns += kTimed * u64(std::chrono::nanoseconds(Clock::now() - begin).count());
    return block;
}

CachedBlock* Vcpu::make_block(const BlockKey& key, const u8* host, unsigned most) {
    x86::Cpu& c = cpu();
    const TbKey looks = host ? tb_key(key, host) : TbKey{};
    const u64 hash = hash_value(looks);
    seen_.fetch(hash);
    const TbRecord* const record = find_kept(key, looks, hash, host);
    ++counters_.translations;
    if (record && !wants_ir())
        if (CachedBlock* cached = from_kept(key, *record)) {
            counters_.translated_instructions += cached->guest_instructions;
            return cached;
        }
    for (unsigned limit = most;; limit /= 2) {
        ir::Block& block = block_;
        x86::Translator::Source source;
        if (!translator_.translate(c, block, source, limit)) return nullptr;
        const unsigned length = executor_->preferred_length(block);
        if (length < block.guest_instructions) {
            limit = length * 2; // halved by the loop
            continue;
        }
        if (log_.enabled(LogItem::InAsm))
            log_.print(LogItem::InAsm, "IN:\n%s\n", guest_text(block, source).c_str());
        if (log_.enabled(LogItem::Op)) log_.print(LogItem::Op, "OP:\n%s\n", ir::print(block).c_str());
        counters_.translated_instructions += block.guest_instructions;
        BlockKey actual = key;
        actual.gpa = source.gpa[0];
        const bool whole = limit == x86::Translator::max_instructions; // not cut for its code's room
        const Begin begin = whole && !record ? how_to_begin(actual.gpa, hash, host) : Begin::Compiled;
        if (begin != Begin::Compiled) {
            CachedBlock& cold = cache_->insert_cold(actual, source, block);
            if (begin == Begin::Interpreted || ask_for_code(cold, host)) return &cold;
            if (CachedBlock* cached = compile_cold(cold, host)) return cached;
        } else if (CachedBlock* cached = compile(actual, source, block, record, host)) {
            return cached;
        }
        DRAGOMAN_ASSERT(limit > 1);
    }
}

// With code, or as it is while another thread makes that. Null: its code takes too much room, and nothing is
// left of it.
CachedBlock* Vcpu::warm(CachedBlock& cold, const u8* host) {
    return code_asked_for(cold, host) ? &cold : compile_cold(cold, host);
}

CachedBlock* Vcpu::compile_cold(CachedBlock& cold, const u8* host) {
    run_passes(*cold.ir);
    CachedBlock* const cached = cache_->warm(cold);
    if (cached) compiled(*cached, host);
    return cached;
}

CachedBlock* Vcpu::compile(const BlockKey& key, const x86::Translator::Source& source, ir::Block& block,
                           const TbRecord* record, const u8* host) {
    run_passes(block);
    CachedBlock* cached = nullptr;
    if (record && record->guest_instructions == block.guest_instructions) {
        const backend::PortableCode code = record->portable(key.rip);
        cached = cache_->insert(key, source, std::move(block), executor_->needs_ir(), &code);
    }
    if (cached) {
        log_host_code(*cached);
        return cached;
    }
    cached = cache_->insert(key, source, std::move(block), executor_->needs_ir());
    if (cached) compiled(*cached, host);
    return cached;
}

void Vcpu::run_passes(ir::Block& block) {
    ir::run_passes(block, options_.passes);
    if (log_.enabled(LogItem::OpOpt))
        log_.print(LogItem::OpOpt, "OP after passes:\n%s\n", ir::print(block).c_str());
}

void Vcpu::compiled(const CachedBlock& block, const u8* host) {
    keep(block, host);
    log_host_code(block);
}

void Vcpu::settle(const CachedBlock& block) {
    x86::Cpu& c = cpu();
    // A repeated string instruction that was left midway is counted when it ends.
    const bool completed = c.exit != ir::Exit::Fault && c.exit != ir::Exit::Restart && !c.mid_repeat;
    u64 retired = block.guest_instructions;
    if (!c.host_return) {
        if (!block.entry) retired = c.interpreted_instruction + completed;
    } else if (const backend::SidePoint* point =
                   block.side_point(reinterpret_cast<const u8*>(c.host_return))) {
        if (!completed) c.rip = block.key.rip + point->guest_offset;
        retired = point->instruction_index + completed;
    } else { // left at its end
        retired -= c.mid_repeat;
    }
    c.budget += i64(block.guest_instructions - retired);
}

bool Vcpu::branch_refused(const x86::NearBranch& branch, u64 end) {
    x86::Cpu& c = cpu();
    const bool ended = c.exit == ir::Exit::None || c.exit == ir::Exit::Lookup || c.exit == ir::Exit::Event;
    return ended && x86::take_back_branch(c, branch, end);
}

void Vcpu::left(CachedBlock& block) {
    x86::Cpu& c = cpu();
    const u8* const host_return = reinterpret_cast<const u8*>(c.host_return);
    CachedBlock* from = host_return ? cache_->by_host(host_return) : &block;
    previous_site_ = nullptr;
    if (from) {
        if (const backend::LinkSite* site = host_return ? from->link_site(host_return) : nullptr)
            c.rip = site->target;
        settle(*from);
        if (c.exit == ir::Exit::Lookup && executor_->may_link()) previous_site_ = host_return;
        if (branch_refused(from->source.near_branch, from->key.rip + u64(i64(from->source.end)))) ++c.budget;
    }
    c.host_return = 0;
}

void Vcpu::run_block(CachedBlock& block) {
    x86::Cpu& c = cpu();
    if (executor_->may_link() && block.entry && !at_stop()) {
        // By address: translating `block` may have taken the room of the block that led here.
        CachedBlock* const from = previous_site_ ? cache_->by_host(previous_site_) : nullptr;
        if (!from || !cache_->try_link(*from, previous_site_, block)) cache_->remember_jump(block);
    }
    if (log_.items()) log_block(block);
    recent_[recent_next_++ % recent_.size()] = c.rip;
    c.exit = ir::Exit::None;
    cache_->set_interpreted(block.entry ? nullptr : &block);
    in_block_ = true;
    executor_->run(c, block);
    in_block_ = false;
    cache_->set_interpreted(nullptr);
    left(block);
}

x86::BranchKind Vcpu::run_alone(u64& next_rip) {
    x86::Cpu& c = cpu();
    ++counters_.restarts;
    x86::update_key(c);
    ir::Block block;
    x86::Translator::Source source;
    c.exit = ir::Exit::None;
    previous_site_ = nullptr;
    if (!translator_.translate(c, block, source, 1)) return source.branch;
    next_rip = block.pc + block.guest_bytes;
    c.interrupt_shadow = x86::kNoShadow;
    c.host_return = 0;
    ir::interpret(c, block);
    if (branch_refused(source.near_branch, next_rip) || c.exit == ir::Exit::Fault || c.mid_repeat) ++c.budget;
    return source.branch;
}

StopReason Vcpu::run_until_stop(bool single) {
    x86::Cpu& c = cpu();
    skip_breakpoint_ = true; // the one it stands on was reported already
    bool done = false;
    for (;;) {
        if (polled()) service();
        if (stop_.exchange(false, std::memory_order_acq_rel)) return StopReason::Requested;
        if (std::exchange(watch_triggered_, false)) return StopReason::Watchpoint;
        if (done) return StopReason::Step;
        if (take_event(!single || c.halted)) {
            previous_site_ = nullptr;
            if (c.exit == ir::Exit::Shutdown) return StopReason::Shutdown;
            done = single;
            continue;
        }
        if (c.halted) {
            if (single) return StopReason::Step;
            if (idle_ && !polled()) idle_();
            continue;
        }
        if (!std::exchange(skip_breakpoint_, false) && at_breakpoint()) return StopReason::Breakpoint;
        if (deliver_instruction_breakpoint()) {
            if (c.exit == ir::Exit::Shutdown) return StopReason::Shutdown;
            done = single;
            continue;
        }

        x86::begin_instruction(c);
        x86::BranchKind branch = x86::BranchKind::None;
        u64 next_rip = 0;
        c.exit = ir::Exit::None;
        if (single) {
            branch = run_alone(next_rip);
        } else if (CachedBlock* block = next_block()) {
            branch = block->source.branch;
            next_rip = block->key.rip + block->guest_bytes;
            c.interrupt_shadow = x86::kNoShadow;
            run_block(*block);
        }

        if (executor_->failed()) return StopReason::Difference;
        if (c.exit == ir::Exit::Restart) branch = run_alone(next_rip);
        switch (c.exit) {
        case ir::Exit::None:
        case ir::Exit::Restart:
        case ir::Exit::Lookup: ++counters_.lookups; break;
        case ir::Exit::Event: previous_site_ = nullptr; break;
        case ir::Exit::Fault:
            ++counters_.faults;
            previous_site_ = nullptr;
            c.debug_hits = 0; // the instruction will run again
            x86::deliver_fault(c);
            if (c.exit == ir::Exit::Shutdown) return StopReason::Shutdown;
            done = single;
            continue;
        case ir::Exit::Halt: ++counters_.halts; break;
        case ir::Exit::Shutdown: return StopReason::Shutdown;
        }
        done = single;
        x86::end_instruction(c, branch, next_rip);
    }
}

void Vcpu::log_host_code(const CachedBlock& block) {
    if (backend_ && log_.enabled(LogItem::OutAsm))
        log_.print(LogItem::OutAsm, "OUT: [size=%u]\n%s\n", block.code.code_bytes,
                   backend_->list(block.entry, block.code.code_bytes).c_str());
}

void Vcpu::log_block(const CachedBlock& block) {
    if (log_.enabled(LogItem::Exec))
        log_.print(LogItem::Exec, "EXEC: %016llx [%u instructions] host %p\n",
                   (unsigned long long)block.linear_pc, block.guest_instructions,
                   static_cast<const void*>(block.entry));
    if (log_.enabled(LogItem::Cpu)) log_.print(LogItem::Cpu, "%s", describe_registers(cpu()).c_str());
}

std::string Vcpu::describe_shutdown() {
    x86::Cpu& c = cpu();
    std::string text = "triple fault: ";
    text += c.shutdown_why;
    text += '\n';
    char line[160];
    for (unsigned i = 0; i < c.chain_length; ++i) {
        const x86::Cpu::Delivered& d = c.chain[i];
        std::snprintf(line, sizeof line, "  exception %2u error %04x rip %016llx cr2 %016llx\n", d.vector,
                      d.error, (unsigned long long)d.rip, (unsigned long long)d.cr2);
        text += line;
        if (d.vector == x86::kPF) {
            const auto walk = mmu_.probe(d.cr2);
            std::snprintf(line, sizeof line, "    page walk of %016llx: %s\n", (unsigned long long)d.cr2,
                          walk.ok ? "mapped, access not permitted" : walk.why);
            text += line;
        }
    }
    text += describe_registers(c);
    text += "last blocks entered from the run loop:";
    for (u32 i = 0; i < recent_.size(); ++i) {
        std::snprintf(line, sizeof line, " %llx",
                      (unsigned long long)recent_[(recent_next_ + i) % recent_.size()]);
        text += line;
    }
    return text + '\n';
}

StopReason Vcpu::run() {
    return run_until_stop(false);
}
StopReason Vcpu::step() {
    return run_until_stop(true);
}

} // namespace dragoman::runtime
