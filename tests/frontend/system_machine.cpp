#include "system_machine.h"

#include "frontend/x86/stack_reference.h"

namespace dragoman::test {

namespace {
constexpr unsigned kG = 8, kD = 4, kL = 2;
}

SystemMachine::SystemMachine(const char* cpu_spec) : cpu_storage(std::make_unique<Cpu>()), cpu(*cpu_storage) {
    map = std::move(*softmmu::PhysicalMap::create(16 * MiB));
    tlb = std::make_unique<softmmu::Tlb>();
    mmu = std::make_unique<softmmu::Mmu>(*map, *tlb, log);
    memory = std::make_unique<GuestMemory>(*mmu);
    model = *make_model(cpu_spec);
    translator = std::make_unique<Translator>(*mmu, log);
    translator->set_follow_calls(false); // record() reads the instructions of a block one after the other
    cpu.model = &model;
    cpu.platform = &platform;
    cpu.mmu = mmu.get();
    cpu.log = &log;
    cpu.memory = memory.get();
    jump_cache[0].begin();
    ir::use_jump_cache(cpu, jump_cache[0]);
    cpu.budget = i64{1} << 40;
    reset(cpu);
}

u64 SystemMachine::segment(u32 base, u32 limit, unsigned type, unsigned dpl, unsigned flags, bool present) {
    return u64(limit & 0xffff) | u64(base & 0xffffff) << 16 | u64(type) << 40 | u64(dpl) << 45 |
           u64(present) << 47 | u64(limit >> 16 & 15) << 48 | u64(flags) << 52 | u64(base >> 24) << 56;
}

u64 SystemMachine::gate(unsigned type, u16 selector, u32 offset, unsigned dpl, unsigned parameters) {
    return u64(offset & 0xffff) | u64(selector) << 16 | u64(parameters) << 32 | u64(type) << 40 |
           u64(dpl) << 45 | u64{1} << 47 | u64(offset >> 16) << 48;
}

void SystemMachine::load(ir::Seg which, u16 selector) {
    Descriptor d;
    d.low = get<u64>(kGdt + (selector & 0xfff8)) | u64{kSegAccessed} << 40;
    cpu.seg[unsigned(which)] = d.segment(selector);
}

void SystemMachine::flat() {
    const unsigned big = kG | kD;
    descriptor(kCode0, segment(0, 0xfffff, 0x1a, 0, big));
    descriptor(kData0, segment(0, 0xfffff, 0x12, 0, big));
    descriptor(kCode3, segment(0, 0xfffff, 0x1a, 3, big));
    descriptor(kData3, segment(0, 0xfffff, 0x12, 3, big));
    descriptor(kTask, segment(kTss, 0x67, kTss32, 0, 0));
    descriptor(kTask2, segment(kTss2, 0x67, kTss32, 0, 0));
    descriptor(kLdtSel, segment(kLdtAt, 0x3f, kLdt, 0, 0));
    descriptor(kCode64, segment(0, 0xfffff, 0x1a, 0, kG | kL));
    descriptor(kCode64User, segment(0, 0xfffff, 0x1a, 3, kG | kL));
    descriptor(kConforming, segment(0, 0xfffff, 0x1e, 0, big));
    descriptor(kReadOnly, segment(0, 0xfffff, 0x10, 0, big));
    descriptor(kAbsent, segment(0, 0xfffff, 0x12, 0, big, false));
    descriptor(kExecOnly, segment(0, 0xfffff, 0x18, 0, big));
    descriptor(kTask16, segment(kTss2, 0x2b, kTss16, 0, 0));
    descriptor(kSmallStack, segment(0, 0xffff, 0x12, 0, 0));
    cpu.gdtr = {kGdt, 0xff};
    cpu.idtr = {kIdt, 0x7ff};
    put<u32>(kTss + 4, kStack0);
    put<u16>(kTss + 8, kData0);
    put<u16>(kTss + 0x66, 0x68);
    cpu.cr0 |= kCr0PE;
    cpu.cr0 &= ~u64(kCr0CD | kCr0NW);
    load(ir::Seg::CS, kCode0);
    for (const auto s : {ir::Seg::SS, ir::Seg::DS, ir::Seg::ES, ir::Seg::FS, ir::Seg::GS})
        load(s, kData0);
    cpu.ldtr = null_segment(0);
    EXPECT_TRUE(load_tr(cpu, kTask));
    cpu.gpr[4] = kStack0 - 0x1000;
    cpu.rip = kCode;
    update_paging(cpu);
}

void SystemMachine::flat_user() {
    flat();
    load(ir::Seg::CS, kCode3);
    for (const auto s : {ir::Seg::SS, ir::Seg::DS, ir::Seg::ES, ir::Seg::FS, ir::Seg::GS})
        load(s, kData3);
    cpu.gpr[4] = kStack3;
    set_cpl(cpu, 3);
}

void SystemMachine::v86(unsigned iopl) {
    flat();
    cpu.set_eflags(2 | kVM | iopl << 12);
    constexpr u16 selectors[6] = {0x4000, kCode >> 4, 0x3000, 0x4000, 0x4000, 0x4000};
    for (unsigned i = 0; i < 6; ++i)
        load_real_segment(cpu, ir::Seg(i), selectors[i]);
    set_cpl(cpu, 3);
    cpu.gpr[4] = 0x100;
    cpu.rip = 0;
}

void SystemMachine::long64() {
    flat();
    put<u64>(kPages, (kPages + 0x1000) | 7);
    put<u64>(kPages + 0x1000, (kPages + 0x2000) | 7);
    for (u64 i = 0; i < 8; ++i)
        put<u64>(kPages + 0x2000 + i * 8, i << 21 | 0x87);
    EXPECT_TRUE(write_cr4(cpu, kCr4PAE | kCr4OSFXSR));
    EXPECT_TRUE(write_cr3(cpu, kPages));
    EXPECT_TRUE(write_efer(cpu, kEferLME | kEferSCE | kEferNXE));
    EXPECT_TRUE(write_cr0(cpu, kCr0PE | kCr0PG | kCr0WP | kCr0NE));
    load(ir::Seg::CS, kCode64);
    put<u64>(kTss + 4, kStack0);             // RSP0
    put<u64>(kTss + 0x24, kStack0 - 0x2000); // IST1
    cpu.idtr = {kIdt, 0xfff};
}

void SystemMachine::long64_user() {
    long64();
    load(ir::Seg::CS, kCode64User);
    load(ir::Seg::SS, kData3);
    cpu.gpr[4] = kStack3;
    set_cpl(cpu, 3);
}

void SystemMachine::paging32() {
    put<u32>(kPages, (kPages + 0x1000) | 7);
    for (u32 i = 0; i < 1024; ++i)
        put<u32>(kPages + 0x1000 + i * 4, i << 12 | 7);
    EXPECT_TRUE(write_cr3(cpu, kPages));
    EXPECT_TRUE(write_cr0(cpu, cpu.cr0 | kCr0PG | kCr0WP));
}

SystemMachine::CodeAt SystemMachine::code_at(const Cpu& c) {
    const unsigned bits = c.code64() ? 64 : c.seg[1].attributes & kSegDB ? 32 : 16;
    const bool protected_mode = c.protected_mode() && !c.v86();
    const char* const mode = bits == 64        ? "long64"
                             : c.v86()         ? "v86"
                             : !protected_mode ? "real"
                             : c.long_mode()   ? (bits == 32 ? "compat32" : "compat16")
                             : bits == 32      ? "pm32"
                                               : "pm16";
    return {mode, bits, c.cpl, c.seg[1].base + c.rip};
}

unsigned SystemMachine::delivered_vector() {
    const ir::Fault& f = cpu.fault;
    return f.vector == kGP && f.address && stack_reference(cpu, f.address) ? unsigned(kSS) : f.vector;
}

// The instructions of a block ended well but for the one that faulted. Tests that give code another place
// than its linear address are not recorded.
void SystemMachine::record(const CodeAt& at, const ir::Block& block) {
    const bool fault = cpu.exit == ir::Exit::Fault;
    u64 from = at.linear;
    for (unsigned n = 0; n < block.guest_instructions && from + 15 < map->ram_bytes(); ++n) {
        const std::span<const u8> code(map->ram() + from, 15);
        unsigned length = 0;
        if (instruction_form(at.bits, code, length).empty()) return;
        const bool last = fault && n == cpu.interpreted_instruction;
        const unsigned vector = !last ? CoverageLog::kDone : delivered_vector();
        coverage_->add(at.mode, at.bits, at.cpl, code, vector);
        if (last) return;
        from += length;
    }
}

ir::Exit SystemMachine::run(unsigned blocks, bool deliver) {
    for (unsigned i = 0; i < blocks; ++i) {
        cpu.poll = 0;
        cpu.exit = ir::Exit::None;
        update_key(cpu);
        begin_instruction(cpu);
        ir::Block block;
        Translator::Source source;
        const bool shadowed = cpu.interrupt_shadow;
        const CodeAt begun = code_at(cpu);
        if (translator->translate(cpu, block, source)) ir::interpret(cpu, block);
        if (coverage_) record(begun, block);
        if (shadowed) cpu.interrupt_shadow = 0;
        if (cpu.exit != ir::Exit::Fault) end_instruction(cpu, source.branch, block.pc + block.guest_bytes);
        switch (cpu.exit) {
        case ir::Exit::Fault:
            if (!deliver) return cpu.exit;
            deliver_fault(cpu);
            if (cpu.exit == ir::Exit::Shutdown) return cpu.exit;
            break;
        case ir::Exit::Halt:
        case ir::Exit::Shutdown: return cpu.exit;
        default:
            if (deliver && debug_trap_due(cpu)) deliver_debug_traps(cpu);
            break;
        }
    }
    return cpu.exit;
}

} // namespace dragoman::test
