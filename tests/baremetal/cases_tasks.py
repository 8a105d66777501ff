"""Task switches by JMP, CALL, INT, task gates and IRET (SDM vol. 3, 7)."""
from manual import *

NEW = DATA + 0x100  # the other task's TSS
GATE = FREE + 8
TASK_REGS = [0x1111, 0x2222, 0x3333, 0x4444, None, 0x5555, 0x6666, 0x7777]  # EAX.. EDI


def task(mode, ring, **changes):
    """A TSS of 32 bits at NEW (SDM vol. 3, figure 7-2)."""
    words = {0x04: STACK_HANDLER, 0x08: SEL_DATA, 0x1c: TABLES if mode.paged else 0, 0x20: LANDING, 0x24: 2, 0x38: STACK[ring], 0x60: 0, 0x64: 0x680000}
    for n, value in enumerate(TASK_REGS):
        if value is not None:
            words[0x28 + 4 * n] = value
    for n in range(6):
        words[0x48 + 4 * n] = code_sel(32, ring) if n == CS_ else data_sel(32, ring)
    words.update({int(k[1:], 16): v for k, v in changes.items()})
    return [mem(NEW + at, 4, words.get(at, 0)) for at in range(0, 0x68, 4)]


def tss(kind=9, dpl=3, present=1, limit=0x67):
    return descriptor(FREE, segment(NEW, limit, kind, dpl, 0, present, 1))


def far(call, selector):
    return bytes.fromhex("ff1d00b00000" if call else "ff2d00b00000"), [mem(DATA + 0x1000, 4, 0xdead), mem(DATA + 0x1004, 2, selector)]


def switched(mode, ring, nested, length, old_busy):
    """What a switch leaves: registers of the new task, the old ones in its TSS, busy flags, link, NT, TS."""
    out = arrived(code_sel(32, ring), LANDING, item("tr", 0, 0, FREE, 0xfffc), cr(0, 8, 8), gpr(ESP, STACK[ring]), flags(FLAG["NT"] if nested else 0, FLAG["NT"]))
    out += [gpr(n, v) for n, v in enumerate(TASK_REGS) if v is not None]
    out += [seg(n, data_sel(32, ring)) for n in (ES_, DS_, FS_, GS_)]
    out += [mem(TSS + 0x20, 4, CODE + length), mem(TSS + 0x28, 4, 0xaaaa), mem(TSS + 0x44, 4, 0xbbbb)]
    out += [mem(GDT + FREE + 5, 1, 0xb, 0xf), mem(GDT + SEL_TSS + 5, 1, 0xb if old_busy else 9, 0xf)]
    if nested:
        out.append(mem(NEW, 2, SEL_TSS))
    return out


