// MXCSR, and the saving and restoring of x87, MMX and SSE state (SDM vol. 1, 10.5 and ch. 13).
#include "frontend/x86/system_helpers.h"
#include "frontend/x86/system_memory.h"
#include "frontend/x86/x87_ops.h"

#include <cstring>

namespace dragoman::x86 {

using ir::Ref;

namespace {

constexpr u32 kMxcsrDefined = 0xffff;
constexpr u64 kVectorStates = kSseState | kAvxState; // those that MXCSR goes with

// The area that FXSAVE writes, and XSAVE with a header behind it.
struct Area {
    u16 control, status;
    u8 tag, reserved;
    u16 opcode;
    u64 ip, dp; // with 32-bit formats: offset, selector
    u32 mxcsr, mxcsr_mask;
    u8 st[8][16];
    u8 xmm[16][16];
    u8 unused[96];
};
static_assert(sizeof(Area) == 512);
constexpr u32 kMxcsrAt = offsetof(Area, mxcsr), kStAt = offsetof(Area, st), kXmmAt = offsetof(Area, xmm);

struct Header {
    u64 components, compaction, zero[6];
};
static_assert(sizeof(Header) == 64);

// Component 2, behind the header (SDM vol. 1, 13.5.3).
using YmmHigh = u8[16][16];
constexpr u32 kYmmAt = sizeof(Area) + sizeof(Header);

// Component 9, at its place in the standard format.
constexpr u32 kPkruAt = 2688;

// The bytes of a save area with these components.
u32 area_bytes(u64 components) {
    if (components & kPkruState) return kPkruAt + 8;
    return kYmmAt + (components & kAvxState ? u32(sizeof(YmmHigh)) : 0);
}

unsigned xmm_registers(const Cpu& cpu) {
    return cpu.code64() ? 16 : 8;
}
softmmu::View data_view(const Cpu& cpu) {
    return softmmu::View(cpu.view);
}

// ---- the x87 part
void put_x87(const Cpu& cpu, bool wide, Area& area) {
    const ir::Fpu& f = cpu.fpu;
    area.control = f.control;
    area.status = status_word(f);
    area.tag = f.tag;
    area.opcode = f.opcode & 0x7ff;
    area.ip = wide ? f.ip : u32(f.ip) | u64{f.cs} << 32;
    area.dp = wide ? f.dp : u32(f.dp) | u64{f.ds} << 32;
    for (unsigned i = 0; i < 8; ++i)
        std::memcpy(area.st[i], f.st[i], 10);
}

void get_x87(Cpu& cpu, bool wide, const Area& area) {
    ir::Fpu& f = cpu.fpu;
    f.control = control_word(area.control);
    f.tag = area.tag;
    f.opcode = area.opcode & 0x7ff;
    f.ip = wide ? area.ip : u32(area.ip);
    f.cs = wide ? 0 : u16(area.ip >> 32);
    f.dp = wide ? area.dp : u32(area.dp);
    f.ds = wide ? 0 : u16(area.dp >> 32);
    for (unsigned i = 0; i < 8; ++i)
        std::memcpy(f.st[i], area.st[i], 10);
    set_status_word(f, area.status);
}

// ---- parts of the vector registers, without those that only 64-bit mode has
void put_vectors(const Cpu& cpu, unsigned from, u8 (&to)[16][16]) {
    for (unsigned i = 0; i < xmm_registers(cpu); ++i)
        std::memcpy(to[i], cpu.vec[i] + from, 16);
}
void get_vectors(Cpu& cpu, unsigned to, const u8 (&from)[16][16]) {
    for (unsigned i = 0; i < xmm_registers(cpu); ++i)
        std::memcpy(cpu.vec[i] + to, from[i], 16);
}
void clear_vectors(Cpu& cpu, unsigned from) {
    for (unsigned i = 0; i < xmm_registers(cpu); ++i)
        std::memset(cpu.vec[i] + from, 0, 16);
}

// ---- memory, in pieces that one access may have
bool read_area(Cpu& cpu, u64 linear, void* to, u32 bytes) {
    for (u32 at = 0; at < bytes; at += 64)
        if (!read_memory(cpu, linear + at, static_cast<u8*>(to) + at, std::min(bytes - at, 64u),
                         data_view(cpu)))
            return false;
    return true;
}
bool write_area(Cpu& cpu, u64 linear, const void* from, u32 bytes) {
    for (u32 at = 0; at < bytes; at += 64)
        if (!write_memory(cpu, linear + at, static_cast<const u8*>(from) + at, std::min(bytes - at, 64u),
                          data_view(cpu)))
            return false;
    return true;
}

bool misaligned(Cpu& cpu, u64 linear, u32 bytes) {
    if (!(linear & (bytes - 1))) return false;
    raise(cpu, kGP, 0);
    return true;
}

bool is_wide(u64 imm) {
    return size_in(imm) == 8;
}

// ---- FXSAVE, FXRSTOR
u64 fxsave(ir::Context& ctx, u64 linear, u64, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    if (misaligned(cpu, linear, 16)) return 0;
    const u32 xmm_bytes = cpu.cr4 & kCr4OSFXSR ? xmm_registers(cpu) * 16 : 0;
    if (!check_write(cpu, linear, sizeof(Area), data_view(cpu))) return 0;
    Area area{};
    put_x87(cpu, is_wide(imm), area);
    area.mxcsr = cpu.mxcsr;
    area.mxcsr_mask = kMxcsrDefined;
    put_vectors(cpu, 0, area.xmm);
    write_area(cpu, linear, &area, kXmmAt + xmm_bytes);
    return 0;
}

u64 fxrstor(ir::Context& ctx, u64 linear, u64, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    if (misaligned(cpu, linear, 16)) return 0;
    Area area;
    if (!read_area(cpu, linear, &area, sizeof area)) return 0;
    const bool sse = cpu.cr4 & kCr4OSFXSR;
    if (sse && (area.mxcsr & ~kMxcsrDefined)) return raise(cpu, kGP, 0), 0;
    get_x87(cpu, is_wide(imm), area);
    if (sse) {
        cpu.mxcsr = area.mxcsr;
        get_vectors(cpu, 0, area.xmm);
    }
    leave_if_mode_changed(cpu, next_rip_in(cpu, imm));
    return 0;
}

// ---- XSAVE, XRSTOR
// False: #UD or #NM was raised, or #GP for the alignment.
bool xsave_allowed(Cpu& cpu, u64 linear) {
    if (!(cpu.cr4 & kCr4OSXSAVE)) return raise(cpu, kUD), false;
    if (cpu.cr0 & kCr0TS) return raise(cpu, kNM), false;
    return !misaligned(cpu, linear, 64);
}
u64 requested(const Cpu& cpu) {
    return cpu.xcr0 & (u32(cpu.gpr[0]) | u64{u32(cpu.gpr[2])} << 32);
}

u64 xsave(ir::Context& ctx, u64 linear, u64, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    if (!xsave_allowed(cpu, linear)) return 0;
    const u64 wanted = requested(cpu);
    if (!check_write(cpu, linear, area_bytes(wanted), data_view(cpu))) return 0;
    u64 components;
    if (!read_memory(cpu, linear + sizeof(Area), &components, 8, data_view(cpu))) return 0;
    components = (components & ~wanted) | wanted; // every component counts as in use

    Area area{};
    const u8* from = reinterpret_cast<const u8*>(&area);
    if (wanted & kX87State) {
        put_x87(cpu, is_wide(imm), area);
        if (!write_area(cpu, linear, from, kMxcsrAt) ||
            !write_area(cpu, linear + kStAt, from + kStAt, kXmmAt - kStAt))
            return 0;
    }
    if (wanted & kVectorStates) {
        const u32 mxcsr[2] = {cpu.mxcsr, kMxcsrDefined};
        if (!write_area(cpu, linear + kMxcsrAt, mxcsr, sizeof mxcsr)) return 0;
    }
    if (wanted & kSseState) {
        put_vectors(cpu, 0, area.xmm);
        if (!write_area(cpu, linear + kXmmAt, area.xmm, xmm_registers(cpu) * 16)) return 0;
    }
    if (wanted & kAvxState) {
        YmmHigh high;
        put_vectors(cpu, 16, high);
        if (!write_area(cpu, linear + kYmmAt, high, xmm_registers(cpu) * 16)) return 0;
    }
    if (wanted & kPkruState) {
        const u64 pkru = cpu.pkru;
        if (!write_area(cpu, linear + kPkruAt, &pkru, 8)) return 0;
    }
    write_area(cpu, linear + sizeof(Area), &components, 8);
    return 0;
}

// What a component is without anything saved (SDM vol. 1, 13.6).
void initialize_x87(ir::Fpu& fpu) {
    initialize(fpu);
    std::memset(fpu.st, 0, sizeof fpu.st);
}

u64 xrstor(ir::Context& ctx, u64 linear, u64, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    if (!xsave_allowed(cpu, linear)) return 0;
    const u64 wanted = requested(cpu);
    Area area;
    Header header;
    YmmHigh high{};
    if (!read_area(cpu, linear, &area, sizeof area) ||
        !read_area(cpu, linear + sizeof area, &header, sizeof header))
        return 0;
    if ((wanted & header.components & kAvxState) &&
        !read_area(cpu, linear + kYmmAt, high, xmm_registers(cpu) * 16))
        return 0;
    u32 pkru = 0;
    if ((wanted & header.components & kPkruState) && !read_area(cpu, linear + kPkruAt, &pkru, 4)) return 0;
    const bool bad_header = (header.components & ~cpu.xcr0) || header.compaction || header.zero[0];
    const bool bad_mxcsr = (wanted & kVectorStates) && (area.mxcsr & ~kMxcsrDefined);
    if (bad_header || bad_mxcsr) return raise(cpu, kGP, 0), 0;

    if (wanted & header.components & kX87State)
        get_x87(cpu, is_wide(imm), area);
    else if (wanted & kX87State)
        initialize_x87(cpu.fpu);
    if (wanted & kVectorStates) cpu.mxcsr = area.mxcsr; // whether or not a component is marked as saved
    if (wanted & header.components & kSseState)
        get_vectors(cpu, 0, area.xmm);
    else if (wanted & kSseState)
        clear_vectors(cpu, 0);
    if (wanted & kAvxState) get_vectors(cpu, 16, high);
    if (wanted & kPkruState) write_protection_keys(cpu, pkru, cpu.pkrs);
    leave_if_mode_changed(cpu, next_rip_in(cpu, imm));
    return 0;
}

u64 ldmxcsr(ir::Context& ctx, u64 value, u64, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    if (value & ~u64{kMxcsrDefined}) return raise(cpu, kGP, 0), 0;
    cpu.mxcsr = u32(value);
    leave_if_mode_changed(cpu, next_rip_in(cpu, imm));
    return 0;
}

constexpr ir::Helper fxsave_info{"fxsave", fxsave}, fxrstor_info{"fxrstor", fxrstor},
    xsave_info{"xsave", xsave}, xrstor_info{"xrstor", xrstor}, ldmxcsr_info{"ldmxcsr", ldmxcsr};

// Calls a helper with the linear address of a save area of `bytes` bytes.
bool area_call(Translation& t, const Instruction& insn, const ir::Helper& helper, unsigned bytes,
               ir::Access access) {
    const ir::Address first = t.address(insn, 0, 16, access);
    if (!t.mode.long64()) { // is its end in the segment, too? Nothing wraps on the way there.
        const ir::Address area = Translation::effective(insn, 0);
        const Ref offset = t.ir.temp();
        t.ir.lea(area.size, offset, area);
        if (area.size == 2) t.ir.extend(ir::Op::Zext, 2, 8, offset, offset);
        t.in_segment({.base = offset, .disp = bytes - 16}, Translation::segment(insn, 0), 16, access);
    }
    const unsigned format = insn.zydis.attributes & ZYDIS_ATTRIB_HAS_REX && insn.zydis.raw.rex.W ? 8 : 4;
    t.ir.call(helper, {}, t.linear(first), {}, size_and_length(format, insn));
    return true;
}

} // namespace

bool FXSAVE(Translation& t, const Instruction& insn) {
    return area_call(t, insn, fxsave_info, 512, ir::Access::Write);
}
bool FXRSTOR(Translation& t, const Instruction& insn) {
    return area_call(t, insn, fxrstor_info, 512, ir::Access::Read);
}
bool XSAVE(Translation& t, const Instruction& insn) {
    return area_call(t, insn, xsave_info, area_bytes(t.mode.avx ? u64{kAvxState} : 0), ir::Access::Write);
}
bool XRSTOR(Translation& t, const Instruction& insn) {
    return area_call(t, insn, xrstor_info, area_bytes(t.mode.avx ? u64{kAvxState} : 0), ir::Access::Read);
}

bool LDMXCSR(Translation& t, const Instruction& insn) {
    const Ref value = t.ir.temp();
    t.ir.load(4, value, t.address(insn, 0, 4, ir::Access::Read));
    t.ir.call(ldmxcsr_info, {}, value, {}, size_and_length(4, insn));
    return true;
}
bool STMXCSR(Translation& t, const Instruction& insn) {
    const Ref value = t.ir.temp();
    t.ir.load_state(4, value, offsetof(ir::Context, mxcsr));
    t.write(insn, 0, 4, value);
    return true;
}

} // namespace dragoman::x86
