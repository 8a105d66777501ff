// Runs the cases that follow it in the ROM, one after the other, and compares what became of each with what the
// manual says.
#include "executor.h"

struct Progress progress;
struct Outcome outcome;

struct Header {
    u32 cases, count, verbose;
};
extern struct Header header;

static const u32 kMagic = 0x4d524142;

static u64 actual(const struct Item* e) {
    u64 value = 0;
    switch (e->kind) {
    case kGpr: return outcome.gpr[e->index];
    case kSeg: return outcome.seg[e->index];
    case kFlags: return outcome.flags;
    case kRip: return outcome.rip;
    case kMem:
        for (u32 i = e->index; i-- > 0;)
            value = value << 8 | *(volatile u8*)(e->where + i);
        return value;
    case kMsr: return rdmsr(e->where);
    case kCr: return e->index == 0 ? outcome.cr0 : e->index == 2 ? outcome.cr2 : e->index == 3 ? outcome.cr3 : outcome.cr4;
    case kDr: {
        u32 dr;
        if (e->index == 6)
            __asm__ volatile("movl %%db6, %0" : "=r"(dr));
        else
            __asm__ volatile("movl %%db7, %0" : "=r"(dr));
        return dr;
    }
    case kVector: return outcome.vector;
    case kError: return outcome.error;
    case kLdtr: return outcome.ldtr;
    case kTr: return outcome.tr;
    default: return 0;
    }
}

static void put_item(const struct Item* e) {
    static const char* const kinds[] = {"gpr", "seg", "flags", "rip", "mem", "msr", "cr",
                                        "dr", "xcr0", "vector", "error", "ldtr", "tr"};
    put_text(kinds[e->kind]);
    if (e->kind == kGpr || e->kind == kSeg || e->kind == kCr || e->kind == kDr) put_number(e->index, 10);
    if (e->kind == kMem || e->kind == kMsr) {
        put_text(" ");
        put_number(e->where, 16);
    }
}

static const char* name_of(const struct Case* c) { return (const char*)c + c->bytes - c->name_bytes; }

// Whether everything is as expected; if `tell`, prints what is not.
static int compare(const struct Case* c, const struct Item* expects, int tell) {
    int good = 1;
    for (u32 i = 0; i < c->expects; ++i) {
        const struct Item* e = &expects[i];
        const u64 got = actual(e);
        if (((got ^ e->value) & e->mask) == 0) continue;
        good = 0;
        if (!tell) break;
        put_text(" ");
        put_item(e);
        put_text(" expected ");
        put_number(e->value & e->mask, 16);
        put_text(" got ");
        put_number(got & e->mask, 16);
        put_text(";");
    }
    return good;
}

static void judge(const struct Case* c, const struct Item* expects) {
    const int good = compare(c, expects, 0);
    if (good && !c->known) {
        ++progress.passed;
        return;
    }
    if (!good && c->known) {
        ++progress.known;
        return;
    }
    good ? ++progress.fixed : ++progress.failed;
    put_text(good ? "FIXED (take it off the list) " : "FAIL ");
    put_bytes(name_of(c), c->name_bytes);
    put_text(":");
    compare(c, expects, 1);
    put_text(" [vector ");
    put_number(outcome.vector, 10);
    put_text(" error ");
    put_number(outcome.error, 16);
    put_text(" rip ");
    put_number(outcome.rip, 16);
    put_text(" cr2 ");
    put_number(outcome.cr2, 16);
    put_text("]\n");
}

static int offered(const struct Case* c) {
    if (!c->uses_feature) return 1;
    u32 r[4], top;
    __asm__ volatile("cpuid" : "=a"(top), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(c->leaf & 0x80000000), "c"(0));
    if (top < c->leaf) return !c->want;
    __asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(c->leaf), "c"(c->subleaf));
    return (r[c->reg] >> c->bit & 1) == c->want;
}

static void quiet_chips(void) {
    outb(0x21, 0xff); // both PICs
    outb(0xa1, 0xff);
    *(volatile u32*)0xfee000f0 = 0x1ff; // the local APIC on
    *(volatile u32*)0xfee00080 = 0;
    *(volatile u32*)0xfee000b0 = 0; // end of an interrupt, if one was taken
}

void executor_main(void) {
    if (progress.magic != kMagic) {
        progress.magic = kMagic;
        progress.running = progress.next = 0;
        progress.passed = progress.failed = progress.known = progress.fixed = progress.skipped = 0;
    }
    const u8* at = (const u8*)header.cases;
    for (u32 i = 0; i < header.count; ++i) {
        const struct Case* c = (const struct Case*)at;
        at += c->bytes;
        if (i < progress.next) continue;
        const struct Item* sets = (const struct Item*)((const u8*)(c + 1) + c->code_bytes);
        const struct Item* expects = sets + c->sets;
        if (!offered(c)) {
            ++progress.skipped;
            continue;
        }
        quiet_chips();
        if (i == progress.next && progress.running) { // came back by reset
            progress.running = 0;
            outcome = (struct Outcome){.vector = NO_VECTOR};
        } else {
            if (header.verbose) {
                put_text("case ");
                put_bytes(name_of(c), c->name_bytes);
                put_text("\n");
            }
            progress.next = i;
            progress.running = 1;
            build_environment(c, sets);
            run_case(c);
            progress.running = 0;
        }
        judge(c, expects);
        restore_environment(c, sets);
        progress.next = i + 1;
    }
    put_text("baremetal: ");
    put_number(progress.passed, 10);
    put_text(" cases as in the manual, ");
    put_number(progress.failed, 10);
    put_text(" not, ");
    put_number(progress.known, 10);
    put_text(" listed as failing, ");
    put_number(progress.fixed, 10);
    put_text(" listed but no more, ");
    put_number(progress.skipped, 10);
    put_text(" not offered by CPUID\n");
    finish(progress.failed == 0);
}
