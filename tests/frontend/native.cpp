#include "native.h"

#include "coverage_log.h"

#include <cpuid.h>
#include <csignal>
#include <cstring>
#include <iterator>
#include <sys/mman.h>
#include <sys/ucontext.h>
#include <utility>

// The entry loads every register and jumps; the INT3 behind the instruction raises SIGTRAP, whose handler
// takes the registers out of the signal frame and goes on at the exit. RSP is the guest's meanwhile: handlers
// run on a stack of their own.
extern "C" {
void dragoman_native_enter(const dragoman::test::UserState* state);
void dragoman_native_leave();
dragoman::u64 dragoman_native_host_rsp;
dragoman::u64 dragoman_native_target;
dragoman::u32 dragoman_native_avx;    // YMM registers are in use
dragoman::u32 dragoman_native_avx512; // ZMM and opmask registers, too
}

asm(R"(
.text
.globl dragoman_native_enter
dragoman_native_enter:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, dragoman_native_host_rsp(%rip)
    mov 128(%rdi), %rax
    mov %rax, dragoman_native_target(%rip)
    mov 144(%rdi), %rax
    test %rax, %rax
    jz 1f
    fxrstor64 (%rax)
1:
    mov 152(%rdi), %rax
    test %rax, %rax
    jz 1f
)"
#define UPPER_HALF(n) "vinsertf128 $1, " #n "*64+16(%rax), %ymm" #n ", %ymm" #n "\n"
    UPPER_HALF(0) UPPER_HALF(1) UPPER_HALF(2) UPPER_HALF(3) UPPER_HALF(4) UPPER_HALF(5) UPPER_HALF(6)
        UPPER_HALF(7) UPPER_HALF(8) UPPER_HALF(9) UPPER_HALF(10) UPPER_HALF(11) UPPER_HALF(12) UPPER_HALF(13)
            UPPER_HALF(14) UPPER_HALF(15) R"(
    cmpl $0, dragoman_native_avx512(%rip)
    je 1f
)"
#define ZMM(n)    "vmovups " #n "*64(%rax), %zmm" #n "\n"
#define OPMASK(n) "kmovq 2048+" #n "*8(%rax), %k" #n "\n"
    ZMM(0) ZMM(1) ZMM(2) ZMM(3) ZMM(4) ZMM(5) ZMM(6) ZMM(7) ZMM(8) ZMM(9) ZMM(10) ZMM(11) ZMM(12) ZMM(13)
        ZMM(14) ZMM(15) ZMM(16) ZMM(17) ZMM(18) ZMM(19) ZMM(20) ZMM(21) ZMM(22) ZMM(23) ZMM(24) ZMM(25)
            ZMM(26) ZMM(27) ZMM(28) ZMM(29) ZMM(30) ZMM(31) OPMASK(0) OPMASK(1) OPMASK(2) OPMASK(3) OPMASK(4)
                OPMASK(5) OPMASK(6) OPMASK(7) R"(
1:
    push 136(%rdi)
    popfq
    mov 0(%rdi), %rax
    mov 8(%rdi), %rcx
    mov 16(%rdi), %rdx
    mov 24(%rdi), %rbx
    mov 32(%rdi), %rsp
    mov 40(%rdi), %rbp
    mov 48(%rdi), %rsi
    mov 64(%rdi), %r8
    mov 72(%rdi), %r9
    mov 80(%rdi), %r10
    mov 88(%rdi), %r11
    mov 96(%rdi), %r12
    mov 104(%rdi), %r13
    mov 112(%rdi), %r14
    mov 120(%rdi), %r15
    mov 56(%rdi), %rdi
    jmp *dragoman_native_target(%rip)
.globl dragoman_native_leave
dragoman_native_leave:
    cmpl $0, dragoman_native_avx(%rip)
    je 1f
    vzeroupper
1:
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret
)");

