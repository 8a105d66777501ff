#include "native_segments.h"

#include <asm/ldt.h>
#include <asm/prctl.h>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/ucontext.h>
#include <unistd.h>

// The way in: a far jump from 64-bit code to the 32-bit code of the entry page, which loads flags, general
// registers, segment registers and the stack, and jumps far. The way out: a signal, whose handler first gets
// rid of what the program left in EFLAGS.AC and FS, which C++ needs for itself.
extern "C" {
void dragoman_segments_enter();
void dragoman_segments_leave();
void dragoman_segments_signal(int, siginfo_t*, void*);
void dragoman_segments_ended(int, siginfo_t*, void*);
dragoman::u64 dragoman_segments_host_rsp;
dragoman::u64 dragoman_segments_fs_base;
void* dragoman_segments_fx;
dragoman::u16 dragoman_segments_left[4]; // ES DS FS GS
struct {
    dragoman::u32 offset;
    dragoman::u16 selector;
} __attribute__((packed)) dragoman_segments_target;
}

asm(R"(
.text
.globl dragoman_segments_enter
dragoman_segments_enter:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, dragoman_segments_host_rsp(%rip)
    mov dragoman_segments_fx(%rip), %rax
    fxrstor64 (%rax)
    ljmp *dragoman_segments_target(%rip)
.globl dragoman_segments_leave
dragoman_segments_leave:
    cld
    xor %eax, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %gs
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret
.globl dragoman_segments_signal
dragoman_segments_signal:
    pushfq
    andl $~0x40000, (%rsp)
    popfq
    movw %es, dragoman_segments_left+0(%rip)
    movw %ds, dragoman_segments_left+2(%rip)
    movw %fs, dragoman_segments_left+4(%rip)
    movw %gs, dragoman_segments_left+6(%rip)
    push %rdi
    push %rsi
    push %rdx
    xor %eax, %eax
    mov %eax, %fs
    mov $158, %eax # arch_prctl(ARCH_SET_FS, base)
    mov $0x1002, %edi
    mov dragoman_segments_fs_base(%rip), %rsi
    syscall
    pop %rdx
    pop %rsi
    pop %rdi
    jmp dragoman_segments_ended
)");

namespace dragoman::test {

namespace {

constexpr int kSignals[] = {SIGTRAP, SIGSEGV, SIGBUS, SIGILL, SIGFPE};
constexpr u16 kFlatCode32 = 0x23, kUserCode64 = 0x33, kUserData = 0x2b; // Linux's

// The entry page: code, then what it loads.
constexpr u32 kEntryCode = NativeSegments::entry_area, kValues = NativeSegments::entry_area + 0x100;
struct Values {
    u32 eflags, eax, ecx, edx, ebx, ebp, esi, edi;
    u16 es, pad0, ds, pad1, fs, pad2, gs, pad3;
    u32 esp;
    u16 ss, pad4;
    u32 eip;
    u16 cs, pad5;
};

SegmentState* running = nullptr; // one at a time
SegmentResult ended;
constexpr std::size_t fx_bytes = 416; // what FXSAVE defines
alignas(16) u8 clean_fx[512];
struct sigaction previous[std::size(kSignals)];
alignas(16) u8 handler_stack[64 * 1024];

u32 at(std::size_t offset) {
    return kValues + u32(offset);
}

std::vector<u8> entry_code() {
    std::vector<u8> code;
    const auto emit = [&](std::initializer_list<int> bytes, std::size_t field) {
        for (const int b : bytes)
            code.push_back(u8(b));
        const u32 address = at(field);
        for (unsigned i = 0; i < 4; ++i)
            code.push_back(u8(address >> i * 8));
    };
    emit({0xbc}, offsetof(Values, eflags)); // mov esp, &eflags
    code.push_back(0x9d);                   // popfd
    emit({0x2e, 0x8b, 0x0d}, offsetof(Values, ecx));
    emit({0x2e, 0x8b, 0x15}, offsetof(Values, edx));
    emit({0x2e, 0x8b, 0x1d}, offsetof(Values, ebx));
    emit({0x2e, 0x8b, 0x2d}, offsetof(Values, ebp));
    emit({0x2e, 0x8b, 0x35}, offsetof(Values, esi));
    emit({0x2e, 0x8b, 0x3d}, offsetof(Values, edi));
    emit({0x2e, 0x8e, 0x05}, offsetof(Values, es));
    emit({0x2e, 0x8e, 0x1d}, offsetof(Values, ds));
    emit({0x2e, 0x8e, 0x25}, offsetof(Values, fs));
    emit({0x2e, 0x8e, 0x2d}, offsetof(Values, gs));
    emit({0x2e, 0x0f, 0xb2, 0x25}, offsetof(Values, esp)); // lss esp
    emit({0x2e, 0xa1}, offsetof(Values, eax));
    emit({0x2e, 0xff, 0x2d}, offsetof(Values, eip)); // jmp far
    return code;
}

constexpr u64 kLow = 1 << 20, kLowBytes = (u64{1} << 32) - kLow; // above what kernels keep free

// Segments reach all of the first 4 GiB: what the program may use nothing else may lie in, now or later. (A
// sanitizer's shadow memory does.)
bool reserve_low() {
    void* const want = reinterpret_cast<void*>(kLow);
    return mmap(want, kLowBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE,
                -1, 0) == want;
}

bool map_low(u32 at, u32 bytes, int protection, int file, u64 offset) {
    void* const want = NativeSegments::memory(at);
    return mmap(want, bytes, protection, MAP_SHARED | MAP_FIXED, file, off_t(offset)) == want;
}

} // namespace

} // namespace dragoman::test

