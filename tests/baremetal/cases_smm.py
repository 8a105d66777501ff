"""System management mode by a write to the APM control port: what the handler sees, what RSM brings back (SDM vol. 3, 34; APM vol. 2, 10;
PIIX4 data sheet 290562: DEVACTB, GLBCTL; 440FX data sheet 290549: SMRAM)."""
from manual import *

BASE = 0x30000  # SMBASE after reset
HANDLER, AREA = BASE + 0x8000, BASE
PM = 0xb000


def config(function, register, value, size=4):
    out = {4: "out dx, eax", 1: "out dx, al"}[size]
    return f"mov eax, {0x80000000 | function << 8 | register & 0xfc:#x}; mov edx, 0xcf8; out dx, eax; mov eax, {value:#x}; mov edx, {0xcfc + (register & 3):#x}; {out}; "


# PMBASE, PMIOSE, APMC_EN, SMI_EN
CHIPS = config(0x0b, 0x40, PM) + config(0x0b, 0x80, 1, 1) + config(0x0b, 0x58, 1 << 25) + f"mov eax, 1; mov edx, {PM + 0x28:#x}; out dx, eax; "
SMI = "mov eax, 0x12345678; out 0xb2, al; "
RSM = "0faa"


def store(at, value):
    """mov dword ptr [at], value, in the handler's 16-bit code."""
    return "6766c705" + at.to_bytes(4, "little").hex() + (value & 0xffffffff).to_bytes(4, "little").hex()


SEE_CR0 = "0f20c0" + "66a304a0"  # mov eax, cr0; mov [0xa004], eax
SEE_CR4 = "0f20e0" + "66a308a0"
SEE_CS = "8cc8" + "a30ca0"
SEE_DR7 = "0f21f8" + "66a310a0"
MARK = store(DATA, 0x534d4d21)


def handler(text, at=HANDLER):
    return block(at, bytes.fromhex(text))


