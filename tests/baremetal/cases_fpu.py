"""When x87, MMX and SSE instructions fault, and what the state-saving ones check (SDM vol. 3, 2.5, 13; vol. 2 FXRSTOR, XRSTOR, LDMXCSR)."""
import itertools

from manual import *

MP, EM, TS_, NE = 2, 4, 8, 0x20
OSFXSR, OSXMMEXCPT, OSXSAVE = 1 << 9, 1 << 10, 1 << 18
SSE_ON = [cr(4, OSFXSR | OSXMMEXCPT, OSFXSR | OSXMMEXCPT)]
XSAVE_ON = SSE_ON + [cr(4, OSXSAVE, OSXSAVE), xcr0(3)]


def rings(mode):
    return sorted({mode.rings[0], mode.rings[-1]})


def availability():
    for mode in (REAL, V86, PM32, L64):
        d = f"[{DATA}]"
        x87 = ["fninit", "fld1", "fnstsw ax", "fnclex", f"fnstcw word ptr {d}", f"fldcw word ptr {d}", "fnop", "ffree st(0)", f"fild dword ptr {d}"]
        mmx = ["emms", "movd mm0, eax", "paddb mm0, mm1"]
        sse = ["xorps xmm0, xmm1", "movd xmm0, eax", "addsd xmm0, xmm1", f"movups xmm0, {d}", "pxor xmm1, xmm1", "cvtsi2sd xmm0, eax", "ucomiss xmm0, xmm1"]
        mxcsr = [f"stmxcsr dword ptr {d}", f"ldmxcsr dword ptr [{DATA + 16}]"]
        free = ["pause", "sfence", "prefetcht0 [edi]" if mode.bits == 32 else "lfence", "mfence", f"movnti dword ptr {d}, eax"]
        for ring in rings(mode):
            for mp, em, ts, fx in itertools.product((0, 1), repeat=4):
                if mp and (em or fx):
                    continue
                sets = [cr(0, mp * MP | em * EM | ts * TS_, MP | EM | TS_), cr(4, fx * OSFXSR, OSFXSR), mem(DATA + 16, 4, 0x1f80)]
                title = f"MP {mp} EM {em} TS {ts} OSFXSR {fx}"
                for text in x87:
                    yield Case("SDM vol. 3, table 2-2", f"{text} {title}", mode, ring, text, fault(NM, None, 0) if em or ts else done(), sets)
                yield Case("SDM vol. 3, table 2-2", f"fwait {title}", mode, ring, "fwait", fault(NM, None, 0) if mp and ts else done(), sets)
                for text in mmx:
                    yield Case("SDM vol. 3, 12.1", f"{text} {title}", mode, ring, text, fault(UD, None, 0) if em else fault(NM, None, 0) if ts else done(), sets)
                for text in sse + mxcsr:
                    if mp:
                        continue
                    yield Case("SDM vol. 3, 13.1", f"{text} {title}", mode, ring, text,
                               fault(UD, None, 0) if em or not fx else fault(NM, None, 0) if ts else done(), sets)
                for text in free:
                    yield Case("SDM vol. 3, 13.1", f"{text} {title}", mode, ring, text, done(), sets + [gpr(EDI, DATA)])
                for text in (f"fxsave {d}", f"fxrstor [{DATA + 0x200}]"):
                    yield Case("SDM vol. 2 FXSAVE, FXRSTOR", f"{text} {title}", mode, ring, text, fault(NM, None, 0) if em or ts else done(), sets + [mem(DATA + 0x218, 4, 0x1f80)])


