// Loops that the compiler makes AVX2 and FMA instructions of (-O3 -mavx2 -mfma -mf16c), or AVX-512's (-march=x86-64-v4):
// what they compute must be the same in the guest as on the host.
#include <immintrin.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { n = 4096 };
static float f[n], g[n], h[n];
static double d[n], e[n];
static int32_t i[n], j[n];
static int16_t s[n];
static uint8_t b[n], c[n];
static uint64_t state = 88172645463325252u;

static uint64_t random64(void) { // xorshift64
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

static void fill(void) {
    for (int k = 0; k < n; ++k) {
        f[k] = (float)(int32_t)random64() / 65536;
        g[k] = (float)(int32_t)random64() / 1048576;
        d[k] = (double)(int64_t)random64() / 4294967296.0;
        e[k] = (double)(int32_t)random64();
        i[k] = (int32_t)random64();
        j[k] = (int32_t)(random64() % n);
        s[k] = (int16_t)random64();
        b[k] = (uint8_t)random64();
        c[k] = (uint8_t)random64();
    }
}

static void report(const char* name, const void* data, size_t bytes) {
    uint64_t sum = 14695981039346656037u;
    for (size_t k = 0; k < bytes; ++k)
        sum = (sum ^ ((const uint8_t*)data)[k]) * 1099511628211u;
    printf("float %s %016llx\n", name, (unsigned long long)sum);
}

int main(void) {
    fill();
    for (int round = 0; round < 100; ++round)
        for (int k = 0; k < n; ++k)
            h[k] = f[k] * g[k] + h[k] * 0.5f;
    report("fma-float", h, sizeof h);
    for (int k = 0; k < n; ++k)
        d[k] = __builtin_sqrt(d[k] * d[k] + e[k] * e[k]) - (double)f[k];
    report("sqrt-double", d, sizeof d);
    for (int k = 0; k < n; ++k)
        h[k] = f[j[k]] + (float)i[k];
    report("gather-float", h, sizeof h);
    for (int k = 0; k < n; ++k)
        e[k] = d[j[k]] > 0 ? e[j[k]] : -d[k];
    report("gather-double", e, sizeof e);
    for (int k = 0; k < n; ++k)
        i[k] = i[k] < 0 ? i[k] >> (j[k] & 31) : (int32_t)((uint32_t)i[k] << (j[k] & 15));
    report("shift-by-lane", i, sizeof i);
    for (int k = 0; k < n; ++k)
        s[k] = (int16_t)(s[k] * (b[k] - c[k]) + (s[k] > c[k] ? s[k] : c[k]));
    report("words", s, sizeof s);
    uint64_t total = 0;
    for (int k = 0; k < n; ++k)
        total += (uint64_t)(b[k] > c[k] ? b[k] - c[k] : c[k] - b[k]);
    report("absolute-differences", &total, sizeof total);
    for (int k = 0; k < n / 2; ++k) {
        const uint8_t t = b[k];
        b[k] = b[n - 1 - k];
        b[n - 1 - k] = t;
    }
    report("reversed", b, sizeof b);
    for (int k = 0; k < n; ++k) // of those that are set, past the last element
        if (j[k] & 1) i[k] = j[k] * 3;
    report("masked-store", i, sizeof i);
    for (int k = 0; k < n; k += 8)
        _mm256_storeu_ps(h + k, _mm256_cvtph_ps(_mm256_cvtps_ph(_mm256_loadu_ps(f + k), 0)));
    report("half-precision", h, sizeof h);
    __m256i x = _mm256_setzero_si256();
    for (int k = 0; k < n; k += 32) {
        const __m256i v = _mm256_loadu_si256((const __m256i*)(c + k));
        x = _mm256_xor_si256(_mm256_permute4x64_epi64(x, 0x39), _mm256_shuffle_epi8(v, _mm256_alignr_epi8(v, x, 7)));
        x = _mm256_add_epi32(x, _mm256_permutevar8x32_epi32(v, x));
    }
    report("permutations", &x, sizeof x);
    return 0;
}
