/* classes [PERCENT [NAME...]]: runs the kernels, all or the named ones, with that part of their work.
   Prints "kernel NAME SECONDS CHECKSUM" for each. Build: gcc -O2 -static -o classes *.c -lm */

#include "kernel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint32_t random_state;

uint32_t next_random(void) {
    random_state = random_state * 1664525u + 1013904223u;
    return random_state >> 8;
}

void failed(const char *what) {
    perror(what);
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int wanted(const char *name, char **names) {
    if (!*names) return 1;
    for (; *names; names++)
        if (!strcmp(name, *names)) return 1;
    return 0;
}

int main(int argc, char **argv) {
    static const struct kernel *const groups[] = {calls, floating, memory, systems};
    if (argc > 1 && !strcmp(argv[1], "nothing")) return 0; /* what fork-exec executes */
    int percent = argc > 1 ? atoi(argv[1]) : 100;
    for (size_t g = 0; g < sizeof groups / sizeof groups[0]; g++)
        for (const struct kernel *k = groups[g]; k->name; k++) {
            if (!wanted(k->name, argv + (argc > 1 ? 2 : 1))) continue;
            int rounds = (int)((long long)k->rounds * percent / 100);
            random_state = 12345;
            double start = now();
            uint32_t sum = k->run(rounds > 0 ? rounds : 1);
            printf("kernel %s %.5f %08x\n", k->name, now() - start, sum);
            fflush(stdout);
        }
    return 0;
}
