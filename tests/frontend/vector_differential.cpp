#include "vector_differential.h"
#include "host_processor.h"

#include "frontend/x86/mode.h"
#include "frontend/x86/x87_ops.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>

namespace dragoman::test {

using namespace x86;

namespace {

// Between the area and the guest's state.
void load(Cpu& cpu, const FxArea& fx, const VectorRegisters& vectors) {
    cpu.mxcsr = fx.mxcsr;
    std::memset(cpu.vec, 0, sizeof cpu.vec);
    for (unsigned i = 0; i < (host_has_avx512() ? 32 : 16); ++i)
        std::memcpy(cpu.vec[i], vectors.vec[i], host_has_avx512() ? 64 : 32);
    std::memcpy(cpu.opmask, vectors.opmask, sizeof cpu.opmask);
    cpu.fpu = {};
    cpu.fpu.control = fx.control;
    cpu.fpu.tag = fx.tag;
    cpu.fpu.opcode = fx.opcode;
    cpu.fpu.ip = fx.ip;
    cpu.fpu.dp = fx.dp;
    for (unsigned i = 0; i < 8; ++i)
        std::memcpy(cpu.fpu.st[i], fx.st[i], 10);
    set_status_word(cpu.fpu, fx.status);
}
FxArea stored(const Cpu& cpu) {
    FxArea fx;
    fx.mxcsr = cpu.mxcsr;
    for (unsigned i = 0; i < 16; ++i)
        std::memcpy(fx.xmm[i], cpu.vec[i], 16);
    fx.control = cpu.fpu.control;
    fx.status = status_word(cpu.fpu);
    fx.tag = cpu.fpu.tag;
    fx.opcode = cpu.fpu.opcode;
    fx.ip = cpu.fpu.ip;
    fx.dp = cpu.fpu.dp;
    for (unsigned i = 0; i < 8; ++i)
        std::memcpy(fx.st[i], cpu.fpu.st[i], 10);
    return fx;
}

class Report {
  public:
    void line(const char* name, unsigned number, const u8* before, const u8* host, const u8* ours,
              unsigned bytes) {
        if (!std::memcmp(host, ours, bytes)) {
            if (!std::memcmp(before, ours, bytes) && bytes > 8) return;
        } else {
            differs = true;
        }
        char head[32];
        std::snprintf(head, sizeof head, "  %s%u", name, number);
        text += head;
        for (const u8* v : {before, host, ours}) {
            text += v == before ? "  before " : v == host ? "  host " : "  ours ";
            for (unsigned n = bytes; n-- > 0;) {
                char hex[4];
                std::snprintf(hex, sizeof hex, "%02x", v[n]);
                text += hex;
            }
        }
        text += std::memcmp(host, ours, bytes) ? "  <--\n" : "\n";
    }
    template <class T> void value(const char* name, unsigned number, T before, T host, T ours) {
        line(name, number, reinterpret_cast<const u8*>(&before), reinterpret_cast<const u8*>(&host),
             reinterpret_cast<const u8*>(&ours), sizeof(T));
    }

