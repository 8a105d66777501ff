"""Task switches to, from and between 16-bit TSSs (SDM vol. 3, 7.3, 7.6)."""
from cases_tasks import GATE, NEW, far
from manual import *

OTHER = DATA + 0x200  # a second task's TSS, selector LATER
LATER = FREE + 16
REGS = [0x1111, 0x2222, 0x3333, 0x4444, None, 0x5555, 0x6666, 0x7777]  # AX .. DI


def task16(ring, at=NEW, **changes):
    """A TSS of 16 bits (SDM vol. 3, figure 7-10)."""
    words = {0x02: STACK_HANDLER & 0xffff, 0x04: SEL_DATA, 0x0e: LANDING, 0x10: 2, 0x1a: STACK[ring], 0x2a: 0}
    for n, value in enumerate(REGS):
        if value is not None:
            words[0x12 + 2 * n] = value
    for n in range(4):
        words[0x22 + 2 * n] = code_sel(32, ring) if n == CS_ else data_sel(32, ring)
    words[0x26] = data_sel(16, ring)  # what is above SP does not matter
    words.update({int(k[1:], 16): v for k, v in changes.items()})
    return [mem(at + w, 2, words.get(w, 0)) for w in range(0, 0x2c, 2)]


def tss16(kind=1, dpl=3, present=1, limit=0x2b, selector=FREE, at=NEW):
    return descriptor(selector, segment(at, limit, kind, dpl, 0, present, 1))


def arrived16(ring, selector=FREE, nested=0):
    out = arrived(code_sel(32, ring), LANDING, item("tr", 0, 0, selector, 0xfffc), cr(0, 8, 8), gpr(ESP, STACK[ring], 0xffff), flags(FLAG["NT"] if nested else 0, FLAG["NT"]))
    out += [gpr(n, v, 0xffff) for n, v in enumerate(REGS) if v is not None]
    return out + [seg(ES_, data_sel(32, ring)), seg(DS_, data_sel(32, ring)), seg(FS_, 0), seg(GS_, 0)]


def first(ring):
    """Into a 16-bit task that goes on with the case's code behind its first six bytes."""
    code, pointer = far(0, FREE | ring)
    return code, tss16() + pointer


def to16():
    mine = [gpr(EAX, 0xaaaa), gpr(EDI, 0xbbbb)]
    for mode in (PM32, PG32, PAE):
        for ring in (0, 3):
            for to in (0, 1, 3):
                for call in (0, 1):
                    name = "CALL" if call else "JMP"
                    left = [mem(TSS + 0x20, 4, CODE + 6), mem(TSS + 0x28, 4, 0xaaaa), mem(TSS + 0x44, 4, 0xbbbb), mem(GDT + FREE + 5, 1, 3, 0xf), mem(GDT + SEL_TSS + 5, 1, 0xb if call else 9, 0xf)]
                    left += [mem(NEW, 2, SEL_TSS)] if call else []
                    code, pointer = far(call, FREE | ring)
                    yield Case("SDM vol. 3, 7.3", f"{name} to a 16-bit TSS of CPL {to}", mode, ring, code, arrived16(to, nested=call) + left, task16(to) + tss16() + pointer + mine)
                    code, pointer = far(call, GATE | ring)
                    yield Case("SDM vol. 3, 7.2.5", f"{name} to a task gate of a 16-bit TSS of CPL {to}", mode, ring, code, arrived16(to, nested=call) + left,
                               task16(to) + tss16(dpl=0) + descriptor(GATE, gate(5, FREE, 0, 3)) + pointer + mine)
                yield Case("SDM vol. 3, 6.12.2", f"INT by a task gate to a 16-bit TSS of CPL {to}", mode, ring, "int 0x40", arrived16(to, nested=1) + [mem(NEW, 2, SEL_TSS)],
                           task16(to) + tss16(dpl=0) + idt_entry(mode, 0x40, gate(5, FREE, 0, 3)) + mine)
                yield Case("SDM vol. 3, 7.3", f"IRET with NT to a 16-bit TSS of CPL {to}", mode, ring, "iretd", arrived16(to) + [mem(GDT + SEL_TSS + 5, 1, 9, 0xf)],
                           task16(to) + tss16(3) + [mem(TSS, 2, FREE), flags(FLAG["NT"], FLAG["NT"])] + mine)
            # CALL there, IRET back: the new task's code is the IRETD behind a jump.
            code, pointer = far(1, FREE | ring)
            yield Case("SDM vol. 3, 7.4", "CALL of a 16-bit task and back", mode, ring, code + bytes.fromhex("eb01cf"),
                       done(tr(SEL_TSS), gpr(EAX, 0xaaaa), gpr(EDI, 0xbbbb), gpr(ESP, STACK[ring]), flags(0, FLAG["NT"]), mem(GDT + FREE + 5, 1, 1, 0xf), mem(GDT + SEL_TSS + 5, 1, 0xb, 0xf),
                            mem(NEW + 0xe, 2, CODE + 9), mem(NEW + 0x12, 2, 0x1111)), task16(ring, _e=CODE + 8) + tss16() + pointer + mine)
            # CR3 is not part of a 16-bit TSS, nor is the T flag.
            code, pointer = far(0, FREE | ring)
            yield Case("SDM vol. 3, 7.6", "a 16-bit task keeps CR3", mode, ring, code, arrived16(3) + [cr(3, TABLES if mode.paged else 0, ALL64 if mode.paged else 0)],
                       task16(3) + tss16() + pointer + [mem(NEW + 0x1c, 2, 0x5555)])
        yield Case("SDM vol. 3, 6.13", "#GP by a task gate to a 16-bit TSS pushes 16 bits of error code", mode, 3, "mov ds, ax", arrived(code_sel(32, 0), LANDING, gpr(ESP, STACK[0] - 2, 0xffff), mem(STACK[0] - 2, 2, 0x300)),
                   task16(0) + tss16(dpl=0) + idt_entry(mode, GP, gate(5, FREE, 0)) + [gpr(EAX, 0x300)])


