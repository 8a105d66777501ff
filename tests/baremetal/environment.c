// The tables and registers that a case runs under, rebuilt for each.
#include "executor.h"

void* memcpy(void* to, const void* from, unsigned bytes);
void* memset(void* at, int value, unsigned bytes);

extern u8 stubs32[], stubs64[], stubs16[], stub_df[];
extern u8 low16_from[], low16_end[];
void enter_legacy(void);
void enter_long(void);
void enter_real(void);

struct __attribute__((packed)) TableRegister {
    u16 limit;
    u64 base;
};

// The executor's own tables, which the handlers load first.
const u64 exec_gdt[] = {0, 0x00cf9b000000ffff, 0x00cf93000000ffff};
const struct TableRegister exec_gdtr = {GDT_LIMIT, GDT};

// Written by the handlers (entry.S).
u32 exec_esp;
u8 exec_stack_bytes[0x4000];
u64 captured[23];
u32 captured_kind, captured_ds[4], captured_ss;
u64 captured_esp, captured_cr2;
u32 captured_cr0, captured_cr3, captured_cr4;

static u64* const gdt = (u64*)GDT;
static u64 saved_msr[16];

static void put16(u32 at, u32 value) { *(volatile u16*)at = (u16)value; }
static void put32(u32 at, u32 value) { *(volatile u32*)at = value; }
static void put64(u32 at, u64 value) { *(volatile u64*)at = value; }

// base 0; type is descriptor bits 47:40 without DPL, flags bits 55:52
static u64 flat(u32 limit, u32 type, u32 dpl, u32 flags) {
    return (limit & 0xffff) | (u64)(type | dpl << 5) << 40 | (u64)(limit >> 16 & 15) << 48 | (u64)flags << 52;
}
static u64 system_descriptor(u32 base, u32 limit, u32 type) {
    return (limit & 0xffff) | (u64)base << 16 | (u64)(0x80 | type) << 40 | (u64)(limit >> 16) << 48;
}

static void build_gdt(int is_long) {
    memset(gdt, 0, GDT_LIMIT + 1);
    gdt[SEL_CODE / 8] = exec_gdt[1];
    gdt[SEL_DATA / 8] = exec_gdt[2];
    for (u32 dpl = 0; dpl < 4; ++dpl) {
        gdt[SEL_CODE32 / 8 + dpl] = flat(0xfffff, 0x9b, dpl, 0xc);
        gdt[SEL_DATA32 / 8 + dpl] = flat(0xfffff, 0x93, dpl, 0xc);
        gdt[SEL_CODE16 / 8 + dpl] = flat(0xffff, 0x9b, dpl, 0);
        gdt[SEL_DATA16 / 8 + dpl] = flat(0xffff, 0x93, dpl, 0);
        gdt[SEL_CODE64 / 8 + dpl] = flat(0xfffff, 0x9b, dpl, 0xa);
    }
    gdt[SEL_TSS / 8] = system_descriptor(TSS, TSS_BYTES - 1, 9);
    gdt[SEL_LDT / 8] = system_descriptor(LDT, 0x3f, 2);
    if (!is_long) gdt[SEL_TSS_DF / 8] = system_descriptor(TSS_DF, 0x67, 9);
    memset((void*)LDT, 0, 0x40);
}

static void build_idt(int mode) {
    for (u32 v = 0; v < 256; ++v) {
        const u32 dpl = v == 3 ? 3 : 0; // INT3 ends a case at every level
        if (mode == MODE_REAL) {
            put32(v * 4, LOW16 + v * 8);
        } else if (mode >= MODE_C16) {
            const u32 to = (u32)stubs64 + v * 16;
            put64(IDT + v * 16, (to & 0xffff) | (u64)SEL_CODE64 << 16 | (u64)(v == 8) << 32 |
                                    (u64)(0x8e | dpl << 5) << 40 | (u64)(to >> 16) << 48);
            put64(IDT + v * 16 + 8, 0);
        } else if (v == 8) {
            put64(IDT + v * 8, (u64)SEL_TSS_DF << 16 | (u64)0x85 << 40);
        } else {
            const u32 to = (u32)stubs32 + v * 16;
            put64(IDT + v * 8, (to & 0xffff) | (u64)SEL_CODE << 16 | (u64)(0x8e | dpl << 5) << 40 |
                                   (u64)(to >> 16) << 48);
        }
    }
}

