"""Address translation: who may do what by the bits of each level, and what #PF says (SDM vol. 3, 4.6, 4.7)."""
import itertools

from manual import *

P, RW, US, A, D, PS, NX = 1, 2, 4, 0x20, 0x40, 0x80, 1 << 63
PT, PD, PDPT = 0x28000, 0x29000, 0x2a000  # tables of the case's own: one entry each
# Where they are hung up, and the linear address that leads through them alone.
LEVELS = {PG32: [(TABLES + 4, PT), (PT, LANDING)],
          PAE: [(TABLES + 8, PD), (PD, PT), (PT, LANDING)],
          L64: [(TABLES + 8, PDPT), (PDPT, PD), (PD, PT), (PT, LANDING)]}
TARGET = {PG32: 0x400000, PAE: 0x40000000, L64: 0x8000000000}
PERMISSIONS = {PG32: [0, 1], PAE: [1, 2], L64: [0, 1, 2, 3]}  # the levels whose entries have R/W and U/S
WP, SMEP, SMAP = 1 << 16, 1 << 20, 1 << 21
NXE = msr(0xc0000080, 1 << 11, 1 << 11)


def entries(mode, bits):
    """The case's tables, with these bits in the entry of each level (a list from the top)."""
    size = 4 if mode is PG32 else 8
    return [mem(at, size, to | b) for (at, to), b in zip(LEVELS[mode], bits)]


def full(mode):
    """Nothing forbidden at any level."""
    return [(P | RW | US) if n in PERMISSIONS[mode] else P for n in range(len(LEVELS[mode]))]


ACCESS = {"read": "mov eax, [{r}+0x800]", "write": "mov [{r}+0x800], eax", "change": "add dword ptr [{r}+0x800], eax", "fetch": "jmp {r}"}


def run(mode, ring, access, bits, sets, allowed, code, title, needs=None, source="SDM vol. 3, 4.6.1", more=()):
    r, to = "rdi" if mode.bits64 else "edi", TARGET[mode]
    at = to + (0 if access == "fetch" else 0x800)
    if not allowed:
        out = fault(PF, code, 0 if access != "fetch" else -1, cr(2, at, ALL64))
        out += [rip(to)] if access == "fetch" else []
    elif access == "fetch":
        out = arrived(code_sel(mode.bits, ring), to)
    else:
        out = done()
    return Case(source, f"{access} {title}", mode, ring, ACCESS[access].format(r=r), out + list(more),
                entries(mode, bits) + [gpr(EDI, to)] + sets, needs)


def judge(access, ring, us, rw, nx, wp, smep, smap, ac):
    """SDM vol. 3, 4.6.1, in its words."""
    write = access in ("write", "change")
    if ring < 3:
        if access == "fetch":
            return not nx and not (us and smep)
        if us and smap and not ac:
            return False
        return not write or rw or not wp
    return bool(us) and (rw or not write) and not (access == "fetch" and nx)


def error_of(access, ring, present, nxe, smep, reserved=0):
    write = access in ("write", "change")
    return present | write << 1 | (ring == 3) << 2 | reserved << 3 | (access == "fetch" and (nxe or smep)) << 4


def matrix():
    for mode in LEVELS:
        for us, rw, nx in itertools.product((0, 1), (0, 1), (0, 1)):
            if nx and mode is PG32:
                continue
            for wp, smep, smap, ac in itertools.product((0, 1), (0, 1), (0, 1), (0, 1)):
                for ring in (0, 1, 3) if not (smep or smap or ac) else (0, 3):
                    for access in ACCESS:
                        if (smep or smap) and access == "change" or ac and not smap or smep and access != "fetch" and not smap:
                            continue
                        bits = full(mode)
                        bits[-1] = P | us * US | rw * RW | nx * NX
                        sets = [cr(0, wp * WP, WP), cr(4, smep * SMEP | smap * SMAP, SMEP | SMAP), flags(ac << 18, FLAG["AC"])]
                        needs = "SMAP" if smap else "SMEP" if smep else "NX" if nx else None
                        if nx:
                            sets.append(NXE)
                        yield run(mode, ring, access, bits, sets, judge(access, ring, us, rw, nx, wp, smep, smap, ac),
                                  error_of(access, ring, 1, nx, smep), f"U/S {us} R/W {rw} NX {nx} WP {wp} SMEP {smep} SMAP {smap} AC {ac}", needs)


