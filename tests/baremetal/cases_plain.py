"""Instructions that mean something else by mode, by operand and address size, or exist outside 64-bit mode only (SDM vol. 2)."""
from manual import *


def stack_and_loops():
    for mode in MODES:
        ring = mode.rings[-1]
        n = mode.bits // 8
        if not mode.bits64:
            words = [0x10 + i for i in range(8)]
            order = [EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI]
            for size, push, pop in ((2, b"\x60", b"\x61") if mode.bits == 16 else (2, b"\x66\x60", b"\x66\x61"), (4, b"\x66\x60", b"\x66\x61") if mode.bits == 16 else (4, b"\x60", b"\x61")):
                regs = [gpr(r, w) for r, w in zip(order, words) if r != ESP]
                at = STACK[ring] - 8 * size
                pushed = [mem(at + (7 - i) * size, size if r != ESP else 2, STACK[ring] if r == ESP else w) for i, (r, w) in enumerate(zip(order, words))] if ring else []
                yield Case("SDM vol. 2 PUSHA", f"PUSHA of {size} bytes", mode, ring, push, done(sp(mode, at), *pushed), regs)
                yield Case("SDM vol. 2 POPA", f"POPA of {size} bytes", mode, ring, pop, done(*[gpr(r, 0x20 + i, (1 << 8 * size) - 1) for i, r in enumerate(order) if r != ESP], sp(mode, DATA + 8 * size)),
                           [mem(DATA + (7 - i) * size, size, 0x20 + i) for i in range(8)] + [gpr(ESP, DATA)])
        for text, count, taken in (("jcxz", 0, 1), ("jcxz", 0x10000, 1), ("jcxz", 1, 0), ("jecxz", 0, 1), ("jecxz", 0x10000, 0)):
            if mode.bits64 and text == "jcxz":
                continue
            yield Case("SDM vol. 2 Jcc", f"{text} with ECX {count:#x}", mode, ring, f"{text} 1f; inc ebx; 1: nop", done(gpr(EBX, 1 - taken)), [gpr(ECX, count)])
        for op, count, zf, rounds in (("loop", 3, 0, 3), ("loopne", 3, 1, 1), ("loope", 3, 0, 1), ("loop", 1, 0, 1)):
            yield Case("SDM vol. 2 LOOPcc", f"{op} from {count}, ZF {zf}", mode, ring, f"1: lea ebx, [ebx+1]; {op} 1b", done(gpr(EBX, rounds, 0xffff), gpr(ECX, count - rounds)),
                       [gpr(ECX, count), flags(zf * FLAG["ZF"], FLAG["ZF"])])
        yield Case("SDM vol. 2 ENTER", "ENTER 16, 0 and LEAVE", mode, ring, "enter 16, 0; leave", done(sp(mode, STACK[ring]), gpr(EBP, 0x5678, 0xffff)), [gpr(EBP, 0x5678)])
        yield Case("SDM vol. 2 XLAT", "XLATB", mode, ring, "xlatb", done(gpr(EAX, 0x77, 0xff)), [gpr(EBX, DATA), gpr(EAX, 5), mem(DATA + 5, 1, 0x77)])
        yield Case("SDM vol. 2 RDSEED", "RDSEED", mode, ring, "1: rdseed eax; jnc 1b", done(flags(FLAG["CF"], 0x8d5)), (), "RDSEED")
        yield Case("SDM vol. 2 RDRAND", "RDRAND", mode, ring, "1: rdrand eax; jnc 1b", done(flags(FLAG["CF"], 0x8d5)), (), "RDRAND")


def decimal():
    """AAA AAS AAM AAD DAA DAS: SDM vol. 2, each one's Operation and examples."""
    for mode in (REAL, V86, PM16, PM32, C32):
        ring = mode.rings[-1]
        for name, text, ax, f, out, cf in (
                ("DAA", "daa", 0xae, 0, 0x14, 1), ("DAS", "das", 0xee, FLAG["AF"] | FLAG["CF"], 0x88, 1), ("AAA", "aaa", 0x0b, 0, 0x101, 1), ("AAA", "aaa", 0x05, 0, 0x05, 0),
                ("AAS", "aas", 0x2ff, FLAG["AF"], 0x109, 1), ("AAM", "aam", 0x3f, 0, 0x603, None), ("AAD", "aad", 0x603, 0, 0x3f, None)):
            yield Case("SDM vol. 2 " + name, f"{name} of {ax:#x}", mode, ring, text, done(gpr(EAX, out, 0xffff), *([flags(cf, 1)] if cf is not None else [])),
                       [gpr(EAX, ax), flags(f, FLAG["AF"] | FLAG["CF"])])
        yield Case("SDM vol. 2 AAM", "AAM 0", mode, ring, b"\xd4\x00", fault(DE, None, 0))


