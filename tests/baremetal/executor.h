// The executor of bare-metal cases: shared by its parts. It runs in flat 32-bit protected mode without paging.
#pragma once

#include "layout.h"

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// One thing that a case sets before it runs, or that it expects after it (see manual.py, which writes them).
struct Item {
    u8 kind;   // enum Kind
    u8 index;  // register number; bytes of memory
    u16 unused;
    u32 where; // address or MSR
    u64 value;
    u64 mask; // the bits that `value` speaks of
} __attribute__((packed));

enum Kind { kGpr, kSeg, kFlags, kRip, kMem, kMsr, kCr, kDr, kXcr0, kVector, kError, kLdtr, kTr };

struct Case {
    u16 bytes; // of the whole record: this, code, sets, expects, name
    u8 mode, cpl, code_bytes, sets, expects;
    u8 known; // listed as failing
    // The feature it is about: skipped unless CPUID.leaf(subleaf).reg[bit] = want.
    u32 leaf, subleaf;
    u8 reg, bit, want, uses_feature;
    u16 name_bytes;
    u16 rip; // of its first byte: where the code goes
} __attribute__((packed));

#define NO_VECTOR 0xffffu // the case ended in shutdown (a triple fault)

// The state of the processor when a case ended.
struct Outcome {
    u64 gpr[16], rip, flags, cr0, cr2, cr3, cr4;
    u32 seg[6], vector, error, ldtr, tr;
};

// Lives through a reset of the machine: a case that is expected to end in one comes back by it.
struct Progress {
    u32 magic, running, next, passed, failed, known, fixed, skipped;
};
extern struct Progress progress;
extern struct Outcome outcome;

// console.c
void put_text(const char* text);
void put_bytes(const char* text, u32 bytes);
void put_number(u64 value, u32 base);
void finish(int ok) __attribute__((noreturn));

// environment.c
void build_environment(const struct Case* c, const struct Item* sets);
void run_case(const struct Case* c);
void restore_environment(const struct Case* c, const struct Item* sets);

static inline void outb(u16 port, u8 value) { __asm__ volatile("outb %0, %1" ::"a"(value), "d"(port)); }
static inline u64 rdmsr(u32 msr) {
    u64 value;
    __asm__ volatile("rdmsr" : "=A"(value) : "c"(msr));
    return value;
}
static inline void wrmsr(u32 msr, u64 value) { __asm__ volatile("wrmsr" ::"c"(msr), "A"(value)); }
static inline u64 merge(u64 old, const struct Item* item) {
    return (old & ~item->mask) | (item->value & item->mask);
}