def levels():
    """One bit withheld at one level."""
    for mode in LEVELS:
        for level in range(len(LEVELS[mode])):
            for what, take, give in (("P", P, 0), ("R/W", RW, 0), ("U/S", US, 0), ("NX", 0, NX)):
                if (what == "NX" and (mode is PG32 or mode is PAE and level == 0)) or (what in ("R/W", "U/S") and level not in PERMISSIONS[mode]):
                    continue
                for ring in (0, 3):
                    for access in ACCESS:
                        bits = full(mode)
                        bits[level] = bits[level] & ~take | give
                        allowed = what != "P" and judge(access, ring, what != "U/S", what != "R/W", what == "NX", 1, 0, 0, 0)
                        # A level that lacks P may be marked reserved in any way (4.7: P = 0 comes first)
                        yield run(mode, ring, access, bits, [cr(0, WP, WP)] + ([NXE] if what == "NX" else []), allowed,
                                  error_of(access, ring, what != "P", what == "NX", 0), f"{what} {'set' if give else 'clear'} at level {len(LEVELS[mode]) - level}",
                                  "NX" if what == "NX" else None)


def accessed_dirty():
    for mode in LEVELS:
        size = 4 if mode is PG32 else 8
        for access in ACCESS:
            for ring in (0, 3):
                more = []
                for n, (at, to) in enumerate(LEVELS[mode]):
                    if mode is PAE and n == 0:
                        continue  # PDPTEs have no accessed flag
                    leaf = n == len(LEVELS[mode]) - 1
                    more.append(mem(at, size, A | (D if leaf and access in ("write", "change") else 0), A | D if leaf else A))
                yield run(mode, ring, access, full(mode), [], True, 0, "sets A and D", None, "SDM vol. 3, 4.8", more)
        # A write that is refused sets no D.
        bits = full(mode)
        bits[-1] = P | US
        for access in ("write", "change"):
            yield run(mode, 3, access, bits, [], False, 7, "refused sets no D", None, "SDM vol. 3, 4.8", [mem(PT, size, 0, D)])


def large_and_reserved():
    r = lambda m: "rdi" if m.bits64 else "edi"
    for ring in (0, 3):
        for access in ACCESS:
            for mode in LEVELS:
                size = 4 if mode is PG32 else 8
                leaf_at = LEVELS[mode][-2][0]  # the directory's entry
                for pse in (1, 0) if mode is PG32 else (1,):
                    for us, rw in itertools.product((0, 1), (0, 1)):
                        if pse == 0 and (us, rw) != (1, 1):
                            continue
                        bits = full(mode)
                        sets = entries(mode, bits) + [mem(leaf_at, size, P | PS | us * US | rw * RW), gpr(EDI, TARGET[mode] + LANDING),
                                                      cr(4, pse << 4, 1 << 4), cr(0, WP, WP)]
                        to = TARGET[mode] + LANDING
                        at = to + (0 if access == "fetch" else 0x800)
                        if pse == 0:  # PS is ignored: the entry leads to a table at 0, where nothing is
                            sets.append(mem(LANDING >> 12 << 2, 4, 0))
                            out = fault(PF, error_of(access, ring, 0, 0, 0), -1, cr(2, at, ALL64))
                        elif not judge(access, ring, us, rw, 0, 1, 0, 0, 0):
                            out = fault(PF, error_of(access, ring, 1, 0, 0), -1, cr(2, at, ALL64))
                        else:
                            out = arrived(code_sel(mode.bits, ring), to) if access == "fetch" else done()
                            out += [mem(leaf_at, size, A | (D if access in ("write", "change") else 0), A | D)]
                        yield Case("SDM vol. 3, 4.3, 4.4, 4.5", f"{access} of a large page U/S {us} R/W {rw} PSE {pse}", mode, ring,
                                   ACCESS[access].format(r=r(mode)), out, sets)
            # 1 GiB
            to = TARGET[L64] + LANDING
            at = to + (0 if access == "fetch" else 0x800)
            out = arrived(code_sel(64, ring), to) if access == "fetch" else done()
            yield Case("SDM vol. 3, 4.5.4", f"{access} of a page of 1 GiB", L64, ring, ACCESS[access].format(r="rdi"), out,
                       entries(L64, full(L64)) + [mem(PDPT, 8, P | PS | US | RW), gpr(EDI, to)], "PAGE1G")
            # Reserved bits, by level from the top.
            reserved = [("PML4E PS", L64, 0, PS, None), ("PDE of 2 MiB bit 13", L64, 2, PS | 1 << 13, None), ("PDE of 2 MiB bit 20", PAE, 1, PS | 1 << 20, None),
                        ("PDPTE of 1 GiB bit 29", L64, 1, PS | 1 << 29, "PAGE1G"), ("PTE bit 62", PAE, 2, 1 << 62, None),
                        ("PTE bit 51", L64, 3, 1 << 51, None), ("PDE bit 52", PAE, 1, 1 << 52, None),
                        ("PTE NX without NXE", L64, 3, NX, None), ("PDE NX without NXE", PAE, 1, NX, None), ("PDE of 4 MiB bit 21", PG32, 0, PS | 1 << 21, None)]
            for what, mode, level, extra, needs in reserved:
                bits = full(mode)
                bits[level] |= extra
                if extra & PS:
                    sets = [mem(LEVELS[mode][level][0], 4 if mode is PG32 else 8, bits[level])]
                else:
                    sets = []
                at = TARGET[mode] + (0 if access == "fetch" else 0x800)
                yield Case("SDM vol. 3, 4.7", f"{access} by an entry with a reserved bit: {what}", mode, ring, ACCESS[access].format(r=r(mode)),
                           fault(PF, error_of(access, ring, 1, 0, 0, 1), -1, cr(2, at, ALL64)),
                           entries(mode, bits) + sets + [gpr(EDI, TARGET[mode]), cr(4, 1 << 4, 1 << 4)], needs)
    # The same bits are free where the page is not present.
    for what, mode, bit in (("PTE bit 51", L64, 1 << 51), ("PTE NX", PAE, NX)):
        bits = full(mode)
        bits[-1] = bit
        yield run(mode, 3, "read", bits, [], False, 4, f"with {what} where P is clear", None, "SDM vol. 3, 4.7")
    for ring in (0, 3):
        for ignored in (9, 10, 11):  # software's own
            bits = full(L64)
            bits[-1] |= 1 << ignored
            yield run(L64, ring, "write", bits, [], True, 0, f"with bit {ignored}, which is ignored")