// Runs on the handler's stack, with AC clear and FS as C++ wants it.
extern "C" void dragoman_segments_ended(int signal, siginfo_t*, void* raw) {
    using namespace dragoman;
    using namespace dragoman::test;
    auto& g = static_cast<ucontext_t*>(raw)->uc_mcontext.gregs;
    if (!running) { // not ours
        std::signal(signal, SIG_DFL);
        return;
    }
    static constexpr int order[8] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI};
    for (unsigned i = 0; i < 8; ++i)
        running->gpr[i] = u32(g[order[i]]);
    running->eip = u32(g[REG_RIP]);
    running->eflags = u32(g[REG_EFL]);
    const u64 selectors = u64(g[REG_CSGSFS]);
    const u16* const left = dragoman_segments_left;
    const u16 now[6] = {left[0], u16(selectors), u16(selectors >> 48), left[1], left[2], left[3]};
    std::memcpy(running->selector, now, sizeof now);
    auto* fx = reinterpret_cast<u8*>(static_cast<ucontext_t*>(raw)->uc_mcontext.fpregs);
    std::memcpy(&running->fx, fx, fx_bytes);
    std::memcpy(fx, clean_fx, fx_bytes);
    ended = {unsigned(g[REG_TRAPNO]), u32(g[REG_ERR]), u64(g[REG_CR2])};
    running = nullptr;
    g[REG_RSP] = i64(dragoman_segments_host_rsp);
    g[REG_RIP] = reinterpret_cast<i64>(&dragoman_segments_leave);
    g[REG_EFL] = 0x202;
    g[REG_CSGSFS] = i64(u64{kUserCode64} | u64{kUserData} << 48);
}

