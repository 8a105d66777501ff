// The executor's voice: port 0xe9, and its end: the exit port, then what Bochs knows.
#include "executor.h"

void put_bytes(const char* text, u32 bytes) {
    for (u32 i = 0; i < bytes; ++i)
        outb(0xe9, (u8)text[i]);
}

void put_text(const char* text) {
    u32 n = 0;
    while (text[n])
        ++n;
    put_bytes(text, n);
}

void put_number(u64 value, u32 base) {
    char digits[24];
    u32 at = sizeof digits;
    if (base == 16) {
        do {
            digits[--at] = "0123456789abcdef"[value & 15];
            value >>= 4;
        } while (value);
    } else {
        u32 low = (u32)value; // decimal is for counts and vectors
        do {
            digits[--at] = (char)('0' + low % 10);
            low /= 10;
        } while (low);
    }
    put_bytes(digits + at, sizeof digits - at);
}

void finish(int ok) {
    put_text(ok ? "baremetal: passed\n" : "baremetal: failed\n");
    outb(0xf4, ok ? 0x10 : 0x11);
    const char* shutdown = "Shutdown";
    while (*shutdown)
        outb(0x8900, (u8)*shutdown++);
    for (;;)
        __asm__ volatile("cli; hlt");
}

void* memcpy(void* to, const void* from, unsigned bytes) {
    void* result = to;
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes)::"memory");
    return result;
}

void* memset(void* at, int value, unsigned bytes) {
    void* result = at;
    __asm__ volatile("rep stosb" : "+D"(at), "+c"(bytes) : "a"(value) : "memory");
    return result;
}
