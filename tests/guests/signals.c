// Faults and traps as a program sees them: which signal, code and address, and the registers in its frame. What it prints
// must be the same in the guest as on the host. (The kernels differ; these details of their interface do not.)
#define _GNU_SOURCE
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/ucontext.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

static sigjmp_buf back;
static uint64_t fault_at;     // of the instruction that is to fault: what addresses are told relative to
static unsigned char* memory; // two pages that can be written, one that cannot be, none behind them
enum { page = 4096 };

// Where an address lies, so that it is the same wherever things were loaded.
static void place(const char* what, uint64_t address) {
    if (address - fault_at < 4096)
        printf(" %s code+%llx", what, (unsigned long long)(address - fault_at));
    else if (address - (uint64_t)memory < 8 * page)
        printf(" %s memory+%llx", what, (unsigned long long)(address - (uint64_t)memory));
    else
        printf(" %s %llx", what, (unsigned long long)address);
}

static void caught(int number, siginfo_t* info, void* raw) {
    asm volatile("pushf; andl $~0x40000, (%%rsp); popf" : : : "cc", "memory"); // AC stays on in handlers
    const mcontext_t* m = &((ucontext_t*)raw)->uc_mcontext;
    const struct _libc_fpstate* fpu = m->fpregs;
    printf(" signal %d code %d trap %lld error %llx", number, info->si_code, m->gregs[REG_TRAPNO], m->gregs[REG_ERR]);
    place("address", (uint64_t)info->si_addr);
    place("rip", (uint64_t)m->gregs[REG_RIP]);
    printf(" flags %llx", m->gregs[REG_EFL] & 0x10dff);
    if (number == SIGFPE && info->si_code != FPE_INTDIV) {
        printf(" fcw %x fsw %x ftw %x fop %x mxcsr %x", fpu->cwd, fpu->swd, fpu->ftw, fpu->fop, fpu->mxcsr);
        if (m->gregs[REG_TRAPNO] == 16) {
            place("fip", fpu->rip);
            place("fdp", fpu->rdp);
        }
    }
    puts("");
    siglongjmp(back, 1);
}

static void catch_all(void) {
    static char stack[65536];
    const stack_t other = {.ss_sp = stack, .ss_size = sizeof stack};
    sigaltstack(&other, 0);
    struct sigaction action = {.sa_sigaction = caught, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};
    for (unsigned i = 0; i < sizeof signals / sizeof *signals; ++i)
        sigaction(signals[i], &action, 0);
}

// Runs assembly that begins at label 1 and tells how it ended.
#define TRY(name, code, ...)                                                                                             \
    do {                                                                                                                 \
        printf("%s:", name);                                                                                             \
        if (!sigsetjmp(back, 1)) {                                                                                       \
            asm volatile("lea 1f(%%rip), %%rax\n\tmov %%rax, %0\n1:\n\t" code                                            \
                         : "=m"(fault_at)                                                                                \
                         : "D"(memory), ##__VA_ARGS__                                                                    \
                         : "rax", "rcx", "rdx", "rbx", "memory", "cc", "st", "st(1)", "xmm0", "xmm1");                   \
            puts(" nothing");                                                                                            \
        }                                                                                                                \
    } while (0)