def crossing():
    """An access over the end of a page whose neighbour is missing."""
    for mode in LEVELS:
        size = 4 if mode is PG32 else 8
        first, second = (TABLES + {PG32: 0x1000, PAE: 0x2000, L64: 0x3000}[mode] + (a >> 12) * size for a in (DATA, DATA + 0x1000))
        code_next = first - size
        for ring in (0, 3):
            u = (ring == 3) << 2
            for n, bytes_ in (("word", 2), ("dword", 4), ("qword", 8)):
                reg = {2: "ax", 4: "eax", 8: "rax"}[bytes_]
                if bytes_ == 8 and not mode.bits64:
                    continue
                for over in {1, bytes_ - 1}:
                    at = DATA + 0x1000 - bytes_ + over
                    for text, w in ((f"mov {reg}, [rdi]", 0), (f"mov [rdi], {reg}", 2), (f"xchg [rdi], {reg}", 2), (f"push {n} ptr [rdi]", 0), ("movsd", None)):
                        if w is None or (n == "dword" and text.startswith("push") and mode.bits64):
                            continue
                        text = text if mode.bits64 else text.replace("rdi", "edi")
                        sets = [gpr(EDI, at), gpr(EAX, 0x1111), mem(DATA + 0xff8, 8, 0x7777777777777777)]
                        same = mem(DATA + 0xff8, 8, 0x7777777777777777)
                        yield Case("SDM vol. 3, 4.7", f"{text} {over} beyond the page, second missing", mode, ring, text,
                                   fault(PF, w | u, 0, cr(2, DATA + 0x1000, ALL64), same, gpr(EAX, 0x1111)), sets + [mem(second, 4, 0, 1)])
                        yield Case("SDM vol. 3, 4.7", f"{text} {over} beyond the page, first missing", mode, ring, text,
                                   fault(PF, w | u, 0, cr(2, at, ALL64)), sets + [mem(first, 4, 0, 1)])
                        yield Case("SDM vol. 3, 4.7", f"{text} {over} beyond the page, both there", mode, ring, text,
                                   done(*([mem(DATA + 0x1000, 1, 0x11 if over == bytes_ - 1 else 0)] if w else [])), sets)
            for text, bytes_ in (("mov eax, 0x12345678", 5), ("ud2", 2), ("add dword ptr [edi], 1", 3), ("nop; nop; nop", 1)):
                for inside in range(1, 4):
                    at = 0x9000 - inside
                    if inside >= bytes_ and not text.startswith("nop"):
                        continue
                    text_ = text.replace("edi", "rdi") if mode.bits64 else text
                    yield Case("SDM vol. 3, 6.15 Page Fault", f"{text} with {inside} bytes before a missing page", mode, ring, text_,
                               fault(PF, u, inside if text.startswith("nop") else 0, cr(2, 0x9000, ALL64)),
                               [gpr(EDI, DATA), mem(code_next, 4, 0, 1), mem(0x9000, 8, 0xcccccccccccccccc)], at=at)