def from16():
    """The first six bytes enter a 16-bit task; what follows leaves it."""
    for mode in (PM32, PAE):
        for ring in (0, 3):
            enter, put = first(ring)
            base = put + task16(ring, _e=CODE + 6)
            for call in (0, 1):
                name = "CALL" if call else "JMP"
                second, pointer = far(call, LATER | ring)
                second = second[:2] + (DATA + 0x1100).to_bytes(4, "little")
                at = [mem(DATA + 0x1100, 4, 0xdead), mem(DATA + 0x1104, 2, LATER | ring)]
                left = [mem(NEW + 0xe, 2, CODE + 12), mem(NEW + 0x12, 2, 0x1111), mem(NEW + 0x20, 2, 0x7777), mem(NEW + 0x24, 2, code_sel(32, ring)), mem(GDT + FREE + 5, 1, 3 if call else 1, 0xf)]
                yield Case("SDM vol. 3, 7.3", f"{name} from a 16-bit task to another", mode, ring, enter + second, arrived16(3, LATER, call) + left + [mem(GDT + LATER + 5, 1, 3, 0xf)],
                           base + at + task16(3, OTHER) + tss16(selector=LATER, at=OTHER))
                wide = [mem(OTHER + w, 4, v) for w, v in ((0, 0), (4, STACK_HANDLER), (8, SEL_DATA), (0x1c, TABLES if mode.paged else 0), (0x20, LANDING), (0x24, 2), (0x28, 0x12345678), (0x38, STACK[3]), (0x60, 0), (0x64, 0x680000))]
                wide += [mem(OTHER + 0x48 + 4 * n, 4, code_sel(32, 3) if n == CS_ else data_sel(32, 3)) for n in range(6)]
                yield Case("SDM vol. 3, 7.3", f"{name} from a 16-bit task to a 32-bit one", mode, ring, enter + second,
                           arrived(code_sel(32, 3), LANDING, item("tr", 0, 0, LATER, 0xfffc), gpr(EAX, 0x12345678), gpr(ESP, STACK[3]), seg(FS_, data_sel(32, 3)), *left),
                           base + at + wide + tss16(9, limit=0x67, selector=LATER, at=OTHER))
            # Inner stacks come from the 16-bit TSS as well.
            if ring:
                gate_ = idt_entry(mode, 0x40, gate(0xe, FREE + 24, LANDING, 3)) + descriptor(FREE + 24, segment(0, 0xfffff, 10, 0, 0xc))
                yield Case("SDM vol. 3, 6.12.1, 7.6", "INT to CPL 0 takes SS0:SP0 of the 16-bit TSS", mode, ring, enter + bytes.fromhex("cd40"), arrived(FREE + 24, LANDING, gpr(ESP, STACK_HANDLER - 20, 0xffff), seg(SS_, SEL_DATA)), base + gate_)
                yield Case("SDM vol. 3, 6.12.1", "INT to CPL 0 with a null SS0 in the 16-bit TSS", mode, ring, enter + bytes.fromhex("cd40"), [vector(DF), error(0)],  # #TS cannot be delivered either
                           put + task16(ring, _e=CODE + 6, _4=0) + gate_)