def cases():
    source = "SDM vol. 3, 34.5, 34.15"
    for mode in (REAL, PM16, PM32, PG32, PAE, C16, C32, L64):
        for ring in mode.rings:
            sets = [iopl(3)]
            cs = 0 if mode.real else code_sel(mode.bits, ring)
            keep = [gpr(EBX, 0x11112222), gpr(ESI, 0x33334444), gpr(EBP, 0x55556666), seg(CS_, cs), sp(mode, STACK[ring]), gpr(EAX, 0x12345678)]
            if mode.bits64:
                keep += [gpr(8, 0x1234567890abcdef), gpr(15, ALL64)]
            given = keep[:3] + (keep[-2:] if mode.bits64 else [])
            yield Case(source, "an SMI and RSM change nothing", mode, ring, CHIPS + SMI + "nop; nop", done(mem(DATA, 4, 0x534d4d21), *keep),
                       sets + given + handler(MARK + RSM))
            yield Case(source, "what the handler begins with", mode, ring, CHIPS + SMI + "nop; nop",
                       done(mem(DATA + 4, 4, 0, 0x8000000d), mem(DATA + 8, 4, 0), mem(DATA + 12, 2, BASE >> 4), mem(DATA + 16, 4, 0x400), *keep),
                       sets + given + [mem(DATA, 8, ALL64), mem(DATA + 8, 8, ALL64), mem(DATA + 16, 8, ALL64)] + handler(SEE_CR0 + SEE_CR4 + SEE_CS + SEE_DR7 + RSM))
            size = 8 if mode.bits64 else 4
            area = [mem(AREA + 0xfff8, 4, 0x12345678), mem(AREA + 0xffe0, 4, 0x11112222), mem(AREA + 0xfefc, 4, 0x30064, 0x3ffff), mem(AREA + 0xff00, 4, BASE),
                    mem(AREA + 0xfe10, 2, cs), mem(AREA + 0xff70, 2, 2 | 3 << 12, 0x7ed7), mem(AREA + 0xff58, 4, 0x30 if mode.real else 0x31 | (1 << 31 if mode.paged else 0)),
                    mem(AREA + 0xff50, 4, TABLES) if mode.paged else mem(AREA + 0xff50, 4, 0, 0), mem(AREA + 0xff48, 4, 0x20 if mode.wide_paging else 0),
                    mem(AREA + 0xfed0, 4, 0x500 if mode.long else 0), mem(AREA + 0xff78, 4, 0, 0)]
            yield Case("APM vol. 2, table 10-1", "the state save area", mode, ring, CHIPS + SMI + "nop; nop", done(*area), sets + given + handler(RSM))
            yield Case(source, "RSM takes registers from the area", mode, ring, CHIPS + SMI + "nop; nop", done(gpr(EAX, 0x0badcafe), gpr(EBX, 0x600d600d)),
                       sets + handler(store(AREA + 0xfff8, 0x0badcafe) + store(AREA + 0xffe0, 0x600d600d) + RSM))
            yield Case(source, "RSM takes RIP from the area", mode, ring, CHIPS + SMI + "nop; nop", arrived(cs, LANDING), sets + handler(store(AREA + 0xff78, LANDING) + RSM))
            yield Case(source, "SMBASE moves", mode, ring, CHIPS + SMI + "mov ecx, 7; out 0xb2, al; nop; nop", done(mem(DATA, 4, 0x534d4d21), mem(DATA + 4, 4, 0x22), gpr(ECX, 7)),
                       sets + handler(MARK + store(AREA + 0xff00, 0x48000) + RSM) + handler(store(DATA + 4, 0x22) + store(0x48000 + 0xff00, BASE) + RSM, 0x48000 + 0x8000))
            # The first time the handler asks for the instruction again.
            once = "6667ff05" + DATA.to_bytes(4, "little").hex() + "67803d" + DATA.to_bytes(4, "little").hex() + "017508" + "67c605" + (AREA + 0xfec8).to_bytes(4, "little").hex() + "ff" + RSM
            restart = "SDM vol. 3, 34.12; APM vol. 2, 10.3.5"
            yield Case(restart, "an OUT is restarted", mode, ring, CHIPS + SMI + "nop; nop", done(mem(DATA, 4, 2), mem(AREA + 0xfec0, 4, 0xb20012, 0xffff007f), gpr(EAX, 0x12345678)),
                       sets + [mem(DATA, 4, 0)] + handler(once))
            yield Case(restart, "one element of REP OUTSB is restarted", mode, ring, CHIPS + f"mov dx, 0xb2; mov esi, {DATA + 0x100}; mov ecx, 3; cld; rep outsb; nop",
                       done(mem(DATA, 4, 4), mem(AREA + 0xfec0, 4, 0xb2001e, 0xffff007f), gpr(ECX, 0), gpr(ESI, DATA + 0x103)), sets + [mem(DATA, 4, 0)] + handler(once))
            yield Case("PIIX4, APMC_EN", "no SMI without APMC_EN", mode, ring, CHIPS + config(0x0b, 0x58, 0) + SMI + "nop; nop", done(mem(DATA, 4, 0)), sets + handler(MARK + RSM))
            yield Case("PIIX4, GLBCTL", "no SMI without SMI_EN", mode, ring, CHIPS + f"xor eax, eax; mov edx, {PM + 0x28:#x}; out dx, eax; " + SMI + "nop; nop", done(mem(DATA, 4, 0)),
                       sets + handler(MARK + RSM))
            if ring == 0:
                for what, at, value in (("CR4 with a reserved bit", 0xff48, 1 << 31), ("CR0 with PG and not PE", 0xff58, 0x80000010), ("CR0 with NW and not CD", 0xff58, 0x20000011)):
                    yield Case("SDM vol. 3, 34.4.1", f"RSM of {what} ends in shutdown", mode, ring, CHIPS + SMI + "nop; nop", shutdown(), sets + handler(store(AREA + at, value) + RSM))
            yield Case(source, "an INT3 in the handler is the handler's", mode, ring, CHIPS + SMI + "nop", done(mem(DATA, 4, 0x534d4d21)), sets + handler("90" + MARK + RSM))
    # SMRAM: open, filled, closed; then seen by the handler alone.
    for mode in (PM32, L64):
        smram = lambda value: config(0, 0x72, value, 1)
        a = "rdi" if mode.bits64 else "edi"
        code = CHIPS + smram(0x4a) + f"mov edi, 0xa8000; mov esi, {DATA + 0x100}; mov ecx, 64; cld; rep movsb; " + smram(0x0a)
        move = store(AREA + 0xff00, 0xa0000) + RSM
        back = store(0xa0000 + 0xff00, BASE) + MARK + RSM
        sets = block(DATA + 0x100, bytes.fromhex(back)) + handler(move)
        yield Case("440FX, SMRAM", "a handler in SMRAM", mode, 0, code + "out 0xb2, al; nop; out 0xb2, al; nop; nop", done(mem(DATA, 4, 0x534d4d21)), sets)
        yield Case("440FX, SMRAM", "closed SMRAM does not show", mode, 0, code + "mov ebx, [0xa8000]; nop", done(gpr(EBX, ALL64, 0xffff) if mode is PM32 else gpr(EBX, 0, 0)), sets)
        yield Case("440FX, SMRAM", "open SMRAM shows", mode, 0, code + smram(0x4a) + "mov ebx, [0xa8000]; " + smram(0x02), done(gpr(EBX, int.from_bytes(bytes.fromhex(back)[:4], "little"))), sets)