static void build_tss(int is_long) {
    memset((void*)TSS, 0, 0x68);
    memset((void*)(TSS + 0x68), 0xff, TSS_BYTES - 0x68); // no port is open
    put16(TSS + 0x66, 0x68);
    if (is_long) {
        put32(TSS + 0x04, STACK_HANDLER);
        put32(TSS + 0x0c, STACK1);
        put32(TSS + 0x14, STACK2);
        put32(TSS + 0x24, STACK_DF); // IST1
        return;
    }
    put32(TSS + 0x04, STACK_HANDLER);
    put32(TSS + 0x08, SEL_DATA);
    put32(TSS + 0x0c, STACK1);
    put32(TSS + 0x10, SEL_DATA32 + 8 + 1);
    put32(TSS + 0x14, STACK2);
    put32(TSS + 0x18, SEL_DATA32 + 16 + 2);
    memset((void*)TSS_DF, 0, 0x68);
    put32(TSS_DF + 0x20, (u32)stub_df);
    put32(TSS_DF + 0x24, 2);
    put32(TSS_DF + 0x38, STACK_DF);
    for (u32 i = 0; i < 6; ++i)
        put32(TSS_DF + 0x48 + i * 4, i == 1 ? SEL_CODE : SEL_DATA);
}

// The first 4 MiB one to one in pages of 4 KiB; the code under test, its data and its stack are the user's.
static int is_user(u32 page, u32 cpl) {
    return (page == CODE >> 12 && cpl == 3) || page == (CODE >> 12) + 1 || page == DATA >> 12 ||
           page == (DATA >> 12) + 1 || page == LANDING >> 12 || page == STACK3 >> 12;
}

static void build_paging(const struct Case* c) {
    const u32 root = TABLES;
    if (c->mode < MODE_PG32) return;
    const int wide = c->mode != MODE_PG32;
    memset((void*)root, 0, 0x5000);
    // Tables: 32-bit: directory, table. PAE: pointers, directory, two tables. Long: PML4, then as PAE.
    u32 level = root;
    if (c->mode >= MODE_C16) {
        put32(level, (level + 0x1000) | 7);
        level += 0x1000;
    }
    if (wide) {
        put32(level, (level + 0x1000) | (c->mode == MODE_PAE ? 1 : 7));
        level += 0x1000;
    }
    const u32 directory = level, per_table = wide ? 512 : 1024, entry = wide ? 8 : 4;
    u32 table = directory + 0x1000;
    for (u32 page = 0; page < 1024; ++page) {
        if (page % per_table == 0) put32(directory + page / per_table * entry, (table + page * entry) | 7);
        const u32 to = page == APIC_WINDOW >> 12 ? 0xfee00000 | 0x10 : page << 12;
        put32(table + page * entry, to | (is_user(page, c->cpl) ? 7 : 3));
        if (wide) put32(table + page * entry + 4, 0);
    }
}

// The tables as built for one mode and level, kept for the next case of the same kind.
static u32 snapshot_of; // 0: none
static u32 snapshot_low[LOW16 / 4], snapshot_paging[0x5000 / 4];

static void copy(void* to, const void* from, u32 bytes) {
    bytes /= 4;
    __asm__ volatile("rep movsl" : "+D"(to), "+S"(from), "+c"(bytes)::"memory");
}