    std::string text;
    bool differs = false;
};

} // namespace

std::string compare_vector(Machine& machine, Native& native, const VectorCase& c) {
    UserState host = c.plain.before;
    FxArea host_fx = c.fx;
    host.fx = reinterpret_cast<u8*>(&host_fx);
    VectorRegisters host_vectors = c.vectors;
    static const bool host_has_avx = __builtin_cpu_supports("avx");
    if (host_has_avx) host.vectors = &host_vectors;
    std::memcpy(native.data(), c.plain.data.data(), c.plain.data.size());
    const NativeResult result = native.run(c.plain.code, host);

    Cpu& cpu = machine.cpu();
    u8* guest_data = machine.ram() + Native::data_base;
    std::memcpy(guest_data, c.plain.data.data(), c.plain.data.size());
    std::memcpy(cpu.gpr, c.plain.before.gpr, sizeof cpu.gpr);
    cpu.rip = c.plain.before.rip;
    cpu.flags = ir::Flags(c.plain.before.flags) & ir::kAllFlags;
    cpu.direction_flag = 0;
    load(cpu, c.fx, c.vectors);
    cpu.cr4 |= kCr4OSXSAVE;
    cpu.xcr0 = kX87State | kSseState | kAvxState | (host_has_avx512() ? u64{kAvx512States} : 0);
    update_key(cpu);
    const ir::Exit exit = machine.run(c.plain.code);
    if (host_is_amd()) {
        const auto names = [&](const char* part) { return c.plain.text.find(part) != std::string::npos; };
        // What a mask looks like when an element has faulted; and SHA takes what is not aligned.
        const bool gp = exit == ir::Exit::Fault && cpu.fault.vector == kGP;
        if ((result.faulted && names("gather")) || (!result.faulted && gp && names(" sha"))) return "";
        // VREDUCE keeps a denormal remainder where FTZ is set; a store that faults has set nothing in MXCSR.
        if (names("vreduce") && c.fx.mxcsr & 0x8000) return "";
        if (result.faulted && names("vcvtps2ph")) return "";
        if (names("save")) // MXCSR_MASK has one bit more, MM (APM vol. 2, 11.4.4)
            for (u8* data : {native.data(), guest_data})
                data[c.plain.before.gpr[7] - Native::data_base + 30] &= u8(~2);
    }
    FxArea our_fx = stored(cpu);
    // How much of a compacted area is loaded before its MXCSR is found to be wrong is the processor's own
    // affair.
    const bool midway =
        c.stops_midway && result.faulted && exit == ir::Exit::Fault && result.vector == cpu.fault.vector;
    if (midway) our_fx = host_fx;
    // With an unmasked overflow or underflow PE tells of a result with any exponent, which nobody computes
    // here.
    constexpr u32 overflow_underflow = 0x18, precision = 0x20;
    if (result.vector == kXM && (host_fx.mxcsr & ~(host_fx.mxcsr >> 7) & overflow_underflow))
        our_fx.mxcsr = (our_fx.mxcsr & ~precision) | (host_fx.mxcsr & precision);
    // Those of several steps stop at the first that raises.
    if (result.vector == kXM && (c.plain.text.find("dpp") != std::string::npos)) our_fx.mxcsr = host_fx.mxcsr;

    if (!host_tells_x87_pointers(host_fx.control, host_fx.status))
        our_fx.opcode = host_fx.opcode, our_fx.ip = host_fx.ip, our_fx.dp = host_fx.dp;

    Report r;
    const unsigned host_end = result.faulted ? result.vector : ~0u;
    const unsigned our_end = exit == ir::Exit::Fault ? cpu.fault.vector : ~0u;
    r.value("end", 0, ~0u, host_end, our_end);
    r.value("rip", 0, c.plain.before.rip, host.rip, cpu.rip);
    r.value("flags", 0, u32(c.plain.before.flags & ir::kAllFlags), u32(host.flags & ir::kAllFlags),
            u32(cpu.flags & ir::kAllFlags));
    for (unsigned i = 0; i < 16; ++i)
        if (host.gpr[i] != cpu.gpr[i] || host.gpr[i] != c.plain.before.gpr[i])
            r.value("gpr", i, c.plain.before.gpr[i], host.gpr[i], cpu.gpr[i]);
    r.value("mxcsr", 0, c.fx.mxcsr, host_fx.mxcsr, our_fx.mxcsr);
    r.value("fcw", 0, c.fx.control, host_fx.control, our_fx.control);
    r.value("fsw", 0, c.fx.status, host_fx.status, our_fx.status);
    r.value("ftw", 0, c.fx.tag, host_fx.tag, our_fx.tag);
    r.value("fop", 0, c.fx.opcode, host_fx.opcode, our_fx.opcode);
    r.value("fip", 0, c.fx.ip, host_fx.ip, our_fx.ip);
    r.value("fdp", 0, c.fx.dp, host_fx.dp, our_fx.dp);
    for (unsigned i = 0; i < 8; ++i)
        r.line("st", i, c.fx.st[i], host_fx.st[i], our_fx.st[i], 10);
    for (unsigned i = 0; i < 16; ++i)
        r.line("xmm", i, c.fx.xmm[i], host_fx.xmm[i], our_fx.xmm[i], 16);
    for (unsigned i = 0; i < 16 && !midway; ++i)
        r.line("ymm high", i, c.vectors.vec[i] + 16, host_vectors.vec[i] + 16, cpu.vec[i] + 16, 16);
    for (unsigned i = 0; i < 32 && host_has_avx512() && !midway; ++i) {
        const unsigned from = i < 16 ? 32 : 0;
        r.line(i < 16 ? "zmm high" : "zmm", i, c.vectors.vec[i] + from, host_vectors.vec[i] + from,
               cpu.vec[i] + from, 64 - from);
    }
    for (unsigned i = 0; i < 8 && host_has_avx512() && !midway; ++i)
        if (host_vectors.opmask[i] != cpu.opmask[i] || cpu.opmask[i] != c.vectors.opmask[i] ||
            c.plain.text.find('k') != std::string::npos)
            r.value("k", i, c.vectors.opmask[i], host_vectors.opmask[i], cpu.opmask[i]);
    const u64 at = (c.plain.before.gpr[7] - Native::data_base) & ~u64{15};
    for (unsigned n = 0; n < 9 && at + 16 * n < Native::data_bytes; ++n)
        r.line("memory", n, &c.plain.data[at + 16 * n], native.data() + at + 16 * n, guest_data + at + 16 * n,
               16);
    if (!r.differs && std::memcmp(native.data(), guest_data, c.plain.data.size())) {
        r.differs = true;
        r.text += "  memory elsewhere\n";
    }
    return r.differs ? c.plain.text + "\n" + r.text : "";
}

} // namespace dragoman::test
