// signals.c for 32-bit programs, in which segments, the stack and INT 0x80 are other: faults and traps as a
// program sees them. Without a C library, which few 64-bit systems have for 32 bits. What it prints must be
// the same in the guest as on the host.
typedef unsigned u32;
typedef unsigned short u16;
enum { page = 4096, sigill = 4, sigtrap = 5, sigbus = 7, sigfpe = 8, sigsegv = 11, sigstop = 19 };
enum {
    sys_exit = 1,
    sys_fork,
    sys_write = 4,
    sys_waitpid = 7,
    sys_getpid = 20,
    sys_ptrace = 26,
    sys_kill = 37,
    sys_mmap = 90,
    sys_munmap,
    sys_mprotect = 125,
    sys_rt_sigaction = 174,
    sys_rt_sigprocmask,
    sys_sigaltstack = 186
};
enum {
    trace_me = 0,
    peek_user = 3,
    poke_user = 6,
    cont = 7,
    single_step = 9,
    get_regs = 12,
    get_siginfo = 0x4202
};

struct Context { // struct sigcontext of the kernel
    u32 gs, fs, es, ds, edi, esi, ebp, esp, ebx, edx, ecx, eax, trap, error, eip, cs, eflags, esp_then, ss,
        fpu, mask, cr2;
};
struct UserContext {
    u32 flags, link, stack[3];
    struct Context m;
};
struct Info {
    int number, error, code;
    u32 address;
    u32 rest[28];
};
struct Fpu { // struct _fpstate
    u32 cw, sw, tag, ip, cs, dp, ds;
    unsigned char st[80];
    u16 status, magic;
    u32 environment[6], mxcsr;
};

static int sys(int number, u32 a, u32 b, u32 c, u32 d, u32 e) {
    int result;
    asm volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e) : "memory");
    return result;
}

// ---- text
static char line[512];
static u32 used;
static void text(const char* s) {
    while (*s && used < sizeof line)
        line[used++] = *s++;
}
static void hex(const char* before, u32 value) {
    text(before);
    char digits[9], *at = digits + 8;
    *at = 0;
    do
        *--at = "0123456789abcdef"[value & 15];
    while (value >>= 4);
    text(at);
}
static void end_line(void) {
    text("\n");
    sys(sys_write, 1, (u32)line, used, 0, 0);
    used = 0;
}

// ---- snippets of assembly, run until they end or fault
unsigned char* memory; // two pages that can be written, one that cannot be, none behind them
u32 snippet_begin, saved_esp;
static void place(const char* what, u32 address) {
    text(what);
    if (address - snippet_begin < page)
        hex(" code+", address - snippet_begin);
    else if (address - (u32)memory < 8 * page)
        hex(" memory+", address - (u32)memory);
    else
        hex(" ", address);
}

int run_snippet(u32 begin); // 1: it faulted
extern char recover[];
asm("run_snippet:\n\tpush %ebp; push %ebx; push %esi; push %edi\n\t"
    "mov 20(%esp), %eax; mov memory, %edi; mov %esp, saved_esp; cmp %esp, %esp; call *%eax; xor %eax, %eax; jmp 1f\n"
    "recover: mov saved_esp, %esp; mov $1, %eax\n"
    "1: fninit; push $0x1f80; ldmxcsr (%esp); pop %edx; push %ss; pop %ds; push %ss; pop %es; cld\n\t"
    "pop %edi; pop %esi; pop %ebx; pop %ebp; ret");

static void caught(int number, struct Info* info, struct UserContext* user) {
    struct Context* m = &user->m;
    hex(" signal ", (u32)number);
    hex(" code ", (u32)info->code);
    hex(" trap ", m->trap);
    hex(" error ", m->error);
    place(" address", info->address);
    place(" eip", m->eip);
    hex(" flags ", m->eflags & 0x10dff);
    if (number == sigfpe && m->trap) {
        const struct Fpu* f = (const struct Fpu*)m->fpu;
        hex(" fcw ", f->cw & 0xffff);
        hex(" fsw ", f->sw & 0xffff);
        hex(" ftw ", f->tag & 0xffff);
        hex(" mxcsr ", f->mxcsr);
        if (m->trap == 16) {
            place(" fip", f->ip);
            place(" fdp", f->dp);
        }
    }
    end_line();
    m->eip = (u32)recover;
    m->eflags &= ~0x40500u; // AC, DF, TF
}