namespace dragoman::test {

NativeSegments::NativeSegments() {
    reserved_ = reserve_low();
    if (!reserved_) {
        why_not_ = "other memory lies below 4 GiB";
        return;
    }
    const int file = memfd_create("segments", 0);
    if (file < 0 || ftruncate(file, alias_bytes)) {
        why_not_ = "no memfd";
        return;
    }
    void* alias = mmap(nullptr, alias_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    constexpr int code = PROT_READ | PROT_EXEC, data = PROT_READ | PROT_WRITE;
    const bool mapped = alias != MAP_FAILED && map_low(code_area, part_bytes, code, file, 0) &&
                        map_low(code_area + far_part, part_bytes, code, file, part_bytes) &&
                        map_low(data_area, part_bytes, data, file, 2 * part_bytes) &&
                        map_low(data_area + far_part, part_bytes, data, file, 3 * part_bytes) &&
                        map_low(entry_area, entry_bytes, code, file, 4 * part_bytes);
    close(file);
    if (!mapped) {
        why_not_ = "its memory below 4 GiB could not be mapped";
        return;
    }
    alias_ = static_cast<u8*>(alias);
    const std::vector<u8> entry = entry_code();
    std::memcpy(alias_ + 4 * part_bytes, entry.data(), entry.size());
    dragoman_segments_target = {kEntryCode, kFlatCode32};

    user_desc probe{};
    probe.limit = 0xfff;
    if (syscall(SYS_modify_ldt, 0x11, &probe, sizeof probe)) {
        why_not_ = "modify_ldt is not allowed here";
        return;
    }
    syscall(SYS_arch_prctl, ARCH_GET_FS, &dragoman_segments_fs_base);

    stack_t stack{};
    stack.ss_sp = handler_stack;
    stack.ss_size = sizeof handler_stack;
    sigaltstack(&stack, nullptr);
    struct sigaction action {};
    action.sa_sigaction = dragoman_segments_signal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigfillset(&action.sa_mask);
    for (std::size_t i = 0; i < std::size(kSignals); ++i)
        sigaction(kSignals[i], &action, &previous[i]);
    available_ = true;
}

NativeSegments::~NativeSegments() {
    if (reserved_) munmap(reinterpret_cast<void*>(kLow), kLowBytes);
    if (alias_) munmap(alias_, alias_bytes);
    if (!available_) return;
    for (std::size_t i = 0; i < std::size(kSignals); ++i)
        sigaction(kSignals[i], &previous[i], nullptr);
}

void NativeSegments::set_ldt(std::span<const LdtEntry> entries) {
    for (std::size_t i = 0; i < entries.size(); ++i) {
        const LdtEntry& e = entries[i];
        user_desc d{};
        d.entry_number = unsigned(i);
        d.base_addr = e.base;
        d.limit = e.limit;
        d.limit_in_pages = e.in_pages;
        d.contents = (e.code ? 2 : 0) | e.expand_down;
        d.read_exec_only = !e.second;
        d.seg_32bit = e.big;
        d.seg_not_present = !e.present;
        d.useable = e.available;
        if (syscall(SYS_modify_ldt, 0x11, &d, sizeof d)) std::abort(); // an entry that Linux does not allow
    }
}

std::vector<u64> NativeSegments::ldt(std::size_t entries) const {
    std::vector<u64> table(entries);
    syscall(SYS_modify_ldt, 0, table.data(), table.size() * 8);
    return table;
}

SegmentResult NativeSegments::run(SegmentState& state) {
    Values v{};
    v.eflags = state.eflags;
    u32* const gpr[8] = {&v.eax, &v.ecx, &v.edx, &v.ebx, &v.esp, &v.ebp, &v.esi, &v.edi};
    for (unsigned i = 0; i < 8; ++i)
        *gpr[i] = state.gpr[i];
    u16* const selector[6] = {&v.es, &v.cs, &v.ss, &v.ds, &v.fs, &v.gs};
    for (unsigned i = 0; i < 6; ++i)
        *selector[i] = state.selector[i];
    v.eip = state.eip;
    std::memcpy(alias_ + 4 * part_bytes + (kValues - entry_area), &v, sizeof v);
    SegmentState entry = state;
    dragoman_segments_fx = &entry.fx;
    asm volatile("fxsave64 %0" : "=m"(clean_fx));
    running = &state;
    u64 gs_base = 0; // the backend counts on it, and leaving loads GS with 0
    syscall(SYS_arch_prctl, ARCH_GET_GS, &gs_base);
    dragoman_segments_enter();
    syscall(SYS_arch_prctl, ARCH_SET_GS, gs_base);
    return ended;
}

} // namespace dragoman::test
