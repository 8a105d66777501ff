/* What needs the kernel, the MMU or a translator: system calls, faults, processes, code made at run time, time. */
#define _GNU_SOURCE
#include "kernel.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint32_t get_pid(int rounds) {
    long first = syscall(SYS_getpid), same = 1;
    for (int r = 0; r < rounds; r++) same &= syscall(SYS_getpid) == first;
    return (uint32_t)same;
}

static uint32_t pipe_round_trip(int rounds) {
    int there[2], back[2];
    char byte = 0;
    if (pipe(there) || pipe(back)) failed("pipe");
    pid_t child = fork();
    if (child < 0) failed("fork");
    if (!child) {
        close(there[1]);
        while (read(there[0], &byte, 1) == 1)
            if (write(back[1], &byte, 1) != 1) break;
        _exit(0);
    }
    uint32_t sum = 0;
    for (int r = 0; r < rounds; r++) {
        byte = (char)r;
        if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1) failed("pipe");
        sum = sum * 31 + (uint8_t)byte;
    }
    for (int i = 0; i < 2; i++) close(there[i]), close(back[i]);
    waitpid(child, 0, 0);
    return sum;
}

enum { PAGES = 256 };
static uint32_t page_fault(int rounds) {
    uint32_t sum = 0;
    for (int r = 0; r < rounds; r++) {
        uint8_t *p = mmap(0, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED) failed("mmap");
        for (int i = 0; i < PAGES; i++) p[i * 4096] = (uint8_t)i;
        for (int i = 0; i < PAGES; i++) sum += p[i * 4096];
        munmap(p, PAGES * 4096);
    }
    return sum;
}

static uint32_t protect(int rounds) {
    volatile uint8_t *p = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) failed("mmap");
    uint32_t last = 0;
    for (int r = 0; r < rounds; r++) {
        p[0]++;
        mprotect((void *)p, 4096, PROT_READ);
        last += p[0];
        mprotect((void *)p, 4096, PROT_READ | PROT_WRITE);
    }
    munmap((void *)p, 4096);
    return last;
}

static uint32_t fork_exec(int rounds) {
    uint32_t sum = 0;
    for (int r = 0; r < rounds; r++) {
        pid_t child = fork();
        if (child < 0) failed("fork");
        if (!child) {
            execl("/proc/self/exe", "classes", "nothing", (char *)0);
            _exit(1);
        }
        int status = -1;
        waitpid(child, &status, 0);
        sum += status == 0;
    }
    return sum == (uint32_t)rounds;
}

static volatile sig_atomic_t caught;
static void catch(int number) { caught += number == SIGUSR1; }
static uint32_t signals(int rounds) {
    if (signal(SIGUSR1, catch) == SIG_ERR) failed("signal");
    for (int r = 0; r < rounds; r++) raise(SIGUSR1);
    return (uint32_t)caught;
}

/* MOV EAX, imm32; RET, at `to`. */
typedef uint32_t made(void);
static made *make(uint8_t *to, uint32_t value) {
    to[0] = 0xb8;
    memcpy(to + 1, &value, 4);
    to[5] = 0xc3;
    return (made *)(uintptr_t)to;
}
static uint8_t *code_page(size_t bytes) {
    void *p = mmap(0, bytes, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) failed("mmap");
    return p;
}
static uint32_t rewritten_code(int rounds) {
    uint8_t *page = code_page(4096);
    uint32_t sum = 0;
    for (int r = 0; r < rounds; r++) sum += make(page, (uint32_t)r)();
    munmap(page, 4096);
    return sum;
}
static uint32_t data_beside_code(int rounds) {
    uint8_t *page = code_page(4096);
    volatile uint32_t *data = (volatile uint32_t *)(page + 2048);
    made *one = make(page, 1);
    for (int r = 0; r < rounds; r++) *data += one();
    uint32_t sum = *data;
    munmap(page, 4096);
    return sum;
}
static uint32_t fresh_code(int rounds) {
    enum { COUNT = 4096, STEP = 64 };
    uint32_t sum = 0;
    for (int r = 0; r < rounds; r++) {
        uint8_t *page = code_page(COUNT * STEP);
        for (int i = 0; i < COUNT; i++) {
            made *f = make(page + i * STEP, (uint32_t)i);
            for (int n = 0; n < 10; n++) sum += f();
        }
        munmap(page, COUNT * STEP);
    }
    return sum;
}

static uint32_t time_of_day(int rounds) {
    struct timeval t;
    uint32_t forward = 1;
    long last = 0;
    for (int r = 0; r < rounds; r++) {
        gettimeofday(&t, 0);
        forward &= t.tv_sec >= last;
        last = t.tv_sec;
    }
    return forward;
}
static uint32_t rdtsc(int rounds) {
    uint64_t last = 0;
    uint32_t forward = 1;
    for (int r = 0; r < rounds; r++) {
        uint64_t t = __builtin_ia32_rdtsc();
        forward &= t >= last;
        last = t;
    }
    return forward;
}

const struct kernel systems[] = {{"getpid", get_pid, 300000},
                                 {"pipe", pipe_round_trip, 1500},
                                 {"page-fault", page_fault, 80},
                                 {"mprotect", protect, 10000},
                                 {"fork-exec", fork_exec, 80},
                                 {"signals", signals, 30000},
                                 {"rewritten-code", rewritten_code, 20000},
                                 {"data-beside-code", data_beside_code, 200000},
                                 {"fresh-code", fresh_code, 4},
                                 {"gettimeofday", time_of_day, 500000},
                                 {"rdtsc", rdtsc, 1000000},
                                 {0, 0, 0}};
