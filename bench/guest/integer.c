/* Integer benchmark for guests and hosts: seven small programs of different character, each with a fixed amount of
   work, self-timed, and a checksum that must be the same everywhere. Build: gcc -O2 -static -o integer integer.c
   Prints "kernel NAME SECONDS CHECKSUM" per kernel and "total SECONDS". An argument scales the work (percent). */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint32_t random_state;

static uint32_t next_random(void) {
    random_state = random_state * 1664525u + 1013904223u;
    return random_state >> 8;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Pointer chasing: a shuffled list is walked, searched and reversed. */
struct node {
    struct node *next;
    uint32_t key, value;
};

static uint32_t list(int rounds) {
    enum { COUNT = 2000 };
    static struct node nodes[COUNT];
    static int order[COUNT];
    for (int i = 0; i < COUNT; i++) order[i] = i;
    for (int i = COUNT - 1; i > 0; i--) {
        int j = (int)(next_random() % (uint32_t)(i + 1)), t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
    for (int i = 0; i < COUNT; i++) {
        nodes[order[i]].next = i + 1 < COUNT ? &nodes[order[i + 1]] : NULL;
        nodes[order[i]].key = next_random();
        nodes[order[i]].value = (uint32_t)i;
    }
    struct node *head = &nodes[order[0]];
    uint32_t sum = 0;
    for (int r = 0; r < rounds; r++) {
        uint32_t wanted = next_random();
        for (struct node *n = head; n; n = n->next) {
            if (n->key == wanted) sum += 17;
            if (n->key & 1) sum += n->value ^ (uint32_t)r;
        }
        struct node *reversed = NULL;
        while (head) {
            struct node *next = head->next;
            head->next = reversed;
            reversed = head;
            head = next;
        }
        head = reversed;
    }
    return sum;
}

/* Multiplication of integer matrices. */
static uint32_t matrix(int rounds) {
    enum { N = 64 };
    static int32_t a[N][N], b[N][N], c[N][N];
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            a[i][j] = (int32_t)(next_random() & 0xff) - 128;
            b[i][j] = (int32_t)(next_random() & 0xff) - 128;
        }
    uint32_t sum = 0;
    for (int r = 0; r < rounds; r++) {
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j++) {
                int32_t dot = 0;
                for (int k = 0; k < N; k++) dot += a[i][k] * b[k][j];
                c[i][j] = dot;
            }
        sum = sum * 31 + (uint32_t)c[r % N][(r * 7) % N];
        a[r % N][r % 13] ^= (int32_t)(sum & 0x7f);
    }
    return sum;
}

/* A state machine reads numbers out of text: unpredictable branches and a jump table. */
static uint32_t state(int rounds) {
    static const char *const words[] = {"5012", "-374", "0x1f", "1.5e3", "+19", ".5", "abc", "1e-9", "--4", "0xfg"};
    enum { START, SIGN, INTEGER, ZERO, HEX, POINT, FRACTION, EXPONENT, EXPONENT_SIGN, EXPONENT_DIGITS, INVALID, STATES };
    static char text[4096];
    size_t used = 0;
    while (used < sizeof text - 8) {
        const char *w = words[next_random() % 10];
        size_t length = strlen(w);
        memcpy(text + used, w, length);
        used += length;
        text[used++] = ',';
    }
    uint32_t counts[STATES] = {0};
    for (int r = 0; r < rounds; r++) {
        int s = START;
        for (size_t i = 0; i < used; i++) {
            char ch = text[i];
            int digit = ch >= '0' && ch <= '9';
            if (ch == ',') {
                counts[s]++;
                s = START;
                continue;
            }
            switch (s) {
            case START: s = ch == '0' ? ZERO : digit ? INTEGER : ch == '+' || ch == '-' ? SIGN : ch == '.' ? POINT : INVALID; break;
            case SIGN: s = ch == '0' ? ZERO : digit ? INTEGER : ch == '.' ? POINT : INVALID; break;
            case ZERO: s = ch == 'x' ? HEX : ch == '.' ? POINT : digit ? INTEGER : INVALID; break;
            case INTEGER: s = digit ? INTEGER : ch == '.' ? POINT : ch == 'e' ? EXPONENT : INVALID; break;
            case HEX: s = digit || (ch >= 'a' && ch <= 'f') ? HEX : INVALID; break;
            case POINT: s = digit ? FRACTION : INVALID; break;
            case FRACTION: s = digit ? FRACTION : ch == 'e' ? EXPONENT : INVALID; break;
            case EXPONENT: s = digit ? EXPONENT_DIGITS : ch == '-' || ch == '+' ? EXPONENT_SIGN : INVALID; break;
            case EXPONENT_SIGN: s = digit ? EXPONENT_DIGITS : INVALID; break;
            case EXPONENT_DIGITS: s = digit ? EXPONENT_DIGITS : INVALID; break;
            default: break;
            }
        }
        text[(uint32_t)r % used] = text[((uint32_t)r * 7 + 1) % used];
    }
    uint32_t sum = 0;
    for (int i = 0; i < STATES; i++) sum = sum * 1000003 + counts[i];
    return sum;
}

