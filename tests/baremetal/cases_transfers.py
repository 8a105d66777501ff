"""Far transfers: code segments, call gates, far RET, IRET, interrupt gates (SDM vol. 2 CALL, JMP, RET, IRET, INT n; vol. 3, 5.8, 6.12)."""
from manual import *

TARGET = FREE + 16  # the code segment behind a gate
CODES = [("code", 10, 1), ("execute-only code", 8, 1), ("conforming code", 14, 1), ("data", 2, 1), ("LDT", 2, 0), ("type 0", 0, 0)]


def code_bits(mode, t, s):
    return (0xa if mode.bits64 else 0xc if mode.bits == 32 else 0) if s and t & 8 else 0xc


def far(mode, call, selector, offset, prefix=""):
    """A far JMP or CALL through a pointer at DATA, and the items that put it there."""
    size = 2 if mode.bits == 16 else 4
    code = bytes.fromhex({16: "ff1e00a0", 32: "ff1d00a00000", 64: "ff1c2500a00000"}[mode.bits])
    code = code if call else code[:1] + bytes([code[1] + 0x10]) + code[2:]
    return code, [mem(DATA, size, offset), mem(DATA + size, 2, selector)]


def direct():
    for mode in (PM16, PM32, C32, L64):
        for ring in (0, 1, 3):
            for what, t, s in CODES:
                for dpl in sorted({0, ring, 3}):
                    for rpl in sorted({0, ring, 3}):
                        for present in (1, 0) if s else (1,):
                            selector = FREE | rpl
                            put = descriptor(FREE, segment(0, 0xfffff, t, dpl, code_bits(mode, t, s), present, not s), 0)
                            code, conforming = s and t & 8, s and t & 12 == 12
                            if not code or (conforming and dpl > ring) or (not conforming and (rpl > ring or dpl != ring)):
                                out = GP, FREE
                            elif not present:
                                out = NP, FREE
                            else:
                                out = None
                            for call in (0, 1):
                                bytes_, pointer = far(mode, call, selector, LANDING)
                                moved = 2 * (2 if mode.bits == 16 else 4) if call else 0
                                good = arrived(FREE | ring, LANDING, sp(mode, STACK[ring] - moved), mem(GDT + FREE + 5, 1, 1, 1))
                                yield Case("SDM vol. 2 " + ("CALL" if call else "JMP"), f"far {'CALL' if call else 'JMP'} to {what} DPL {dpl} RPL {rpl} "
                                           f"{'present' if present else 'absent'}", mode, ring, bytes_,
                                           fault(*out, 0, sp(mode, STACK[ring])) if out else good, put + pointer)
            for selector, what, error_ in ((0, "null", 0), (3, "null RPL 3", 0), (0x300, "beyond the GDT", 0x300), (0x44, "beyond the LDT", 0x44)):
                for call in (0, 1):
                    bytes_, pointer = far(mode, call, selector | (ring if selector > 3 else 0), LANDING)
                    yield Case("SDM vol. 2 " + ("CALL" if call else "JMP"), f"far {'CALL' if call else 'JMP'} to a selector that is {what}", mode, ring, bytes_,
                               fault(GP, error_, 0), pointer)
            if not mode.bits64:
                for call in (0, 1):
                    bytes_, pointer = far(mode, call, FREE | ring, 0xc000)
                    yield Case("SDM vol. 2 JMP", f"far {'CALL' if call else 'JMP'} beyond the limit", mode, ring, bytes_, fault(GP, 0, 0, sp(mode, STACK[ring])),
                               descriptor(FREE, segment(0, 0xbfff, 10, ring, 0xc & ~8 if mode.bits == 32 else 0)) + pointer)
            if mode.long:
                for call in (0, 1):
                    bytes_, pointer = far(mode, call, FREE | ring, LANDING)
                    yield Case("SDM vol. 3, 5.2.1", f"far {'CALL' if call else 'JMP'} to code with L and D", mode, ring, bytes_, fault(GP, FREE, 0),
                               descriptor(FREE, segment(0, 0xfffff, 10, ring, 0xe)) + pointer)
    # Between the sub-modes of long mode.
    for ring in (0, 3):
        for mode, other in ((C32, 64), (C16, 64), (C16, 32), (L64, 32)):
            bytes_, pointer = far(mode, 0, code_sel(other, ring), LANDING)
            yield Case("SDM vol. 3, 5.8.1", f"far JMP to {other}-bit code", mode, ring, bytes_, arrived(code_sel(other, ring), LANDING), pointer)


