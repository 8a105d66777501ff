// A vCPU with RAM and no chips: a few bytes of guest code, run to HLT or to a stop, in every way that blocks
// can be run.
#pragma once

#include "frontend/x86/cpuid.h"
#include "frontend/x86/descriptor.h"
#include "frontend/x86/system_registers.h"
#include "runtime/alarm.h"
#include "runtime/vcpu.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <initializer_list>
#include <memory>

namespace dragoman::test {

class NoChips final : public x86::Platform {
  public:
    u32 port_in(u16 port, unsigned size) override { return on_in ? on_in(port, size) : ~u32{0}; }
    void port_out(u16 port, unsigned size, u32 value) override {
        if (on_out) on_out(port, size, value);
    }
    u64 time_stamp() override { return ++tsc; }
    u64 tsc_hz() override { return 1'000'000'000; }
    bool random(u64&) override { return false; }
    u8 apic_tpr() override { return 0; }
    void set_apic_tpr(u8) override {}
    bool apic_read_msr(u32, u64&) override { return false; }
    bool apic_write_msr(u32, u64) override { return false; }
    u8 apic_id() override { return 0; }
    int acknowledge_interrupt() override {
        ++acknowledged;
        if (line) *line = 0; // a controller drops INTR with the last request
        return vector;
    }
    void fpu_error(bool level) override { ferr = level; }
    bool fpu_errors_ignored() override { return ignne; }
    void system_management(bool) override {}

    std::function<u32(u16, unsigned)> on_in;
    std::function<void(u16, unsigned, u32)> on_out;
    bool ferr = false, ignne = false;
    u64 tsc = 0;
    int vector = 0x20;
    unsigned acknowledged = 0;
    u8* line = nullptr;
};

// How blocks are run.
struct Way {
    const char* name;
    bool interpret = false, verify = false;
    ir::PassSwitches passes = {};
    bool inline_tlb = true, inline_lookup = true, share_checks = true, side_exits = true, inline_x87 = true,
         window = true, follow_calls = true, lazy_vectors = true, far_links = true, edge_loops = true,
         cold = false, compiler_thread = false;
    const char* cpu = "max";
    std::string tb_cache = {}; // file
};
inline const Way kWays[] = {
    {.name = "Generated"},
    {.name = "Interpreted", .interpret = true},
    {.name = "PassesOff", .passes = ir::PassSwitches::none()},
    {.name = "AllOff",
     .passes = ir::PassSwitches::none(),
     .inline_tlb = false,
     .inline_lookup = false,
     .side_exits = false,
     .inline_x87 = false,
     .window = false,
     .follow_calls = false,
     .lazy_vectors = false,
     .far_links = false,
     .edge_loops = false},
    {.name = "Cold", .cold = true},
    {.name = "CompilerThread", .cold = true, .compiler_thread = true},
    {.name = "NoFarLinks", .far_links = false},
    {.name = "NoSideExits", .side_exits = false},
    {.name = "NoFollowedCalls", .follow_calls = false},
    {.name = "NoSharedChecks", .share_checks = false},
    {.name = "NoWindow", .window = false},
    {.name = "Verified", .verify = true},
};

class VcpuMachine {
  public:
    static constexpr u64 kCode = 0x7c00, kGdt = 0x1000, kIdt = 0x2000, kStack = 0x6000, kTables = 0x100000;

    explicit VcpuMachine(const Way& way, u64 cache_bytes = 4 * MiB, u64 ram_bytes = 16 * MiB)
        : model(*x86::make_model(way.cpu)), map(std::move(*softmmu::PhysicalMap::create(ram_bytes))) {
        runtime::Vcpu::Options options;
        options.interpret = way.interpret;
        options.verify = way.verify;
        options.passes = way.passes;
        options.cache_bytes = cache_bytes;
        options.backend.inline_tlb = way.inline_tlb;
        options.backend.inline_lookup = way.inline_lookup;
        options.backend.window = way.window;
        options.window_heat = 3; // so that pages go through all states
        options.backend.share_checks = way.share_checks;
        options.side_exits = way.side_exits;
        options.follow_calls = way.follow_calls;
        options.edge_loops = way.edge_loops;
        options.backend.inline_x87 = way.inline_x87;
        options.backend.lazy_vectors = way.lazy_vectors;
        options.tb_cache = way.tb_cache;
        options.cold = way.cold;
        options.compiler_thread = way.compiler_thread;
        options.backend.uncounted = way.compiler_thread; // else there is none
        options.backend.far_links = way.far_links;
        vcpu = std::move(*runtime::Vcpu::create(*map, model, platform, log, options));
        platform.line = &cpu().interrupt_line;
        vcpu->on_idle([this] {
            if (on_idle)
                on_idle();
            else
                vcpu->request_stop();
        });
        for (unsigned i = 0; i < 6; ++i)
            x86::load_real_segment(cpu(), ir::Seg(i), 0);
        std::fill(std::begin(cpu().gpr), std::end(cpu().gpr), 0); // RESET leaves the signature in EDX
        cpu().rip = kCode;
        cpu().gpr[4] = kStack;
        vcpu->mmu().flush(false);
    }