def numeric():
    """Unmasked exceptions: x87 at the next waiting instruction (#MF), SIMD at once (#XM, or #UD without OSXMMEXCPT)."""
    for mode in (REAL, V86, PM32, L64):
        for ring in rings(mode):
            ne = cr(0, NE, NE)
            # control word: zero divide unmasked
            prepare = f"fninit; mov word ptr [{DATA}], 0x37b; fldcw word ptr [{DATA}]; fld1; fldz; fdivp st(1), st; "
            for text, waits in (("fwait", 1), ("fld1", 1), ("fstsw ax", 1), ("fnstsw ax", 0), ("fnclex", 0), ("fninit", 0), ("fnstcw word ptr [0xa010]", 0), ("emms", 1), ("movd mm0, eax", 1),
                                ("fstp st(0)", 1), ("fldcw word ptr [0xa000]", 1), ("nop", 0), ("fxsave [0xa040]", 0)):
                yield Case("SDM vol. 1, 8.7; vol. 3, 6.15 x87", f"{text} after an unmasked zero divide", mode, ring, prepare + text, [vector(MF)] if waits else done(), [ne])
            yield Case("SDM vol. 1, 8.5", "a masked zero divide is silent", mode, ring, "fninit; fld1; fldz; fdivp st(1), st; fwait; fnstsw ax; and eax, 4", done(gpr(EAX, 4, 0xffff)), [ne])
            yield Case("SDM vol. 1, 8.5.1.1", "stack underflow, unmasked", mode, ring, f"fninit; mov word ptr [{DATA}], 0x37e; fldcw word ptr [{DATA}]; fstp st(0); fwait", [vector(MF)], [ne])
            load = f"mov dword ptr [{DATA}], {{m}}; ldmxcsr dword ptr [{DATA}]; xorps xmm1, xmm1; mov eax, 0x3f800000; movd xmm0, eax; "
            for what, mask, text in (("zero divide", 0x1f80 & ~0x200, "divss xmm0, xmm1"), ("invalid", 0x1f80 & ~0x80, "divss xmm1, xmm1"),
                                     ("precision", 0x1f80 & ~0x1000, "mov eax, 0x40400000; movd xmm2, eax; divss xmm0, xmm2"), ("denormal", 0x1f80 & ~0x100, "mov eax, 1; movd xmm3, eax; addss xmm0, xmm3")):
                yield Case("SDM vol. 1, 11.5; vol. 3, 6.15 SIMD", f"SIMD {what}, unmasked", mode, ring, load.format(m=mask) + text, [vector(XM)], SSE_ON)
                yield Case("SDM vol. 3, 2.5", f"SIMD {what}, unmasked, without OSXMMEXCPT", mode, ring, load.format(m=mask) + text, [vector(UD)], SSE_ON[:1] + [cr(4, 0, OSXMMEXCPT)])
                yield Case("SDM vol. 1, 11.5", f"SIMD {what}, masked", mode, ring, load.format(m=0x1f80) + text, done(), SSE_ON)
            yield Case("SDM vol. 2 LDMXCSR", "the default MXCSR comes back", mode, ring, load.format(m=0x1f80), done(), SSE_ON)


