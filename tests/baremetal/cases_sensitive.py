"""The seventeen instructions that read or change what belongs to the machine and do not trap at CPL 3 (G. Popek, R. Goldberg:
what a virtual machine needs; J. Robin, C. Irvine: what the Pentium lacks). A guest sees its own tables, levels and flags in each
of them, whatever runs it: SGDT SIDT SLDT SMSW PUSHF POPF LAR LSL VERR VERW PUSH POP CALL JMP INT RET/IRET STR MOV.
"""
from manual import *

STATUS = 0xff | 0x800  # CF PF AF ZF SF OF and what is reserved below them


def each():
    for mode in MODES:
        for ring in mode.rings:
            if ring != 2:
                for level in (0, 3):
                    yield mode, ring, level


def width(mode):
    return mode.bits // 8


def tables():
    for mode, ring, level in each():
        size = 8 if mode.bits64 else 4
        idt = (0x3ff, 0) if mode.real else (0xfff if mode.long else 0x7ff, IDT)
        for name, limit, base in (("SGDT", 0x2ff, GDT), ("SIDT", *idt)):
            yield Case("SDM vol. 2 " + name, f"{name} IOPL {level}", mode, ring, f"{name} [{DATA}]",
                       done(mem(DATA, 2, limit), mem(DATA + 2, size, base), mem(DATA + 2 + size, 4, 0)), [iopl(level)])
        word = 0x30 if mode.real else 0x31
        yield Case("SDM vol. 2 SMSW", f"SMSW r IOPL {level}", mode, ring, "smsw eax", done(gpr(EAX, word, 0xffff)), [iopl(level)])
        yield Case("SDM vol. 2 SMSW", f"SMSW m16 IOPL {level}", mode, ring, f"smsw word ptr [{DATA}]",
                   done(mem(DATA, 4, word | 0xffff0000)), [iopl(level), mem(DATA, 8, ALL64)])
        if not mode.protected:
            continue
        for name, selector in (("SLDT", SEL_LDT), ("STR", SEL_TSS)):
            yield Case("SDM vol. 2 " + name, f"{name} r IOPL {level}", mode, ring, f"mov eax, -1; {name} eax",
                       done(gpr(EAX, selector)), [iopl(level)])
            yield Case("SDM vol. 2 " + name, f"{name} r16 IOPL {level}", mode, ring, f"mov eax, -1; {name} ax",
                       done(gpr(EAX, selector | 0xffff0000)), [iopl(level)])
            yield Case("SDM vol. 2 " + name, f"{name} m16 IOPL {level}", mode, ring, f"{name} word ptr [{DATA}]",
                       done(mem(DATA, 4, selector | 0xffff0000)), [iopl(level), mem(DATA, 8, ALL64)])


