"""Loading segment registers, LDTR and TR; limits and types of what is loaded (SDM vol. 2 MOV, LDS, LLDT, LTR; vol. 3, 5.3 to 5.6)."""
from manual import *

TYPES = [("read-only data", 0, 1), ("data", 2, 1), ("expand-down data", 6, 1), ("execute-only code", 8, 1), ("code", 10, 1),
         ("conforming execute-only code", 12, 1), ("conforming code", 14, 1), ("LDT", 2, 0), ("TSS", 9, 0), ("call gate", 12, 0), ("type 0", 0, 0)]


def data_outcome(mode, ring, selector, t, s, dpl, present):
    """DS, ES, FS, GS: SDM vol. 2, MOV, Operation."""
    if selector & ~3 == 0:
        return None
    code, conforming = s and t & 8, s and t & 12 == 12
    if not s or (code and not t & 2) or (not conforming and (selector & 3 > dpl or ring > dpl)):
        return GP, selector & ~3
    return None if present else (NP, selector & ~3)


def stack_outcome(mode, ring, selector, t, s, dpl, present):
    if selector & ~3 == 0:
        return None if mode.bits64 and ring != 3 and selector & 3 == ring else (GP, 0)
    if selector & 3 != ring or not s or t & 8 or not t & 2 or dpl != ring:
        return GP, selector & ~3
    return None if present else (SS, selector & ~3)


def loads():
    for mode in (PM16, PM32, C32, L64):
        for ring in (0, 1, 3):
            for what, t, s in TYPES:
                for dpl in (0, ring, 3) if 0 < ring < 3 else (0, 3):
                    for rpl in (0, ring, 3) if 0 < ring < 3 else (0, 3):
                        for present in (1, 0) if s else (1,):
                            selector = FREE | rpl
                            put = descriptor(FREE, segment(0, 0xfffff, t, dpl, 0xc if not t & 8 or not mode.bits64 else 0xa, present, not s))
                            title = f"{what} DPL {dpl} RPL {rpl} {'present' if present else 'absent'}"
                            for name, n in (("ds", DS_), ("gs", GS_), ("ss", SS_)):
                                out = (stack_outcome if n == SS_ else data_outcome)(mode, ring, selector, t, s, dpl, present)
                                if out is None and n == SS_ and t & 4:
                                    continue  # loaded, but expand-down: nothing could be pushed below 4 GiB
                                good = done(seg(n, selector), mem(GDT + FREE + 5, 1, 1, 1))
                                yield Case("SDM vol. 2 MOV", f"MOV {name} of {title}", mode, ring, f"mov {name}, ax",
                                           fault(*out, 0) if out else good, put + [gpr(EAX, selector)])
                            if not mode.bits64 and ring in (0, 3) and present:
                                out = data_outcome(mode, ring, selector, t, s, dpl, present)
                                yield Case("SDM vol. 2 POP", f"POP es of {title}", mode, ring, "push ax; pop es" if mode.bits == 16 else "push eax; pop es",
                                           fault(*out, 1 if mode.bits == 32 else -1) if out else done(seg(ES_, selector)), put + [gpr(EAX, selector)])
                                yield Case("SDM vol. 2 LDS", f"LDS of {title}", mode, ring, f"lds bx, [{DATA}]",
                                           fault(*out, 0, gpr(EBX, 0x77)) if out else done(seg(DS_, selector), gpr(EBX, 0x5678)),
                                           put + [mem(DATA, 2, 0x5678), mem(DATA + 2, 2, selector), gpr(EBX, 0x77)])
                            if ring in (0, 3) and present:
                                out = data_outcome(mode, ring, selector, t, s, dpl, present)
                                yield Case("SDM vol. 2 LGS", f"LGS of {title}", mode, ring, f"lgs bx, [{DATA}]",
                                           fault(*out, 0, gpr(EBX, 0x77)) if out else done(seg(GS_, selector), gpr(EBX, 0x5678)),
                                           put + [mem(DATA, 2, 0x5678), mem(DATA + 2, 2, selector), gpr(EBX, 0x77)])
            for selector, where in ((0, "null"), (3, "null RPL 3"), (0x300 | ring, "beyond the GDT"), (0x44 | ring, "beyond the LDT"), (4 | ring, "LDT, type 0")):
                for name, n in (("ds", DS_), ("es", ES_), ("ss", SS_)):
                    f = stack_outcome if n == SS_ else data_outcome
                    out = f(mode, ring, selector, 0, 0, 0, 0) if selector < 4 else (GP, selector & ~3)
                    if out is None and n == SS_ and not ring:
                        continue  # null SS in 64-bit mode at CPL 0: looked at below
                    yield Case("SDM vol. 2 MOV", f"MOV {name} of a selector that is {where}", mode, ring, f"mov {name}, ax",
                               fault(*out, 0) if out else done(seg(n, selector)), [gpr(EAX, selector)])
            put = [mem(LDT + 8, 8, segment(0, 0xfffff, 2, ring, 0xc))]
            for name, n in (("ds", DS_), ("ss", SS_)):
                yield Case("SDM vol. 3, 3.4.2", f"MOV {name} from the LDT", mode, ring, f"mov {name}, ax", done(seg(n, 0xc | ring), mem(LDT + 13, 1, 1, 1)),
                           put + [gpr(EAX, 0xc | ring)])
    yield Case("SDM vol. 2 MOV", "MOV ss, null at CPL 0", L64, 0, "mov ss, ax", done(seg(SS_, 0)), [gpr(EAX, 0)])
    yield Case("SDM vol. 2 MOV", "MOV ss, null of RPL 1 at CPL 1", L64, 1, "mov ss, ax", done(seg(SS_, 1)), [gpr(EAX, 1)])


