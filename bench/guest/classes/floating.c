/* Floating point: scalar SSE2, what a vectorising compiler makes, and the x87. */
#include "kernel.h"

#include <string.h>

static uint32_t fold(const void *bytes, unsigned count) {
    const uint8_t *p = bytes;
    uint32_t sum = 0;
    while (count--) sum = sum * 31 + *p++;
    return sum;
}

enum { N = 48 };
static double a[N][N], b[N][N], c[N][N];

static void fill(void) {
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            a[i][j] = (next_random() & 0xff) / 16.0;
            b[i][j] = (next_random() & 0xff) / 64.0;
        }
}
static uint32_t matrix_double(int rounds) {
    fill();
    for (int r = 0; r < rounds; r++) {
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j++) {
                double dot = 0;
                for (int k = 0; k < N; k++) dot += a[i][k] * b[k][j];
                c[i][j] = dot;
            }
        a[r % N][0] = c[0][r % N] / 65536;
    }
    return fold(c, sizeof c);
}
__attribute__((optimize("O3"))) static uint32_t matrix_vector(int rounds) {
    fill();
    for (int r = 0; r < rounds; r++) {
        memset(c, 0, sizeof c);
        for (int i = 0; i < N; i++)
            for (int k = 0; k < N; k++)
                for (int j = 0; j < N; j++) c[i][j] += a[i][k] * b[k][j];
        a[r % N][0] = c[0][r % N] / 65536;
    }
    return fold(c, sizeof c);
}

static uint32_t mandelbrot(int rounds) {
    uint32_t sum = 0;
    for (int r = 0; r < rounds; r++)
        for (int y = 0; y < 32; y++)
            for (int x = 0; x < 32; x++) {
                double cr = x / 16.0 - 1.5, ci = y / 16.0 - 1.0 + r / 4096.0, zr = 0, zi = 0;
                int n = 0;
                while (n < 64 && zr * zr + zi * zi < 4) {
                    double next = zr * zr - zi * zi + cr;
                    zi = 2 * zr * zi + ci;
                    zr = next;
                    n++;
                }
                sum = sum * 31 + (uint32_t)n;
            }
    return sum;
}

static uint32_t x87(int rounds) {
    volatile long double x = 0.5L;
    for (int r = 0; r < rounds; r++) {
        long double t = x;
        t = t * t + 0.25L;
        if (t > 1) t -= 1;
        x = t * 0.75L + 0.125L;
    }
    double out = (double)x;
    return fold(&out, sizeof out);
}

/* Sum and dot product of floats by the x87: FLD, FMUL, FADDP on memory operands. */
static uint32_t x87_array(int rounds) {
    static float v[256];
    for (int i = 0; i < 256; i++) v[i] = (float)(next_random() & 0xfff) / 64;
    long double sum = 0;
    for (int r = 0; r < rounds; r++)
        for (int i = 0; i < 256; i++) sum += (long double)v[i] * v[255 - i];
    double out = (double)sum;
    return fold(&out, sizeof out);
}

const struct kernel floating[] = {{"matrix-double", matrix_double, 1200}, {"matrix-vector", matrix_vector, 3000},
                                  {"mandelbrot", mandelbrot, 600},       {"x87", x87, 2000000},
                                  {"x87-array", x87_array, 80000},        {0, 0, 0}};
