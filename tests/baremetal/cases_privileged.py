"""Instructions that ask for CPL 0 or for CPL <= IOPL, in every mode and at every level."""
from manual import *

# text by width of code, needs PE and not VM, feature. Each runs without effect on what follows where it is allowed.
PRIVILEGED = [
    ("CLTS", "clts", False, None),
    ("INVD", "invd", False, None),
    ("WBINVD", "wbinvd", False, None),
    ("INVLPG", "invlpg [{d}]", False, None),
    ("LMSW r16", "smsw {a}; lmsw ax", False, None),
    ("LMSW m16", "smsw word ptr [{d}]; lmsw [{d}]", False, None),
    ("LGDT", "lgdt [{t}]", False, None),
    ("LIDT", "lidt [{t}]", False, None),
    ("LLDT", "mov eax, 0xc8; lldt ax", True, None),
    ("LLDT null", "xor eax, eax; lldt ax", True, None),
    ("LTR", "mov eax, 0x100; ltr ax", True, None),
    ("MOV r, CR0", "mov {a}, cr0", False, None),
    ("MOV r, CR2", "mov {a}, cr2", False, None),
    ("MOV r, CR3", "mov {a}, cr3", False, None),
    ("MOV r, CR4", "mov {a}, cr4", False, None),
    ("MOV CR2, r", "mov cr2, {a}", False, None),
    ("MOV r, DR0", "mov {a}, dr0", False, None),
    ("MOV r, DR6", "mov {a}, dr6", False, None),
    ("MOV r, DR7", "mov {a}, dr7", False, None),
    ("MOV DR3, r", "xor eax, eax; mov dr3, {a}", False, None),
    ("RDMSR", "mov ecx, 0x174; rdmsr", False, "SEP"),
    ("WRMSR", "mov ecx, 0x174; xor eax, eax; xor edx, edx; wrmsr", False, "SEP"),
]
SOURCE = {"MOV": "SDM vol. 2 MOV Control/Debug Registers", "LMSW": "SDM vol. 2 LMSW"}


def text_for(mode, text):
    return text.format(a="rax" if mode.bits64 else "eax", d=hex(DATA), t=hex(DATA + 0x80))


def fault_offset(text):
    """Where the instruction under test begins: the ones before it only load registers."""
    return -1 if ";" in text else 0


def privileged():
    for name, text, protected_only, feature in PRIVILEGED:
        source = SOURCE.get(name.split()[0], "SDM vol. 2 " + name.split()[0])
        for mode in MODES:
            for ring in mode.rings:
                for level in (0, 3):
                    sets = [iopl(level)]
                    if "[{t}]" in text:
                        base, limit = (GDT, 0x2ff) if name == "LGDT" else (0, 0x3ff) if mode.real else (IDT, 0xfff)
                        sets += [mem(DATA + 0x80, 2, limit), mem(DATA + 0x82, 8, base)]
                    if name == "LTR":
                        sets += descriptor(0x100, segment(0x3000, 0x2068, 9, system=1), 0 if mode.long else None)
                    if name == "WRMSR":
                        sets += [msr(0x174, 0)]
                    if protected_only and not mode.protected:
                        outcome = fault(UD, None, fault_offset(text))
                    elif ring == 0:
                        outcome = done()
                    else:
                        outcome = fault(GP, 0, fault_offset(text) if not name.startswith("LMSW") else -1)
                    yield Case(source, f"{name} IOPL {level}", mode, ring, text_for(mode, text), outcome, sets, feature)


def flags_and_ports():
    a16 = "mov dx, 0x80; "
    ports = [("IN AL, imm8", "in al, 0x80"), ("IN EAX, DX", a16 + "in eax, dx"), ("OUT imm8, AL", "out 0x80, al"),
             ("OUT DX, AX", a16 + "out dx, ax"), ("INSB", a16 + "mov edi, 0xa000; insb"),
             ("OUTSW", a16 + "mov esi, 0xa000; outsw"), ("REP OUTSB", a16 + "mov ecx, 2; mov esi, 0xa000; rep outsb")]
    for mode in MODES:
        for ring in mode.rings:
            for level in range(4):
                allowed = mode.real or (mode.protected and ring <= level)
                for name, text in ports:
                    yield Case("SDM vol. 1, 19.5.1; vol. 2 " + name.split()[0], f"{name} IOPL {level}", mode, ring, text,
                               done() if allowed else fault(GP, 0, -1), [iopl(level)])
                for opened in (False, True):  # ports 0x80 to 0x83 in the I/O permission bitmap
                    if allowed:
                        continue
                    yield Case("SDM vol. 1, 19.5.2", f"OUT 0x80, EAX, IOPL {level}, bitmap {'open' if opened else 'open but for one'}",
                               mode, ring, "out 0x80, eax", done() if opened else fault(GP, 0),
                               [iopl(level), mem(TSS + 0x68 + 16, 1, 0xf0 if opened else 0xf8)])
                for name, text, value in (("CLI", "cli", 0), ("STI", "sti", FLAG["IF"])):
                    ok = mode.real or ring <= level
                    yield Case("SDM vol. 2 " + name, f"{name} IOPL {level}", mode, ring, "sti; cli" if ok and name == "CLI" else text,
                               done(flags(value, FLAG["IF"])) if ok else fault(GP, 0), [iopl(level)])