def system_registers():
    types = list(range(16))
    for mode in (PM32, PAE, C32, L64):
        wide = mode.long
        for t in types:
            for present in (1, 0):
                put = descriptor(FREE, segment(TSS, 0x2068, t, 0, 0, present, 1), 0)
                for name, good_types in (("lldt", {2}), ("ltr", {9} if mode.long else {1, 9})):
                    if t not in good_types:
                        out = fault(GP, FREE, 0)
                    elif not present:
                        out = fault(NP, FREE, 0)
                    else:
                        out = done(ldtr(FREE)) if name == "lldt" else done(tr(FREE), mem(GDT + FREE + 5, 1, 2, 2))
                    if name == "ltr" and t == 1 and present and out[0] == vector(BP):
                        continue  # a 16-bit TSS has no 32-bit ring 0 stack; at CPL 0 nothing needs it, see tasks
                    yield Case("SDM vol. 2 " + name.upper(), f"{name} of system type {t} {'present' if present else 'absent'}", mode, 0, f"{name} ax", out,
                               put + [gpr(EAX, FREE)])
        for name in ("lldt", "ltr"):
            for selector, what in ((0, "null"), (2, "null RPL 2"), (0x300, "beyond the GDT"), (0xc, "in the LDT"), (0x18, "of code")):
                if selector < 4:
                    out = done(ldtr(0 if selector == 0 else 2)) if name == "lldt" else fault(GP, 0, 0)
                else:
                    out = fault(GP, selector & ~3, 0)
                yield Case("SDM vol. 2 " + name.upper(), f"{name} of a selector that is {what}", mode, 0, f"{name} ax", out, [gpr(EAX, selector)])
        if wide:
            yield Case("SDM vol. 2 LLDT", "lldt of a base that is not canonical", mode, 0, "lldt ax", fault(GP, FREE, 0),
                       descriptor(FREE, segment(0, 0x3f, 2, system=1), 0x40000000) + [gpr(EAX, FREE)])
            yield Case("SDM vol. 2 LTR", "ltr of a base that is not canonical", mode, 0, "ltr ax", fault(GP, FREE, 0),
                       descriptor(FREE, segment(0, 0x67, 9, system=1), 0x40000000) + [gpr(EAX, FREE)])