def pushf_popf():
    short = {16: ("pushfw", "popfw"), 32: ("pushfd", "popfd"), 64: ("pushfq", "popfq")}
    for mode, ring, level in each():
        for size in sorted({16, 64 if mode.bits64 else 32}):
            push, pop = short[size]
            ok = not mode.v86 or level == 3
            preset = FLAG["CF"] | FLAG["IF"] | FLAG["AF"] | 2 | level << 12
            sets = [flags(preset, 0x3fd7)]
            out = done(gpr(EAX, preset, (1 << size) - 1), sp(mode, STACK[ring])) if ok else fault(GP, 0)
            into = {16: "pop ax", 32: "pop eax", 64: "pop rax"}[size]
            yield Case("SDM vol. 2 PUSHF", f"{push} IOPL {level}", mode, ring, f"{push}; {into}", out, sets)
            # All ones but TF: what changes is a matter of CPL and IOPL.
            changes = 0x40d5 | FLAG["OF"] | FLAG["DF"] | FLAG["AC"] | FLAG["ID"]
            if mode.real or ring == 0 or (not mode.v86 and ring <= level) or (mode.v86 and level == 3):
                changes |= FLAG["IF"]
            if mode.real or ring == 0:
                changes |= 3 << 12
            if size == 16:
                changes &= 0xffff
            after = changes | 2 | level << 12 | (FLAG["VM"] if mode.v86 else 0)
            value = 0xfffffeff
            code = {16: "push ax", 32: "push eax", 64: "push rax"}[size] + "; " + pop
            yield Case("SDM vol. 2 POPF", f"{pop} of ones IOPL {level}", mode, ring, code,
                       done(flags(after, 0xffff if mode.real else 0x3fffff), sp(mode, STACK[ring])) if ok else
                       fault(GP, 0, -1, sp(mode, STACK[ring] - size // 8)), [iopl(level), gpr(EAX, value)])
            zeros = 2 if mode.real or ring == 0 else 2 | level << 12
            if not (mode.real or ring == 0 or (not mode.v86 and ring <= level) or (mode.v86 and level == 3)):
                zeros |= FLAG["IF"]
            preset = 0x40d5 | FLAG["OF"] | FLAG["DF"] | FLAG["IF"] | 2 | level << 12
            yield Case("SDM vol. 2 POPF", f"{pop} of zeros IOPL {level}", mode, ring, code,
                       done(flags(zeros, 0xffff)) if ok else fault(GP, 0, -1), [flags(preset, 0x7fd7), gpr(EAX, 0)])


# Descriptors to look at: name, type, S, DPL, limit, G, present
KINDS = [("data, read-only", 0, 1), ("data, read/write", 2, 1), ("data, expand-down", 6, 1), ("code, execute-only", 8, 1), ("code, readable", 10, 1),
         ("code, conforming", 12, 1), ("code, conforming readable", 14, 1)] + \
        [(f"system type {t}", t, 0) for t in range(16)]
LAR_LEGACY, LSL_LEGACY = {1, 2, 3, 4, 5, 9, 0xb, 0xc}, {1, 2, 3, 9, 0xb}  # SDM vol. 2, tables of LAR and LSL
LAR_LONG, LSL_LONG = {2, 9, 0xb, 0xc}, {2, 9, 0xb}


def looking():
    for mode in (PM16, PM32, C32, L64):
        for ring in (0, 1, 3):
            for kind, t, s in KINDS:
                for dpl in (0, 3) if ring else (0,):
                    for rpl in (0, 3):
                        value = segment(0x123456, 0x54321, t, dpl, 8, 1, not s)
                        conforming = s and t & 12 == 12
                        visible = conforming or (ring <= dpl and rpl <= dpl)
                        sets = descriptor(FREE, value, 0) + [gpr(EAX, FREE | rpl), gpr(EDX, 0x5a5a5a5a), flags(FLAG["CF"] | FLAG["OF"], STATUS)]
                        title = f"{kind} DPL {dpl} RPL {rpl}"
                        for name, good, result in (
                                ("lar", visible and (s or t in (LAR_LONG if mode.long else LAR_LEGACY)), value >> 32 & 0xf0ff00),
                                ("lsl", visible and (s or t in (LSL_LONG if mode.long else LSL_LEGACY)), 0x54321fff)):
                            after = FLAG["CF"] | FLAG["OF"] | 2 | (FLAG["ZF"] if good else 0)
                            yield Case("SDM vol. 2 " + name.upper(), f"{name} of {title}", mode, ring, f"{name} edx, eax",
                                       done(gpr(EDX, result, 0xfff0ff00 if name == "lar" else ALL64) if good else gpr(EDX, 0x5a5a5a5a),
                                            flags(after, STATUS)), sets)
                        readable = s and (t < 8 or t & 2)
                        writable = s and t < 8 and t & 2
                        for name, good in (("verr", readable and visible), ("verw", writable and visible)):
                            after = FLAG["CF"] | FLAG["OF"] | 2 | (FLAG["ZF"] if good else 0)
                            yield Case("SDM vol. 2 VERR/VERW", f"{name} of {title}", mode, ring, f"{name} ax", done(flags(after, STATUS)), sets)
            for name in ("lar edx, eax", "lsl edx, eax", "verr ax", "verw ax"):
                for what, selector in (("null", 0), ("null RPL 3", 3), ("beyond the GDT", 0x300), ("beyond the LDT", 0x44), ("LDT, nothing", 0xc)):
                    yield Case("SDM vol. 2 " + name.split()[0].upper(), f"{name} of {what}", mode, ring, name,
                               done(flags(2, STATUS), gpr(EDX, 7)), [gpr(EAX, selector), gpr(EDX, 7), flags(FLAG["ZF"], STATUS)])
            yield Case("SDM vol. 2 LSL", "lsl r16 cuts the limit", mode, ring, "lsl dx, ax", done(gpr(EDX, 0x5a5a1fff), flags(FLAG["ZF"] | 2, STATUS)),
                       descriptor(FREE, segment(0, 0x54321, 2, 3, 8)) + [gpr(EAX, FREE), gpr(EDX, 0x5a5a5a5a)])
            yield Case("SDM vol. 2 LSL", "lsl of byte granularity", mode, ring, "lsl edx, eax", done(gpr(EDX, 0x54321)),
                       descriptor(FREE, segment(0, 0x54321, 2, 3, 0)) + [gpr(EAX, FREE)])
            yield Case("SDM vol. 2 LAR", "lar of an absent segment", mode, ring, "lar edx, eax", done(gpr(EDX, 0xc07200, 0xf0ff00)),
                       descriptor(FREE, segment(0, 0x04321, 2, 3, 0xc, 0)) + [gpr(EAX, FREE)])


def selectors(mode, ring):
    if not mode.protected:
        return [0] * 6
    bits = 16 if mode.bits == 16 else 32
    return [code_sel(mode.bits, ring) if n == CS_ else data_sel(bits, ring) for n in range(6)]


def push_pop_mov():
    names = ["es", "cs", "ss", "ds", "fs", "gs"]
    for mode, ring, level in each():
        now = selectors(mode, ring)
        if mode.long:  # the executor leaves FS and GS as they are there
            now[FS_] = now[GS_] = None
        size = width(mode)
        top = STACK[ring] - size
        a = {16: "ax", 32: "eax", 64: "rax"}[mode.bits]
        for n, name in enumerate(names):
            if now[n] is None:
                continue
            yield Case("SDM vol. 2 MOV", f"MOV r32, {name} IOPL {level}", mode, ring, f"mov eax, -1; mov eax, {name}",
                       done(gpr(EAX, now[n])), [iopl(level)])
            yield Case("SDM vol. 2 MOV", f"MOV m16, {name} IOPL {level}", mode, ring, f"mov word ptr [{DATA}], {name}",
                       done(mem(DATA, 4, now[n] | 0xffff0000)), [iopl(level), mem(DATA, 8, ALL64)])
            if mode.bits64:
                continue
            yield Case("SDM vol. 2 PUSH", f"PUSH {name} IOPL {level}", mode, ring, f"push {name}",
                       done(sp(mode, top), *([mem(top, 2, now[n])] if ring else [])), [iopl(level)])
            if n in (ES_, DS_):
                yield Case("SDM vol. 2 POP", f"POP {name} IOPL {level}", mode, ring, f"push {now[n]}; xor ax, ax; mov {name}, ax; pop {name}",
                           done(sp(mode, STACK[ring]), seg(n, now[n])), [iopl(level)])
        for n, name in ((FS_, "fs"), (GS_, "gs")):
            value = 0x1234 if not mode.protected else data_sel(32, ring)
            yield Case("SDM vol. 2 POP", f"POP {name}; PUSH {name} IOPL {level}", mode, ring, f"push {value}; pop {name}; push {name}; pop {a}",
                       done(gpr(EAX, value, 0xffff), seg(n, value), sp(mode, STACK[ring])), [iopl(level)])


def transfers():
    far = {16: "word", 32: "dword", 64: "dword"}
    for mode, ring, level in each():
        size, cs = width(mode), selectors(mode, ring)[CS_]
        pointer = [mem(DATA, 4 if mode.bits64 else size, LANDING), mem(DATA + (4 if mode.bits64 else size), 2, cs)]
        slot = 4 if mode.bits64 else size  # CALL's operand size is 32 bits in 64-bit mode too
        top = STACK[ring] - 2 * slot
        call = "ff1c25" if mode.bits64 else "ff1e" if mode.bits == 16 else "ff1d"
        address = (DATA).to_bytes(2 if mode.bits == 16 else 4, "little").hex()
        code = bytes.fromhex(call + address)
        pushed = [sp(mode, top)]
        if ring:  # at CPL 0 the INT3's frame lies over it
            pushed += [mem(top, slot, CODE + len(code)), mem(top + slot, 2, cs)]
        yield Case("SDM vol. 2 CALL", f"far CALL IOPL {level}", mode, ring, code, arrived(cs, LANDING, *pushed), [iopl(level), *pointer])
        jump = {"ff1c25": "ff2c25", "ff1e": "ff2e", "ff1d": "ff2d"}[call]
        yield Case("SDM vol. 2 JMP", f"far JMP IOPL {level}", mode, ring, bytes.fromhex(jump + address),
                   arrived(cs, LANDING, sp(mode, STACK[ring])), [iopl(level), *pointer])
        if not mode.bits64:
            direct = LANDING.to_bytes(size, "little") + cs.to_bytes(2, "little")
            yield Case("SDM vol. 2 CALL", f"far CALL, direct, IOPL {level}", mode, ring, b"\x9a" + direct,
                       arrived(cs, LANDING, sp(mode, top)), [iopl(level)])
            yield Case("SDM vol. 2 JMP", f"far JMP, direct, IOPL {level}", mode, ring, b"\xea" + direct, arrived(cs, LANDING), [iopl(level)])
        load = "mov eax, cs; " + ("push rax; mov eax, 0xc000; push rax; rex.w retf" if mode.bits64 else
                                  "push ax; mov ax, 0xc000; push ax; retf" if mode.bits == 16 else "push eax; push 0xc000; retf")
        yield Case("SDM vol. 2 RET", f"far RET IOPL {level}", mode, ring, load, arrived(cs, LANDING, sp(mode, STACK[ring])), [iopl(level)])
        load = load.replace("rex.w retf", "retf").replace("retf", "RETURN")
        if mode.bits64:
            load = "mov ecx, ss; push rcx; mov rcx, rsp; add rcx, 8; push rcx; push 0x4d7; " + load.replace("RETURN", "iretq")
        elif mode.bits == 16:
            load = "push 0x4d7; " + load.replace("RETURN", "iret")
        else:
            load = "push 0x4d7; " + load.replace("RETURN", "iretd")
        may_if = mode.real or (not mode.v86 and ring <= level) or (mode.v86 and level == 3)
        new_level = 0 if mode.real or ring == 0 else level  # the image holds 0
        if mode.v86 and level < 3:
            yield Case("SDM vol. 2 IRET", f"IRET IOPL {level}", mode, ring, load, fault(GP, 0, -1), [iopl(level)])
        else:
            after = 0x4d7 | new_level << 12 | (0 if may_if else FLAG["IF"])
            yield Case("SDM vol. 2 IRET", f"IRET IOPL {level}", mode, ring, load,
                       arrived(cs, LANDING, sp(mode, STACK[ring]), flags(after, 0xffff)),
                       [iopl(level)] + ([] if may_if else [flags(FLAG["IF"], FLAG["IF"])]))
        for n, dpl in ((0x40, 0), (0x41, 3)):
            sets = [iopl(level)]
            if mode.protected or mode.v86:  # bits 46:45 of the gate
                at = IDT + n * (16 if mode.long else 8)
                sets.append(mem(at, 8, dpl << 45, 3 << 45))
            frame = [sp(mode, STACK[ring])]
            if mode.real or (mode.v86 and level == 3 and dpl == 3) or (mode.protected and ring <= dpl):
                out = trap(n, None, seg(CS_, cs), *frame)
            elif mode.v86 and level < 3:
                out = fault(GP, 0)
            else:
                out = fault(GP, n * 8 + 2)
            yield Case("SDM vol. 2 INT", f"INT {n:#x}, gate of DPL {dpl}, IOPL {level}", mode, ring, f"int {n}", out, sets)
        yield Case("SDM vol. 2 INT", f"INT3 IOPL {level}", mode, ring, "int3", trap(BP, 1, seg(CS_, cs)), [iopl(level)])


def cases():
    yield from tables()
    yield from pushf_popf()
    yield from looking()
    yield from push_pop_mov()
    yield from transfers()