def call_gates():
    for mode in (PM32, C32, L64):
        for ring in (0, 1, 3):
            for what, t, s in CODES:
                for dpl in (0, 1, 3):
                    for gate_dpl, rpl in ((3, 0), (3, 3), (0, 0), (1, 1), (2, 3)):
                        for present in ((1, 1), (0, 1), (1, 0)):
                            if present != (1, 1) and (what != "code" or rpl == 3):
                                continue
                            target = TARGET | 3  # its RPL does not matter
                            put = descriptor(FREE, gate(0xc, target, LANDING, gate_dpl, 0, present[0]), 0)
                            put += descriptor(TARGET, segment(0, 0xfffff, t, dpl, (0xa if mode.long else 0xc) if s and t & 8 else 0xc, present[1], not s), 0)
                            code, conforming = s and t & 8, s and t & 12 == 12
                            for call in (0, 1):
                                inner = call and not conforming and dpl < ring
                                if ring > gate_dpl or rpl > gate_dpl:
                                    out = GP, FREE
                                elif not present[0]:
                                    out = NP, FREE
                                elif not code or dpl > ring or (not call and not conforming and dpl != ring):
                                    out = GP, TARGET
                                elif not present[1]:
                                    out = NP, TARGET
                                else:
                                    out = None
                                bytes_, pointer = far(mode, call, FREE | rpl, 0xdead)
                                new = dpl if inner else ring
                                size = 8 if mode.long else 4
                                top = (STACK_HANDLER if dpl == 0 else STACK[dpl]) if inner else STACK[ring]
                                depth = size * (4 if inner else 2 if call else 0)
                                more = [gpr(ESP, top - depth)]
                                if inner:
                                    more += [mem(top - size, 2, data_sel(32, ring)), mem(top - 2 * size, size, STACK[ring])]
                                if call and (new or inner):  # where no INT3 frame overwrites it
                                    here = top - depth
                                    more += [mem(here, size, CODE + len(bytes_)), mem(here + size, 2, code_sel(mode.bits, ring))]
                                if inner:
                                    more.append(seg(SS_, new if mode.long else SEL_DATA if new == 0 else data_sel(32, new)))
                                yield Case("SDM vol. 3, 5.8.4; vol. 2 CALL", f"far {'CALL' if call else 'JMP'} RPL {rpl} through a gate {'present' if present[0] else 'absent'} DPL {gate_dpl} "
                                           f"to {what} DPL {dpl} {'present' if present[1] else 'absent'}", mode, ring, bytes_,
                                           fault(*out, 0, gpr(ESP, STACK[ring])) if out else arrived(TARGET | new, LANDING, *more), put + pointer)
            for selector, error_ in ((0, 0), (0x300, 0x300)):
                bytes_, pointer = far(mode, 1, FREE | ring, 0)
                yield Case("SDM vol. 2 CALL", f"far CALL through a gate whose selector is {selector:#x}", mode, ring, bytes_, fault(GP, error_, 0),
                           descriptor(FREE, gate(0xc, selector, LANDING, 3), 0) + pointer)
            if mode.long:
                bytes_, pointer = far(mode, 1, FREE | ring, 0)
                yield Case("SDM vol. 3, 5.8.3.1", "far CALL through a gate to 32-bit code", mode, ring, bytes_, fault(GP, TARGET, 0),
                           descriptor(FREE, gate(0xc, TARGET, LANDING, 3), 0) + descriptor(TARGET, segment(0, 0xfffff, 10, ring, 0xc)) + pointer)
                for t in (4, 5, 9, 0xb):
                    yield Case("SDM vol. 3, 5.8.3.1, 7.7", f"far CALL to system type {t}", mode, ring, bytes_, fault(GP, FREE, 0),
                               descriptor(FREE, gate(t, TARGET, LANDING, 3), 0) + pointer)
    # Parameters, in 32-bit and 16-bit gates.
    for kind, size in ((0xc, 4), (4, 2)):
        for count in (0, 1, 5, 31):
            bits = 0xc if size == 4 else 0
            bytes_, pointer = far(PM32, 1, FREE | 3, 0)
            words = [0x1000 + n for n in range(count)]
            bottom = STACK[3] - count * size
            put = [mem(bottom + n * size, size, w) for n, w in enumerate(words)]
            top = STACK[1]
            here = top - size * (4 + count)
            out = [mem(top - size, 2, data_sel(32, 3)), mem(top - 2 * size, size, bottom & (0xffff if size == 2 else 0xffffffff)), mem(here, size, CODE + len(bytes_)), mem(here + size, 2, code_sel(32, 3))]
            out += [mem(here + size * (2 + n), size, w) for n, w in enumerate(words)]
            yield Case("SDM vol. 3, 5.8.5", f"far CALL to CPL 1 with {count} parameters of {size} bytes", PM32, 3, bytes_,
                       arrived(TARGET | 1, LANDING, gpr(ESP, here), *out),
                       descriptor(FREE, gate(kind, TARGET, LANDING, 3, count)) + descriptor(TARGET, segment(0, 0xfffff, 10, 1, bits)) + pointer + put + [gpr(ESP, bottom)])
    # The stack of the inner level, out of the TSS.
    bytes_, pointer = far(PM32, 1, FREE | 3, 0)
    to1 = descriptor(FREE, gate(0xc, TARGET, LANDING, 3)) + descriptor(TARGET, segment(0, 0xfffff, 10, 1, 0xc)) + pointer
    for what, sets, v, error_ in (
            ("null", [mem(TSS + 0x10, 2, 1)], TS, 0), ("RPL 0", [mem(TSS + 0x10, 2, data_sel(32, 1) & ~3)], TS, data_sel(32, 1) & ~3),
            ("of DPL 0", [mem(TSS + 0x10, 2, SEL_DATA | 1)], TS, SEL_DATA), ("code", [mem(TSS + 0x10, 2, code_sel(32, 1))], TS, code_sel(32, 1) & ~3),
            ("beyond the GDT", [mem(TSS + 0x10, 2, 0x301)], TS, 0x300), ("read-only", descriptor(0x120, segment(0, 0xfffff, 0, 1, 0xc)) + [mem(TSS + 0x10, 2, 0x121)], TS, 0x120),
            ("absent", descriptor(0x120, segment(0, 0xfffff, 2, 1, 0xc, 0)) + [mem(TSS + 0x10, 2, 0x121)], SS, 0x120),
            ("too small", descriptor(0x120, segment(0, 0x7ff, 2, 1, 4)) + [mem(TSS + 0x10, 2, 0x121)], SS, 0x120)):
        yield Case("SDM vol. 2 CALL", f"far CALL to CPL 1 whose stack is {what}", PM32, 3, bytes_, fault(v, error_, 0, gpr(ESP, STACK[3])), to1 + sets)