def checks():
    for mode in (REAL, V86, PM32, C32, L64):
        gp = lambda at=0: fault(GP, None if mode.real else 0, at)
        for ring in rings(mode):
            for bit in (16, 17, 31):
                yield Case("SDM vol. 2 LDMXCSR", f"LDMXCSR bit {bit}", mode, ring, f"ldmxcsr dword ptr [{DATA}]", gp(), SSE_ON + [mem(DATA, 4, 0x1f80 | 1 << bit)])
                yield Case("SDM vol. 2 FXRSTOR", f"FXRSTOR with MXCSR bit {bit}", mode, ring, f"fxrstor [{DATA}]", gp(), SSE_ON + [mem(DATA + 24, 4, 0x1f80 | 1 << bit)])
            for off in (1, 4, 8):
                at = DATA + off
                for text in ("movaps xmm0, [{a}]", "movaps [{a}], xmm0", "movdqa xmm0, [{a}]", "movntps [{a}], xmm0", "addps xmm0, [{a}]", "pxor xmm0, [{a}]", "sqrtpd xmm0, [{a}]", "pshufd xmm0, [{a}], 1",
                             "fxsave [{a}]", "fxrstor [{a}]", "movapd xmm0, [{a}]", "movntdq [{a}], xmm0", "cvtdq2ps xmm0, [{a}]"):
                    yield Case("SDM vol. 2; vol. 3, 6.15", f"{text.format(a=hex(at))}, unaligned", mode, ring, text.format(a=at), gp(), SSE_ON + [mem(at + 24, 4, 0x1f80)])
                for text in ("movups xmm0, [{a}]", "movdqu [{a}], xmm0", "addss xmm0, [{a}]", "cvtdq2pd xmm0, [{a}]", "movq xmm0, [{a}]", "lddqu xmm0, [{a}]", "movhps xmm0, [{a}]", "pinsrw xmm0, [{a}], 1"):
                    yield Case("SDM vol. 2", f"{text.format(a=hex(at))}, unaligned", mode, ring, text.format(a=at), done(), SSE_ON)
            area = DATA + 0x40
            for text in (f"xsave [{area}]", f"xrstor [{area}]"):
                name = text.split()[0].upper()
                yield Case("SDM vol. 2 " + name, f"{name} without CR4.OSXSAVE", mode, ring, text, fault(UD, None, 0), SSE_ON, "XSAVE")
                yield Case("SDM vol. 2 " + name, f"{name} with CR0.TS", mode, ring, text, fault(NM, None, 0), XSAVE_ON + [cr(0, TS_, TS_)], "XSAVE")
                for off in (1, 16, 32):
                    yield Case("SDM vol. 2 " + name, f"{name} {off} off", mode, ring, text.replace(f"[{area}]", f"[{area + off}]"), gp(), XSAVE_ON, "XSAVE")
                yield Case("SDM vol. 2 " + name, f"{name} of nothing", mode, ring, text, done(), XSAVE_ON + [gpr(EAX, 0), gpr(EDX, 0)], "XSAVE")
                yield Case("SDM vol. 2 " + name, f"{name} of x87 and SSE", mode, ring, text, done(), XSAVE_ON + [gpr(EAX, 3), mem(area + 24, 4, 0x1f80)], "XSAVE")
            header = area + 512
            for text in (f"xsaves [{area}]", f"xrstors [{area}]"):
                name, sets = text.split()[0].upper(), XSAVE_ON + [gpr(EAX, 3), gpr(EDX, 0), mem(area + 24, 4, 0x1f80), mem(header + 8, 8, 1 << 63)]
                yield Case("SDM vol. 2 " + name, name, mode, ring, text, gp() if ring else done(), sets, "XSAVES")
                if not ring:
                    yield Case("SDM vol. 2 " + name, f"{name} with CR0.TS", mode, ring, text, fault(NM, None, 0), sets + [cr(0, TS_, TS_)], "XSAVES")
                yield Case("SDM vol. 2 " + name, f"{name} without CR4.OSXSAVE", mode, ring, text, fault(UD, None, 0), sets[:1] + sets[3:], "XSAVES")
            if not ring:
                yield Case("SDM vol. 2 XRSTORS", "XRSTORS of a header that is not compacted", mode, ring, f"xrstors [{area}]", gp(), XSAVE_ON + [gpr(EAX, 3), mem(header, 8, 3)], "XSAVES")
                yield Case("SDM vol. 2 XSAVES", "XSAVES writes a compacted header", mode, ring, f"fninit; fld1; xsaves [{area}]", done(mem(header + 8, 8, 1 << 63 | 1, (1 << 64) - 1)), XSAVE_ON + [gpr(EAX, 1), gpr(EDX, 0)], "XSAVES")
            for what, at, value in (("XSTATE_BV bit 2 beyond XCR0", header, 4), ("XSTATE_BV bit 63", header, 1 << 63), ("XCOMP_BV bit 0", header + 8, 1), ("byte 16", header + 16, 1), ("byte 23", header + 23, 1)):
                yield Case("SDM vol. 2 XRSTOR", f"XRSTOR of a header with {what}", mode, ring, f"xrstor [{area}]", gp(), XSAVE_ON + [gpr(EAX, 3), mem(at, 1 if at & 7 == 7 else 8 if at < header + 16 else 1, value)], "XSAVE")
            # The compacted form, by bit 63 of XCOMP_BV.
            compact = 1 << 63
            forms = [("xrstor", "XSAVEC")] + ([] if ring else [("xrstors", "XSAVES")])
            for what, state, comp, at, value, good in (("both components", 3, compact | 3, 0, 0, 1), ("one of two", 1, compact | 3, 0, 0, 1), ("none", 0, compact, 0, 0, 1), ("XSTATE_BV bit 1 outside XCOMP_BV", 3, compact | 1, 0, 0, 0),
                                                       ("XSTATE_BV bit 0 outside XCOMP_BV", 1, compact | 2, 0, 0, 0), ("XCOMP_BV bit 2 beyond XCR0", 3, compact | 7, 0, 0, 0), ("XSTATE_BV bit 2 beyond both", 7, compact | 3, 0, 0, 0),
                                                       ("XCOMP_BV bit 62", 3, compact | 1 << 62 | 3, 0, 0, 0), ("byte 16", 3, compact | 3, 16, 1, 0), ("byte 24", 3, compact | 3, 24, 1, 0), ("byte 63", 3, compact | 3, 63, 1, 0)):
                for text, needs in forms:
                    put = [gpr(EAX, 3), gpr(EDX, 0), mem(area + 24, 4, 0x1f80), mem(header, 8, state), mem(header + 8, 8, comp)] + ([mem(header + at, 1, value)] if at else [])
                    yield Case("SDM vol. 2 " + text.upper(), f"{text} of a compacted header: {what}", mode, ring, f"{text} [{area}]", done() if good else gp(), XSAVE_ON + put, needs)
            yield Case("SDM vol. 2 XRSTOR", "XRSTOR of a standard header does not look at byte 24", mode, ring, f"xrstor [{area}]", done(), XSAVE_ON + [gpr(EAX, 3), mem(area + 24, 4, 0x1f80), mem(header + 24, 1, 1)], "XSAVE")
            yield Case("SDM vol. 2 XRSTOR", "XRSTOR with MXCSR bit 16", mode, ring, f"xrstor [{area}]", gp(), XSAVE_ON + [gpr(EAX, 3), mem(area + 24, 4, 0x11f80), mem(header, 8, 3)], "XSAVE")
            yield Case("SDM vol. 2 XSAVE", "XSAVE writes XSTATE_BV", mode, ring, f"fninit; fld1; xsave [{area}]", done(mem(header, 8, 1, 1)), XSAVE_ON + [gpr(EAX, 1), gpr(EDX, 0)], "XSAVE")


