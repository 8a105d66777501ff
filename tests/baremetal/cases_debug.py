"""Single-stepping, breakpoints, alignment (SDM vol. 3, 6.15, 17)."""
from manual import *

BS, BT, BD = 1 << 14, 1 << 15, 1 << 13
TF = [flags(FLAG["TF"], FLAG["TF"])]
MODES_ = (REAL, V86, PM16, PM32, PAE, C32, L64)


def dr6(value):
    return dr(6, value, 0xe00f)


def single_step():
    for mode in MODES_:
        for ring in {mode.rings[0], mode.rings[-1]}:
            a = "rax" if mode.bits64 else "eax"
            for text in ("nop", "mov eax, 1", "add eax, ecx", f"mov [{DATA}], eax", "cld", "fninit", "xchg eax, ebx", "push 1", "cpuid", "lea eax, [ebx]"):
                yield Case("SDM vol. 3, 17.3.1.4", f"TF traps behind {text}", mode, ring, text, trap(DB, None, dr6(BS), flags(FLAG["TF"], FLAG["TF"])), TF)
            yield Case("SDM vol. 3, 17.3.1.4", "TF traps behind a jump, at its target", mode, ring, "jmp 1f; ud2; 1: nop", trap(DB, 4, dr6(BS)), TF)
            yield Case("SDM vol. 3, 17.3.1.4", "TF traps each iteration of REP", mode, ring, "rep stosb", [vector(DB), rip(CODE), gpr(ECX, 2), dr6(BS)],
                       TF + [gpr(ECX, 3), gpr(EDI, DATA)])
            yield Case("SDM vol. 3, 17.3.1.4", "TF traps behind the last iteration of REP", mode, ring, "rep stosb", trap(DB, None, gpr(ECX, 0), dr6(BS)),
                       TF + [gpr(ECX, 1), gpr(EDI, DATA)])
            yield Case("SDM vol. 3, 6.9", "a fault comes before the step of its instruction", mode, ring, "ud2", fault(UD, None, 0, dr6(0), flags(FLAG["TF"], FLAG["TF"])), TF)
            if not mode.v86:
                size = {16: "w", 32: "d", 64: "q"}[mode.bits]
                into = {16: "pop ax", 32: "pop eax", 64: "pop rax"}[mode.bits]
                r = {16: "ax", 32: "eax", 64: "rax"}[mode.bits]
                yield Case("SDM vol. 2 POPF", "POPF that sets TF: the step is the next instruction's", mode, ring, f"push {r}; popf{size}; nop; nop",
                           trap(DB, {16: 3, 32: 3, 64: 3}[mode.bits], dr6(BS)), [gpr(EAX, 0x102)])
                yield Case("SDM vol. 2 POPF", "POPF that clears TF is stepped itself", mode, ring, f"popf{size}; nop", trap(DB, 1, dr6(BS), flags(0, FLAG["TF"])),
                           TF + [mem(STACK[ring], 8, 2)]) if ring else Case("SDM vol. 2 PUSHF", "PUSHF shows TF", mode, ring, f"pushf{size}; {into}; test ah, 1; nop",
                                                                            trap(DB, 1, dr6(BS)), TF)
            for text, n in (("mov ss, eax", 2), ("mov ss, ax", 2)):
                if mode.bits != 32 and text == "mov ss, eax":
                    continue
                value = 0 if not mode.protected else data_sel(16 if mode.bits == 16 else 32, ring)
                yield Case("SDM vol. 3, 6.8.3", f"no step behind {text}, but behind the next", mode, ring, text + "; nop; nop", trap(DB, 3, dr6(BS)), TF + [gpr(EAX, value)])
            yield Case("SDM vol. 3, 6.12.1.3", "INT3 under TF: the handler is not stepped", mode, ring, "int3", trap(BP, 1, flags(FLAG["TF"], FLAG["TF"]), dr6(0)), TF)
            yield Case("SDM vol. 2 INT1", "INT1 (F1)", mode, ring, b"\xf1", trap(DB, 1, dr6(0)))


