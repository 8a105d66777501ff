"""Interrupts and what holds them off, faults within faults (SDM vol. 3, 6.7 to 6.15)."""
from manual import *

SELF, SELF_NMI = 0x00044030, 0x00004400  # ICR: to self, vector 0x30; NMI to APIC 0 (10-3: not by the shorthand)


def ipi(mode, value):
    at = APIC_WINDOW if mode.paged else APIC
    return f"mov dword ptr [{at + 0x300}], {value:#x}"


def interrupts():
    """An interrupt pending at the local APIC, sent by the processor to itself."""
    for mode in (PM32, PG32, PAE, C32, L64):
        n = lambda text: f"{ipi(mode, SELF)}; {text}"
        got = lambda at, *more: [vector(0x30), lambda k, b: rip(b + k - at), *more]
        a = "eax"
        yield Case("SDM vol. 3, 6.8.1", "IF clear holds an interrupt off", mode, 0, n("mov ecx, 100; 1: dec ecx; jnz 1b; sti; nop"), got(0, gpr(ECX, 0)))
        yield Case("SDM vol. 2 STI", "STI shadows one instruction", mode, 0, n("sti; inc ebx; inc ebx"), got(2 if mode.bits64 else 1, gpr(EBX, 1)))
        yield Case("SDM vol. 2 STI", "STI; CLI takes none", mode, 0, n("sti; cli; nop; nop; mov eax, 5; sti; nop; nop"), got(1, gpr(EAX, 5)))
        yield Case("SDM vol. 2 MOV", "MOV SS shadows one instruction", mode, 0, n(f"mov eax, {data_sel(32, 0)}; push 0x202; {'popfq' if mode.bits64 else 'popfd'}; nop"), got(1))
        yield Case("SDM vol. 2 HLT", "HLT ends by an interrupt, behind it", mode, 0, n("sti; hlt; nop"), got(1))
        yield Case("SDM vol. 3, 10.8.3.1", "the TPR holds an interrupt of its class off", mode, 0,
                   f"mov dword ptr [{(APIC_WINDOW if mode.paged else APIC) + 0x80}], 0x30; {n('sti; nop; nop; nop; cli')}; mov dword ptr [{(APIC_WINDOW if mode.paged else APIC) + 0x80}], 0x20; sti; nop; nop", got(1))
        if mode.bits64:
            yield Case("SDM vol. 3, 10.8.6", "CR8 holds an interrupt of its class off", mode, 0, f"mov eax, 3; mov cr8, rax; {n('sti; nop; nop; cli')}; xor eax, eax; mov cr8, rax; sti; nop; nop", got(1))
        nmi = ipi(mode, SELF_NMI)
        yield Case("SDM vol. 3, 6.7", "an NMI does not ask IF", mode, 0, f"{nmi}; 1: inc eax; cmp eax, 100000; jne 1b", [vector(2)])
        yield Case("SDM vol. 2 HLT", "HLT ends by an NMI", mode, 0, f"{nmi}; hlt; nop", [vector(2)])
        for ring in (3,):
            yield Case("SDM vol. 3, 6.12", "an interrupt at CPL 3", mode, 3, f"{ipi(mode, SELF)}; 1: inc eax; jmp 1b" if not mode.paged else "nop", [vector(0x30), seg(CS_, code_sel(mode.bits, 3))] if not mode.paged else done(),
                       [flags(FLAG["IF"], FLAG["IF"])])


def nested():
    """A fault while another is delivered (SDM vol. 3, table 6-5)."""
    contributory = {"#DE": ("xor ecx, ecx; div ecx", DE), "#NP": ("mov ds, ax", NP), "#GP": ("mov ds, bx", GP), "#SS": ("mov ss, ax", SS), "#UD": ("ud2", UD), "#BR": ("bound eax, [edi]", BR)}
    for mode in (PM32, PG32, PAE, L64):
        size = 16 if mode.long else 8
        for name, (text, v) in contributory.items():
            if name == "#BR" and mode.bits64:
                continue
            base = descriptor(FREE, segment(0, 0xfffff, 2, 0, 0xc, 0)) + [gpr(EAX, FREE), gpr(EBX, 0x300), gpr(EDI, DATA), mem(DATA, 4, 0x1000), mem(DATA + 4, 4, 0x2000)]
            absent = [mem(IDT + v * size, 8, 0, 1 << 47)]
            benign = v in (UD, BR)
            error_ = v * 8 + 2 + 1
            # The gate of the first is absent: #NP while delivering it.
            out = [vector(NP), error(error_)] if benign else [vector(DF), error(0)]
            yield Case("SDM vol. 3, 6.15 Double Fault", f"{name} whose gate is absent", mode, 0, text, out, base + absent)
            yield Case("SDM vol. 3, 6.15 Double Fault", f"{name} and #DF whose gates are absent", mode, 0, text, shutdown() if not benign else [vector(NP), error(error_)],
                       base + absent + [mem(IDT + 8 * size, 8, 0, 1 << 47)])
        if mode.paged:
            hole = [gpr(EDI, 0x600000)]
            yield Case("SDM vol. 3, table 6-5", "#PF whose gate is absent", mode, 0, "mov eax, [edi]" if not mode.bits64 else "mov eax, [rdi]", [vector(DF), error(0)],
                       hole + [mem(IDT + PF * size, 8, 0, 1 << 47)])
    for mode in (PM32, L64, REAL):
        yield Case("SDM vol. 3, 6.15", "an IDT of limit 0 ends in shutdown", mode, 0, f"lidt [{DATA}]; ud2", shutdown())
    for ring in (0, 3):
        yield Case("SDM vol. 3, 6.15", "#UD with a bad stack in the TSS", PM32, 3, "ud2", [vector(DF), error(0)],
                   [mem(TSS + 8, 2, 0)]) if ring else Case("SDM vol. 3, 6.14.5", "#DF on its own stack, RSP not canonical", L64, 0, "ud2", [vector(DF), error(0), gpr(ESP, 0x800000000000)], [gpr(ESP, 0x800000000000)])


def cases():
    for part in (interrupts, nested):
        yield from part()
