"""What the cases are written in: modes, a case, and what it sets and expects.

A case is a few instructions, the state they begin in and what the manual says becomes of them. It ends at the first
exception; an INT3 follows the code, so that "nothing happened" is vector 3 behind it.
"""
import struct

# Where things lie: layout.h says what they are.
GDT, LDT, IDT, TSS, TSS_DF, CODE, DATA, LANDING = 0x1000, 0x1400, 0x2000, 0x3000, 0x5100, 0x8000, 0xa000, 0xc000
STACK = [0xdf00, 0xd800, 0xd400, 0xef00]
STACK_HANDLER, STACK_DF = 0xf800, 0xfc00
TABLES, APIC_WINDOW, APIC = 0x20000, 0x3ff000, 0xfee00000
SEL_CODE, SEL_DATA, SEL_TSS, SEL_LDT = 0x08, 0x10, 0xb8, 0xc8
FREE = 0x100  # the first selector that is the case's own


def code_sel(bits, ring):
    return {32: 0x18, 16: 0x58, 64: 0x98}[bits] + 8 * ring + ring


def data_sel(bits, ring):
    return {32: 0x38, 16: 0x78, 64: 0x38}[bits] + 8 * ring + ring


# Exceptions (SDM vol. 3, 6.3.1) and what ends a case otherwise.
DE, DB, NMI, BP, OF, BR, UD, NM, DF, TS, NP, SS, GP, PF, MF, AC, XM = 0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 16, 17, 19
SHUTDOWN = 0xffff
DONE = BP
EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI = range(8)
ES_, CS_, SS_, DS_, FS_, GS_ = range(6)
FLAG = dict(CF=1, PF=4, AF=16, ZF=64, SF=128, TF=0x100, IF=0x200, DF=0x400, OF=0x800, NT=0x4000, RF=0x10000,
            VM=0x20000, AC=0x40000, VIF=0x80000, VIP=0x100000, ID=0x200000)
ALL64 = (1 << 64) - 1


class Mode:
    def __init__(self, number, name, bits, rings):
        self.number, self.name, self.bits, self.rings = number, name, bits, rings

    real = property(lambda m: m.number == 0)
    v86 = property(lambda m: m.number == 1)
    protected = property(lambda m: m.number >= 2)  # PE = 1 and VM = 0
    paged = property(lambda m: m.number >= 4)
    wide_paging = property(lambda m: m.number >= 5)
    long = property(lambda m: m.number >= 6)
    bits64 = property(lambda m: m.number == 8)


REAL = Mode(0, "real", 16, [0])
V86 = Mode(1, "v86", 16, [3])
PM16 = Mode(2, "pm16", 16, [0, 1, 2, 3])
PM32 = Mode(3, "pm32", 32, [0, 1, 2, 3])
PG32 = Mode(4, "paged32", 32, [0, 1, 2, 3])
PAE = Mode(5, "pae", 32, [0, 1, 2, 3])
C16 = Mode(6, "compat16", 16, [0, 1, 2, 3])
C32 = Mode(7, "compat32", 32, [0, 1, 2, 3])
L64 = Mode(8, "long64", 64, [0, 1, 2, 3])
MODES = [REAL, V86, PM16, PM32, PG32, PAE, C16, C32, L64]
PROTECTED = [m for m in MODES if m.protected]
SEGMENTED = [PM16, PM32, PAE, C32, L64]  # one of each kind, where paging makes no difference

# Features: CPUID leaf, subleaf, register (0 EAX .. 3 EDX), bit (SDM vol. 2, CPUID).
FEATURE = {
    "VME": (1, 0, 3, 1), "DE": (1, 0, 3, 2), "PSE": (1, 0, 3, 3), "SEP": (1, 0, 3, 11), "PGE": (1, 0, 3, 13),
    "FXSR": (1, 0, 3, 24), "SSE": (1, 0, 3, 25), "SSE2": (1, 0, 3, 26), "CX16": (1, 0, 2, 13), "XSAVE": (1, 0, 2, 26), "XSAVES": (0xd, 1, 0, 3), "XSAVEC": (0xd, 1, 0, 1),
    "AVX": (1, 0, 2, 28), "PCID": (1, 0, 2, 17), "MOVBE": (1, 0, 2, 22),
    "FSGSBASE": (7, 0, 1, 0), "SMEP": (7, 0, 1, 7), "SMAP": (7, 0, 1, 20), "INVPCID": (7, 0, 1, 10),
    "UMIP": (7, 0, 2, 2), "PKU": (7, 0, 2, 3), "LA57": (7, 0, 2, 16), "RDPID": (7, 0, 2, 22), "MONITOR": (1, 0, 2, 3),
    "SYSCALL": (0x80000001, 0, 3, 11), "NX": (0x80000001, 0, 3, 20), "PAGE1G": (0x80000001, 0, 3, 26),
    "RDTSCP": (0x80000001, 0, 3, 27), "LM": (0x80000001, 0, 3, 29), "LAHF": (0x80000001, 0, 2, 0),
    "RDRAND": (1, 0, 2, 30), "RDSEED": (7, 0, 1, 18), "VMX": (1, 0, 2, 5), "SVM": (0x80000001, 0, 2, 2),
}