def breakpoints():
    for mode in (PM32, PAE, C32, L64, REAL):
        for ring in {mode.rings[0], mode.rings[-1]}:
            for n in range(4):
                on = 2 << 2 * n | 0x400
                which = 1 << n
                # instruction
                yield Case("SDM vol. 3, 17.2.4, 17.3.1.1", f"DR{n}: execution", mode, ring, "nop; nop; nop", [vector(DB), rip(CODE + 1), dr6(which)], [dr(n, CODE + 1), dr(7, on)])
                yield Case("SDM vol. 3, 17.3.1.1", f"DR{n}: execution is not at a byte within", mode, ring, "mov eax, 0x11111111", done(dr6(0)), [dr(n, CODE + 2), dr(7, on)])
                for rw, what in ((1, "writes"), (3, "accesses")):
                    for length, code in ((1, 0), (2, 1), (4, 3)):
                        dr7 = on | rw << 16 + 4 * n | code << 18 + 4 * n
                        at = DATA + 8
                        for offset in sorted({-4, -1, 0, length - 1, length}):
                            for text, size, write in ((f"mov byte ptr [{at + offset}], 1; nop", 1, 1), (f"mov al, [{at + offset}]; nop", 1, 0), (f"mov dword ptr [{at + offset}], 1; nop", 4, 1)):
                                if n and (length != 2 or size == 4) :
                                    continue
                                hit = (write or rw == 3) and at + offset < at + length and at + offset + size > at
                                yield Case("SDM vol. 3, 17.2.5, 17.3.1.2", f"DR{n}: {what} of {length}: {text[:-5]}", mode, ring, text,
                                           [vector(DB), lambda k, b: rip(b + k - 1), dr6(which)] if hit else done(dr6(0)), [dr(n, at), dr(7, dr7)])
            yield Case("SDM vol. 3, 17.3.1.1", "RF holds an execution breakpoint off once", mode, ring, "nop; nop", done(dr6(0)),
                       [dr(0, CODE), dr(7, 0x402), flags(FLAG["RF"], FLAG["RF"])])
            yield Case("SDM vol. 3, 17.3.1.1", "the fault of an execution breakpoint saves no RF", mode, ring, "nop; nop", fault(DB, None, 0, dr6(1), *([] if mode.real else [flags(0, FLAG["RF"])])),
                       [dr(0, CODE), dr(7, 0x402)])
            yield Case("SDM vol. 3, 17.3.1.2", "the trap of a data breakpoint saves no RF", mode, ring, f"mov [{DATA}], al; nop", [vector(DB), lambda k, b: rip(b + k - 1), dr6(1)] +
                       ([] if mode.real else [flags(0, FLAG["RF"])]), [dr(0, DATA), dr(7, 0x10402)])
            yield Case("SDM vol. 3, 17.2.3", "breakpoint and step are reported together", mode, ring, f"mov [{DATA}], al; nop", [vector(DB), lambda k, b: rip(b + k - 1), dr6(1 | BS)],
                       [dr(0, DATA), dr(7, 0x10402)] + TF)
            yield Case("SDM vol. 3, 17.2.4", "DR7 without an enable bit", mode, ring, f"mov [{DATA}], al; nop", done(), [dr(0, DATA), dr(7, 0x10400)])
            yield Case("SDM vol. 3, 6.15", "a faulting write reaches no data breakpoint", mode, ring, "ud2", fault(UD, None, 0, dr6(0)), [dr(0, DATA), dr(7, 0x10402)])
    for mode in (PM32, L64):
        a = "rax" if mode.bits64 else "eax"
        yield Case("SDM vol. 3, 17.2.4", "DR7.GD: a MOV DR faults and clears it", mode, 0, f"mov {a}, dr0", fault(DB, None, 0, dr6(BD)), [dr(7, 0x2400)])
        for n in (4, 5):
            yield Case("SDM vol. 3, 17.2.2", f"DR{n} with CR4.DE", mode, 0, f"mov {a}, dr{n}", fault(UD, None, 0), [cr(4, 8, 8)])
            yield Case("SDM vol. 3, 17.2.2", f"DR{n} without CR4.DE is DR{n + 2}", mode, 0, f"mov {a}, dr{n}; mov {a.replace('a', 'b', 1)}, dr{n + 2}; cmp {a}, {a.replace('a', 'b', 1)}",
                       done(flags(FLAG["ZF"], FLAG["ZF"])))
        yield Case("SDM vol. 3, 17.2.4", "DR7 bit 10 reads as one, 12, 14 and 15 as zero", mode, 0, f"mov eax, 0xdc00; mov dr7, {a}; mov {a}, dr7", done(gpr(EAX, 0x400, 0xd400)))
        yield Case("SDM vol. 3, 17.2.3", "DR6 reads with its reserved bits", mode, 0, f"xor eax, eax; mov dr6, {a}; mov {a}, dr6", done(gpr(EAX, 0xfffe0ff0, 0xfffe1ff0)))
        if mode.bits64:
            for n in (6, 7):
                yield Case("SDM vol. 2 MOV Debug Registers", f"DR{n} bit 32", mode, 0, f"mov rax, 0x100000400; mov dr{n}, rax", fault(GP, 0, -1))
        for size, rw in ((1, 2), (2, 2), (4, 2)):
            yield Case("SDM vol. 3, 17.2.5", f"I/O breakpoint of {size}", mode, 0, "out 0x80, al; nop", trap(DB, 2, dr6(1)),
                       [cr(4, 8, 8), dr(0, 0x80), dr(7, 0x402 | 2 << 16 | {1: 0, 2: 1, 4: 3}[size] << 18)])
        yield Case("SDM vol. 3, 17.2.5", "I/O breakpoint elsewhere", mode, 0, "out 0x80, al; nop", done(), [cr(4, 8, 8), dr(0, 0x84), dr(7, 0x402 | 2 << 16)])


def alignment():
    """#AC: CPL 3, CR0.AM and EFLAGS.AC (SDM vol. 3, 6.15)."""
    on = [cr(0, 1 << 18, 1 << 18), flags(FLAG["AC"], FLAG["AC"])]
    for mode in (PM32, PAE, C32, L64, V86):
        r = "rdi" if mode.bits64 else "di" if mode.v86 else "edi"
        for ring in (0, 3) if not mode.v86 else (3,):
            for text, size in ((f"mov ax, [{r}]", 2), (f"mov eax, [{r}]", 4), (f"mov [{r}], eax", 4), (f"add [{r}], ax", 2), (f"fld qword ptr [{r}]", 8), (f"mov al, [{r}]", 1), (f"movq mm0, [{r}]", 8)):
                for off in (1, 2, 4):
                    bad = off % size and ring == 3
                    yield Case("SDM vol. 3, 6.15 Alignment Check", f"{text} at {off} off", mode, ring, text, fault(AC, 0, 0) if bad else done(), on + [gpr(EDI, DATA + off)])
            for what, sets in (("AM clear", on[1:]), ("AC clear", on[:1])):
                yield Case("SDM vol. 3, 6.15 Alignment Check", f"not with {what}", mode, ring, f"mov eax, [{r}]", done(), sets + [gpr(EDI, DATA + 1)])


def cases():
    for part in (single_step, breakpoints, alignment):
        yield from part()