namespace dragoman::test {

namespace {

constexpr int kSignals[] = {SIGTRAP, SIGSEGV, SIGBUS, SIGILL, SIGFPE};
constexpr unsigned kBreakpoint = 3;

// What the handler and run() share. Test code: one case at a time.
UserState* running = nullptr;
constexpr std::size_t fx_bytes = 416; // what FXSAVE defines
alignas(16) u8 clean_fx[512];
NativeResult ended;
struct sigaction previous[std::size(kSignals)];
alignas(16) u8 handler_stack[64 * 1024];

// Component `number` of an XSAVE area in the standard form, or null: it is in its initial state (SDM vol.
// 1, 13.4).
const u8* component(const u8* area, unsigned number) {
    constexpr unsigned components_at = 512;
    u64 present;
    std::memcpy(&present, area + components_at, sizeof present);
    if (!(present >> number & 1)) return nullptr;
    u32 bytes, offset, c, d;
    __cpuid_count(0xd, number, bytes, offset, c, d);
    return area + offset;
}

void take_vectors(const u8* area, VectorRegisters& to) {
    constexpr unsigned xmm_at = 160;
    to = {};
    const u8 *ymm = component(area, 2), *opmask = component(area, 5), *zmm = component(area, 6),
             *high = component(area, 7);
    for (unsigned n = 0; n < 16; ++n) {
        std::memcpy(to.vec[n], area + xmm_at + 16 * n, 16);
        if (ymm) std::memcpy(to.vec[n] + 16, ymm + 16 * n, 16);
        if (!dragoman_native_avx512) continue;
        if (zmm) std::memcpy(to.vec[n] + 32, zmm + 32 * n, 32);
        if (high) std::memcpy(to.vec[16 + n], high + 64 * n, 64);
    }
    if (dragoman_native_avx512 && opmask) std::memcpy(to.opmask, opmask, sizeof to.opmask);
}

void handler(int signal, siginfo_t*, void* raw) {
    auto& g = static_cast<ucontext_t*>(raw)->uc_mcontext.gregs;
    if (!running) { // not ours
        std::signal(signal, SIG_DFL);
        return;
    }
    static constexpr int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                      REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
    for (unsigned i = 0; i < 16; i++)
        running->gpr[i] = u64(g[order[i]]);
    running->flags = u64(g[REG_EFL]);
    ended.vector = unsigned(g[REG_TRAPNO]);
    ended.faulted = ended.vector != kBreakpoint;
    running->rip = u64(g[REG_RIP]) - (ended.faulted ? 0 : 1);
    UserState* const state = std::exchange(running, nullptr);
    auto* fx = reinterpret_cast<u8*>(static_cast<ucontext_t*>(raw)->uc_mcontext.fpregs);
    if (state->vectors) take_vectors(fx, *state->vectors);
    if (state->fx) {
        std::memcpy(state->fx, fx, fx_bytes);
        std::memcpy(fx, clean_fx, fx_bytes);
    }
    g[REG_RSP] = i64(dragoman_native_host_rsp);
    g[REG_RIP] = reinterpret_cast<i64>(&dragoman_native_leave);
    g[REG_EFL] = 0x202;
}

bool map_at(u64 address, u64 bytes, int protection) {
    void* want = reinterpret_cast<void*>(address);
    void* got = mmap(want, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (got != MAP_FAILED && got != want) munmap(got, bytes);
    return got == want;
}

} // namespace

bool host_has_avx512() {
    static const bool has = __builtin_cpu_supports("avx512bw");
    return has;
}

Native::Native() : coverage_(CoverageLog::open("native")) {
    available_ = map_at(code_base, code_bytes, PROT_READ | PROT_WRITE | PROT_EXEC) &&
                 map_at(data_base, data_bytes, PROT_READ | PROT_WRITE);
    if (!available_) return;
    std::memset(reinterpret_cast<void*>(code_base), 0xcc, code_bytes);
    stack_t stack{};
    stack.ss_sp = handler_stack;
    stack.ss_size = sizeof handler_stack;
    sigaltstack(&stack, nullptr);
    struct sigaction action {};
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    for (std::size_t i = 0; i < std::size(kSignals); i++)
        sigaction(kSignals[i], &action, &previous[i]);
}

Native::~Native() {
    munmap(reinterpret_cast<void*>(code_base), code_bytes);
    munmap(reinterpret_cast<void*>(data_base), data_bytes);
    if (!available_) return;
    for (std::size_t i = 0; i < std::size(kSignals); i++)
        sigaction(kSignals[i], &previous[i], nullptr);
}

NativeResult Native::run(std::span<const u8> code, UserState& state) {
    u8* at = reinterpret_cast<u8*>(state.rip);
    std::memcpy(at, code.data(), code.size());
    UserState entry = state;
    asm volatile("fxsave64 %0" : "=m"(clean_fx));
    dragoman_native_avx = state.vectors != nullptr;
    dragoman_native_avx512 = state.vectors && host_has_avx512();
    running = &state;
    ended = {};
    dragoman_native_enter(&entry);
    std::memset(at, 0xcc, code.size());
    if (coverage_) coverage_->add("long64", 64, 3, code, ended.faulted ? ended.vector : CoverageLog::kDone);
    return ended;
}

} // namespace dragoman::test