def timestamp():
    for mode in MODES:
        for ring in mode.rings:
            for tsd in (0, 1):
                ok = not tsd or ring == 0
                for name, feature in (("RDTSC", None), ("RDTSCP", "RDTSCP")):
                    yield Case("SDM vol. 2 " + name, f"{name} CR4.TSD {tsd}", mode, ring, name.lower(),
                               done() if ok else fault(GP, 0), [cr(4, tsd << 2, 4)], feature)
            for pce in (0, 1):
                yield Case("SDM vol. 2 RDPMC", f"RDPMC of no counter, CR4.PCE {pce}", mode, ring, "mov ecx, 0x7fffffff; rdpmc",
                           fault(GP, 0, -1), [cr(4, pce << 8, 0x100)])
            umip = [("SGDT", f"sgdt [{DATA}]"), ("SIDT", f"sidt [{DATA}]"), ("SLDT", "sldt ax"), ("STR", "str ax"), ("SMSW", "smsw ax")]
            for name, text in umip:
                for on in (0, 1):
                    outcome = done()
                    if name in ("SLDT", "STR") and not mode.protected:
                        outcome = fault(UD)
                    elif on and ring > 0:
                        outcome = fault(GP, 0)
                    yield Case("SDM vol. 2 " + name, f"{name} CR4.UMIP {on}", mode, ring, text, outcome,
                               [cr(4, on << 11, 0x800)], "UMIP")


def undefined():
    """Opcodes that are #UD at every level, and those whose mode or feature is missing."""
    everywhere = [("UD2", "ud2"), ("UD1", "ud1 eax, eax"), ("RSM outside SMM", "rsm"), ("MOV CR1", b"\x0f\x22\xc8"),
                  ("MOV CR5", b"\x0f\x22\xe8"), ("MOV r, CR1", b"\x0f\x20\xc8"), ("LEA of a register", b"\x8d\xc0"),
                  ("LGDT of a register", b"\x0f\x01\xd7"), ("SGDT of a register", b"\x0f\x01\xc7"),
                  ("INVLPG of a register (but SWAPGS, RDTSCP)", b"\x0f\x01\xfe"), ("MOV CS, r16", b"\x8e\xc8"),
                  ("MOV to segment register 6", b"\x8e\xf0"), ("MOV to segment register 7", b"\x8e\xf8"),
                  ("MOV from segment register 6", b"\x8c\xf0"), ("Group 4 /7", b"\xfe\xf8"), ("Group 5 /7", b"\xff\xf8"),
                  ("far JMP of a register", b"\xff\xe8"), ("far CALL of a register", b"\xff\xd8"),
                  ("CMPXCHG8B of a register", b"\x0f\xc7\xc8"), ("BOUND/EVEX of nothing valid", b"\x62\xf0\x00\x00"),
                  ("Group 8 /0", b"\x0f\xba\xc0\x00"), ("Group 6 /7", b"\x0f\x00\xf8"), ("POP /1", b"\x8f\xc8"),
                  ("FXSAVE of a register", b"\x0f\xae\xc0"), ("LOCK NOP", b"\xf0\x90")]
    not64 = [("AAA", "37"), ("AAD", "d50a"), ("AAM", "d40a"), ("AAS", "3f"), ("DAA", "27"), ("DAS", "2f"), ("PUSHA", "60"), ("POPA", "61"),
             ("PUSH ES", "06"), ("PUSH CS", "0e"), ("PUSH SS", "16"), ("PUSH DS", "1e"), ("POP ES", "07"), ("POP SS", "17"),
             ("POP DS", "1f"), ("INTO", "ce"), ("SALC", "d6"), ("CALL far direct", "9a0000000000"), ("JMP far direct", "ea0000000000"),
             ("opcode 82", "82c000")]
    for mode in MODES:
        for ring in mode.rings:
            for name, text in everywhere:
                # At CPL 3 the #UD of a MOV CR still comes first (SDM vol. 3, table 6-2: fault from decoding).
                if isinstance(text, bytes) and mode.bits64 and name.startswith("BOUND"):
                    pass
                elif name.startswith("BOUND") and not mode.bits64 and mode.protected is False:
                    continue  # EVEX is not recognized there: BOUND with a register operand, the same #UD
                yield Case("SDM vol. 3, 6.15 Invalid Opcode", name, mode, ring, text, fault(UD))
        for name, text in not64:
            if mode.bits64:
                for ring in mode.rings:
                    yield Case("SDM vol. 2 " + name, name, mode, ring, bytes.fromhex(text), fault(UD))
        for name, text in (("ARPL", "63c0"), ("LAR", "0f02c0"), ("LSL", "0f03c0"), ("VERR", "0f00e0"), ("VERW", "0f00e8"),
                           ("SLDT", "0f00c0"), ("STR", "0f00c8"), ("LLDT", "0f00d0"), ("LTR", "0f00d8")):
            if not mode.protected:
                yield Case("SDM vol. 3, 2.8, 20.1", name + " without protected mode", mode, mode.rings[0], bytes.fromhex(text), fault(UD))
    for mode in MODES:
        if not mode.bits64:
            for ring in mode.rings:
                for name, text in (("SWAPGS", "0f01f8"),):
                    yield Case("SDM vol. 2 " + name, name + " outside 64-bit mode", mode, ring, bytes.fromhex(text), fault(UD))
        else:
            for ring in mode.rings:
                yield Case("SDM vol. 2 SWAPGS", "SWAPGS", mode, ring, "swapgs", done() if ring == 0 else fault(GP, 0))