static u32 steps[64], step_codes[64], step_count;
static void stepped(int number, struct Info* info, struct UserContext* user) {
    (void)number;
    if (step_count >= 64) return;
    step_codes[step_count] = (u32)info->code;
    steps[step_count++] = user->m.eip;
}

void restorer(void);
asm("restorer: mov $173, %eax; int $0x80");
static void on(int number, void* handler) {
    const u32 action[] = {(u32)handler, 0x4c000004 /* SIGINFO, RESTORER, ONSTACK, NODEFER */, (u32)restorer,
                          0, 0};
    sys(sys_rt_sigaction, (u32)number, (u32)action, 0, 8, 0);
}
static void catch_all(void) {
    on(sigsegv, caught), on(sigbus, caught), on(sigill, caught), on(sigfpe, caught), on(sigtrap, caught);
}

static void attempt(const char* name, const char* begin) {
    text(name);
    text(":");
    snippet_begin = (u32)begin;
    if (run_snippet((u32)begin)) return;
    text(" nothing");
    end_line();
}
#define PASTE(a, b) a##b
#define LABEL(n)    PASTE(snippet_, n)
#define STRING(n)   #n
#define NAME(n)     "snippet_" STRING(n)
#define TRY(what, code)                                                                                      \
    do {                                                                                                     \
        extern const char LABEL(__LINE__)[];                                                                 \
        asm(".pushsection .text.snippets, \"ax\"\n" NAME(__LINE__) ": " code "; ret\n.popsection");          \
        attempt(what, LABEL(__LINE__));                                                                      \
    } while (0)

static void x87(void) {
    static const u16 controls[] = {0x37e, 0x37d, 0x37b, 0x377, 0x36f, 0x35f, 0x340};
    const double numbers[] = {1, 3, 0, 1e308, 1e-308, -1};
    __builtin_memcpy(memory, numbers, sizeof numbers);
    *(u32*)(memory + 64) = 1; // a denormal
    for (u32 i = 0; i < sizeof controls / sizeof *controls; ++i) {
        hex("-- x87 with control word ", controls[i]);
        end_line();
        *(u16*)(memory + 256) = controls[i];
#define X87(name, code) TRY(name, "fldcw 256(%edi); " code)
        X87("1 / 0", "fldl (%edi); fdivl 16(%edi); fwait");
        X87("1 / 3", "fldl (%edi); fdivl 8(%edi); fwait");
        X87("too large for a double", "fldl 24(%edi); fmul %st, %st; fstpl 512(%edi); fwait");
        X87("too small for a double", "fldl 32(%edi); fmul %st, %st; fstpl 512(%edi); fwait");
        X87("the root of -1", "fldl 40(%edi); fsqrt; fwait");
        X87("a denormal operand", "fldl 64(%edi); fwait");
        X87("an empty register", "fstpl 512(%edi); fwait");
        X87("too large for an integer", "fldl 24(%edi); fistpl 512(%edi); fwait");
        X87("MMX waits", "fld1; fldz; fdivrp; movd %eax, %mm0");
        X87("what does not wait", "fld1; fldz; fdivrp; fnstsw %ax; fnstcw 512(%edi); fnclex; fwait");
    }
}

static void sse(void) {
    const float numbers[] = {1, 3, 0, 1e38f, 1e-38f, 1e-40f, -1, 0};
    __builtin_memcpy(memory, numbers, sizeof numbers);
    for (u32 bit = 0; bit < 7; ++bit)
        for (u32 mode = 0; mode < 4; ++mode) { // DAZ, FTZ
            const u32 mxcsr = (bit == 6 ? 0 : 0x1f80 & ~(0x80u << bit)) | (mode & 1) << 6 | (mode & 2) << 14;
            *(u32*)(memory + 256) = mxcsr;
            hex("-- SSE with MXCSR ", mxcsr);
            end_line();
#define SSE(name, code) TRY(name, "ldmxcsr 256(%edi); movss (%edi), %xmm0; " code)
            SSE("divss by 3", "divss 4(%edi), %xmm0");
            SSE("divps by 0", "movaps (%edi), %xmm1; divps 16(%edi), %xmm1");
            SSE("mulss overflows", "movss 12(%edi), %xmm0; mulss %xmm0, %xmm0");
            SSE("mulss underflows", "movss 16(%edi), %xmm0; mulss %xmm0, %xmm0");
            SSE("a denormal operand", "addss 20(%edi), %xmm0");
            SSE("sqrtss of -1", "sqrtss 24(%edi), %xmm0");
            SSE("cvttss2si of 1e38", "cvttss2si 12(%edi), %eax");
        }
}