def sizes():
    """Operand and address size prefixes in each width of code (SDM vol. 1, 3.6)."""
    for mode in MODES:
        ring = mode.rings[-1]
        fill = [mem(DATA, 8, 0x8877665544332211), gpr(EBX, DATA), gpr(ESI, DATA), gpr(EDI, DATA + 0x100)]
        for text, bits_, value in (("mov ax, [ebx]", 16, 0x2211), ("mov eax, [ebx]", 32, 0x44332211), ("movzx eax, byte ptr [ebx+1]", 32, 0x22), ("movsx eax, byte ptr [ebx+7]", 32, 0xffffff88),
                                   ("mov al, [ebx+2]", 8, 0x33), ("mov ah, [ebx+3]; movzx eax, ah", 32, 0x44), ("mov eax, [ebx+esi-0xa000]", 32, 0x44332211)):
            yield Case("SDM vol. 1, 3.6", text, mode, ring, text, done(gpr(EAX, value, (1 << bits_) - 1)), fill)
        if not mode.bits64:
            yield Case("SDM vol. 1, 3.6", "16-bit addressing wraps", mode, ring, "mov ax, [bx+si]", done(gpr(EAX, 0x2211, 0xffff)), fill[:1] + [gpr(EBX, 0xf000), gpr(ESI, 0xb000)])
            for text, value in (("mov al, [bp+di]", 0x11), ("mov al, [bx+3]", 0x44), ("mov al, [si+1]", 0x22), ("lea ax, [bp+si+5]", 0x05)):
                yield Case("SDM vol. 2, table 2-1", text, mode, ring, text, done(gpr(EAX, value, 0xff)), fill[:1] + [gpr(EBP, 0x5000), gpr(EDI, 0x5000), gpr(EBX, DATA), gpr(ESI, 0xa000 if "bp+si" not in text else 0xb000)])
        for text, di, ax in (("cld; movsb; movsw; movsd", 7, None), ("std; movsb", -1, None), ("cld; lodsb", 0, 0x11), ("cld; lodsw", 0, 0x2211), ("cld; stosd", 4, None), ("cld; scasb", 1, None),
                             ("mov ecx, 4; cld; rep movsw", 8, None), ("mov ecx, 3; cld; rep stosb", 3, None), ("mov ecx, 9; cld; repne scasb", 1, None)):
            yield Case("SDM vol. 2", text, mode, ring, text, done(gpr(EDI, DATA + 0x100 + di), *([gpr(EAX, ax, 0xff)] if ax else []), flags(FLAG["DF"] if "std" in text else 0, FLAG["DF"])), fill)
        yield Case("SDM vol. 2 CBW", "CBW, CWDE, CWD, CDQ", mode, ring, "cbw; cwde; cdq; cwd", done(gpr(EAX, 0xffffff80), gpr(EDX, 0xffffffff)), [gpr(EAX, 0x80), gpr(EDX, 0)])
        yield Case("SDM vol. 2 BSWAP", "BSWAP", mode, ring, "bswap eax", done(gpr(EAX, 0x44332211)), [gpr(EAX, 0x11223344)])
        for op in ("mul ecx", "imul ecx", "imul eax, ecx", "imul eax, ecx, 7"):
            value = 6 * 7
            yield Case("SDM vol. 2 MUL, IMUL", op, mode, ring, op, done(gpr(EAX, value)), [gpr(EAX, 6), gpr(ECX, 7 if "7" not in op else 6)])
        for text in ("div ecx", "idiv ecx", "div cl", "idiv cx"):
            yield Case("SDM vol. 2 DIV, IDIV", f"{text} by 0", mode, ring, text, fault(DE, None, 0, gpr(EAX, 9)), [gpr(EAX, 9), gpr(EDX, 0), gpr(ECX, 0)])
            yield Case("SDM vol. 2 DIV, IDIV", f"{text} overflows", mode, ring, text, fault(DE, None, 0), [gpr(EAX, 0x80000000 if "ecx" in text else 0x8000), gpr(EDX, 0xffff8000 if "ecx" not in text else 0x80000000), gpr(ECX, 1)])


def cases():
    for part in (stack_and_loops, decimal, sizes):
        yield from part()
