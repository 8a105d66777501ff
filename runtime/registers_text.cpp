#include "runtime/registers_text.h"

#include "frontend/x86/cpuid.h"

#include <cstdarg>
#include <cstdio>

namespace dragoman::runtime {

namespace {

using ull = unsigned long long;

[[gnu::format(printf, 2, 3)]] void append(std::string& text, const char* format, ...) {
    char line[256];
    std::va_list args;
    va_start(args, format);
    std::vsnprintf(line, sizeof line, format, args);
    va_end(args);
    text += line;
}

void segment(std::string& text, const char* name, const ir::Segment& s) {
    append(text, "%-3s=%04x %016llx %08x %04x DPL=%u %s%s\n", name, s.selector, ull(s.base), s.limit,
           s.attributes, (s.attributes & x86::kSegDplMask) >> 5,
           s.attributes & x86::kSegP ? "" : "not present ",
           !(s.attributes & x86::kSegS)   ? "system"
           : s.attributes & x86::kSegCode ? (s.attributes & x86::kSegL    ? "code 64"
                                             : s.attributes & x86::kSegDB ? "code 32"
                                                                          : "code 16")
                                          : "data");
}

// As wide as the processor has them: XMM and YMM registers two to a line.
void vectors(std::string& text, const x86::Cpu& cpu) {
    const bool zmm = cpu.model && cpu.model->has(x86::Feature::Avx512f),
               ymm = cpu.model && cpu.model->has(x86::Feature::Avx);
    const unsigned bytes = zmm ? 64 : ymm ? 32 : 16;
    for (unsigned i = 0; i < (zmm ? 32u : 16u); ++i) {
        append(text, "%s%02u=", zmm ? "ZMM" : ymm ? "YMM" : "XMM", i);
        for (unsigned at = bytes; at; at -= 8) {
            ull part;
            __builtin_memcpy(&part, cpu.vec[i] + at - 8, 8);
            append(text, "%016llx", part);
        }
        text += zmm || i % 2 ? '\n' : ' ';
    }
    for (unsigned i = 0; zmm && i < 8; ++i)
        append(text, "K%u=%016llx%c", i, ull(cpu.opmask[i]), i % 4 == 3 ? '\n' : ' ');
}

} // namespace

std::string describe_registers(const x86::Cpu& cpu) {
    static const char* const names[] = {"RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI",
                                        "R8 ", "R9 ", "R10", "R11", "R12", "R13", "R14", "R15"};
    static const unsigned order[] = {0, 3, 1, 2, 6, 7, 5, 4, 8, 9, 10, 11, 12, 13, 14, 15};
    std::string text;
    for (unsigned i = 0; i < 16; ++i)
        append(text, "%s=%016llx%c", names[order[i]], ull(cpu.gpr[order[i]]), i % 4 == 3 ? '\n' : ' ');
    const u32 flags = cpu.eflags();
    append(text, "RIP=%016llx RFL=%08x [%c%c%c%c%c%c%c] CPL=%u II=%u HLT=%u\n", ull(cpu.rip), flags,
           flags & x86::kDF ? 'D' : '-', flags & ir::kOF ? 'O' : '-', flags & ir::kSF ? 'S' : '-',
           flags & ir::kZF ? 'Z' : '-', flags & ir::kAF ? 'A' : '-', flags & ir::kPF ? 'P' : '-',
           flags & ir::kCF ? 'C' : '-', cpu.cpl, cpu.interrupt_shadow, cpu.halted);
    static const char* const segments[] = {"ES", "CS", "SS", "DS", "FS", "GS"};
    for (unsigned i = 0; i < 6; ++i)
        segment(text, segments[i], cpu.seg[i]);
    segment(text, "LDT", cpu.ldtr);
    segment(text, "TR", cpu.tr);
    append(text, "GDT=     %016llx %08x\nIDT=     %016llx %08x\n", ull(cpu.gdtr.base), cpu.gdtr.limit,
           ull(cpu.idtr.base), cpu.idtr.limit);
    append(text, "CR0=%08llx CR2=%016llx CR3=%016llx CR4=%08llx\n", ull(cpu.cr0), ull(cpu.cr2), ull(cpu.cr3),
           ull(cpu.cr4));
    append(text, "DR0=%016llx DR1=%016llx DR2=%016llx DR3=%016llx\nDR6=%016llx DR7=%016llx\nEFER=%016llx\n",
           ull(cpu.dr[0]), ull(cpu.dr[1]), ull(cpu.dr[2]), ull(cpu.dr[3]), ull(cpu.dr[6]), ull(cpu.dr[7]),
           ull(cpu.efer));
    append(text, "FCW=%04x FSW=%04x FTW=%02x MXCSR=%08x\n", cpu.fpu.control,
           cpu.fpu.status | (cpu.fpu.top & 7) << 11, cpu.fpu.tag, cpu.mxcsr);
    vectors(text, cpu);
    return text;
}

} // namespace dragoman::runtime