static void x87(void) {
    static const struct {
        const char* name;
        uint16_t control;
    } masks[] = {{"I", 0x37e}, {"D", 0x37d}, {"Z", 0x37b}, {"O", 0x377}, {"U", 0x36f}, {"P", 0x35f}, {"all", 0x340}};
    const double numbers[] = {1e308, 1e-308, 5e-324, 0.0, 1.0, 3.0};
    memcpy(memory, numbers, sizeof numbers);
    static unsigned i; // not in a register that siglongjmp forgets
    for (i = 0; i < sizeof masks / sizeof *masks; ++i) {
        memcpy(memory + 256, &masks[i].control, 2);
        printf("-- x87 with %s unmasked\n", masks[i].name);
#define X87(name, code) TRY(name, "fninit; fldcw 256(%%rdi); " code)
        X87("underflow of the stack", "fstps 512(%%rdi); nop; fwait");
        X87("overflow of the stack", "fld1;fld1;fld1;fld1;fld1;fld1;fld1;fld1; fldl 40(%%rdi); nop; fld1");
        X87("square root of -1", "fld1; fchs; fsqrt; nop; fwait");
        X87("a denormal operand", "fldl 16(%%rdi); nop; fnstcw 258(%%rdi); fwait");
        X87("division by zero", "fld1; fdivl 24(%%rdi); mov $1, %%eax; fnop");
        X87("overflow", "fldl (%%rdi); fmull (%%rdi); fmul %%st(0), %%st(0); fstpl 512(%%rdi); fwait");
        X87("underflow", "fldl 8(%%rdi); fmull 8(%%rdi); fstpl 512(%%rdi); fwait");
        X87("a result that is not exact", "fld1; fdivl 40(%%rdi); fwait");
        X87("a store that is not exact", "fld1; fidivl 512(%%rdi); fldl 40(%%rdi); fdivrp; fistpl 516(%%rdi); fwait");
        X87("what does not wait", "fld1; fldz; fdivrp; fnstsw %%ax; fnstcw 512(%%rdi); fnclex; fwait");
        X87("an environment", "fld1; fldz; fdivrp; fnstenv 512(%%rdi); fwait");
        X87("MMX waits", "fld1; fldz; fdivrp; movd %%eax, %%mm0");
    }
    asm volatile("fninit");
}

static void sse(void) {
    const float numbers[] = {1, 3, 0, 1e38f, 1e-38f, 1e-40f, -1, 0};
    memcpy(memory, numbers, sizeof numbers);
    static unsigned bit, mode;
    for (bit = 0; bit < 7; ++bit) {
        for (mode = 0; mode < 4; ++mode) { // DAZ, FTZ
            uint32_t mxcsr = bit == 6 ? 0 : 0x1f80 & ~(0x80u << bit);
            mxcsr |= (mode & 1) << 6 | (mode & 2) << 14;
            memcpy(memory + 256, &mxcsr, 4);
            printf("-- SSE with MXCSR %x\n", mxcsr);
#define SSE(name, code) TRY(name, "ldmxcsr 256(%%rdi); movss (%%rdi), %%xmm0; " code)
            SSE("divss by 3", "divss 4(%%rdi), %%xmm0");
            SSE("divps by 0", "movaps (%%rdi), %%xmm1; divps 16(%%rdi), %%xmm1");
            SSE("mulss overflows", "movss 12(%%rdi), %%xmm0; mulss %%xmm0, %%xmm0");
            SSE("mulss underflows", "movss 16(%%rdi), %%xmm0; mulss %%xmm0, %%xmm0");
            SSE("a denormal operand", "addss 20(%%rdi), %%xmm0");
            SSE("sqrtss of -1", "sqrtss 24(%%rdi), %%xmm0");
            SSE("cvttss2si of 1e38", "cvttss2si 12(%%rdi), %%eax");
            SSE("comiss of 0 and 0", "comiss 8(%%rdi), %%xmm0");
        }
    }
    const uint32_t usual = 0x1f80;
    asm volatile("ldmxcsr %0" : : "m"(usual));
}

