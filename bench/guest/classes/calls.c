/* Calls, returns and other jumps whose target is not in the instruction. */
#include "kernel.h"

#define NOINLINE __attribute__((noinline))

static NOINLINE uint32_t fibonacci(uint32_t n) {
    if (n < 2) return n;
    uint32_t a = fibonacci(n - 1);
    __asm__ volatile("" : "+r"(a)); /* two real calls, no loop made of one */
    return a + fibonacci(n - 2);
}
static uint32_t recursion(int rounds) {
    uint32_t sum = 0;
    for (int r = 0; r < rounds; r++) sum += fibonacci(24);
    return sum;
}

static NOINLINE uint32_t leaf(uint32_t x) {
    __asm__ volatile("" : "+r"(x));
    return x + 3;
}
static uint32_t call_return(int rounds) {
    uint32_t x = 1;
    for (int r = 0; r < rounds; r++) x = leaf(x) ^ leaf(x + 1);
    return x;
}

static NOINLINE uint32_t f_add(uint32_t x) { return x + 11; }
static NOINLINE uint32_t f_xor(uint32_t x) { return x ^ 0x55; }
static NOINLINE uint32_t f_turn(uint32_t x) { return x << 5 | x >> 27; }
static NOINLINE uint32_t f_multiply(uint32_t x) { return x * 7; }
static uint32_t function_pointers(int rounds) {
    static uint32_t (*volatile const table[4])(uint32_t) = {f_add, f_xor, f_turn, f_multiply};
    uint32_t x = 1;
    for (int r = 0; r < rounds; r++) x = table[(unsigned)r * 5 >> 2 & 3](x);
    return x;
}

/* A register machine's interpreter: one switch for each instruction of a little program. */
enum { SET, ADD, SUB, MUL, SHIFT, MASK, LESS, JUMP_IF, MOVE, STOP };
struct code {
    uint8_t op, d, a, b;
};
static uint32_t interpreter(int rounds) {
    static const struct code program[] = {
        {SET, 0, 0, 0},  {SET, 1, 0, 1},  {SET, 2, 0, 200}, {SET, 3, 0, 3},   {MUL, 4, 0, 3},     {ADD, 4, 4, 1},
        {SHIFT, 5, 4, 1}, {MASK, 5, 5, 2}, {ADD, 6, 6, 5},   {SUB, 7, 6, 4},   {MOVE, 8, 7, 0},    {ADD, 0, 0, 1},
        {LESS, 9, 0, 2}, {JUMP_IF, 4, 9, 0}, {STOP, 8, 0, 0}};
    uint32_t result = 0;
    for (int n = 0; n < rounds; n++) {
        uint32_t r[16] = {0};
        r[6] = result;
        for (const struct code *c = program;; c++) {
            switch (c->op) {
            case SET: r[c->d] = c->b; continue;
            case ADD: r[c->d] = r[c->a] + r[c->b]; continue;
            case SUB: r[c->d] = r[c->a] - r[c->b]; continue;
            case MUL: r[c->d] = r[c->a] * r[c->b]; continue;
            case SHIFT: r[c->d] = r[c->a] >> (r[c->b] & 31); continue;
            case MASK: r[c->d] = r[c->a] & r[c->b]; continue;
            case LESS: r[c->d] = r[c->a] < r[c->b]; continue;
            case MOVE: r[c->d] = r[c->a]; continue;
            case JUMP_IF:
                if (r[c->a]) c = program + c->d - 1;
                continue;
            }
            result ^= r[c->d];
            break;
        }
    }
    return result;
}

const struct kernel calls[] = {{"recursion", recursion, 400},
                               {"call-return", call_return, 30000000},
                               {"function-pointers", function_pointers, 30000000},
                               {"interpreter", interpreter, 15000},
                               {0, 0, 0}};