LOCKABLE = {"add": 0, "or": 0, "adc": 0, "sbb": 0, "and": 0, "sub": 0, "xor": 0}


def lock():
    """LOCK is #UD but on these instructions with a memory destination (SDM vol. 2 LOCK)."""
    d = f"[{DATA}]"
    memory = [f"{op} dword ptr {d}, eax" for op in LOCKABLE] + \
        [f"{op} byte ptr {d}, 1" for op in LOCKABLE] + \
        [f"inc dword ptr {d}", f"dec word ptr {d}", f"not dword ptr {d}", f"neg byte ptr {d}", f"bts dword ptr {d}, 1",
         f"btr dword ptr {d}, eax", f"btc word ptr {d}, 3", f"cmpxchg dword ptr {d}, ecx", f"xadd dword ptr {d}, ecx",
         f"xchg dword ptr {d}, ecx", f"cmpxchg8b {d}"]
    refused = [f"mov dword ptr {d}, eax", f"cmp dword ptr {d}, eax", f"test dword ptr {d}, eax", f"bt dword ptr {d}, eax",
               f"add eax, dword ptr {d}", f"shl dword ptr {d}, 1", f"rol byte ptr {d}, 1", f"push dword ptr {d}", f"lea eax, {d}",
               "add eax, ecx", "inc eax", "xchg eax, ecx", "nop", "xadd eax, ecx", "cmpxchg eax, ecx", "bts eax, ecx", "not eax",
               f"mul dword ptr {d}", f"imul eax, dword ptr {d}", f"movzx eax, byte ptr {d}", "ret", "pushf", "cpuid",
               f"shld dword ptr {d}, eax, 1", f"sete byte ptr {d}", f"fld dword ptr {d}", "int 3", "stosb", "movsb", f"call dword ptr {d}",
               "cli", "hlt", "rdtsc"]
    for mode in (REAL, V86, PM16, PM32, C32, L64):
        for ring in {mode.rings[0], mode.rings[-1]}:
            for text in memory:
                yield Case("SDM vol. 2 LOCK", "LOCK " + text, mode, ring, "lock " + text, done())
            for text in refused:
                if mode.bits64:
                    text = text.replace("push dword", "push qword").replace("call dword", "call qword")
                # the assembler knows better than to write these, so the prefix comes by itself
                yield Case("SDM vol. 2 LOCK", "LOCK " + text, mode, ring, ".byte 0xf0; " + text, fault(UD))


def cases():
    yield from privileged()
    yield from flags_and_ports()
    yield from timestamp()
    yield from undefined()
    yield from lock()