static void memory_faults(void) {
    puts("-- memory");
    const uint64_t hole = 1ull << 62; // also where addresses have 57 bits
    TRY("load from 0", "mov 0, %%eax");
    TRY("store to 16", "movl $1, 16");
    TRY("load behind the end", "mov %c2(%%rdi), %%rax", "i"(3 * page - 4));
    TRY("store to a page for reading", "incl %c2(%%rdi)", "i"(2 * page + 8));
    TRY("store across into it", "movq $1, %c2(%%rdi)", "i"(2 * page - 3));
    TRY("a string that ends there", "mov $64, %%ecx; cld; push %%rdi; lea %c2(%%rdi), %%rdi; rep stosb; pop %%rdi", "i"(2 * page - 9));
    TRY("load from an address that is none", "mov (%2), %%eax", "S"(hole));
    TRY("a stack that is none", "mov %%rsp, %%rbx; mov %2, %%rsp; push %%rax; mov %%rbx, %%rsp", "S"(hole + page));
    TRY("load from the kernel", "mov (%2), %%eax", "S"(0xffffffff81000000));
    TRY("call of a page without code", "call *%%rdi");
    TRY("a misaligned movaps", "movaps 4(%%rdi), %%xmm0");
    TRY("fxsave off its alignment", "fxsave 8(%%rdi)");
    TRY("a misaligned load, checked", "pushf; orl $0x40000, (%%rsp); popf; mov 1(%%rdi), %%eax; pushf; andl $~0x40000, (%%rsp); popf");
    TRY("a store of 2 bytes, checked", "pushf; orl $0x40000, (%%rsp); popf; mov %%ax, 3(%%rdi); pushf; andl $~0x40000, (%%rsp); popf");
    const int file = memfd_create("short", 0);
    unsigned char* mapped = mmap(0, page, PROT_READ, MAP_SHARED, file, 0);
    unsigned char* const usual = memory;
    memory = mapped;
    TRY("load behind the end of a file", "mov 7(%%rdi), %%al");
    memory = usual;
}

static void others(void) {
    puts("-- others");
    TRY("ud2", "ud2");
    TRY("lock nop", ".byte 0xf0, 0x90");
    TRY("hlt", "hlt");
    TRY("cli", "cli");
    TRY("in", "in $0x60, %%al");
    TRY("mov from cr0", "mov %%cr0, %%rax");
    TRY("rdmsr", "xor %%ecx, %%ecx; rdmsr");
    TRY("int $13", "int $13");
    TRY("int3", "int3");
    TRY("icebp", ".byte 0xf1");
    TRY("division by 0", "xor %%edx, %%edx; xor %%ecx, %%ecx; div %%ecx");
    TRY("a quotient that is too large", "mov $5, %%edx; mov $5, %%ecx; div %%ecx");
    TRY("a null stack segment", "xor %%eax, %%eax; mov %%eax, %%ss");
    TRY("a selector of the kernel", "mov $0x10, %%eax; mov %%eax, %%ds");
    TRY("a selector beyond the table", "mov $0xfff8, %%eax; mov %%eax, %%es");
}

// ---- one instruction at a time
static uint64_t first, steps[64];
static volatile unsigned step_count;
static void stepped(int number, siginfo_t* info, void* raw) {
    (void)number;
    const mcontext_t* m = &((ucontext_t*)raw)->uc_mcontext;
    if (step_count < 64) steps[step_count++] = (uint64_t)m->gregs[REG_RIP] << 8 | (uint64_t)(info->si_code & 0xff);
}
#define STEPPED                                                                                                          \
    "nop; mov $3, %%ecx; 2: loop 2b; push %%rax; pop %%rax; pushf; pop %%rax; mov %%ss, %%eax; mov %%eax, %%ss; nop; "     \
    "lea 256(%%rdi), %%rsi; mov $3, %%ecx; cld; rep movsb; mov $3, %%ecx; repe cmpsb; mov $39, %%eax; syscall; "           \
    "xor %%eax, %%eax; cpuid; nop; "
#define CLOBBERED "rax", "rbx", "rcx", "rdx", "rsi", "r11", "memory", "cc"