static void build_tables(const struct Case* c) {
    const u32 wanted = 1 + c->mode * 4 + c->cpl;
    if (snapshot_of == wanted) {
        copy((void*)0, snapshot_low, sizeof snapshot_low);
        if (c->mode >= MODE_PG32) copy((void*)TABLES, snapshot_paging, sizeof snapshot_paging);
        return;
    }
    build_gdt(c->mode >= MODE_C16);
    build_idt(c->mode);
    build_tss(c->mode >= MODE_C16);
    build_paging(c);
    copy(snapshot_low, (void*)0, sizeof snapshot_low);
    copy(snapshot_paging, (void*)TABLES, sizeof snapshot_paging);
    snapshot_of = wanted;
}

static void set_memory(const struct Item* item) {
    u64 old = 0;
    memcpy(&old, (void*)item->where, item->index);
    old = merge(old, item);
    memcpy((void*)item->where, &old, item->index);
}

static u64 entry_u64(u32 at, const struct Item* item) { return merge(*(u64*)(ENTRY + at), item); }

static void set_dr(u32 n, u32 value) {
    switch (n) {
    case 0: __asm__ volatile("movl %0, %%db0" ::"r"(value)); break;
    case 1: __asm__ volatile("movl %0, %%db1" ::"r"(value)); break;
    case 2: __asm__ volatile("movl %0, %%db2" ::"r"(value)); break;
    case 3: __asm__ volatile("movl %0, %%db3" ::"r"(value)); break;
    case 6: __asm__ volatile("movl %0, %%db6" ::"r"(value)); break;
    default: __asm__ volatile("movl %0, %%db7" ::"r"(value)); break;
    }
}

static u32 frame[10];

// The state that IRET is to bring about: `rip`, `flags`, `esp` and the selectors of `seg`.
static void build_frame(const struct Case* c, u64 rip, u64 flags, u64 esp, const u16* seg) {
    u32 at = (u32)frame, n = 0;
    const int to_outer = c->cpl != 0 || c->mode == MODE_V86;
    if (c->mode >= MODE_C16) {
        u64* wide = (u64*)frame;
        wide[0] = rip, wide[1] = seg[1], wide[2] = flags, wide[3] = esp, wide[4] = seg[2];
    } else {
        u32 words[9] = {(u32)rip, seg[1], (u32)flags, (u32)esp, seg[2], seg[0], seg[3], seg[4], seg[5]};
        n = c->mode == MODE_V86 ? 9 : to_outer ? 5 : 3;
        if (!to_outer) at = (u32)esp - 12;
        memcpy((void*)at, words, n * 4);
    }
    *(u64*)(ENTRY + E_ESP) = at;
    put32(ENTRY + E_SS, to_outer || c->mode >= MODE_C16 ? SEL_DATA : seg[2]);
    const int from_frame = c->mode == MODE_V86;
    put32(ENTRY + E_DS, from_frame ? SEL_DATA : seg[3]);
    put32(ENTRY + E_ES, from_frame ? SEL_DATA : seg[0]);
    put32(ENTRY + E_FS, from_frame ? SEL_DATA : seg[4]);
    put32(ENTRY + E_GS, from_frame ? SEL_DATA : seg[5]);
}

