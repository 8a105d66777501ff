"""What may be written to control registers, MSRs and XCR0 (SDM vol. 3, 2.5, 2.6; vol. 4; vol. 2 MOV, WRMSR, XSETBV)."""
from manual import *

EFER, STAR, LSTAR, CSTAR, FMASK, FSBASE, GSBASE, KGSBASE, TSC_AUX, APIC_BASE, PAT = (
    0xc0000080, 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000100, 0xc0000101, 0xc0000102, 0xc0000103, 0x1b, 0x277)


def write(n, mode, value):
    if mode.bits64:
        return f"mov rax, {value:#x}; mov cr{n}, rax"
    return f"mov eax, {value:#x}; mov cr{n}, eax"


def control():
    for mode in (REAL, PM32, PG32, PAE, C32, L64):
        base = 0x30 if mode.real else 0x31 | (0x80000000 if mode.paged else 0)
        cr4 = 0x20 if mode.wide_paging else 0
        bad = [("CR0, PG without PE", 0, 0x80000030), ("CR0, NW without CD", 0, base | 1 << 29)]
        if mode.long:
            bad += [("CR4, PAE cleared", 4, 0)]
        if mode.bits64:
            bad += [("CR0, PG cleared", 0, base & ~0x80000000), ("CR0 bit 32", 0, base | 1 << 32), ("CR0 bit 63", 0, base | 1 << 63), ("CR4 bit 32", 4, cr4 | 1 << 32),
                    ("CR3 bit 62", 3, TABLES | 1 << 62), ("CR8, 16", 8, 16), ("CR8 bit 63", 8, 1 << 63)]
        bad += [(f"CR4 bit {n}", 4, cr4 | 1 << n) for n in (15, 19, 26, 27, 28, 29, 30, 31)]
        for what, n, value in bad:
            yield Case("SDM vol. 2 MOV Control Registers", f"MOV to {what}", mode, 0, write(n, mode, value), fault(GP, 0, -1))
        good = [("CR0, CD and NW", 0, base | 3 << 29), ("CR0, CD", 0, base | 1 << 30), ("CR0, reserved bits", 0, base | 0x40), ("CR0, MP", 0, base | 2), ("CR0, WP and AM", 0, base | 5 << 16),
                ("CR0, ET cleared", 0, base & ~0x10), ("CR4, TSD DE PSE", 4, cr4 | 0x1c), ("CR4, PGE PCE OSFXSR OSXMMEXCPT", 4, cr4 | 0x780)]
        for what, n, value in good:
            keeps = value & ~0x40 | 0x10 if n == 0 else value
            yield Case("SDM vol. 2 MOV Control Registers", f"MOV to {what}", mode, 0, write(n, mode, value) + f"; mov {'rbx' if mode.bits64 else 'ebx'}, cr{n}",
                       done(gpr(EBX, keeps), cr(n, keeps, ALL64)))
        for bit, feature in ((16, "FSGSBASE"), (20, "SMEP"), (21, "SMAP"), (18, "XSAVE"), (11, "UMIP"), (22, "PKU"), (13, "VMX")):
            yield Case("SDM vol. 3, 2.5", f"MOV to CR4 bit {bit} without its feature", mode, 0, write(4, mode, cr4 | 1 << bit), fault(GP, 0, -1), lacks=feature)
            if bit in (16, 18, 20, 11):
                yield Case("SDM vol. 3, 2.5", f"MOV to CR4 bit {bit}", mode, 0, write(4, mode, cr4 | 1 << bit), done(cr(4, cr4 | 1 << bit, ALL64)), (), feature)
        if mode.bits64:
            for value in range(0, 16, 5):
                yield Case("SDM vol. 3, 10.8.6", f"CR8 = {value} is the APIC's TPR", mode, 0, f"mov eax, {value}; mov cr8, rax; mov rbx, cr8; mov ecx, [{APIC_WINDOW + 0x80}]",
                           done(gpr(EBX, value), gpr(ECX, value << 4)))
        # CR3's low bits are PWT and PCD.
        if mode.paged and mode is not PAE:
            yield Case("SDM vol. 3, 2.5", "CR3 keeps PWT and PCD", mode, 0, write(3, mode, TABLES | 0x18) + f"; mov {'rbx' if mode.bits64 else 'ebx'}, cr3", done(gpr(EBX, TABLES | 0x18)))
        if mode.long:
            yield Case("SDM vol. 3, 4.10.1", "CR4.PCIDE with CR3 bits 11:0 set", mode, 0,
                       write(3, mode, TABLES | 0x18) + "; " + write(4, mode, cr4 | 1 << 17), fault(GP, 0, -1), (), "PCID")
        elif mode is not REAL:
            yield Case("SDM vol. 3, 4.10.1", "CR4.PCIDE outside long mode", mode, 0, write(4, mode, cr4 | 1 << 17), fault(GP, 0, -1), (), "PCID")
        a = "rax" if mode.bits64 else "eax"
        # LMSW sets PE and cannot clear it.
        if mode is PM32 or mode.long:
            yield Case("SDM vol. 2 LMSW", "LMSW of 0 leaves PE", mode, 0, "xor eax, eax; lmsw ax; smsw eax", done(gpr(EAX, 0x31, 0x3f)))
        yield Case("SDM vol. 2 LMSW", "LMSW of MP EM TS", mode, 0, "smsw eax; or eax, 0xe; lmsw ax; smsw eax", done(gpr(EAX, (base & 0x3f) | 0xe, 0x3f)))
        yield Case("SDM vol. 2 LMSW", "LMSW leaves NE", mode, 0, "smsw eax; and eax, ~0x20; lmsw ax; smsw eax", done(gpr(EAX, base & 0x3f, 0x3f)))
        yield Case("SDM vol. 2 CLTS", "CLTS clears TS", mode, 0, f"clts; mov {a}, cr0", done(gpr(EAX, base)), [cr(0, 8, 8)])