static void memory_faults(void) {
    text("-- memory");
    end_line();
    TRY("load from 0", "mov 0, %eax");
    TRY("store to 16", "movl $1, 16");
    TRY("load behind the end", "mov 12286(%edi), %eax");
    TRY("store to a page for reading", "incl 8200(%edi)");
    TRY("store across into it", "movl $1, 8190(%edi)");
    TRY("a string that ends there", "mov $64, %ecx; cld; lea 8183(%edi), %edi; rep stosb");
    TRY("a misaligned movaps", "movaps 4(%edi), %xmm0");
    TRY("fxsave off its alignment", "fxsave 8(%edi)");
    TRY("PUSHA across into a page for reading",
        "mov %esp, %ebx; lea 8208(%edi), %esp; pusha; mov %ebx, %esp");
    TRY("ENTER into a page for reading",
        "mov %esp, %ebx; lea 8208(%edi), %esp; enter $8, $0; mov %ebx, %esp");
    TRY("a misaligned load, checked",
        "pushf; orl $0x40000, (%esp); popf; mov 1(%edi), %eax; pushf; andl $~0x40000, (%esp); popf");
    TRY("a store of 2 bytes, checked",
        "pushf; orl $0x40000, (%esp); popf; mov %ax, 3(%edi); pushf; andl $~0x40000, (%esp); popf");
}

static void others(void) {
    text("-- others");
    end_line();
    TRY("ud2", "ud2");
    TRY("lock nop", ".byte 0xf0, 0x90");
    TRY("hlt", "hlt");
    TRY("cli", "cli");
    TRY("in", "in $0x60, %al");
    TRY("insb", "lea 4(%edi), %edi; mov $0x60, %edx; insb");
    TRY("mov from cr0", "mov %cr0, %eax");
    TRY("rdmsr", "xor %ecx, %ecx; rdmsr");
    TRY("int $13", "int $13");
    TRY("int3", "int3");
    TRY("icebp", ".byte 0xf1");
    TRY("into", "mov $0x7fffffff, %eax; inc %eax; into");
    TRY("into without an overflow", "xor %eax, %eax; into");
    TRY("bound", "movl $5, 512(%edi); movl $9, 516(%edi); mov $10, %eax; bound %eax, 512(%edi)");
    TRY("aam by 0", "aam $0");
    TRY("division by 0", "xor %edx, %edx; xor %ecx, %ecx; div %ecx");
    TRY("a quotient that is too large", "mov $5, %edx; mov $5, %ecx; div %ecx");
    TRY("a null stack segment", "xor %eax, %eax; mov %eax, %ss");
    TRY("a selector beyond the table", "mov $0xfff8, %eax; mov %eax, %es");
    TRY("through a null segment", "xor %eax, %eax; mov %eax, %es; mov %es:(%edi), %eax");
    TRY("far return to nowhere", "push $0xfff8; push $0; lret");
    TRY("IRET to an inner level", "pushf; push $0x8; push $0; iret");
    TRY("POPF changes neither IF nor IOPL", "pushf; pop %ecx; mov %ecx, %edx; xor $0x3200, %edx; push %edx; "
                                            "popf; pushf; pop %edx; cmp %edx, %ecx; je 1f; ud2; 1:");
}

// ---- one instruction at a time
#define STEPPED                                                                                              \
    "nop; mov $3, %ecx; 2: loop 2b; push %eax; pop %eax; pushf; pop %eax; mov %ss, %eax; mov %eax, %ss; "    \
    "nop; "                                                                                                  \
    "lea 256(%edi), %esi; mov $3, %ecx; cld; rep movsb; mov $3, %ecx; repe cmpsb; mov $20, %eax; int "       \
    "$0x80; "                                                                                                \
    "pusha; popa; call 3f; 3: pop %eax; xor %eax, %eax; cpuid; nop; "
void stepped_by_popf(void);
void traced_code(void);
extern char stepped_begin[], traced_begin[], traced_end[], watched_begin[];
asm("stepped_by_popf: pusha; mov memory, %edi; pushf; orl $0x100, (%esp); popf; stepped_begin: " STEPPED
    "pushf; andl $~0x100, (%esp); popf; nop; popa; ret\n"
    "traced_code: pusha; mov memory, %edi; traced_begin: " STEPPED "traced_end: nop; mov memory, %edi\n"
    "watched_begin: movb $1, 512(%edi); mov 512(%edi), %eax; movl $2, 516(%edi); mov 514(%edi), %eax; incl "
    "513(%edi); nop; popa; ret");

