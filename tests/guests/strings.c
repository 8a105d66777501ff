// glibc chooses its string functions by CPUID (ifunc): whatever it chose, these lines must be the same everywhere.
// GLIBC_TUNABLES=glibc.cpu.hwcaps=... makes it choose others.
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

static uint64_t sum = 14695981039346656037u, state = 88172645463325252u;

static void note(uint64_t value) {
    sum = (sum ^ value) * 1099511628211u;
}
static uint64_t random64(void) { // xorshift64
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}
static int sign(int v) {
    return (v > 0) - (v < 0);
}
static void report(const char* name) {
    printf("%s %016llx\n", name, (unsigned long long)sum);
    sum = 14695981039346656037u;
}

enum { size = 1 << 14 };
static char a[size + 256], b[size + 256], c[size + 256];

// A length: mostly short, sometimes around what vectors and pages hold, sometimes long.
static size_t length(void) {
    const uint64_t r = random64();
    return r % 4 == 0 ? r / 8 % 40 : r % 4 == 1 ? r / 8 % 300 : r % 4 == 2 ? 4096 - 70 + r / 8 % 140 : r / 8 % (size - 200);
}

// Through volatile pointers, so that the compiler calls the library.
static void* (*volatile copy)(void*, const void*, size_t) = memcpy;
static void* (*volatile move)(void*, const void*, size_t) = memmove;
static void* (*volatile set)(void*, int, size_t) = memset;
static int (*volatile compare)(const void*, const void*, size_t) = memcmp;
static size_t (*volatile string_length)(const char*) = strlen;
static int (*volatile string_compare)(const char*, const char*) = strcmp;

int main(void) {
    for (size_t i = 0; i < sizeof a; ++i)
        a[i] = (char)(random64() % 255 + 1);
    for (int round = 0; round < 4000; ++round) {
        const size_t n = length(), from = random64() % 100, to = random64() % 100;
        set(b, (int)random64(), sizeof b / 64);
        copy(b + to, a + from, n);
        note(b[to] + 256u * (unsigned char)b[to + n / 2] + (n ? (unsigned char)b[to + n - 1] : 0));
        move(b + from, b + to, n);
        note(compare(a + from, b + from, n) == 0);
        b[from + n / 2] ^= (char)(1 << random64() % 8);
        note((uint64_t)sign(compare(a + from, b + from, n)));
    }
    report("memory");
    for (int round = 0; round < 4000; ++round) {
        const size_t n = length(), at = random64() % 100;
        copy(c + at, a, n);
        c[at + n] = 0;
        note(string_length(c + at));
        note(strnlen(c + at, n / 2));
        const int wanted = (int)(random64() % 256);
        const char* found = strchr(c + at, wanted);
        note(found ? (uint64_t)(found - c) : 1);
        found = strrchr(c + at, wanted);
        note(found ? (uint64_t)(found - c) : 1);
        found = memchr(c + at, wanted, n);
        note(found ? (uint64_t)(found - c) : 1);
        found = memrchr(c + at, wanted, n);
        note(found ? (uint64_t)(found - c) : 1);
        const size_t at2 = random64() % 100;
        copy(b + at2, c + at, n + 1);
        note((uint64_t)sign(string_compare(c + at, b + at2)));
        b[at2 + n / 3] ^= 4;
        note((uint64_t)sign(string_compare(c + at, b + at2)));
        note((uint64_t)sign(strncmp(c + at, b + at2, n / 2)));
        note((uint64_t)sign(strcasecmp(c + at, b + at2)));
        note(strspn(c + at, "abc\x80\x81"));
        note(strcspn(c + at, "xyz\x90"));
        found = strstr(c + at, "ab");
        note(found ? (uint64_t)(found - c) : 1);
        note((uint64_t)(stpcpy(b, c + at) - b));
        note((uint64_t)(stpncpy(b, c + at, n / 2 + 3) - b));
    }
    report("strings");
    wchar_t* w = (wchar_t*)a;
    for (int round = 0; round < 1000; ++round) {
        const size_t n = length() / 4;
        const wchar_t old = w[n];
        w[n] = 0;
        note(wcslen(w));
        note(wmemchr(w, w[n / 2], n + 1) - w);
        w[n] = old;
    }
    report("wide");
    return 0;
}