def irq13():
    """Without CR0.NE: FERR#, IRQ 13, port 0xF0, IGNNE# (82371SB data sheet)."""
    source, v, count = "SDM vol. 1, 8.7.2; 82371SB, FERR#", 0x7d, DATA + 0x40
    out = lambda *pairs: "".join(f"mov al, {value:#x}; out {port:#x}, al; " for port, value in pairs)
    # The slave's vectors from 0x78 on; only IRQ 13 is let through, to the processor by LINT0.
    chips = f"mov dword ptr [{APIC + 0xf0}], 0x1ff; mov dword ptr [{APIC + 0x350}], 0x700; " + out((0xf0, 0),
        (0x20, 0x11), (0xa0, 0x11), (0x21, 0x70), (0xa1, 0x78), (0x21, 4), (0xa1, 2), (0x21, 1), (0xa1, 1), (0x21, 0xfb), (0xa1, 0xdf))
    wrong = "fld1; fldz; fdivp st(1), st; "
    error_ = f"fninit; mov word ptr [{DATA}], 0x37b; fldcw word ptr [{DATA}]; " + wrong
    quiet = "; cli; " + out((0x21, 0xff), (0xa1, 0xff))
    ne = cr(0, 0, NE)
    # push eax; [fnclex]; out 0xf0, al; EOI to both; inc dword ptr [count]; pop eax; iretd
    handle = lambda first: block(DATA + 0x80, bytes.fromhex("50" + first + "e6f0b020e6a0e620ff05" + count.to_bytes(4, "little").hex() + "58cf"))
    by_handler = idt_entry(PM32, v, gate(0xe, SEL_CODE, DATA + 0x80))
    here = lambda n, base: rip(base + n - 2)
    for text in ("fld1", "fwait; nop", "movq mm0, mm1"):
        at = {"fwait; nop": 2}.get(text, 3 if "mm" in text else 2)
        yield Case(source, f"IRQ 13 comes before {text}", PM32, 0, chips + error_ + "sti; nop; " + text, [vector(v), lambda n, base, at=at: rip(base + n - at)], [ne])
    yield Case(source, "the processor stands still until it may be interrupted", PM32, 0, chips + error_ + "sti; fld1", [vector(v), here], [ne])
    yield Case(source, "no IRQ 13 before an instruction that does not wait", PM32, 0, chips + error_ + "sti; nop; fnstsw ax; mov ebx, eax" + quiet,
               done(gpr(EBX, 0x8084, 0x80bf), mem(count, 4, 0)), [ne, mem(count, 4, 0)] + by_handler + handle(""))
    yield Case(source, "port 0xF0 makes the processor go on with the error", PM32, 0, chips + error_ + "sti; nop; fldpi; fld1; fnstsw ax; mov ebx, eax" + quiet,
               done(gpr(EBX, 0x8084, 0x80bf), mem(count, 4, 1)), [ne, mem(count, 4, 0)] + by_handler + handle(""))
    yield Case(source, "a handler that clears the error", PM32, 0, chips + error_ + "sti; nop; fldpi; fnstsw ax; mov ebx, eax" + quiet,
               done(gpr(EBX, 0, 0x80bf), mem(count, 4, 1)), [ne, mem(count, 4, 0)] + by_handler + handle("dbe2"))
    yield Case(source, "the next error comes as well", PM32, 0, chips + error_ + "sti; nop; fwait; " + wrong + "fwait; nop" + quiet,
               done(mem(count, 4, 2)), [ne, mem(count, 4, 0)] + by_handler + handle("dbe2"))
    yield Case(source, "FXRSTOR of a state without errors ends what IGNNE# is for", PM32, 0,
               chips + f"fninit; fxsave [{DATA + 0x200}]; " + error_ + f"sti; nop; fwait; fxrstor [{DATA + 0x200}]; fldcw word ptr [{DATA}]; " + wrong + "fwait; nop" + quiet,
               done(mem(count, 4, 2)), [ne, mem(count, 4, 0)] + by_handler + handle(""))
    yield Case(source, "masked errors request nothing", PM32, 0, chips + "fninit; " + wrong + "sti; nop; fwait; nop" + quiet, done(mem(count, 4, 0)), [ne, mem(count, 4, 0)] + by_handler + handle(""))


def cases():
    for part in (availability, numeric, checks, irq13):
        yield from part()
