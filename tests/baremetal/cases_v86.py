"""Virtual-8086 mode extensions and protected-mode virtual interrupts (SDM vol. 3, 20.3, 20.4)."""
from manual import *

VME, PVI = [cr(4, 1, 1)], [cr(4, 2, 2)]
VIF, VIP, IF = FLAG["VIF"], FLAG["VIP"], FLAG["IF"]
# The redirection bitmap: the 32 bytes below the I/O permission bitmap.
MAP = TSS + 0x68
SPACE = [mem(TSS + 0x66, 2, 0x88)]


def at_level(level, *more):
    return [iopl(level), *more]


def cases():
    for level in range(4):
        for vif in (0, VIF):
            for vip in (0, VIP):
                if vif and vip:
                    continue  # whether that may be at the beginning of an instruction at all is told nowhere clearly
                start = at_level(level, flags(vif | vip, VIF | VIP))
                title = f"IOPL {level} VIF {bool(vif):d} VIP {bool(vip):d}"
                # CLI and STI work on VIF below IOPL 3; a pending interrupt makes STI fault.
                yield Case("SDM vol. 2 CLI", f"CLI with VME, {title}", V86, 3, "cli", done(flags(vif if level == 3 else 0, VIF | IF)), VME + start)
                out = done(flags(IF | vif, VIF | IF)) if level == 3 else fault(GP, 0, 0) if vip else done(flags(VIF, VIF | IF))
                yield Case("SDM vol. 2 STI", f"STI with VME, {title}", V86, 3, "sti", out, VME + start)
                for mode in (PM16, PM32, C32, L64):
                    yield Case("SDM vol. 2 CLI", f"CLI with PVI, {title}", mode, 3, "cli", done(flags(vif if level == 3 else 0, VIF | IF)), PVI + start)
                    yield Case("SDM vol. 2 STI", f"STI with PVI, {title}", mode, 3, "sti", out, PVI + start)
                # PUSHF shows VIF as IF, and IOPL 3.
                image = (IF if vif and level < 3 else 0) | 3 << 12 | 2
                yield Case("SDM vol. 2 PUSHF", f"PUSHF with VME, {title}", V86, 3, "pushf; pop ax", done(gpr(EAX, image, 0xffff)), VME + start + [flags(0, 0x8d5)])
                yield Case("SDM vol. 2 PUSHF", f"PUSHFD with VME, {title}", V86, 3, "pushfd", done() if level == 3 else fault(GP, 0, 0), VME + start)
                for bits, what in ((0x202, "IF"), (0x002, "nothing"), (0x102, "TF")):
                    if bits & 0x100 and level == 3:
                        continue
                    if level == 3:
                        out = done(flags((IF if bits & IF else 0) | vif, VIF | IF))
                    elif bits & 0x100 or (bits & IF and vip):
                        out = fault(GP, 0, -1)
                    else:
                        out = done(flags(VIF if bits & IF else 0, VIF | IF))
                    yield Case("SDM vol. 2 POPF", f"POPF of {what} with VME, {title}", V86, 3, f"push {bits:#x}; popf", out, VME + start)
                    if not bits & 0x100:
                        result = arrived(0, LANDING, *[o for o in out if not callable(o) and o[0] == KINDS.index("flags")]) if out[0] == vector(BP) else fault(GP, 0, -1)
                        yield Case("SDM vol. 2 IRET", f"IRET of {what} with VME, {title}", V86, 3, f"push {bits:#x}; push 0; push {LANDING:#x}; iret", result, VME + start)
        # INT n by the redirection bitmap.
        for redirected in (1, 0):
            sets = VME + SPACE + at_level(level, flags(VIF, VIF)) + [mem(MAP + 8, 1, 0 if redirected else 1), mem(0x40 * 4, 4, LANDING), mem(IDT + 0x40 * 8, 8, 3 << 45, 3 << 45)]
            if redirected:
                image = 2 | (level << 12 if level == 3 else 3 << 12 | IF)
                out = arrived(0, LANDING, gpr(ESP, STACK[3] - 6, 0xffff), mem(STACK[3] - 2, 2, image), mem(STACK[3] - 4, 2, 0), mem(STACK[3] - 6, 2, CODE + 2),
                              flags(VIF if level == 3 else 0, VIF | IF))
            else:
                out = trap(0x40, 2) if level == 3 else fault(GP, 0, 0)
            yield Case("SDM vol. 3, 20.3.3", f"INT 0x40 with VME, bit {'clear' if redirected else 'set'}, IOPL {level}", V86, 3, "int 0x40", out, sets)
        for text in ("cli", "sti", "pushf", "popf", "iret", "int 0x40"):
            yield Case("SDM vol. 3, 20.2.7", f"{text} without VME, IOPL {level}", V86, 3, text, fault(GP, 0, 0) if level < 3 else
                       fault(GP, 0x202, 0) if text == "int 0x40" else done() if text not in ("iret",) else arrived(0, LANDING),
                       at_level(level) + [mem(STACK[3], 2, LANDING), mem(STACK[3] + 2, 2, 0 if text == "iret" else 2), mem(STACK[3] + 4, 2, 2)] if text == "iret" else
                       at_level(level) + [mem(STACK[3], 2, 2)])
        yield Case("SDM vol. 3, 20.2.7", f"INT3 in virtual-8086 mode asks no IOPL {level}", V86, 3, "int3", trap(BP, 1), at_level(level))
