// One virtual processor: its state, MMU and translations, and the run loop that drives them.
#pragma once

#include "frontend/x86/cpu.h"
#include "frontend/x86/cpuid.h"
#include "frontend/x86/guest_memory.h"
#include "frontend/x86/platform.h"
#include "frontend/x86/translator.h"
#include "runtime/compiler_thread.h"
#include "runtime/executor.h"
#include "runtime/seen_code.h"
#include "runtime/translation_cache.h"
#include "runtime/vcpu_options.h"

#include <atomic>
#include <functional>
#include <set>
#include <string>

namespace dragoman::runtime {

class TbCache;

enum class StopReason {
    Requested,
    Breakpoint,
    Step,
    Watchpoint,
    Shutdown,
    Difference /* -verify found one */
};

class Vcpu {
  public:
    using Options = VcpuOptions;

    // Everything is borrowed and must outlive the vCPU.
    static Result<std::unique_ptr<Vcpu>> create(softmmu::PhysicalMap& map, const x86::CpuModel& model,
                                                x86::Platform& platform, Log& log, const Options& options);
    ~Vcpu();

    x86::Cpu& cpu() { return memory_->cpu; }
    softmmu::Mmu& mmu() { return mmu_; }
    softmmu::Tlb& tlb() { return memory_->tlb; }
    const softmmu::HostWindow* window() const { return window_.get(); } // null: none
    TranslationCache& cache() { return *cache_; }
    TbCache* tb_cache() { return tb_cache_.get(); }        // null: none
    backend::Backend* backend() { return backend_.get(); } // null when interpreting
    x86::Translator& translator() { return translator_; }

    void reset(); // the effect of the RESET pin

    // Runs until somebody asks to stop, a debugger's condition comes true, or the processor shuts down
    // (triple fault).
    StopReason run();
    // Runs one guest instruction. Interrupts are held off, so that a debugger's step stays in the code it is
    // in, unless the processor is halted: then one is taken if there is one.
    StopReason step();

    // From any thread: the run loop calls `service` before it goes on.
    void kick();
    // From any thread: makes run() return StopReason::Requested.
    void request_stop();

    // Called between instructions whenever the vCPU was kicked: timers, input, requests.
    void on_service(std::function<void()> service) { service_ = std::move(service); }
    // Called while the processor is halted: returns when it was kicked.
    void on_idle(std::function<void()> idle) { idle_ = std::move(idle); }

    // Debugger: code breakpoints by linear address, watchpoints. Generated code runs at speed between
    // breakpoints: blocks end before one, and the run loop looks before each block that starts at one.
    // Accesses to pages with watchpoints take the slow path. The guest's debug registers
    // (frontend/x86/debug.h) work the same way.
    void set_breakpoints(std::set<u64> linear);
    void set_watchpoints(std::vector<softmmu::Mmu::Watch> watches);
    const softmmu::Mmu::Watch& watch_hit() const { return watch_hit_; }

    u64 linear_pc() const; // CS.base + RIP
    u64 instructions_retired() const;
    bool counts_instructions() const {
        return !options_.backend.uncounted || options_.interpret || options_.verify;
    }
    bool has_compiler_thread() const { return compiler_ != nullptr; }
    // What led here: exceptions, registers, last blocks. For the report of a triple fault.
    std::string describe_shutdown();

    struct Counters { // exits by kind, for `info jit`
        u64 lookups = 0, translations = 0, translated_instructions = 0, events = 0, faults = 0, restarts = 0,
            halts = 0, interrupts = 0;
        u64 translation_ns = 0;  // of the vCPU's thread, from guest bytes to host code; an estimate
        u64 compiled_beside = 0; // blocks, by the other thread
    };
    const Counters& counters() const { return counters_; }

  private:
    // State and TLB lie in one piece, so that generated code reaches both off one base.
    // In a huge page: nearly every access looks into the TLB's tags.
    struct Memory {
        x86::Cpu cpu;
        softmmu::Tlb tlb;

        static void* operator new(std::size_t bytes);
        static void operator delete(void* memory);
    };

    Vcpu(softmmu::PhysicalMap& map, Log& log);