void build_environment(const struct Case* c, const struct Item* sets) {
    const int is_long = c->mode >= MODE_C16;
    memcpy((void*)LOW16, low16_from, (u32)low16_end - LOW16);
    build_tables(c);
    const u32 root = c->mode >= MODE_PG32 ? TABLES : 0;
    memset((void*)CODE, 0xcc, 0x2000);
    memset((void*)DATA, 0, 0x2000);
    memset((void*)LANDING, 0xcc, 0x1000);
    memcpy((void*)(u32)c->rip, (const u8*)(c + 1), c->code_bytes);

    static const u32 stacks[4] = {STACK0, STACK1, STACK2, STACK3};
    static const u16 code_of[] = {0, 0, SEL_CODE16, SEL_CODE32, SEL_CODE32, SEL_CODE32, SEL_CODE16, SEL_CODE32,
                                  SEL_CODE64};
    memset((void*)ENTRY, 0, 0x100);
    put32(ENTRY + E_GPR + 32, stacks[c->cpl]);
    u16 seg[6];
    const int sixteen = c->mode == MODE_PM16 || c->mode == MODE_C16;
    for (u32 i = 0; i < 6; ++i) {
        const u32 base = i == 1 ? code_of[c->mode] : sixteen ? SEL_DATA16 : SEL_DATA32;
        seg[i] = c->mode <= MODE_V86 ? 0 : (u16)(base + 8 * c->cpl + c->cpl);
    }
    u64 flags = c->mode == MODE_V86 ? 0x20002 : 2, rip = c->rip;
    u64 cr0 = c->mode == MODE_REAL ? 0x30 : 0x31, cr4 = c->mode >= MODE_PAE ? 0x20 : 0, efer = 0, xcr0 = 1;
    u32 dr7 = 0x400, msrs = 0;
    if (is_long) efer = 0x100;
    if (c->mode >= MODE_PG32) cr0 |= 0x80000000;
    set_dr(6, 0xffff0ff0);
    for (u32 i = 0; i < c->sets; ++i) {
        const struct Item* s = &sets[i];
        switch (s->kind) {
        case kGpr: *(u64*)(ENTRY + s->index * 8) = entry_u64(s->index * 8, s); break;
        case kSeg: seg[s->index] = (u16)merge(seg[s->index], s); break;
        case kFlags: flags = merge(flags, s); break;
        case kRip: rip = merge(rip, s); break;
        case kMem: set_memory(s); break;
        case kCr:
            if (s->index == 0) cr0 = merge(cr0, s);
            if (s->index == 2) __asm__ volatile("movl %0, %%cr2" ::"r"((u32)s->value));
            if (s->index == 4) cr4 = merge(cr4, s);
            break;
        case kDr:
            if (s->index == 7)
                dr7 = (u32)merge(dr7, s);
            else
                set_dr(s->index, (u32)s->value);
            break;
        case kXcr0: xcr0 = merge(xcr0, s); break;
        case kMsr:
            if (s->where == 0xc0000080) {
                efer = merge(efer, s);
                break;
            }
            saved_msr[msrs] = rdmsr(s->where);
            wrmsr(s->where, merge(saved_msr[msrs++], s));
            break;
        default: break;
        }
    }
    __asm__ volatile("fninit");
    build_frame(c, rip, flags, *(u64*)(ENTRY + E_GPR + 32), seg);

    const struct TableRegister idtr = {c->mode == MODE_REAL ? 0x3ff : is_long ? 0xfff : 0x7ff,
                                       c->mode == MODE_REAL ? 0 : IDT};
    __asm__ volatile("lgdtl %0; lidtl %1" ::"m"(exec_gdtr), "m"(idtr));
    __asm__ volatile("lldtw %w0; ltrw %w1" ::"r"(SEL_LDT), "r"(SEL_TSS)); // of 8 bytes here, of 16 in long mode
    __asm__ volatile("movl %0, %%cr4" ::"r"((u32)cr4));
    if (xcr0 != 1) __asm__ volatile("xsetbv" ::"c"(0), "A"(xcr0));
    if (efer) wrmsr(0xc0000080, efer);
    if (c->mode == MODE_REAL) {
        put32(ENTRY + E_CR0, (u32)cr0);
    } else {
        __asm__ volatile("movl %0, %%cr3" ::"r"(root));
        put32(TSS_DF + 0x1c, root);
        put32(TSS + 0x1c, is_long ? *(u32*)(TSS + 0x1c) : root);
        __asm__ volatile("movl %0, %%cr0; jmp 1f; 1:" ::"r"((u32)cr0) : "memory");
        if (is_long) {
            gdt[SEL_TSS / 8] = system_descriptor(TSS, TSS_BYTES - 1, 9); // not busy
            __asm__ volatile("ltrw %w0; lldtw %w1" ::"r"(SEL_TSS), "r"(SEL_LDT));
        }
    }
    set_dr(7, dr7);
}