    x86::Cpu& cpu() { return vcpu->cpu(); }
    void expect_retired(u64 instructions) { // if anybody counts
        if (vcpu->counts_instructions()) {
            EXPECT_EQ(vcpu->instructions_retired(), instructions);
        }
    }
    u64& reg(unsigned n) { return cpu().gpr[n]; }
    template <class T> T get(u64 at) {
        T v;
        std::memcpy(&v, map->ram() + at, sizeof v);
        return v;
    }
    template <class T> void put(u64 at, T v) { std::memcpy(map->ram() + at, &v, sizeof v); }
    u64 code(u64 at, std::initializer_list<int> bytes) {
        for (const int b : bytes)
            map->ram()[at++] = u8(b);
        return at;
    }
    void real_vector(u8 vector, u16 handler) { put<u32>(vector * 4, handler); }

    // Flat 32-bit protected mode at CPL 0; interrupts and traps go through gates that vector32() fills in.
    void protected32() {
        put<u64>(kGdt + 8, 0x00cf9b000000ffff);  // code
        put<u64>(kGdt + 16, 0x00cf93000000ffff); // data
        cpu().gdtr = {kGdt, 23};
        cpu().idtr = {kIdt, 0x7ff};
        cpu().cr0 |= x86::kCr0PE;
        for (unsigned i = 0; i < 6; ++i)
            cpu().seg[i] = {.base = 0,
                            .limit = 0xffffffff,
                            .selector = u16(i == 1 ? 8 : 16),
                            .attributes = u16(i == 1 ? 0xc09b : 0xc093)};
        x86::update_paging(cpu());
    }
    void vector32(u8 vector, u32 handler, unsigned type = 14) {
        put<u64>(kIdt + vector * 8,
                 (handler & 0xffff) | 8 << 16 | u64(0x80 | type) << 40 | u64(handler & 0xffff0000) << 32);
    }
    // 32-bit paging that maps the first 4 MiB to themselves.
    void paging32() {
        put<u32>(kTables, u32(kTables + 0x1000) | 7);
        for (u32 i = 0; i < 1024; ++i)
            put<u32>(pte(i << 12), i << 12 | 7);
        ASSERT_TRUE(x86::write_cr3(cpu(), kTables));
        ASSERT_TRUE(x86::write_cr0(cpu(), cpu().cr0 | x86::kCr0PG | x86::kCr0WP));
        cpu().exit = ir::Exit::None;
    }
    // 64-bit mode at CPL 0; the first GiB is mapped to itself.
    void long64() {
        protected32();
        put<u64>(kTables, (kTables + 0x1000) | 7);
        put<u64>(kTables + 0x1000, 0x87); // a page of 1 GiB
        cpu().efer |= x86::kEferLME;
        ASSERT_TRUE(x86::write_cr4(cpu(), cpu().cr4 | x86::kCr4PAE));
        ASSERT_TRUE(x86::write_cr3(cpu(), kTables));
        ASSERT_TRUE(x86::write_cr0(cpu(), cpu().cr0 | x86::kCr0PG | x86::kCr0WP));
        put<u64>(kGdt + 8, 0x00af9b000000ffff);
        cpu().seg[unsigned(ir::Seg::CS)].attributes = 0xa09b;
        cpu().exit = ir::Exit::None;
    }
    static u64 pte(u32 linear) { return kTables + 0x1000 + (linear >> 12) * 4; }

    // Runs to HLT (which nothing wakes) or another stop; a guest that never ends fails the test.
    runtime::StopReason run() {
        std::atomic<bool> late{false};
        runtime::Alarm watchdog([&] {
            late = true;
            vcpu->request_stop();
        });
        watchdog.set(20'000'000'000);
        const auto reason = vcpu->run();
        watchdog.set(runtime::Alarm::never);
        EXPECT_FALSE(late) << "the guest does not end; it is at " << std::hex << vcpu->linear_pc();
        return reason;
    }

    Log log;
    NoChips platform;
    x86::CpuModel model;
    std::unique_ptr<softmmu::PhysicalMap> map;
    std::unique_ptr<runtime::Vcpu> vcpu;
    std::function<void()> on_idle;
};

} // namespace dragoman::test