KINDS = ["gpr", "seg", "flags", "rip", "mem", "msr", "cr", "dr", "xcr0", "vector", "error", "ldtr", "tr"]


def item(kind, index=0, where=0, value=0, mask=ALL64):
    return struct.pack("<BBHIQQ", KINDS.index(kind), index, 0, where, value & ALL64, mask & ALL64)


def gpr(n, value, mask=ALL64): return item("gpr", n, 0, value, mask)
def seg(n, value): return item("seg", n, 0, value, 0xffff)
def flags(value, mask): return item("flags", 0, 0, value, mask)
def rip(value): return item("rip", 0, 0, value)
def mem(where, size, value, mask=ALL64): return item("mem", size, where, value, mask & ((1 << 8 * size) - 1))
def msr(n, value, mask=ALL64): return item("msr", 0, n, value, mask)
def cr(n, value, mask): return item("cr", n, 0, value, mask)
def dr(n, value, mask=0xffffffff): return item("dr", n, 0, value, mask)
def xcr0(value): return item("xcr0", 0, 0, value)
def vector(v): return item("vector", 0, 0, v)
def error(v): return item("error", 0, 0, v)
def tr(selector): return item("tr", 0, 0, selector)
def ldtr(selector): return item("ldtr", 0, 0, selector)
def iopl(n): return flags(n << 12, 3 << 12)
def block(where, data): return [mem(where + i, len(data[i:i + 8]), int.from_bytes(data[i:i + 8], "little")) for i in range(0, len(data), 8)]


def segment(base, limit, kind, dpl=0, flags_=0, present=1, system=0):
    """A descriptor: kind is the type field (SDM vol. 3, 3.4.5), flags_ bits 55:52 (G D/B L AVL)."""
    return (limit & 0xffff | (base & 0xffffff) << 16 | kind << 40 | (0 if system else 1) << 44 | dpl << 45
            | present << 47 | (limit >> 16 & 15) << 48 | flags_ << 52 | (base >> 24 & 0xff) << 56)


def gate(kind, selector, offset, dpl=0, count=0, present=1):
    """A gate's low 8 bytes (SDM vol. 3, 5.8.3, 6.11)."""
    return offset & 0xffff | selector << 16 | count << 32 | kind << 40 | dpl << 45 | present << 47 | (offset >> 16 & 0xffff) << 48


def descriptor(selector, value, high=None):
    at = GDT + (selector & ~7)
    return [mem(at, 8, value)] + ([mem(at + 8, 8, high)] if high is not None else [])


def idt_entry(mode, v, value, high=0):
    """Sets an IDT gate, 8 or 16 bytes."""
    if mode.long:
        return [mem(IDT + v * 16, 8, value), mem(IDT + v * 16 + 8, 8, high)]
    return [mem(IDT + v * 8, 8, value)]


class Case:
    """`code` is assembly text (Intel syntax) or bytes; `outcome` is what done(), fault() and the like return, a list of
    items in which a callable gets the length of the code. `source` names volume and section."""

    def __init__(self, source, name, mode, ring, code, outcome, sets=(), needs=None, known=False, at=CODE, lacks=None):
        self.source, self.name, self.mode, self.ring, self.code = source, name, mode, ring, code
        self.sets, self.outcome, self.known, self.at = list(sets), list(outcome), known, at
        self.needs, self.want = (needs, 1) if lacks is None else (lacks, 0)

    def title(self):
        return f"{self.mode.name} cpl{self.ring} {self.name} ({self.source})"

    def record(self, code):
        expects = [e(len(code), self.at) if callable(e) else e for e in self.outcome]
        name = self.title().encode()
        leaf, sub, reg, bit = FEATURE[self.needs] if self.needs else (0, 0, 0, 0)
        body = code + b"".join(self.sets) + b"".join(expects) + name
        assert len(code) < 256 and len(self.sets) < 256 and len(expects) < 256
        return struct.pack("<HBBBBBBIIBBBBHH", 24 + len(body), self.mode.number, self.ring, len(code), len(self.sets),
                           len(expects), int(self.known), leaf, sub, reg, bit, self.want, self.needs is not None,
                           len(name), self.at) + body


def sp(mode, value):
    """The stack pointer. IRET to a 16-bit stack leaves the upper half of ESP as it was."""
    return gpr(ESP, value, 0xffff if mode.bits == 16 else ALL64)


# Outcomes.
def done(*more):
    """The code ran to its end."""
    return [vector(BP), lambda n, at: rip(at + n + 1), *more]


def fault(v, code=None, at=0, *more):
    """Exception v with this error code, RIP at byte `at` of the code (-1: not looked at)."""
    out = [vector(v)] + ([error(code)] if code is not None else [])
    return out + ([lambda n, base: rip(base + at)] if at >= 0 else []) + list(more)


def trap(v, at, *more):
    """Exception v with RIP behind byte `at`; at = None: behind the code."""
    return [vector(v), lambda n, base: rip(base + (n if at is None else at)), *more]


def arrived(selector, offset, *more):
    """The code went to selector:offset, where an INT3 stands."""
    return [vector(BP), rip(offset + 1), seg(CS_, selector), *more]


def shutdown():
    return [vector(SHUTDOWN)]
