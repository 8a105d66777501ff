/* Loads that wait for each other, and blocks of memory moved and filled. */
#include "kernel.h"

#include <stdlib.h>
#include <string.h>

static uint32_t chase(size_t count, int rounds, int steps) {
    uint32_t *order = malloc(count * sizeof *order);
    void **cells = malloc(count * sizeof *cells);
    if (!order || !cells) failed("malloc");
    for (size_t i = 0; i < count; i++) order[i] = (uint32_t)i;
    for (size_t i = count - 1; i > 0; i--) {
        size_t j = (next_random() * 256ull + (next_random() & 0xff)) % (i + 1);
        uint32_t t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
    for (size_t i = 0; i < count; i++) cells[order[i]] = &cells[order[(i + 1) % count]];
    void **at = cells;
    for (int r = 0; r < rounds; r++)
        for (int i = 0; i < steps; i++) at = *at;
    uint32_t where = (uint32_t)(at - cells);
    free(order);
    free(cells);
    return where;
}
static uint32_t chase_l1(int rounds) { return chase(2048, rounds, 4096); }
static uint32_t chase_16m(int rounds) { return chase(2 << 20, rounds, 4096); }

static uint8_t from[1 << 20], to[1 << 20];

static void fill(void) {
    for (size_t i = 0; i < sizeof from; i++) from[i] = (uint8_t)next_random();
}
static uint32_t fold(void) {
    uint32_t sum = 0;
    for (size_t i = 0; i < sizeof to; i += 61) sum = sum * 31 + to[i];
    return sum;
}
static uint32_t copy_library(int rounds) {
    fill();
    void *(*volatile copy)(void *, const void *, size_t) = memcpy;
    for (int r = 0; r < rounds; r++) copy(to + r % 64, from, 16384);
    return fold();
}
static uint32_t set_library(int rounds) {
    void *(*volatile set)(void *, int, size_t) = memset;
    for (int r = 0; r < rounds; r++) set(to + r % 64, r, 16384);
    return fold();
}
static uint32_t copy_small(int rounds) {
    fill();
    void *(*volatile copy)(void *, const void *, size_t) = memcpy;
    for (int r = 0; r < rounds; r++) copy(to + r % 64, from + r % 128, (size_t)(r & 127));
    return fold();
}
static uint32_t rep_movs(int rounds) {
    fill();
    for (int r = 0; r < rounds; r++) {
        void *d = to + r % 64;
        const void *s = from;
        size_t n = 16384;
        __asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n)::"memory");
    }
    return fold();
}
static uint32_t rep_stos(int rounds) {
    for (int r = 0; r < rounds; r++) {
        void *d = to + r % 64;
        size_t n = 2048;
        __asm__ volatile("rep stosq" : "+D"(d), "+c"(n) : "a"(r * 0x0101010101010101ull) : "memory");
    }
    return fold();
}
__attribute__((optimize("no-tree-loop-distribute-patterns", "no-tree-vectorize"))) static uint32_t copy_loop(int rounds) {
    fill();
    for (int r = 0; r < rounds; r++) {
        uint64_t *d = (uint64_t *)to + r % 8;
        const uint64_t *s = (const uint64_t *)from;
        for (int i = 0; i < 2048; i++) d[i] = s[i];
        __asm__ volatile("" ::: "memory");
    }
    return fold();
}

const struct kernel memory[] = {{"chase-l1", chase_l1, 8000},        {"chase-16m", chase_16m, 800},
                                {"copy-library", copy_library, 200000}, {"set-library", set_library, 200000},
                                {"copy-small", copy_small, 6000000},  {"rep-movs", rep_movs, 100000},
                                {"rep-stos", rep_stos, 60000},       {"copy-loop", copy_loop, 60000},
                                {0, 0, 0}};
