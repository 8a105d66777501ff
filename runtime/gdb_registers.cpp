#include "runtime/gdb_registers.h"

#include "frontend/x86/cpuid.h"
#include "frontend/x86/platform.h"
#include "frontend/x86/system_registers.h"
#include "runtime/text.h"

#include <algorithm>
#include <cstring>

namespace dragoman::runtime {

namespace {

using x86::Cpu;

constexpr const char* kCore = "org.gnu.gdb.i386.core";
constexpr const char* kSse = "org.gnu.gdb.i386.sse";
constexpr const char* kAvx = "org.gnu.gdb.i386.avx";
constexpr const char* kAvx512 = "org.gnu.gdb.i386.avx512";
constexpr const char* kSegments = "org.gnu.gdb.i386.segments";
constexpr const char* kSystem = "org.dragoman.i386.system";

u64 get_gpr(const Cpu& c, unsigned i) {
    return c.gpr[i];
}
bool set_gpr(Cpu& c, unsigned i, u64 value) {
    c.gpr[i] = value;
    return true;
}

u64 code_base(const Cpu& c) {
    return c.code64() ? 0 : c.seg[unsigned(ir::Seg::CS)].base;
}
u64 get_pc(const Cpu& c, unsigned) {
    const u64 linear = code_base(c) + c.rip;
    return c.long_mode() ? linear : linear & 0xffffffff;
}
bool set_pc(Cpu& c, unsigned, u64 value) {
    c.rip = value - code_base(c);
    if (!c.code64()) c.rip &= 0xffffffff;
    return true;
}

u64 get_flags(const Cpu& c, unsigned) {
    return c.eflags();
}
bool set_flags(Cpu& c, unsigned, u64 value) {
    c.set_eflags(u32(value));
    return true;
}

u64 get_segment(const Cpu& c, unsigned i) {
    return c.seg[i].selector;
}
bool set_segment(Cpu& c, unsigned i, u64 value) {
    if (value == c.seg[i].selector) return true;
    if (!c.real_mode() && !c.v86()) return false; // a descriptor would have to be loaded
    c.seg[i].selector = u16(value);
    c.seg[i].base = u64{u16(value)} << 4;
    return true;
}

u8* st_bytes(Cpu& c, unsigned i) {
    return c.fpu.st[i];
}
u8* xmm_bytes(Cpu& c, unsigned i) {
    return c.vec[i];
}
u8* ymm_upper_bytes(Cpu& c, unsigned i) {
    return c.vec[i] + 16;
}
u8* zmm_upper_bytes(Cpu& c, unsigned i) {
    return c.vec[i] + 32;
}
u64 get_opmask(const Cpu& c, unsigned i) {
    return c.opmask[i];
}
bool set_opmask(Cpu& c, unsigned i, u64 value) {
    c.opmask[i] = value;
    return true;
}

// The full tag word: 0 valid, 1 zero, 2 special, 3 empty for each physical register (SDM vol. 1, 8.1.7).
u16 full_tag(const ir::Fpu& fpu) {
    u16 word = 0;
    for (unsigned physical = 0; physical < 8; ++physical) {
        unsigned tag = 3;
        if (fpu.tag >> physical & 1) {
            const u8* st = fpu.st[(physical - fpu.top) & 7];
            u64 mantissa;
            std::memcpy(&mantissa, st, 8);
            const unsigned exponent = (st[8] | st[9] << 8) & 0x7fff;
            if (exponent == 0 && mantissa == 0)
                tag = 1;
            else
                tag = exponent == 0 || exponent == 0x7fff || !(mantissa >> 63) ? 2 : 0;
        }
        word |= u16(tag << 2 * physical);
    }
    return word;
}

enum FpuWord : u8 { kControl, kStatus, kTag, kCs, kIp, kDs, kDp, kOpcode };

u64 get_fpu(const Cpu& c, unsigned i) {
    const ir::Fpu& f = c.fpu;
    switch (i) {
    case kControl: return f.control;
    case kStatus: return f.status | (f.top & 7) << 11;
    case kTag: return full_tag(f);
    case kCs: return f.cs;
    case kIp: return u32(f.ip);
    case kDs: return f.ds;
    case kDp: return u32(f.dp);
    default: return f.opcode;
    }
}
bool set_fpu(Cpu& c, unsigned i, u64 value) {
    ir::Fpu& f = c.fpu;
    switch (i) {
    case kControl: f.control = u16(value); break;
    case kStatus: {
        const u8 top = value >> 11 & 7;
        // Registers are kept relative to TOP: a new TOP finds the same physical ones.
        ir::Fpu old = f;
        for (unsigned n = 0; n < 8; ++n)
            std::memcpy(f.st[n], old.st[(n + top - old.top) & 7], sizeof f.st[n]);
        f.top = top;
        f.status = u16(value & ~u64{0x3800});
        break;
    }
    case kTag:
        f.tag = 0;
        for (unsigned n = 0; n < 8; ++n)
            if ((value >> 2 * n & 3) != 3) f.tag |= u8(1 << n);
        break;
    case kCs: f.cs = u16(value); break;
    case kIp: f.ip = u32(value); break;
    case kDs: f.ds = u16(value); break;
    case kDp: f.dp = u32(value); break;
    default: f.opcode = value & 0x7ff; break;
    }
    return true;
}

u64 get_mxcsr(const Cpu& c, unsigned) {
    return c.mxcsr;
}
bool set_mxcsr(Cpu& c, unsigned, u64 value) {
    if (value & ~u64{0xffff}) return false;
    c.mxcsr = u32(value);
    return true;
}

u64 get_base(const Cpu& c, unsigned i) {
    return c.seg[i].base;
}
bool set_base(Cpu& c, unsigned i, u64 value) {
    if (!x86::canonical_base(c, value)) return false;
    c.seg[i].base = value;
    return true;
}

enum SystemRegister : u8 { kKernelGsBase, kCr0, kCr2, kCr3, kCr4, kCr8, kEfer };

u64 get_system(const Cpu& c, unsigned i) {
    switch (i) {
    case kKernelGsBase: return c.kernel_gs_base;
    case kCr0: return c.cr0;
    case kCr2: return c.cr2;
    case kCr3: return c.cr3;
    case kCr4: return c.cr4;
    case kCr8: return c.platform ? c.platform->apic_tpr() : 0;
    default: return c.efer;
    }
}
bool set_system(Cpu& c, unsigned i, u64 value) {
    if (value == get_system(c, i)) return true;
    bool good = true;
    switch (i) {
    case kKernelGsBase:
        good = x86::canonical_base(c, value);
        if (good) c.kernel_gs_base = value;
        break;
    case kCr0: good = x86::write_cr0(c, value); break;
    case kCr2: c.cr2 = value; break;
    case kCr3: good = x86::write_cr3(c, value); break;
    case kCr4: good = x86::write_cr4(c, value); break;
    case kCr8:
        good = value < 16 && c.platform;
        if (good) c.platform->set_apic_tpr(u8(value));
        break;
    default: good = x86::write_efer(c, value); break;
    }
    c.exit = ir::Exit::None; // the fault of a bad value is the debugger's, not the guest's
    return good;
}

constexpr const char* kNames64[] = {"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp",
                                    "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
constexpr u8 kOrder64[] = {0, 3, 1, 2, 6, 7, 5, 4, 8, 9, 10, 11, 12, 13, 14, 15}; // encoding's numbers
constexpr const char* kNames32[] = {"eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"};
constexpr const char* kSegmentNames[] = {"cs", "ss", "ds", "es", "fs", "gs"};
constexpr ir::Seg kSegmentOrder[] = {ir::Seg::CS, ir::Seg::SS, ir::Seg::DS,
                                     ir::Seg::ES, ir::Seg::FS, ir::Seg::GS};
constexpr const char* kStNames[] = {"st0", "st1", "st2", "st3", "st4", "st5", "st6", "st7"};
constexpr const char* kFpuNames[] = {"fctrl", "fstat", "ftag", "fiseg", "fioff", "foseg", "fooff", "fop"};
constexpr const char* kXmmNames[] = {"xmm0", "xmm1", "xmm2",  "xmm3",  "xmm4",  "xmm5",  "xmm6",  "xmm7",
                                     "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"};
constexpr const char* kSystemNames[] = {"k_gs_base", "cr0", "cr2", "cr3", "cr4", "cr8", "efer"};

// What AVX and AVX-512 add: upper parts of the registers that SSE has, and whole registers.
void add_vectors(std::vector<GdbRegister>& r, bool amd64, GdbVectors vectors) {
    const unsigned legacy = amd64 ? 16 : 8, all = amd64 ? 32 : 8;
    const auto add = [&r](const char* before, unsigned n, const char* after, u16 bits, const char* type,
                          const char* feature, u8* (*bytes)(Cpu&, unsigned)) {
        r.push_back(
            {before + std::to_string(n) + after, bits, type, feature, u8(n), nullptr, nullptr, bytes});
    };
    if (vectors == GdbVectors::Xmm) return;
    for (unsigned n = 0; n < legacy; ++n)
        add("ymm", n, "h", 128, "uint128", kAvx, ymm_upper_bytes);
    if (vectors == GdbVectors::Ymm) return;
    for (unsigned n = legacy; n < all; ++n)
        add("xmm", n, "", 128, "vec128", kAvx512, xmm_bytes);
    for (unsigned n = legacy; n < all; ++n)
        add("ymm", n, "h", 128, "uint128", kAvx512, ymm_upper_bytes);
    for (u8 n = 0; n < 8; ++n)
        r.push_back({"k" + std::to_string(n), 64, "uint64", kAvx512, n, get_opmask, set_opmask, nullptr});
    for (unsigned n = 0; n < all; ++n)
        add("zmm", n, "h", 256, "v2ui128", kAvx512, zmm_upper_bytes);
}

std::vector<GdbRegister> make_registers(bool amd64, GdbVectors vectors) {
    std::vector<GdbRegister> r;
    const u16 word = amd64 ? 64 : 32;
    const char* const integer = amd64 ? "int64" : "int32";
    for (u8 i = 0; i < (amd64 ? 16 : 8); ++i) {
        const u8 number = amd64 ? kOrder64[i] : i;
        const bool stack = number == 4 || number == 5;
        r.push_back({amd64 ? kNames64[i] : kNames32[i], word, stack ? "data_ptr" : integer, kCore, number,
                     get_gpr, set_gpr, nullptr});
    }
    r.push_back({amd64 ? "rip" : "eip", word, "code_ptr", kCore, 0, get_pc, set_pc, nullptr});
    r.push_back({"eflags", 32, "i386_eflags", kCore, 0, get_flags, set_flags, nullptr});
    for (u8 i = 0; i < 6; ++i)
        r.push_back(
            {kSegmentNames[i], 32, "int32", kCore, u8(kSegmentOrder[i]), get_segment, set_segment, nullptr});
    for (u8 i = 0; i < 8; ++i)
        r.push_back({kStNames[i], 80, "i387_ext", kCore, i, nullptr, nullptr, st_bytes});
    for (u8 i = 0; i < 8; ++i)
        r.push_back({kFpuNames[i], 32, "int", kCore, i, get_fpu, set_fpu, nullptr});
    for (u8 i = 0; i < (amd64 ? 16 : 8); ++i)
        r.push_back({kXmmNames[i], 128, "vec128", kSse, i, nullptr, nullptr, xmm_bytes});
    r.push_back({"mxcsr", 32, "i386_mxcsr", kSse, 0, get_mxcsr, set_mxcsr, nullptr});
    if (amd64) {
        r.push_back({"fs_base", 64, "int64", kSegments, u8(ir::Seg::FS), get_base, set_base, nullptr});
        r.push_back({"gs_base", 64, "int64", kSegments, u8(ir::Seg::GS), get_base, set_base, nullptr});
    }
    for (u8 i = amd64 ? kKernelGsBase : kCr0; i <= (amd64 ? kEfer : kCr4); ++i)
        r.push_back({kSystemNames[i], word, integer, kSystem, i, get_system, set_system, nullptr});
    add_vectors(r, amd64, vectors);
    return r;
}

struct FlagName {
    const char* name;
    u8 bit;
};
constexpr FlagName kEflagsNames[] = {{"CF", 0},  {"PF", 2},   {"AF", 4},   {"ZF", 6},  {"SF", 7},  {"TF", 8},
                                     {"IF", 9},  {"DF", 10},  {"OF", 11},  {"NT", 14}, {"RF", 16}, {"VM", 17},
                                     {"AC", 18}, {"VIF", 19}, {"VIP", 20}, {"ID", 21}};
constexpr FlagName kMxcsrNames[] = {{"IE", 0},  {"DE", 1},  {"ZE", 2},  {"OE", 3}, {"UE", 4},
                                    {"PE", 5},  {"DAZ", 6}, {"IM", 7},  {"DM", 8}, {"ZM", 9},
                                    {"OM", 10}, {"UM", 11}, {"PM", 12}, {"FZ", 15}};

std::string flag_type(const char* id, std::span<const FlagName> names) {
    std::string text = format("<flags id=\"%s\" size=\"4\">\n", id);
    for (const FlagName& f : names)
        text += format("<field name=\"%s\" start=\"%u\" end=\"%u\"/>\n", f.name, f.bit, f.bit);
    return text + "</flags>\n";
}

constexpr const char* kVectorTypes = "<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/>\n"
                                     "<vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>\n"
                                     "<vector id=\"v16i8\" type=\"int8\" count=\"16\"/>\n"
                                     "<vector id=\"v8i16\" type=\"int16\" count=\"8\"/>\n"
                                     "<vector id=\"v4i32\" type=\"int32\" count=\"4\"/>\n"
                                     "<vector id=\"v2i64\" type=\"int64\" count=\"2\"/>\n"
                                     "<union id=\"vec128\">\n"
                                     "<field name=\"v4_float\" type=\"v4f\"/>\n"
                                     "<field name=\"v2_double\" type=\"v2d\"/>\n"
                                     "<field name=\"v16_int8\" type=\"v16i8\"/>\n"
                                     "<field name=\"v8_int16\" type=\"v8i16\"/>\n"
                                     "<field name=\"v4_int32\" type=\"v4i32\"/>\n"
                                     "<field name=\"v2_int64\" type=\"v2i64\"/>\n"
                                     "<field name=\"uint128\" type=\"uint128\"/>\n"
                                     "</union>\n";

} // namespace

void GdbRegister::read(Cpu& cpu, u8* to) const {
    if (bytes) {
        std::memcpy(to, bytes(cpu, index), size());
    } else {
        const u64 value = get(cpu, index);
        std::memcpy(to, &value, size());
    }
}

bool GdbRegister::write(Cpu& cpu, const u8* from) const {
    if (bytes) {
        std::memcpy(bytes(cpu, index), from, size());
        return true;
    }
    u64 value = 0;
    std::memcpy(&value, from, size());
    return set && set(cpu, index, value);
}

GdbVectors gdb_vectors(const x86::CpuModel& model) {
    return model.has(x86::Feature::Avx512f) ? GdbVectors::Zmm
           : model.has(x86::Feature::Avx)   ? GdbVectors::Ymm
                                            : GdbVectors::Xmm;
}

std::span<const GdbRegister> gdb_registers(GdbLayout layout) {
    static const std::vector<GdbRegister> made[2][3] = {
        {make_registers(false, GdbVectors::Xmm), make_registers(false, GdbVectors::Ymm),
         make_registers(false, GdbVectors::Zmm)},
        {make_registers(true, GdbVectors::Xmm), make_registers(true, GdbVectors::Ymm),
         make_registers(true, GdbVectors::Zmm)}};
    return made[layout.arch == GdbArch::Amd64][unsigned(layout.vectors)];
}

std::string gdb_target_description(GdbLayout layout) {
    static constexpr const char* names[] = {"i386:x86-64", "i386", "i8086"};
    std::string text = "<?xml version=\"1.0\"?>\n<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n<target>\n";
    text += format("<architecture>%s</architecture>\n", names[unsigned(layout.arch)]);
    const char* feature = nullptr;
    for (const GdbRegister& r : gdb_registers(layout)) {
        if (r.feature != feature) {
            if (feature) text += "</feature>\n";
            feature = r.feature;
            text += format("<feature name=\"%s\">\n", feature);
            if (feature == kCore) text += flag_type("i386_eflags", kEflagsNames);
            if (feature == kSse) text += kVectorTypes + flag_type("i386_mxcsr", kMxcsrNames);
            if (feature == kAvx512)
                text += std::string(kVectorTypes) + "<vector id=\"v2ui128\" type=\"uint128\" count=\"2\"/>\n";
        }
        text += format("<reg name=\"%s\" bitsize=\"%u\" type=\"%s\"%s/>\n", r.name.c_str(), r.bits, r.type,
                       std::strcmp(r.type, "int") == 0 ? " group=\"float\"" : "");
    }
    return text + "</feature>\n</target>\n";
}

bool register_by_name(Cpu& cpu, std::string_view name, u64& value) {
    if (name == "pc" || name == "sp") {
        value = name == "pc" ? get_pc(cpu, 0) : cpu.gpr[4];
        return true;
    }
    if (name == "rip" || name == "eip") {
        value = cpu.rip;
        return true;
    }
    for (const GdbArch arch : {GdbArch::Amd64, GdbArch::I386})
        for (const GdbRegister& r : gdb_registers({arch, GdbVectors::Zmm}))
            if (r.get && name == r.name) {
                value = 0;
                r.read(cpu, reinterpret_cast<u8*>(&value));
                return true;
            }
    return false;
}

} // namespace dragoman::runtime