/* CRC-32, bit by bit: shifts and data-dependent selection. */
static uint32_t crc(int rounds) {
    static uint8_t data[1024];
    for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)next_random();
    uint32_t c = 0xffffffffu;
    for (int r = 0; r < rounds; r++)
        for (size_t i = 0; i < sizeof data; i++) {
            c ^= data[i];
            for (int bit = 0; bit < 8; bit++) c = (c >> 1) ^ (0xedb88320u & (0u - (c & 1)));
        }
    return ~c;
}

/* Sieve of Eratosthenes: strided stores. */
static uint32_t sieve(int rounds) {
    enum { LIMIT = 1000000 };
    static uint8_t composite[LIMIT + 1];
    uint32_t count = 0;
    for (int r = 0; r < rounds; r++) {
        memset(composite, 0, sizeof composite);
        for (uint32_t i = 2; i * i <= LIMIT; i++)
            if (!composite[i])
                for (uint32_t j = i * i; j <= LIMIT; j += i) composite[j] = 1;
        for (uint32_t i = 2; i <= LIMIT; i++) count += !composite[i];
    }
    return count;
}

/* A hash table with open addressing: 64-bit multiplication, scattered loads over more than a first-level cache. */
static uint32_t hash(int rounds) {
    enum { SLOTS = 1 << 17 };
    static uint64_t keys[SLOTS];
    static uint32_t values[SLOTS];
    uint32_t found = 0;
    for (int r = 0; r < rounds; r++) {
        memset(keys, 0, sizeof keys);
        for (uint32_t i = 1; i <= 80000; i++) {
            uint64_t key = (uint64_t)i * 2654435761u + (uint32_t)r;
            uint64_t slot = (key * 0x9e3779b97f4a7c15ull) >> 47;
            while (keys[slot] && keys[slot] != key) slot = (slot + 1) & (SLOTS - 1);
            keys[slot] = key;
            values[slot] = i;
        }
        for (uint32_t i = 1; i <= 160000; i++) {
            uint64_t key = (uint64_t)i * 2654435761u + (uint32_t)r;
            uint64_t slot = (key * 0x9e3779b97f4a7c15ull) >> 47;
            while (keys[slot] && keys[slot] != key) slot = (slot + 1) & (SLOTS - 1);
            if (keys[slot]) found += values[slot];
        }
    }
    return found;
}

/* Quicksort, and qsort of the library through its function pointer: recursion, calls and returns. */
static void quicksort(uint32_t *v, int low, int high) {
    while (low < high) {
        uint32_t pivot = v[low + (high - low) / 2];
        int i = low, j = high;
        while (i <= j) {
            while (v[i] < pivot) i++;
            while (v[j] > pivot) j--;
            if (i <= j) {
                uint32_t t = v[i];
                v[i++] = v[j];
                v[j--] = t;
            }
        }
        if (j - low < high - i) {
            quicksort(v, low, j);
            low = i;
        } else {
            quicksort(v, i, high);
            high = j;
        }
    }
}

static int compare(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static uint32_t sort(int rounds) {
    enum { COUNT = 100000 };
    static uint32_t v[COUNT];
    uint32_t sum = 0;
    for (int r = 0; r < rounds; r++) {
        for (int i = 0; i < COUNT; i++) v[i] = next_random();
        if (r % 2)
            qsort(v, COUNT, sizeof v[0], compare);
        else
            quicksort(v, 0, COUNT - 1);
        for (int i = 0; i < COUNT; i += 997) sum = sum * 31 + v[i];
    }
    return sum;
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        uint32_t (*run)(int rounds);
        int rounds; /* about a third of a second on a PC of 2020; of hash, for which QEMU takes 80 times as long, half */
    } kernels[] = {
        {"list", list, 35000}, {"matrix", matrix, 3500}, {"state", state, 55000}, {"crc", crc, 30000},
        {"sieve", sieve, 140}, {"hash", hash, 200},      {"sort", sort, 26},
    };
    int percent = argc > 1 ? atoi(argv[1]) : 100;
    double total = 0;
    for (size_t i = 0; i < sizeof kernels / sizeof kernels[0]; i++) {
        int rounds = kernels[i].rounds * percent / 100;
        random_state = 12345;
        double start = now();
        uint32_t sum = kernels[i].run(rounds > 0 ? rounds : 1);
        double seconds = now() - start;
        total += seconds;
        printf("kernel %s %.4f %08x\n", kernels[i].name, seconds, sum);
        fflush(stdout);
    }
    printf("total %.4f\n", total);
    return 0;
}