def faults():
    mode = PM32
    for ring in (0, 3):
        for call in (0, 1):
            code, pointer = far(call, FREE | ring)
            name = "CALL" if call else "JMP"
            for what, put, v, e in (("busy", tss16(3), GP, FREE), ("absent", tss16(present=0), NP, FREE), ("too short", tss16(limit=0x2a), TS, FREE), ("of limit 0", tss16(limit=0), TS, FREE),
                                    ("of DPL 0", tss16(dpl=0), GP if ring else None, FREE)):
                if v is not None:
                    yield Case("SDM vol. 3, 7.3", f"{name} to a 16-bit TSS that is {what}", mode, ring, code, fault(v, e, 0, tr(SEL_TSS), mem(GDT + SEL_TSS + 5, 1, 0xb, 0xf)), task16(3) + put + pointer)
            code, pointer = far(call, GATE | ring)
            for what, put, v in (("busy", tss16(3), GP), ("absent", tss16(present=0), NP), ("too short", tss16(limit=0x2a), TS)):
                yield Case("SDM vol. 3, 7.2.5, 7.3", f"{name} to a task gate of a 16-bit TSS that is {what}", mode, ring, code, fault(v, FREE, 0, tr(SEL_TSS)),
                           task16(3) + put + pointer + descriptor(GATE, gate(5, FREE, 0, 3)))
        for what, put, v in (("not busy", tss16(), TS), ("absent", tss16(3, present=0), NP), ("too short", tss16(3, limit=0x2a), TS)):
            yield Case("SDM vol. 2 IRET", f"IRET with NT to a 16-bit TSS that is {what}", mode, ring, "iretd", fault(v, FREE, 0, tr(SEL_TSS)), task16(3) + put + [mem(TSS, 2, FREE), flags(FLAG["NT"], FLAG["NT"])])
        # What the new task's selectors must be: reported in the new task.
        code, pointer = far(0, FREE | ring)
        for what, change, v, e in (("SS of DPL 0", {"_26": SEL_DATA | 3}, TS, SEL_DATA), ("null SS", {"_26": 0}, TS, 0), ("SS of code", {"_26": code_sel(32, 3)}, TS, code_sel(32, 3) & ~3),
                                   ("null CS", {"_24": 3}, TS, 0), ("CS of data", {"_24": data_sel(32, 3)}, TS, data_sel(32, 3) & ~3), ("CS of another level", {"_24": code_sel(32, 0) | 3}, TS, code_sel(32, 0)),
                                   ("DS beyond the GDT", {"_28": 0x303}, TS, 0x300), ("ES of execute-only code", {"_22": 0x123}, TS, 0x120), ("DS absent", {"_28": 0x12b}, NP, 0x128),
                                   ("LDT of data", {"_2a": SEL_DATA}, TS, SEL_DATA), ("IP beyond the limit", {"_24": 0x133, "_e": 0x9000}, GP, 0)):
            yield Case("SDM vol. 3, table 7-1", f"the new 16-bit task has {what}", mode, ring, code, [vector(v), error(e), item("tr", 0, 0, FREE, 0xfffc)],
                       task16(3, **change) + tss16() + pointer + descriptor(0x120, segment(0, 0xfffff, 8, 3, 0xc)) + descriptor(0x128, segment(0, 0xfffff, 2, 3, 0xc, 0)) + descriptor(0x130, segment(0, 0x8fff, 10, 3, 4)))


def cases():
    for part in (to16, from16, faults):
        yield from part()