def msrs():
    wr = lambda n, value: f"mov ecx, {n:#x}; mov eax, {value & 0xffffffff:#x}; mov edx, {value >> 32:#x}; wrmsr"
    rd = lambda n: f"mov ecx, {n:#x}; rdmsr"
    for mode in (REAL, PM32, PAE, L64):
        efer = 0x500 if mode.long else 0
        for n in (0x40000f00, 0xbadbad, 0xc000ffff, 0x0000ffff):
            yield Case("SDM vol. 2 RDMSR", f"RDMSR of {n:#x}, which is nothing", mode, 0, rd(n), fault(GP, 0, 5 if mode.bits > 16 else 6))
            yield Case("SDM vol. 2 WRMSR", f"WRMSR of {n:#x}, which is nothing", mode, 0, wr(n, 0), fault(GP, 0, -1))
        bad = [("EFER bit 1", EFER, efer | 2, "LM"), ("EFER bit 9", EFER, efer | 0x200, "LM"), ("EFER bit 32", EFER, efer | 1 << 32, "LM"), ("EFER bit 63", EFER, efer | 1 << 63, "LM"),
               ("PAT, type 2", PAT, 2, None), ("PAT, type 3 in PA7", PAT, 3 << 56, None), ("PAT, bit 3", PAT, 8, None), ("APIC_BASE bit 0", APIC_BASE, 0xfee00901, None),
               ("APIC_BASE bit 9", APIC_BASE, 0xfee00b00, None), ("SYSENTER_EIP, not canonical", 0x176, 1 << 62, "LM"), ("SYSENTER_ESP, not canonical", 0x175, 1 << 63, "LM"),
               ("FS_BASE, not canonical", FSBASE, 1 << 62, "LM"), ("KERNEL_GS_BASE, not canonical", KGSBASE, 0xbfff << 48, "LM"),
               ("LSTAR, not canonical", LSTAR, 1 << 62, "LM"), ("CSTAR, not canonical", CSTAR, 1 << 62, "LM"), ("FMASK, upper half", FMASK, 1 << 32, "LM"), ("TSC_AUX, upper half", TSC_AUX, 1 << 32, "RDTSCP"),
               ("MTRR_DEF_TYPE, type 2", 0x2ff, 2, None), ("MTRR_DEF_TYPE bit 8", 0x2ff, 0x100, None), ("MTRR_FIX64K, type 7", 0x250, 7, None), ("MTRRcap", 0xfe, 0, None)]
        if mode.long:
            bad.append(("EFER, LME cleared under paging", EFER, 0x400, "LM"))
        elif mode.paged:
            bad.append(("EFER, LME set under paging", EFER, 0x100, "LM"))
        for what, n, value, needs in bad:
            yield Case("SDM vol. 2 WRMSR; vol. 4", f"WRMSR of {what}", mode, 0, wr(n, value), fault(GP, 0, -1), [msr(n, 0, 0)] if n not in (EFER, 0xfe) else [], needs)
        kept = [("STAR", STAR, 0x123456789abcdef0, "LM"), ("LSTAR", LSTAR, 0xffff800012345678, "LM"), ("FMASK", FMASK, 0x47700, "LM"), ("KERNEL_GS_BASE", KGSBASE, 0x7fffffffffff, "LM"),
                ("SYSENTER_CS", 0x174, 0x10, "SEP"), ("SYSENTER_ESP", 0x175, 0xdeadbee8, "SEP"), ("SYSENTER_EIP", 0x176, 0x87654321, "SEP"), ("TSC_AUX", TSC_AUX, 0x12345678, "RDTSCP"),
                ("PAT", PAT, 0x0006070500010407, None)]
        for what, n, value, needs in kept:
            yield Case("SDM vol. 4", f"WRMSR and RDMSR of {what}", mode, 0, wr(n, value) + "; xor eax, eax; xor edx, edx; rdmsr",
                       done(gpr(EAX, value & 0xffffffff, ALL64 if mode.bits64 else 0xffffffff), gpr(EDX, value >> 32)), [msr(n, 0, 0)], needs)
        for what, bit in (("SCE", 0), ("NXE", 11)):
            yield Case("SDM vol. 4", f"EFER.{what} can be set", mode, 0, wr(EFER, efer | 1 << bit) + "; rdmsr", done(gpr(EAX, efer | 1 << bit)), [msr(EFER, 0, 0)], "LM")
    # In real mode the fault has no error code to look at, but the vector is the same.
    for ring in (0, 3):
        for name, n, base in (("FS", FSBASE, "fs"), ("GS", GSBASE, "gs")):
            yield Case("SDM vol. 3, 3.4.4", f"{name}_BASE moves {base}:", L64, ring, f"mov eax, {base}:[0x10]", done(gpr(EAX, 0x11223344)), [msr(n, DATA), mem(DATA + 0x10, 4, 0x11223344)])
            yield Case("SDM vol. 2 RDFSBASE", f"RD{name}BASE", L64, ring, f"rd{base}base rax", done(gpr(EAX, 0x123456789ab)), [msr(n, 0x123456789ab), cr(4, 1 << 16, 1 << 16)], "FSGSBASE")
            yield Case("SDM vol. 2 RDFSBASE", f"RD{name}BASE with CR4.FSGSBASE clear", L64, ring, f"rd{base}base rax", fault(UD, None, 0), (), "FSGSBASE")
            yield Case("SDM vol. 2 WRFSBASE", f"WR{name}BASE", L64, ring, f"wr{base}base rax", done(msr(n, 0x123456789ab)), [msr(n, 0), gpr(EAX, 0x123456789ab), cr(4, 1 << 16, 1 << 16)], "FSGSBASE")
            yield Case("SDM vol. 2 WRFSBASE", f"WR{name}BASE r32", L64, ring, f"wr{base}base eax", done(msr(n, 0x456789ab)), [msr(n, 0), gpr(EAX, 0x123456789ab), cr(4, 1 << 16, 1 << 16)], "FSGSBASE")
            yield Case("SDM vol. 2 WRFSBASE", f"WR{name}BASE, not canonical", L64, ring, f"wr{base}base rax", fault(GP, 0, 0), [msr(n, 0), gpr(EAX, 1 << 62), cr(4, 1 << 16, 1 << 16)], "FSGSBASE")
    for ring in (0, 3):
        yield Case("SDM vol. 2 RDFSBASE", "RDFSBASE in compatibility mode", C32, ring, b"\xf3\x0f\xae\xc0", fault(UD, None, 0), [cr(4, 1 << 16, 1 << 16)], "FSGSBASE")
    yield Case("SDM vol. 2 SWAPGS", "SWAPGS swaps", L64, 0, "swapgs", done(msr(GSBASE, 0x1111), msr(KGSBASE, 0x2222)), [msr(GSBASE, 0x2222), msr(KGSBASE, 0x1111)])