static void trap_flag(void) {
    struct sigaction action = {.sa_sigaction = stepped, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaction(SIGTRAP, &action, 0);
    unsigned char* to = memory;
    asm volatile("lea 1f(%%rip), %%rax; mov %%rax, %0; pushf; orl $0x100, (%%rsp); popf; 1: " STEPPED
                 "pushf; andl $~0x100, (%%rsp); popf; nop"
                 : "=m"(first), "+D"(to)
                 :
                 : CLOBBERED);
    puts("-- stepped by POPF");
    for (unsigned i = 0; i < step_count; ++i)
        printf("step %u at %llx code %llu\n", i, (unsigned long long)((steps[i] >> 8) - first), (unsigned long long)(steps[i] & 0xff));
    catch_all();
}

static void __attribute__((noinline)) traced(void) {
    ptrace(PTRACE_TRACEME, 0, 0, 0);
    raise(SIGSTOP);
    unsigned char* to = memory;
    asm volatile(".globl traced_begin, traced_end\ntraced_begin: " STEPPED "traced_end: nop" : "+D"(to) : : CLOBBERED);
    asm volatile(".globl watched_begin, watched_end\nwatched_begin: movb $1, 512(%0); mov 512(%0), %%eax; movl $2, 516(%0); "
                 "mov 510(%0), %%rax; incl 513(%0); nop; watched_end: nop"
                 :
                 : "D"(memory)
                 : "rax", "memory", "cc");
    _exit(0);
}
extern char traced_begin[], traced_end[], watched_begin[], watched_end[];

static long debug_register(pid_t child, unsigned n) {
    return ptrace(PTRACE_PEEKUSER, child, offsetof(struct user, u_debugreg[n]), 0);
}
static void set_debug_register(pid_t child, unsigned n, uint64_t value) {
    if (ptrace(PTRACE_POKEUSER, child, offsetof(struct user, u_debugreg[n]), value)) printf("DR%u cannot be set\n", n);
}

static void tracing(void) {
    fflush(stdout);
    const pid_t child = fork();
    if (!child) traced();
    int status;
    struct user_regs_struct regs;
    siginfo_t info;
    waitpid(child, &status, 0);
    // Breakpoints: at its first instruction; stores to one byte, accesses to four.
    set_debug_register(child, 0, (uint64_t)traced_begin);
    set_debug_register(child, 7, 1);
    ptrace(PTRACE_CONT, child, 0, 0);
    waitpid(child, &status, 0);
    puts("-- traced");
    for (unsigned i = 0; i < 64 && WIFSTOPPED(status); ++i) {
        ptrace(PTRACE_GETREGS, child, 0, &regs);
        ptrace(PTRACE_GETSIGINFO, child, 0, &info);
        printf("step %u at %llx signal %d code %d flags %llx dr6 %lx\n", i, regs.rip - (uint64_t)traced_begin, WSTOPSIG(status), info.si_code, regs.eflags & 0x10dff,
               debug_register(child, 6) & 0xe00f);
        if (regs.rip == (uint64_t)traced_end) break;
        set_debug_register(child, 6, 0);
        ptrace(PTRACE_SINGLESTEP, child, 0, 0);
        waitpid(child, &status, 0);
    }
    set_debug_register(child, 7, 0);
    set_debug_register(child, 0, (uint64_t)memory + 512);
    set_debug_register(child, 1, (uint64_t)memory + 516);
    set_debug_register(child, 7, 0x00f10000 | 5);
    puts("-- watched");
    for (unsigned i = 0; i < 16; ++i) {
        set_debug_register(child, 6, 0);
        ptrace(PTRACE_CONT, child, 0, 0);
        waitpid(child, &status, 0);
        if (!WIFSTOPPED(status)) break;
        ptrace(PTRACE_GETREGS, child, 0, &regs);
        ptrace(PTRACE_GETSIGINFO, child, 0, &info);
        printf("stop %u at %llx signal %d code %d dr6 %lx\n", i, regs.rip - (uint64_t)watched_begin, WSTOPSIG(status), info.si_code, debug_register(child, 6) & 0xe00f);
    }
    printf("ended with %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
}

int main(void) {
    memory = mmap(0, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(memory, 0, 3 * page);
    mprotect(memory + 2 * page, page, PROT_READ);
    munmap(memory + 3 * page, page);
    setvbuf(stdout, 0, _IOLBF, 0);
    catch_all();
    x87();
    sse();
    memory_faults();
    others();
    trap_flag();
    tracing();
    return 0;
}