    bool polled();
    void service();
    // What comes between two instructions; true: it came. `interrupts`: not only debug traps.
    bool take_event(bool interrupts);
    bool take_interrupt(); // NMI, INTR
    bool halted_wait();
    CachedBlock* next_block();
    bool second_page_stays(const CachedBlock& block);
    // `host`: where the block's first byte is; null: not in memory. `cold`: the block without code that there
    // is already; null: none.
    CachedBlock* translate(const BlockKey& key, const u8* host, CachedBlock* cold);
    CachedBlock* make_block(const BlockKey& key, const u8* host, unsigned most); // guest instructions
    CachedBlock* warm(CachedBlock& cold, const u8* host);
    CachedBlock* compile_cold(CachedBlock& cold, const u8* host);
    // ---- code made by another thread (vcpu_compiler.cpp)
    void start_compiler();
    bool may_wait_for_code() const; // there is such a thread, and nobody looks at what is compiled
    bool ask_for_code(const CachedBlock& cold, const u8* host); // false: not now
    bool waits_for_code(const CachedBlock& cold); // it was asked for before, and may take a while longer
    // What became of that. True: the block has its code, or waits for it now. False: this thread is to make
    // it.
    bool code_asked_for(CachedBlock& cold, const u8* host);
    bool collect(CompilerThread::Job& job); // true: the block has its code
    CachedBlock* compile(const BlockKey& key, const x86::Translator::Source& source, ir::Block& block,
                         const TbRecord* record, const u8* host);
    void run_passes(ir::Block& block);
    void compiled(const CachedBlock& block, const u8* host);
    // A block that was not in the cache: has code at once, or is interpreted until it is asked for again, or
    // until another thread has made its code.
    enum class Begin { Compiled, Interpreted, Asked };
    Begin how_to_begin(u64 gpa, u64 hash, const u8* host); // `hash`: of its TbKey
    // ---- translations of earlier runs (vcpu_tb_cache.cpp)
    void open_tb_cache(const x86::CpuModel& model);
    bool may_be_kept(const u8* host) const;
    softmmu::Mmu::Fetched fetch_behind();
    static softmmu::View fetch_view(const x86::Cpu& cpu) {
        return cpu.cpl == 3 ? softmmu::View::User : softmmu::View::Supervisor;
    }
    bool wants_ir() const; // whoever looks at blocks
    TbKey tb_key(const BlockKey& key, const u8* host) const;
    const TbRecord* find_kept(const BlockKey& key, const TbKey& looks, u64 hash, const u8* host);
    CachedBlock* from_kept(const BlockKey& key, const TbRecord& record);
    void keep(const CachedBlock& block, const u8* host);
    // All of a record but the code; `parts`: where the guest's bytes are. False: some are not in memory.
    bool describe(const CachedBlock& block, const u8* host, TbRecord& header,
                  const u8* (&parts)[x86::Translator::Source::Parts]);
    std::string guest_text(const ir::Block& block, const x86::Translator::Source& source);
    void run_block(CachedBlock& block);
    // The instruction at rip, in a block of its own that is not kept.
    x86::BranchKind run_alone(u64& next_rip);
    // Was the branch at `end` of a block refused after the fact?
    bool branch_refused(const x86::NearBranch& branch, u64 end);
    void left(CachedBlock& block);
    void settle(const CachedBlock& block); // rip and budget of a block left in its middle
    StopReason run_until_stop(bool single);
    void log_block(const CachedBlock& block);
    void log_host_code(const CachedBlock& block);

    std::unique_ptr<Memory> memory_;
    std::unique_ptr<softmmu::HostWindow> window_; // null: none
    Log& log_;
    softmmu::Mmu mmu_;
    x86::GuestMemory guest_memory_;
    x86::Translator translator_;
    std::unique_ptr<backend::CodeBuffer> buffer_;
    std::unique_ptr<backend::Backend> backend_;
    std::unique_ptr<TranslationCache> cache_;
    std::unique_ptr<TbCache> tb_cache_;
    std::vector<u64> record_;                  // being made, for tb_cache_
    std::unique_ptr<CompilerThread> compiler_; // null: none
    std::unique_ptr<Executor> executor_;
    ir::Block block_; // the one being translated: keeps its room
    SeenCode seen_;
    Options options_;

    std::function<void()> service_, idle_;
    std::atomic<bool> stop_{false};
    void apply_stops();
    void apply_watches();
    void apply_debug_registers();
    bool watched_access(const softmmu::Mmu::Watch& watch, u64 linear, u32 size, softmmu::AccessKind kind);
    // #DB due before the next instruction, as a trap or as a fault. True: one was delivered.
    bool deliver_debug_trap();
    bool deliver_instruction_breakpoint();
    bool at_stop() const { return !stops_.empty() && stops_.count(linear_pc()); }
    bool at_breakpoint() const { return !breakpoints_.empty() && breakpoints_.count(linear_pc()); }

    std::set<u64> breakpoints_;                    // the debugger's
    std::vector<softmmu::Mmu::Watch> watchpoints_; // the debugger's
    std::set<u64> stops_;                          // with those of the guest's debug registers
    u32 debug_version_ = 0;
    bool in_block_ = false; // blocks of the cache run
    bool skip_breakpoint_ = false;
    bool watch_triggered_ = false;
    softmmu::Mmu::Watch watch_hit_;

    // The jump that left the last block and may be linked to the next one; null: none.
    const u8* previous_site_ = nullptr;
    static constexpr i64 kBudget = i64{1} << 40;

    std::array<u64, 16> recent_{}; // rips of the last blocks entered from the run loop
    u32 recent_next_ = 0;
    Counters counters_;
    u64 translate_calls_ = 0;
};

} // namespace dragoman::runtime