static void capture(void) {
    const u32* w = (const u32*)captured;
    const u16* h = (const u16*)captured;
    memset(&outcome, 0, sizeof outcome);
    outcome.cr0 = captured_cr0, outcome.cr2 = captured_cr2, outcome.cr3 = captured_cr3;
    outcome.cr4 = captured_cr4;
    u32 tr = 0, ldtr = 0;
    __asm__ volatile("str %0; sldt %1" : "=r"(tr), "=r"(ldtr));
    outcome.tr = tr, outcome.ldtr = ldtr;
    switch (captured_kind) {
    case 0:
        outcome.seg[5] = h[0], outcome.seg[4] = h[1], outcome.seg[0] = h[2], outcome.seg[3] = h[3];
        for (u32 i = 0; i < 8; ++i)
            outcome.gpr[7 - i] = w[2 + i];
        outcome.vector = h[20], outcome.rip = h[21], outcome.seg[1] = h[22], outcome.flags = h[23];
        outcome.seg[2] = captured_ss;
        outcome.gpr[4] = (u16)(captured_esp + 48);
        break;
    case 1:
        for (u32 i = 0; i < 8; ++i)
            outcome.gpr[7 - i] = w[4 + i];
        outcome.vector = w[12], outcome.error = w[13], outcome.rip = w[14], outcome.seg[1] = w[15];
        outcome.flags = w[16];
        outcome.seg[5] = w[0] & 0xffff, outcome.seg[4] = w[1] & 0xffff;
        outcome.seg[0] = w[2] & 0xffff, outcome.seg[3] = w[3] & 0xffff;
        if (outcome.flags & 0x20000) {
            outcome.gpr[4] = w[17], outcome.seg[2] = w[18];
            outcome.seg[0] = w[19], outcome.seg[3] = w[20], outcome.seg[4] = w[21], outcome.seg[5] = w[22];
        } else if (outcome.seg[1] & 3) {
            outcome.gpr[4] = w[17], outcome.seg[2] = w[18];
        } else {
            outcome.gpr[4] = captured_esp + 68, outcome.seg[2] = captured_ss;
        }
        break;
    case 2:
        for (u32 i = 0; i < 16; ++i)
            outcome.gpr[i] = captured[i];
        outcome.vector = (u32)captured[16], outcome.error = (u32)captured[17], outcome.rip = captured[18];
        outcome.seg[1] = (u32)captured[19], outcome.flags = captured[20], outcome.gpr[4] = captured[21];
        outcome.seg[2] = (u32)captured[22];
        outcome.seg[3] = captured_ds[0] & 0xffff, outcome.seg[0] = captured_ds[1] & 0xffff;
        outcome.seg[4] = captured_ds[2] & 0xffff, outcome.seg[5] = captured_ds[3] & 0xffff;
        break;
    default: { // #DF by task: what the task switch saved
        const u32* t = (const u32*)TSS;
        for (u32 i = 0; i < 8; ++i)
            outcome.gpr[i] = t[10 + i];
        outcome.vector = 8, outcome.rip = t[8], outcome.flags = t[9];
        for (u32 i = 0; i < 6; ++i)
            outcome.seg[i] = t[18 + i] & 0xffff;
    }
    }
}

void run_case(const struct Case* c) {
    if (c->mode == MODE_REAL)
        enter_real();
    else if (c->mode >= MODE_C16)
        enter_long();
    else
        enter_legacy();
    set_dr(7, 0x400);
    capture();
}

void restore_environment(const struct Case* c, const struct Item* sets) {
    wrmsr(0xc0000080, 0);
    __asm__ volatile("movl %0, %%fs; movl %0, %%gs" ::"r"(SEL_DATA));
    u32 msrs = 0;
    for (u32 i = 0; i < c->sets; ++i)
        if (sets[i].kind == kMsr && sets[i].where != 0xc0000080) wrmsr(sets[i].where, saved_msr[msrs++]);
}