def limits():
    """Vol. 3, 5.3: the last byte of an access must lie within the limit; #SS for the stack segment."""
    accesses = [("mov al, {s}:[{r}]", 1), ("mov {s}:[{r}], ax", 2), ("mov eax, {s}:[{r}]", 4), ("add dword ptr {s}:[{r}], 1", 4), ("xchg {s}:[{r}], eax", 4),
                ("fld qword ptr {s}:[{r}]", 8), ("cmpxchg8b {s}:[{r}]", 8)]
    for mode in (PM16, PM32, PAE, C32):
        for ring in (0, 3):
            shapes = [("limit 0xfff", segment(0xa000, 0xfff, 2, ring, 0), lambda a, n: a + n - 1 <= 0xfff),
                      ("limit 1 page", segment(0xa000, 0, 2, ring, 8), lambda a, n: a + n - 1 <= 0xfff),
                      ("limit 0", segment(0xa000, 0, 2, ring, 0), lambda a, n: a + n - 1 <= 0),
                      ("expand-down 0x7ff of 64 KiB", segment(0xa000, 0x7ff, 6, ring, 0), lambda a, n: a > 0x7ff and a + n - 1 <= 0xffff),
                      ("expand-down 0x7ff of 4 GiB", segment(0xa000, 0x7ff, 6, ring, 4), lambda a, n: a > 0x7ff)]
            for what, value, good in shapes:
                for offset in (0, 1, 0x7fe, 0x7ff, 0x800, 0xff8, 0xffc, 0xffd, 0xfff, 0x1000):
                    for text, size in accesses:
                        for s, v in (("fs", GP), ("es", GP)):
                            if s == "es" and not text.startswith("mov eax"):
                                continue
                            code = f"mov {s}, cx; " + text.format(s=s, r="bx" if mode.bits == 16 else "ebx")
                            yield Case("SDM vol. 3, 5.3", f"{text} at {offset:#x} by {s} of {what}", mode, ring, code,
                                       done() if good(offset, size) else fault(v, 0, 2 if mode.bits == 32 else -1),
                                       descriptor(FREE, value) + [gpr(ECX, FREE | ring), gpr(EBX, offset)])
            for what, t, reads, writes in (("read-only data", 0, 1, 0), ("code", 10, 1, 0), ("execute-only code", 8, None, 0), ("conforming code", 14, 1, 0)):
                if reads is None:
                    continue
                for text, ok in (("mov eax, fs:[ebx]", reads), ("mov fs:[ebx], eax", writes), ("or byte ptr fs:[ebx], 0", writes), ("test byte ptr fs:[ebx], 1", reads)):
                    yield Case("SDM vol. 3, 5.5", f"{text} of {what}", mode, ring, "mov fs, cx; " + text, done() if ok else fault(GP, 0, 2),
                               descriptor(FREE, segment(0xa000, 0xffff, t, ring, 4)) + [gpr(ECX, FREE | ring), gpr(EBX, 0)])
            for text in ("mov eax, fs:[ebx]", "mov fs:[ebx], eax"):
                yield Case("SDM vol. 3, 5.4", f"{text} by a null selector", mode, ring, "mov fs, cx; " + text, fault(GP, 0, 2), [gpr(ECX, ring), gpr(EBX, DATA)])
            # the stack segment: #SS
            small = descriptor(FREE, segment(0, 0xefff, 2, ring, 4))
            for text, a in (("mov eax, [ebp]", 0xeffd), ("push eax", 0xf002), ("pop eax", 0xeffd), ("mov eax, [esp]", 0xeffe), ("pushfd", 0xf003), ("call dword ptr [edi]", 0xf001)):
                if ring == 3:  # at CPL 0 the handler's frame goes to the same stack
                    text_ = text if mode.bits == 32 else text.replace("call dword", "call word")
                    yield Case("SDM vol. 3, 5.3; vol. 2", f"{text} over the end of the stack segment", mode, ring, "mov ss, cx; " + text_, fault(SS, 0, 2, gpr(ESP, a, 0xffff)),
                               small + [gpr(ECX, FREE | ring), gpr(EBP, a), gpr(ESP, a), gpr(EDI, DATA), mem(DATA, 4, LANDING)])
    for mode, ring in ((REAL, 0), (V86, 3)):
        for text, size in accesses[1:]:
            if mode is REAL and size == 1:
                continue
            for offset in (0xffff, 0x10000 - size):
                v = GP
                code = text.format(s="fs", r="bx")
                yield Case("SDM vol. 3, 20.1.1", f"{text} at {offset:#x}", mode, ring, code, done() if offset + size <= 0x10000 else fault(v, None if mode.real else 0),
                           [gpr(EBX, offset), seg(FS_, 0x2f00)])
        for offset in (0x10000, 0xffffffff):
            yield Case("SDM vol. 3, 20.1.1", f"32-bit address {offset:#x}", mode, ring, "mov al, fs:[ebx]", fault(GP, None if mode.real else 0), [gpr(EBX, offset)])


def cases():
    for part in (loads, system_registers, limits):
        yield from part()