def returns():
    """Far RET and IRET to the same and to outer levels, and what they refuse."""
    for mode in (PM32, C32, L64):
        size = 8 if mode.bits64 else 4
        for ring in (0, 1, 3):
            for iret in (0, 1):
                # the frame lies in DATA; the stack pointer there
                def put(cs, ss, to=LANDING, new_sp=STACK[3], flags_=2):
                    words = [to, cs] + ([flags_] if iret else []) + [new_sp, ss]
                    return [mem(DATA + n * size, size, w) for n, w in enumerate(words)] + [gpr(ESP, DATA)]
                code = {(0, 32): "retf", (0, 64): "rex.w retf", (1, 32): "iretd", (1, 64): "iretq"}[iret, mode.bits]
                name, source = ("IRET", "SDM vol. 2 IRET") if iret else ("far RET", "SDM vol. 2 RET")
                for what, t, s in CODES:
                    for dpl in (0, 1, 3):
                        for rpl in (0, 1, 3):
                            for present in (1, 0) if s and t & 8 else (1,):
                                desc = descriptor(FREE, segment(0, 0xfffff, t, dpl, code_bits(mode, t, s), present, not s), 0)
                                is_code, conforming = s and t & 8, s and t & 12 == 12
                                if not is_code or rpl < ring or (conforming and dpl > rpl) or (not conforming and dpl != rpl):
                                    out = GP, FREE
                                elif not present:
                                    out = NP, FREE
                                else:
                                    out = None
                                outer = rpl > ring
                                if out is None:
                                    popped = (3 if iret else 2) * size
                                    new = STACK[3] if outer or (iret and mode.bits64) else DATA + popped
                                    more = [gpr(ESP, new)] + ([seg(SS_, data_sel(32, rpl))] if outer else [])
                                    if outer and not mode.long:
                                        more += [seg(DS_, 0 if ring < rpl else data_sel(32, ring))]  # of lower DPL: made null
                                    result = arrived(FREE | rpl, LANDING, *more)
                                else:
                                    result = fault(*out, 0, gpr(ESP, DATA))
                                yield Case(source, f"{name} to {what} DPL {dpl} RPL {rpl} {'present' if present else 'absent'}", mode, ring, code, result,
                                           desc + put(FREE | rpl, data_sel(32, rpl)))
                for selector, error_ in ((0, 0), (3, 0), (0x300 | ring, 0x300)):
                    yield Case(source, f"{name} to selector {selector:#x}", mode, ring, code, fault(GP, error_, 0, gpr(ESP, DATA)), put(selector, data_sel(32, ring)))
                if ring < 3:  # the outer stack segment
                    cs = code_sel(mode.bits, 3)
                    for what, ss, desc, v, error_ in (
                            ("null", 0, [], GP, 0), ("RPL 0", data_sel(32, 3) & ~3, [], GP, data_sel(32, 3) & ~3), ("of DPL 0", data_sel(32, 0) | 3, [], GP, data_sel(32, 0)),
                            ("code", code_sel(32, 3), [], GP, code_sel(32, 3) & ~3), ("beyond the GDT", 0x303, [], GP, 0x300),
                            ("read-only", 0x123, descriptor(0x120, segment(0, 0xfffff, 0, 3, 0xc)), GP, 0x120),
                            ("absent", 0x123, descriptor(0x120, segment(0, 0xfffff, 2, 3, 0xc, 0)), SS, 0x120)):
                        yield Case(source, f"{name} to CPL 3 whose stack is {what}", mode, ring, code, fault(v, error_, 0, gpr(ESP, DATA)), desc + put(cs, ss))
                if mode.bits64:
                    yield Case(source, f"{name} to where is not canonical", mode, ring, code, fault(GP, 0, -1), put(code_sel(64, ring), data_sel(32, ring), 0x800000000000))
                else:
                    yield Case(source, f"{name} beyond the limit", mode, ring, code, fault(GP, 0, 0, gpr(ESP, DATA)),
                               descriptor(FREE, segment(0, 0xbfff, 10, ring, 4)) + put(FREE | ring, data_sel(32, ring)))
        for ring in (0, 1):  # RET n frees parameters on both stacks
            words = [LANDING, code_sel(mode.bits, 3), 0x1111, 0x2222, STACK[3] - 0x40, data_sel(32, 3)]
            yield Case("SDM vol. 2 RET", "far RET n to CPL 3", mode, ring, f"{'rex.w ' if mode.bits64 else ''}retf {2 * size}",
                       arrived(code_sel(mode.bits, 3), LANDING, gpr(ESP, STACK[3] - 0x40 + 2 * size)),
                       [mem(DATA + n * size, size, w) for n, w in enumerate(words)] + [gpr(ESP, DATA)])
    # Data segments that the outer level may not have become null; conforming code stays.
    words = [LANDING, code_sel(32, 3), STACK[3], data_sel(32, 3)]
    frame_ = [mem(DATA + n * 4, 4, w) for n, w in enumerate(words)] + [gpr(ESP, DATA)]
    for what, value, keeps in (("data DPL 0", segment(0, 0xfffff, 2, 0, 0xc), 0), ("data DPL 3", segment(0, 0xfffff, 2, 3, 0xc), 1),
                               ("code DPL 0", segment(0, 0xfffff, 10, 0, 0xc), 0), ("conforming code DPL 0", segment(0, 0xfffff, 14, 0, 0xc), 1)):
        for n in (DS_, ES_, FS_, GS_):
            yield Case("SDM vol. 2 RET, ReturnToOuterPrivilegeLevel", f"register {n} with {what}", PM32, 0, "retf", arrived(code_sel(32, 3), LANDING, seg(n, FREE if keeps else 0)),
                       descriptor(FREE, value) + frame_ + [seg(n, FREE)])
    # IRET to virtual-8086 mode, and from it.
    words = [0xc000, 0, FLAG["VM"] | 2, 0xe000, 0, 0x111, 0x222, 0x333, 0x444]
    yield Case("SDM vol. 2 IRET", "IRET to virtual-8086 mode", PM32, 0, "iretd",
               [vector(BP), rip(0xc001), seg(ES_, 0x111), seg(DS_, 0x222), seg(FS_, 0x333), seg(GS_, 0x444), gpr(ESP, 0xe000), flags(FLAG["VM"], FLAG["VM"])],
               [mem(DATA + n * 4, 4, w) for n, w in enumerate(words)] + [gpr(ESP, DATA)])
    for ring in (1, 3):  # not from there
        yield Case("SDM vol. 2 IRET", "IRET with VM in the image", PM32, ring, "iretd", arrived(code_sel(32, ring), LANDING, flags(0, FLAG["VM"])),
                   [mem(DATA + n * 4, 4, w) for n, w in enumerate([LANDING, code_sel(32, ring), FLAG["VM"] | 2])] + [gpr(ESP, DATA)])
    for mode, ring in ((C32, 0), (L64, 0), (C32, 3), (L64, 3)):
        yield Case("SDM vol. 2 IRET", "IRET with NT", mode, ring, "iretd" if mode is C32 else "iretq", fault(GP, 0, 0), [flags(FLAG["NT"], FLAG["NT"])])