static void trap_flag(void) {
    on(sigtrap, stepped);
    stepped_by_popf();
    text("-- stepped by POPF");
    end_line();
    for (u32 i = 0; i < step_count; ++i) {
        hex("step ", i);
        hex(" at ", steps[i] - (u32)stepped_begin);
        hex(" code ", step_codes[i]);
        end_line();
    }
    catch_all();
}

static u32 trace(u32 what, u32 child, u32 at, u32 data) {
    return (u32)sys(sys_ptrace, what, child, at, data, 0);
}
enum { debug_registers = 252 }; // in struct user
static u32 dr6(u32 child) {
    u32 value = 0;
    trace(peek_user, child, debug_registers + 6 * 4, (u32)&value);
    return value & 0xe00f;
}
static void set_dr(u32 child, u32 n, u32 value) {
    if (trace(poke_user, child, debug_registers + n * 4, value)) hex("cannot be set: DR", n), end_line();
}
// What the stopped child is at.
static int stop(const char* what, u32 child, u32 i, int status, const char* from) {
    u32 regs[17];
    struct Info info;
    trace(get_regs, child, 0, (u32)regs);
    trace(get_siginfo, child, 0, (u32)&info);
    hex(what, i);
    hex(" at ", regs[12] - (u32)from);
    hex(" signal ", (u32)status >> 8 & 0xff);
    hex(" code ", (u32)info.code);
    hex(" flags ", regs[14] & 0x10dff);
    hex(" dr6 ", dr6(child));
    end_line();
    return regs[12] == (u32)traced_end;
}

static void tracing(void) {
    const u32 child = (u32)sys(sys_fork, 0, 0, 0, 0, 0);
    if (!child) {
        trace(trace_me, 0, 0, 0);
        sys(sys_kill, (u32)sys(sys_getpid, 0, 0, 0, 0, 0), sigstop, 0, 0, 0);
        traced_code();
        sys(sys_exit, 0, 0, 0, 0, 0);
    }
    int status = 0;
    const u32 wait[] = {child, (u32)&status, 0};
#define WAIT()  sys(sys_waitpid, wait[0], wait[1], wait[2], 0, 0)
#define STOPPED (((u32)status & 0xff) == 0x7f)
    WAIT();
    set_dr(child, 0, (u32)traced_begin);
    set_dr(child, 7, 1);
    trace(cont, child, 0, 0);
    WAIT();
    text("-- traced");
    end_line();
    for (u32 i = 0; i < 64 && STOPPED; ++i) {
        if (stop("step ", child, i, status, traced_begin)) break;
        set_dr(child, 6, 0);
        trace(single_step, child, 0, 0);
        WAIT();
    }
    // A store to one byte, accesses to four.
    set_dr(child, 7, 0);
    set_dr(child, 0, (u32)memory + 512);
    set_dr(child, 1, (u32)memory + 516);
    set_dr(child, 7, 0x00f10000 | 5);
    text("-- watched");
    end_line();
    for (u32 i = 0; i < 16; ++i) {
        set_dr(child, 6, 0);
        trace(cont, child, 0, 0);
        WAIT();
        if (!STOPPED) break;
        stop("stop ", child, i, status, watched_begin);
    }
    hex("ended with ", (u32)status);
    end_line();
}

void begin(void) {
    static unsigned char other[65536];
    const u32 map[] = {0, 4 * page, 3, 0x22, -1u, 0}, stack[] = {(u32)other, 0, sizeof other};
    memory = (unsigned char*)sys(sys_mmap, (u32)map, 0, 0, 0, 0);
    sys(sys_mprotect, (u32)memory + 2 * page, page, 1, 0, 0);
    sys(sys_munmap, (u32)memory + 3 * page, page, 0, 0, 0);
    sys(sys_sigaltstack, (u32)stack, 0, 0, 0, 0);
    catch_all();
    x87();
    sse();
    memory_faults();
    others();
    trap_flag();
    tracing();
    sys(sys_exit, 0, 0, 0, 0, 0);
}
asm(".globl _start\n_start: and $-16, %esp; call begin");
