"""SYSCALL, SYSRET, SYSENTER, SYSEXIT (SDM vol. 2)."""
from manual import *

SYSRETL, SYSRETQ, SYSEXITL, SYSEXITQ = (bytes.fromhex(b) for b in ("0f07", "480f07", "0f35", "480f35"))
SCE = msr(0xc0000080, 1, 1)
STAR, LSTAR, FMASK, SYSENTER_CS, SYSENTER_ESP, SYSENTER_EIP = 0xc0000081, 0xc0000082, 0xc0000084, 0x174, 0x175, 0x176


def star(call, ret):
    return msr(STAR, call << 32 | ret << 48)


def syscall():
    need = "SYSCALL"
    for ring in range(4):
        yield Case("SDM vol. 2 SYSCALL", "SYSCALL with SCE clear", L64, ring, "syscall", fault(UD, None, 0), (), need)
        yield Case("SDM vol. 2 SYSRET", "SYSRET with SCE clear", L64, ring, SYSRETL, fault(UD, None, 0), (), need)
        for selector in (0x98, 0x9b):
            for mask in (0, 0x47700, 0x3f7fd7):
                given = FLAG["CF"] | FLAG["ZF"] | FLAG["DF"] | FLAG["AC"] | FLAG["ID"] | 2
                yield Case("SDM vol. 2 SYSCALL", f"SYSCALL to {selector:#x}, FMASK {mask:#x}", L64, ring, "syscall",
                           arrived(0x98, LANDING, seg(SS_, 0xa0), gpr(ECX, CODE + 2), gpr(11, given), gpr(ESP, STACK[ring]),
                                   flags(given & ~mask | 2, 0x3fffff)),
                           [SCE, star(selector, 0), msr(LSTAR, LANDING), msr(FMASK, mask), flags(given, 0x3c0fd7)], need)
        for wide in (1, 0):
            for image in (2, 0x3f7fd5 | FLAG["RF"] | FLAG["VM"], 0xffffffff & ~FLAG["TF"]):
                code = SYSRETQ if wide else SYSRETL
                cs = 0xb3 if wide else 0x33  # STAR[63:48] + 16, or itself, of RPL 3
                ss = 0xab if wide else 0x3b
                base = 0xa0 if wide else 0x30
                out = arrived(cs, LANDING, seg(SS_, ss), flags(image & 0x3c7ed7 | 2, 0x3dffff)) if ring == 0 else fault(GP, 0, 0)
                yield Case("SDM vol. 2 SYSRET", f"SYSRET{'Q' if wide else ''} with R11 {image:#x}", L64, ring, code, out,
                           [SCE, star(0, base), gpr(ECX, LANDING), gpr(11, image & ~FLAG["TF"])], need)
        yield Case("SDM vol. 2 SYSRET", "SYSRETQ to where is not canonical", L64, ring, SYSRETQ, fault(GP, 0, 0), [SCE, star(0, 0xa0), gpr(ECX, 1 << 47), gpr(11, 2)], need)
        yield Case("SDM vol. 2 SYSRET", "SYSRET takes ECX alone", L64, 0, SYSRETL, arrived(0x33, LANDING), [SCE, star(0, 0x30), gpr(ECX, 0x5500000000 | LANDING), gpr(11, 2)], need) if ring == 0 else \
            Case("SDM vol. 2 SYSCALL", "SYSCALL of ring's own flags", L64, ring, "syscall", arrived(0x98, LANDING), [SCE, star(0x98, 0), msr(LSTAR, LANDING), msr(FMASK, 0)], need)


def sysenter():
    for mode in (REAL, V86, PM16, PM32, PAE, C16, C32, L64):
        for ring in mode.rings:
            sets = lambda cs: [msr(SYSENTER_CS, cs), msr(SYSENTER_ESP, STACK_HANDLER - 0x100), msr(SYSENTER_EIP, LANDING)]
            for cs in (0, 1, 3):
                yield Case("SDM vol. 2 SYSENTER", f"SYSENTER with SYSENTER_CS {cs}", mode, ring, "sysenter", fault(GP, None if mode.real else 0, 0), sets(cs), "SEP")
                yield Case("SDM vol. 2 SYSEXIT", f"SYSEXIT with SYSENTER_CS {cs}", mode, ring, SYSEXITL, fault(GP, None if mode.real else 0, 0), sets(cs), "SEP")
            if mode.real:
                continue
            for rpl in (0, 3):
                cs = (0x98 if mode.long else 0x18) | rpl
                yield Case("SDM vol. 2 SYSENTER", f"SYSENTER to {cs:#x}", mode, ring, "sysenter",
                           arrived(cs & ~3, LANDING, seg(SS_, (cs & ~3) + 8), gpr(ESP, STACK_HANDLER - 0x100), flags(FLAG["CF"] | 2, FLAG["IF"] | FLAG["VM"] | FLAG["RF"] | FLAG["CF"])),
                           sets(cs) + [flags(FLAG["IF"] | FLAG["CF"], FLAG["IF"] | FLAG["CF"])], "SEP")
            for wide in (0, 1) if mode.bits64 else (0,):
                cs = 0x20  # + 16 = 0x30: 32-bit code of ring 3; + 32 = 0x40
                target = cs + (32 if wide else 16) | 3
                out = arrived(target, LANDING, seg(SS_, target + 8), gpr(ESP, STACK[3])) if ring == 0 else fault(GP, 0, 0)
                yield Case("SDM vol. 2 SYSEXIT", f"SYSEXIT{'Q' if wide else ''}", mode, ring, SYSEXITQ if wide else SYSEXITL, out,
                           sets(cs) + [gpr(EDX, LANDING), gpr(ECX, STACK[3])], "SEP")
        if mode.bits64:
            for n, what in ((EDX, "RDX"), (ECX, "RCX")):
                yield Case("SDM vol. 2 SYSEXIT", f"SYSEXITQ with {what} not canonical", mode, 0, SYSEXITQ, fault(GP, 0, 0),
                           [msr(SYSENTER_CS, 0x20), gpr(EDX, LANDING), gpr(ECX, STACK[3]), gpr(n, 1 << 47)], "SEP")


def cases():
    yield from syscall()
    yield from sysenter()
