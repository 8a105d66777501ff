// A processor with RAM and a platform that is only variables, for the tests of the system side.
#pragma once

#include "coverage_log.h"

#include "base/bits.h"
#include "base/zeros.h"
#include "frontend/x86/cpuid.h"
#include "frontend/x86/debug.h"
#include "frontend/x86/descriptor.h"
#include "frontend/x86/exception.h"
#include "frontend/x86/far_transfer.h"
#include "frontend/x86/guest_memory.h"
#include "frontend/x86/mode.h"
#include "frontend/x86/msr.h"
#include "frontend/x86/platform.h"
#include "frontend/x86/system_registers.h"
#include "frontend/x86/translator.h"
#include "ir/interpreter.h"

#include <gtest/gtest.h>

#include <cstring>
#include <initializer_list>
#include <memory>
#include <vector>

namespace dragoman::test {

using namespace x86;

class FakePlatform final : public Platform {
  public:
    u32 port_in(u16 port, unsigned size) override {
        reads.push_back({port, size, 0});
        return next_in++;
    }
    void port_out(u16 port, unsigned size, u32 value) override { writes.push_back({port, size, value}); }
    u64 time_stamp() override { return tsc; }
    const TimeLine* time_line() override { return line.scale ? &line : nullptr; }
    u64 tsc_hz() override { return 1000000000; }
    bool random(u64& value) override {
        value = 0x1122334455667788;
        return has_random;
    }
    u8 apic_tpr() override { return tpr; }
    void set_apic_tpr(u8 value) override { tpr = value; }
    bool apic_read_msr(u32 msr, u64& value) override {
        value = apic_base;
        return msr == 0x1b;
    }
    bool apic_write_msr(u32 msr, u64 value) override {
        if (msr == 0x1b) apic_base = value;
        return msr == 0x1b;
    }
    u8 apic_id() override { return 0; }
    int acknowledge_interrupt() override { return -1; }
    void fpu_error(bool) override {}
    bool fpu_errors_ignored() override { return false; }
    void system_management(bool) override {}

    struct Access {
        u16 port;
        unsigned size;
        u32 value;
    };
    std::vector<Access> reads, writes;
    u32 next_in = 0x11223344;
    u64 tsc = 1000, apic_base = 0xfee00900;
    TimeLine line;
    u8 tpr = 0;
    bool has_random = true;
};

// Where the tests put things.
inline constexpr u32 kGdt = 0x1000, kIdt = 0x2000, kTss = 0x3000, kTss2 = 0x3100, kLdtAt = 0x3400,
                     kCode = 0x8000, kHandler = 0x9000, kStack0 = 0x20000, kStack3 = 0x30000, kData = 0x40000,
                     kPages = 0x100000;
// Selectors of the GDT that flat() makes.
inline constexpr u16 kCode0 = 0x08, kData0 = 0x10, kCode3 = 0x1b, kData3 = 0x23, kTask = 0x28, kTask2 = 0x38,
                     kLdtSel = 0x48, kCode64 = 0x58, kCode64User = 0x63, kConforming = 0x68, kReadOnly = 0x70,
                     kAbsent = 0x78, kExecOnly = 0x80, kGateSel = 0x88, kTaskGateSel = 0x98, kTask16 = 0xa0,
                     kSmallStack = 0xa8;

class SystemMachine {
  public:
    explicit SystemMachine(const char* cpu_spec = "max");

    template <class T> T get(u64 at) const {
        T v;
        std::memcpy(&v, map->ram() + at, sizeof v);
        return v;
    }
    template <class T> void put(u64 at, T v) { std::memcpy(map->ram() + at, &v, sizeof v); }
    void code(u64 at, std::initializer_list<int> bytes) {
        for (const int b : bytes)
            put(at++, u8(b));
    }

    static u64 segment(u32 base, u32 limit_pages, unsigned type, unsigned dpl, unsigned flags /* G D L AVL */,
                       bool present = true);
    static u64 gate(unsigned type, u16 selector, u32 offset, unsigned dpl, unsigned parameters = 0);
    void descriptor(u16 selector, u64 low, u64 high = 0) {
        put(kGdt + (selector & 0xfff8), low);
        if (high) put(kGdt + (selector & 0xfff8) + 8, high);
    }
    void idt_gate(u8 vector, unsigned type, u16 selector, u32 offset, unsigned dpl = 0) {
        put(kIdt + vector * 8, gate(type, selector, offset, dpl));
    }
    void idt_gate64(u8 vector, unsigned type, u64 offset, unsigned dpl = 0, unsigned ist = 0) {
        put(kIdt + vector * 16, gate(type, kCode64, u32(offset), dpl) | u64(ist) << 32);
        put(kIdt + vector * 16 + 8, offset >> 32);
    }

    // 32-bit protected mode at CPL 0 with a flat GDT, an IDT and a TSS whose ring 0 stack is kStack0.
    void flat();
    // The same at CPL 3.
    void flat_user();
    // Long mode, 64-bit code at CPL 0; identity-mapped by 2 MiB pages for all (user too).
    void long64();
    void long64_user();
    // Virtual-8086 mode under the tables of flat(): CS:IP = 0x800:0, SS:SP = 0x3000:0x100.
    void v86(unsigned iopl);
    // Turns on 32-bit paging that identity-maps the first 4 MiB by 4 KiB pages.
    void paging32();
    void unmap32(u32 linear) { put(kPages + 0x1000 + (linear >> 12) * 4, u32{0}); }

    // Translates and interprets from cs:rip until HLT, shutdown or `blocks` blocks. Faults are delivered.
    ir::Exit run(unsigned blocks = 50, bool deliver = true);

    // Of the fault that run() has ended with, as deliver_fault() would deliver it.
    unsigned delivered_vector();

    Log log;
    FakePlatform platform;
    std::unique_ptr<softmmu::PhysicalMap> map;
    std::unique_ptr<softmmu::Tlb> tlb;
    std::unique_ptr<softmmu::Mmu> mmu;
    std::unique_ptr<GuestMemory> memory;
    CpuModel model;
    std::unique_ptr<Cpu> cpu_storage;
    Cpu& cpu;
    std::unique_ptr<Translator> translator;
    Zeros<ir::JumpCache> jump_cache{1};

  private:
    void load(ir::Seg which, u16 selector);
    struct CodeAt {
        const char* mode;
        unsigned bits, cpl;
        u64 linear;
    };
    static CodeAt code_at(const Cpu& cpu);
    void record(const CodeAt& at, const ir::Block& block);
    std::unique_ptr<CoverageLog> coverage_ = CoverageLog::open("system");
};

// The fault raised by a helper, or none.
inline ::testing::AssertionResult faulted(const Cpu& cpu, unsigned vector, u32 error) {
    if (cpu.exit != ir::Exit::Fault) return ::testing::AssertionFailure() << "no fault";
    if (cpu.fault.vector != vector || cpu.fault.error != error)
        return ::testing::AssertionFailure()
               << "fault " << unsigned(cpu.fault.vector) << " error " << std::hex << cpu.fault.error;
    return ::testing::AssertionSuccess();
}

} // namespace dragoman::test