def xcr():
    for mode in (REAL, PM32, L64):
        on = [cr(4, 1 << 18, 1 << 18)]
        for ring in {mode.rings[0], mode.rings[-1]}:
            yield Case("SDM vol. 2 XGETBV", "XGETBV without CR4.OSXSAVE", mode, ring, "xor ecx, ecx; xgetbv", fault(UD, None, -1), (), "XSAVE")
            yield Case("SDM vol. 2 XGETBV", "XGETBV of XCR0", mode, ring, "xor ecx, ecx; xgetbv", done(gpr(EAX, 3), gpr(EDX, 0)), on + [xcr0(3)], "XSAVE")
            yield Case("SDM vol. 2 XGETBV", "XGETBV of XCR9", mode, ring, "mov ecx, 9; xgetbv", fault(GP, 0, -1), on, "XSAVE")
            if ring == 0:
                yield Case("SDM vol. 2 XSETBV", "XSETBV without CR4.OSXSAVE", mode, ring, "xor ecx, ecx; xor edx, edx; mov eax, 1; xsetbv", fault(UD, None, -1), (), "XSAVE")
            for what, eax, edx, ecx, good in (("1", 1, 0, 0, 1), ("3", 3, 0, 0, 1), ("0", 0, 0, 0, 0), ("2", 2, 0, 0, 0), ("5, AVX without SSE", 5, 0, 0, 0), ("bit 63", 1, 1 << 31, 0, 0),
                                              ("bit 30", 1 | 1 << 30, 0, 0, 0), ("1 to XCR1", 1, 0, 1, 0), ("MPX by half", 0xb, 0, 0, 0), ("ZMM_Hi256 alone", 0x47, 0, 0, 0)):
                ok = good and ring == 0
                yield Case("SDM vol. 2 XSETBV", f"XSETBV of {what}", mode, ring, f"mov ecx, {ecx}; mov edx, {edx:#x}; mov eax, {eax:#x}; xsetbv", done() if ok else fault(GP, 0, -1), on, "XSAVE")


def cases():
    for part in (control, msrs, xcr):
        yield from part()
