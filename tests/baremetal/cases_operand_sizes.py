"""Far transfers, returns and loads of far pointers and descriptor tables with the other operand size, in every mode."""
from manual import *


def far_pointer(size, selector, offset=LANDING):
    return block(DATA, offset.to_bytes(size, "little") + selector.to_bytes(2, "little"))


def transfers(mode, ring, cs):
    for size in (2, 4):
        prefix = "" if size * 8 == mode.bits or (size == 4 and mode.bits64) else "66 "
        pointer = far_pointer(size, cs)
        ends = arrived(cs, LANDING)
        address = DATA.to_bytes(4, "little")
        for name, digit, opcode in (("JMP", 5, "ea"), ("CALL", 3, "9a")):
            modrm = {16: bytes([6 | digit << 3]) + address[:2], 32: bytes([5 | digit << 3]) + address, 64: bytes([4 | digit << 3, 0x25]) + address}[mode.bits]
            yield Case(f"SDM vol. 2 {name}", f"{name} m16:{size * 8}", mode, ring, bytes.fromhex(prefix + "ff") + modrm, ends, pointer)
            if not mode.bits64:
                direct = LANDING.to_bytes(size, "little") + cs.to_bytes(2, "little")
                yield Case(f"SDM vol. 2 {name}", f"{name} ptr16:{size * 8}", mode, ring, bytes.fromhex(prefix + opcode) + direct, ends)
        image = b"".join(v.to_bytes(size, "little") for v in (LANDING, cs, 2, STACK[ring], data_sel(32, ring) if mode.bits64 else 0))
        if not mode.v86:
            yield Case("SDM vol. 2 IRET", f"IRET of {size * 8} bits", mode, ring, bytes.fromhex(prefix + "cf"), ends, block(STACK[ring], image))
    if mode.bits64:
        for name, digit in (("JMP", 5), ("CALL", 3)):
            yield Case(f"SDM vol. 2 {name}", f"{name} m16:64", mode, ring, bytes([0x48, 0xff, 4 | digit << 3, 0x25]) + DATA.to_bytes(4, "little"),
                       arrived(cs, LANDING), far_pointer(8, cs))


def loads(mode, ring):
    ss = data_sel(16 if mode.bits == 16 else 32, ring) if mode.protected else 0
    at = f"[{DATA}]"
    for text, size in (("lss cx, dword ptr ", 2), ("lss ecx, fword ptr ", 4)) + ((("rex.w lss ecx, fword ptr ", 8),) if mode.bits64 else ()):
        yield Case("SDM vol. 2 LDS", text.split(",")[0].replace("rex.w lss ecx", "lss rcx"), mode, ring, text + at,
                   done(seg(SS_, ss), gpr(ECX, LANDING, (1 << 8 * size) - 1)), far_pointer(size, ss))
    if mode.protected and ring == 0:
        yield Case("SDM vol. 2 LLDT", "lldt m16", mode, ring, f"lldt word ptr {at}", done(ldtr(SEL_LDT)), [mem(DATA, 2, SEL_LDT)])
        tss = segment(TSS, 0x67, 9, system=1)
        yield Case("SDM vol. 2 LTR", "ltr m16", mode, ring, f"ltr word ptr {at}", done(tr(FREE)),
                   [mem(DATA, 2, FREE)] + descriptor(FREE, tss, 0 if mode.long else None))


def cases():
    for mode in MODES:
        for ring in {mode.rings[0], mode.rings[-1]}:
            cs = 0 if mode.real or mode.v86 else code_sel(mode.bits, ring)
            yield from transfers(mode, ring, cs)
            yield from loads(mode, ring)