def interrupts():
    for mode in (PM32, C32, L64):
        size = 8 if mode.long else 4
        for ring in (0, 1, 3):
            for kind in range(16):
                for dpl in (0, 3):
                    for present in (1, 0):
                        put = idt_entry(mode, 0x40, gate(kind, SEL_CODE if not mode.long else code_sel(64, 0), LANDING, dpl, 0, present))
                        bad = 0x40 * 8 + 2
                        legal = {14, 15} if mode.long else {5, 6, 7, 14, 15}
                        if kind in (5, 6, 7) and not mode.long:
                            if present and ring <= dpl:
                                continue  # tasks and 16-bit gates: below, and cases_tasks
                        if kind not in legal or ring > dpl:
                            out = fault(GP, bad, 0)
                        elif not present:
                            out = fault(NP, bad, 0)
                        else:
                            after = FLAG["CF"] | (FLAG["IF"] if kind == 15 else 0)
                            top = STACK_HANDLER if ring else STACK[0]
                            depth = size * (5 if ring or mode.long else 3)
                            out = arrived(SEL_CODE if not mode.long else code_sel(64, 0), LANDING, flags(after, FLAG["CF"] | FLAG["IF"] | FLAG["TF"] | FLAG["NT"]),
                                          gpr(ESP, top - depth))
                            if ring:
                                here = top - depth
                                out += [mem(here, size, CODE + 2), mem(here + size, 2, code_sel(mode.bits, ring)), mem(here + 2 * size, 4, 0x200 | 1 | 2 | FLAG["NT"], 0xffff),
                                        mem(here + 3 * size, size, STACK[ring]), mem(here + 4 * size, 2, data_sel(32, ring))]
                        yield Case("SDM vol. 2 INT n", f"INT 0x40 by gate type {kind} DPL {dpl} {'present' if present else 'absent'}", mode, ring, "int 0x40", out,
                                   put + [flags(FLAG["CF"] | FLAG["IF"] | FLAG["NT"], FLAG["CF"] | FLAG["IF"] | FLAG["NT"])])
            for what, selector, desc, v, error_ in (
                    ("null", 0, [], GP, 0), ("beyond the GDT", 0x300, [], GP, 0x300), ("data", SEL_DATA, [], GP, SEL_DATA),
                    ("outer code", code_sel(32 if not mode.long else 64, 3), [], None if ring == 3 else GP, code_sel(32 if not mode.long else 64, 3) & ~3),
                    ("absent code", FREE, descriptor(FREE, segment(0, 0xfffff, 10, 0, 0xa if mode.long else 0xc, 0)), NP, FREE)):
                if v is None:
                    continue
                yield Case("SDM vol. 2 INT n", f"INT 0x40 by a gate to a selector that is {what}", mode, ring, "int 0x40", fault(v, error_, 0),
                           idt_entry(mode, 0x40, gate(14, selector, LANDING, 3)) + desc)
            if mode.long:
                yield Case("SDM vol. 3, 6.14.1", "INT 0x40 by a gate to 32-bit code", mode, ring, "int 0x40", fault(GP, SEL_CODE, 0), idt_entry(mode, 0x40, gate(14, SEL_CODE, LANDING, 3)))
                yield Case("SDM vol. 3, 6.14.5", "INT 0x40 by a gate with IST 1", mode, ring, "int 0x40", arrived(code_sel(64, 0), LANDING, gpr(ESP, STACK_DF - 40)),
                           idt_entry(mode, 0x40, gate(14, code_sel(64, 0), LANDING, 3) | 1 << 32))
                yield Case("SDM vol. 3, 6.14.1", "INT 0x40 by a gate to where is not canonical", mode, ring, "int 0x40", fault(GP, 0, 0),
                           idt_entry(mode, 0x40, gate(14, code_sel(64, 0), LANDING, 3), 0x8000))
            if mode is L64 and ring == 0:
                for low in range(1, 16):
                    yield Case("SDM vol. 3, 6.14.2", f"INT 0x40 with RSP {low} off: the frame is aligned", mode, 0, "int 0x40", arrived(code_sel(64, 0), LANDING, gpr(ESP, 0xdef0 - 40)),
                               idt_entry(mode, 0x40, gate(14, code_sel(64, 0), LANDING, 3)) + [gpr(ESP, 0xdef0 + low)])
            conforming = 0xa if mode.long else 0xc
            yield Case("SDM vol. 2 INT n", "INT 0x40 to conforming code keeps CPL", mode, ring, "int 0x40", arrived(FREE | ring, LANDING),
                       idt_entry(mode, 0x40, gate(14, FREE, LANDING, 3)) + descriptor(FREE, segment(0, 0xfffff, 14, 0, conforming)))
            if ring == 0:
                yield Case("SDM vol. 2 INT n", "INT 0x90 beyond the IDT's limit", mode, ring, f"lidt [{DATA}]; int 0x90", fault(GP, 0x90 * 8 + 2, -1),
                           [mem(DATA, 2, 0x8ff if mode.long else 0x47f), mem(DATA + 2, 8, IDT)])
        for v, text in ((3, "int3"), (4, "mov al, 0x7f; inc al; into")):
            if mode.bits64 and v == 4:
                continue
            for ring in (0, 3):
                for dpl in (0, 3):
                    at = IDT + v * (16 if mode.long else 8)
                    ok = ring <= dpl
                    yield Case("SDM vol. 2 INT n/INTO/INT3", f"{'INT3' if v == 3 else 'INTO'} by a gate of DPL {dpl}", mode, ring, text,
                               trap(v, None) if ok else fault(GP, v * 8 + 2, -1), [mem(at, 8, dpl << 45, 3 << 45)])
    for mode in (PM32, REAL, V86):
        yield Case("SDM vol. 2 INTO", "INTO without OF", mode, mode.rings[0], "xor eax, eax; into", done())
        bound = [mem(DATA, 4, 5), mem(DATA + 4, 4, 10), mem(DATA + 8, 2, 5), mem(DATA + 10, 2, 10)]
        for value in (4, 5, 10, 11):
            yield Case("SDM vol. 2 BOUND", f"BOUND of {value} in 5 to 10", mode, mode.rings[0], f"bound eax, [{DATA}]", done() if 5 <= value <= 10 else fault(BR, None, 0), bound + [gpr(EAX, value)])
            yield Case("SDM vol. 2 BOUND", f"BOUND r16 of {value} in 5 to 10", mode, mode.rings[0], f"bound ax, [{DATA + 8}]", done() if 5 <= value <= 10 else fault(BR, None, 0), bound + [gpr(EAX, value)])


def cases():
    for part in (direct, call_gates, returns, interrupts):
        yield from part()
