/* Floating point as the processor does it: x87 and SSE arithmetic, conversions, rounding modes, status flags, denormals.
   Prints "float GROUP HASH" per group. Only correctly rounded operations are used, so a guest must print what the host
   prints. Build: gcc -O2 -static -frounding-math -ffp-contract=off */

#include <fenv.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static uint32_t random_state = 1;
static uint64_t hash;

static uint64_t next_random(void) {
    uint64_t bits = 0;
    for (int i = 0; i < 4; i++) {
        random_state = random_state * 1664525u + 1013904223u;
        bits = bits << 16 | random_state >> 16;
    }
    return bits;
}

static void mix(const void *data, size_t size) {
    const uint8_t *bytes = data;
    for (size_t i = 0; i < size; i++) hash = (hash ^ bytes[i]) * 0x100000001b3ull;
}

/* The sign of a NaN that an operation makes is the processor's choice, so that it is a NaN is what counts. */
static void mix_double(double d) {
    if (d != d) d = 0x1.8p1000;
    mix(&d, sizeof d);
}

static void mix_float(float f) {
    if (f != f) f = 0x1.8p100f;
    mix(&f, sizeof f);
}

static void mix_long(long double l) {
    if (l != l) l = 0x1.8p10000L;
    mix(&l, 10);
}

static void mix_flags(void) {
    int raised = fetestexcept(FE_ALL_EXCEPT);
    mix(&raised, sizeof raised);
    feclearexcept(FE_ALL_EXCEPT);
}

/* Any double at all, or one of a moderate size: both kinds matter. */
static double some_double(void) {
    uint64_t bits = next_random();
    switch (next_random() % 4) {
    case 0: break;
    case 1: bits = (bits & 0x800fffffffffffffull) | (1000 + bits % 46) << 52; break;
    case 2: bits &= 0x800fffffffffffffull; break; /* denormal */
    default: return (double)(int64_t)bits / 65536;
    }
    double d;
    memcpy(&d, &bits, sizeof d);
    return d;
}

static void sse_double(void) {
    volatile double a = some_double(), b = some_double(), r;
    r = a + b;
    mix_double(r);
    r = a - b;
    mix_double(r);
    r = a * b;
    mix_double(r);
    r = a / b;
    mix_double(r);
    r = __builtin_sqrt(a);
    mix_double(r);
    int order = (a < b) | (a > b) << 1 | (a == b) << 2 | !!__builtin_isunordered(a, b) << 3;
    mix(&order, sizeof order);
    mix_flags();
}

static void sse_float(void) {
    volatile float a = (float)some_double(), b = (float)some_double(), r;
    mix_flags();
    r = a + b;
    mix_float(r);
    r = a * b;
    mix_float(r);
    r = a / b;
    mix_float(r);
    mix_flags();
}

static void x87(void) {
    volatile long double a = (long double)some_double() * 1.25L, b = (long double)some_double() + 0.1L, r;
    mix_flags();
    r = a + b;
    mix_long(r);
    r = a - b;
    mix_long(r);
    r = a * b;
    mix_long(r);
    r = a / b;
    mix_long(r);
    __asm__("fsqrt" : "=t"(r) : "0"(a));
    mix_long(r);
    __asm__("frndint" : "=t"(r) : "0"(b));
    mix_long(r);
    long double rest = a;
    uint16_t status = 0x400;
    /* FPREM leaves C2 set until it is done. */
    for (int i = 0; i < 2000 && (status & 0x400); i++)
        __asm__ volatile("fprem\n\tfnstsw %1" : "+t"(rest), "=a"(status) : "u"(b));
    mix_long(rest);
    int order = (a < b) | (a > b) << 1 | (a == b) << 2;
    mix(&order, sizeof order);
    volatile double narrow = (double)a;
    mix_double(narrow);
    mix_flags();
}

static void conversion(void) {
    volatile double d = some_double();
    volatile int32_t i = (int32_t)next_random();
    volatile int64_t l = (int64_t)next_random();
    int32_t truncated;
    int64_t rounded;
    __asm__("cvttsd2si %1, %0" : "=r"(truncated) : "x"((double)d));
    __asm__("cvtsd2si %1, %0" : "=r"(rounded) : "x"((double)d));
    mix(&truncated, sizeof truncated);
    mix(&rounded, sizeof rounded);
    mix_double((double)i);
    mix_double((double)l);
    mix_float((float)l);
    mix_long((long double)l);
    int64_t stored;
    __asm__ volatile("fistpll %0" : "=m"(stored) : "t"((long double)d) : "st");
    mix(&stored, sizeof stored);
    mix_flags();
}

int main(void) {
    static const struct {
        const char *name;
        void (*run)(void);
    } groups[] = {{"sse-double", sse_double}, {"sse-float", sse_float}, {"x87", x87}, {"conversion", conversion}};
    static const struct {
        const char *name;
        int mode;
    } modes[] = {{"nearest", FE_TONEAREST}, {"down", FE_DOWNWARD}, {"up", FE_UPWARD}, {"zero", FE_TOWARDZERO}};
    for (size_t g = 0; g < sizeof groups / sizeof groups[0]; g++)
        for (size_t m = 0; m < sizeof modes / sizeof modes[0]; m++) {
            hash = 0xcbf29ce484222325ull;
            random_state = 12345;
            fesetround(modes[m].mode);
            feclearexcept(FE_ALL_EXCEPT);
            for (int i = 0; i < 5000; i++) groups[g].run();
            fesetround(FE_TONEAREST);
            printf("float %s-%s %016llx\n", groups[g].name, modes[m].name, (unsigned long long)hash);
        }
    return 0;
}