def canonical():
    """SDM vol. 1, 3.3.7.1: #GP, or #SS where the stack is meant."""
    hole, top = 0x0000800000000000, 0xffff7fffffffffff
    for ring in (0, 3):
        for address in (hole, top, 1 << 62, hole - 1, hole - 7):
            crosses = address in (hole - 1, hole - 7)
            for text, v in (("mov rax, [rdi]", GP), ("mov [rdi], rax", GP), ("add [rdi], rax", GP), ("mov rax, [rbp]", SS), ("mov [rbp], rax", SS),
                            ("movaps xmm0, [rdi]", GP), ("push qword ptr [rdi]", GP)):
                if crosses:
                    continue  # the manual does not say which of the two bytes is looked at first
                yield Case("SDM vol. 1, 3.3.7.1", f"{text} at {address:#x}", L64, ring, text, fault(v, 0), [gpr(EDI, address), gpr(EBP, address), cr(4, 0x600, 0x600)])
            if not crosses:
                for text in ("jmp rdi", "call rdi"):
                    yield Case("SDM vol. 2 JMP, CALL", f"{text} to {address:#x}", L64, ring, text, fault(GP, 0, 0, gpr(ESP, STACK[ring])), [gpr(EDI, address)])
                yield Case("SDM vol. 2 RET", f"ret to {address:#x}", L64, ring, "push rdi; ret", fault(GP, 0, 1, gpr(ESP, STACK[ring] - 8)), [gpr(EDI, address)])
    for text, sp_ in (("push rax", hole + 0x1000), ("pop rax", hole), ("ret", hole), ("call rdi", hole + 0x1000), ("enter 8, 0", hole + 0x1000)):
        yield Case("SDM vol. 2 " + text.split()[0].upper(), f"{text} on a stack that is not canonical", L64, 3, text, fault(SS, 0),
                   [gpr(ESP, sp_), gpr(EDI, LANDING)])
    for m, text in (("FS_BASE", 0xc0000100), ("GS_BASE", 0xc0000101), ("KERNEL_GS_BASE", 0xc0000102), ("LSTAR", 0xc0000082), ("CSTAR", 0xc0000083)):
        yield Case("SDM vol. 2 WRMSR", f"WRMSR of {m}, not canonical", L64, 0, f"mov ecx, {text}; xor eax, eax; mov edx, 0x40000000; wrmsr", fault(GP, 0, -1))  # nor in 57 bits


def pdpte():
    """PAE loads its four PDPTEs with CR3 and checks them then (SDM vol. 3, 4.4.1)."""
    for bit in (1, 2, 5, 6, 7, 8, 52, 62, 63):
        yield Case("SDM vol. 3, 4.4.1", f"MOV CR3 with PDPTE bit {bit}", PAE, 0,
                   f"or dword ptr [{TABLES + 24 + bit // 32 * 4}], {1 << bit % 32}; mov eax, cr3; mov cr3, eax", fault(GP, 0, -1), [mem(TABLES + 24, 8, 1)])
        yield Case("SDM vol. 3, 4.4.1", f"MOV CR3 with PDPTE bit {bit}, not present", PAE, 0,
                   f"or dword ptr [{TABLES + 24 + bit // 32 * 4}], {1 << bit % 32}; mov eax, cr3; mov cr3, eax", done(), [mem(TABLES + 24, 8, 0)])
    yield Case("SDM vol. 3, 4.4.1", "a PDPTE changed in memory counts from the next MOV CR3 on", PAE, 0,
               f"mov dword ptr [{TABLES + 8}], {PD | P}; mov eax, cr3; mov cr3, eax; mov eax, [edi]", done(gpr(EAX, 0xcccccccc)),
               entries(PAE, full(PAE)) + [mem(TABLES + 8, 8, 0), gpr(EDI, TARGET[PAE])])


def cases():
    for part in (matrix, levels, accessed_dirty, large_and_reserved, crossing, canonical, pdpte):
        yield from part()