def cases():
    mine = [gpr(EAX, 0xaaaa), gpr(EDI, 0xbbbb)]
    for mode in (PM32, PG32, PAE):
        for ring in (0, 3):
            for to in (0, 1, 3):
                new = task(mode, to)
                for call in (0, 1):
                    name = "CALL" if call else "JMP"
                    code, pointer = far(call, FREE | ring)
                    yield Case("SDM vol. 3, 7.3", f"{name} to a TSS of CPL {to}", mode, ring, code, switched(mode, to, call, 6, call), new + tss() + pointer + mine)
                    code, pointer = far(call, GATE | ring)
                    gate_ = descriptor(GATE, gate(5, FREE, 0, 3))
                    yield Case("SDM vol. 3, 7.2.5", f"{name} to a task gate of CPL {to}", mode, ring, code, switched(mode, to, call, 6, call), new + tss(dpl=0) + gate_ + pointer + mine)
                yield Case("SDM vol. 3, 6.12.2", f"INT by a task gate to CPL {to}", mode, ring, "int 0x40", switched(mode, to, 1, 2, 1), new + tss(dpl=0) + idt_entry(mode, 0x40, gate(5, FREE, 0, 3)) + mine)
                yield Case("SDM vol. 3, 7.3", f"IRET with NT to CPL {to}", mode, ring, "iretd", switched(mode, to, 0, 1, 0) + [mem(TSS + 0x25, 1, 0, 0x40)],
                           new + tss(0xb) + [mem(TSS, 2, FREE), flags(FLAG["NT"], FLAG["NT"])] + mine)
            yield Case("SDM vol. 3, 17.3.1.5", "a task whose TSS has T set", mode, ring, far(0, FREE | ring)[0], [vector(DB), rip(LANDING), dr(6, 1 << 15, 0xe00f)],
                       task(mode, 3, _64=0x680001) + tss() + far(0, FREE | ring)[1])
        # An exception's task gate: the error code lies on the new stack.
        yield Case("SDM vol. 3, 6.13", "#GP by a task gate pushes its error code", mode, 3, "mov ds, ax", arrived(code_sel(32, 0), LANDING, gpr(ESP, STACK[0] - 4), item("tr", 0, 0, FREE, 0xfffc)),
                   task(mode, 0) + tss(dpl=0) + idt_entry(mode, GP, gate(5, FREE, 0)) + [gpr(EAX, 0x300)])
    mode = PM32
    for ring in (0, 3):
        for call in (0, 1):
            code, pointer = far(call, FREE | ring)
            name = "CALL" if call else "JMP"
            for what, put, v, e in (("busy", tss(0xb), GP, FREE), ("absent", tss(present=0), NP, FREE), ("too short", tss(limit=0x66), TS, FREE), ("of limit 0", tss(limit=0), TS, FREE),
                                    ("of DPL 0", tss(dpl=0), GP if ring else None, FREE)):
                if v is not None:
                    yield Case("SDM vol. 3, 7.3", f"{name} to a TSS that is {what}", mode, ring, code, fault(v, e, 0, tr(SEL_TSS)), task(mode, 3) + put + pointer)
            code, pointer = far(call, GATE | ring)
            for what, put, v, e in (("absent", descriptor(GATE, gate(5, FREE, 0, 3, 0, 0)) + tss(), NP, GATE), ("of DPL 0", descriptor(GATE, gate(5, FREE, 0, 0)) + tss(), GP if ring else None, GATE),
                                    ("to the LDT", descriptor(GATE, gate(5, 0xc, 0, 3)), GP, 0xc), ("to beyond the GDT", descriptor(GATE, gate(5, 0x300, 0, 3)), GP, 0x300),
                                    ("to data", descriptor(GATE, gate(5, SEL_DATA, 0, 3)), GP, SEL_DATA), ("to a busy TSS", descriptor(GATE, gate(5, FREE, 0, 3)) + tss(0xb), GP, FREE),
                                    ("to an absent TSS", descriptor(GATE, gate(5, FREE, 0, 3)) + tss(present=0), NP, FREE)):
                if v is not None:
                    yield Case("SDM vol. 3, 7.2.5, 7.3", f"{name} to a task gate that is {what}", mode, ring, code, fault(v, e, 0, tr(SEL_TSS)), task(mode, 3) + put + pointer)
        for what, link, put, v, e in (("null", 0, [], TS, 0), ("beyond the GDT", 0x300, [], TS, 0x300), ("of a TSS that is not busy", FREE, tss(), TS, FREE), ("in the LDT", 0xc, [], TS, 0xc),
                                      ("of an absent TSS", FREE, tss(0xb, present=0), NP, FREE)):
            yield Case("SDM vol. 2 IRET", f"IRET with NT and a link that is {what}", mode, ring, "iretd", fault(v, e, 0, tr(SEL_TSS)), task(mode, 3) + put + [mem(TSS, 2, link), flags(FLAG["NT"], FLAG["NT"])])
        # What the new task's selectors must be: reported in the new task.
        code, pointer = far(0, FREE | ring)
        for what, change, v, e in (("SS of DPL 0", {"_50": SEL_DATA | 3}, TS, SEL_DATA), ("null SS", {"_50": 0}, TS, 0), ("SS of code", {"_50": code_sel(32, 3)}, TS, code_sel(32, 3) & ~3),
                                   ("DS beyond the GDT", {"_54": 0x303}, TS, 0x300), ("ES of execute-only code", {"_48": 0x123}, TS, 0x120), ("GS absent", {"_5c": 0x12b}, NP, 0x128),
                                   ("LDT of data", {"_60": SEL_DATA}, TS, SEL_DATA)):
            yield Case("SDM vol. 3, table 7-1", f"the new task has {what}", mode, ring, code, [vector(v), error(e), item("tr", 0, 0, FREE, 0xfffc)],
                       task(mode, 3, **change) + tss() + pointer + descriptor(0x120, segment(0, 0xfffff, 8, 3, 0xc)) + descriptor(0x128, segment(0, 0xfffff, 2, 3, 0xc, 0)))
