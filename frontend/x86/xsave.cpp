// XSAVE, XSAVEOPT, XSAVEC, XSAVES, XRSTOR, XRSTORS (SDM vol. 1, ch. 13; vol. 2). There are no supervisor
// components: XSAVES is XSAVEC for ring 0.
#include "frontend/x86/cpuid.h"
#include "frontend/x86/save_area.h"
#include "frontend/x86/x87_ops.h"
#include "frontend/x86/xsave_layout.h"

#include <cstring>

namespace dragoman::x86 {

namespace {

constexpr u32 kInitialMxcsr = 0x1f80;
constexpr u64 kCompacted = u64{1} << 63; // of XCOMP_BV
// In the standard form MXCSR goes with any of them (SDM vol. 1, 13.7).
constexpr u64 kVectorStates = kSseState | kAvxState;

struct Header {
    u64 components; // XSTATE_BV
    u64 layout;     // XCOMP_BV
    u64 zero[6];
};
static_assert(sizeof(SaveArea) + sizeof(Header) == kExtendedArea);

// What kStateLayout's components are: `put` returns the bytes that the mode has of it; `get` with null makes
// it initial.
struct Component {
    bool (*in_use)(const Cpu& cpu);
    u32 (*put)(const Cpu& cpu, u8* to);
    void (*get)(Cpu& cpu, const u8* from);
};
u32 put_pkru(const Cpu& cpu, u8* to) {
    const u64 value = cpu.pkru;
    std::memcpy(to, &value, sizeof value);
    return sizeof value;
}
void get_pkru(Cpu& cpu, const u8* from) {
    u32 value = 0;
    if (from) std::memcpy(&value, from, sizeof value);
    write_protection_keys(cpu, value, cpu.pkrs);
}
u32 put_opmask(const Cpu& cpu, u8* to) {
    std::memcpy(to, cpu.opmask, sizeof cpu.opmask);
    return sizeof cpu.opmask;
}
void get_opmask(Cpu& cpu, const u8* from) {
    if (from)
        std::memcpy(cpu.opmask, from, sizeof cpu.opmask);
    else
        std::memset(cpu.opmask, 0, sizeof cpu.opmask);
}
bool any_opmask_bits(const Cpu& cpu) {
    u64 bits = 0;
    for (const u64 mask : cpu.opmask)
        bits |= mask;
    return bits;
}
template <const VectorPart& part>
constexpr Component kVectors{[](const Cpu& cpu) { return any_vector_bits(cpu, part); },
                             [](const Cpu& cpu, u8* to) { return put_vectors(cpu, part, to); },
                             [](Cpu& cpu, const u8* from) { get_vectors(cpu, part, from); }};
constexpr Component kComponents[kStateLayouts] = {
    kVectors<kYmmHigh>,
    {any_opmask_bits, put_opmask, get_opmask},
    kVectors<kZmmHigh>,
    kVectors<kHighZmm>,
    {[](const Cpu& cpu) { return cpu.pkru != 0; }, put_pkru, get_pkru},
};
constexpr u32 kLargestArea = area_bytes(~u64{0}, false);

u64 bit_of(const StateLayout& l) {
    return u64{1} << l.number;
}

// Form and habits of the instructions that save, in the immediate of their calls above size_and_length.
enum class Save : u8 { Plain, Optimized, Compacted };
constexpr unsigned kSaveShift = 16;

// What is looked at before the operand: #UD, #NM, then the level (imm: only ring 0 may).
u64 begin(ir::Context& ctx, u64, u64, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    if (!(cpu.cr4 & kCr4OSXSAVE))
        raise(cpu, kUD);
    else if (cpu.cr0 & kCr0TS)
        raise(cpu, kNM);
    else if (imm && cpu.cpl)
        raise(cpu, kGP, 0);
    return 0;
}
constexpr ir::Helper begin_info{"xsave_begin", begin};
u64 requested(const Cpu& cpu) {
    return cpu.xcr0 & (u32(cpu.gpr[0]) | u64{u32(cpu.gpr[2])} << 32);
}

bool save_x87(Cpu& cpu, u64 linear, bool wide) {
    SaveArea area{};
    put_x87(cpu, wide, area);
    const u8* from = reinterpret_cast<const u8*>(&area);
    return write_area(cpu, linear, from, kMxcsrAt) &&
           write_area(cpu, linear + kStAt, from + kStAt, kXmmAt - kStAt);
}
bool save_mxcsr(Cpu& cpu, u64 linear) {
    const u32 mxcsr[2] = {cpu.mxcsr, kMxcsrDefined};
    return write_area(cpu, linear + kMxcsrAt, mxcsr, sizeof mxcsr);
}
bool save_xmm(Cpu& cpu, u64 linear) {
    u8 xmm[16 * 16];
    return write_area(cpu, linear + kXmmAt, xmm, put_vectors(cpu, kXmm, xmm));
}

u64 xsave(ir::Context& ctx, u64 linear, u64, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    if (misaligned(cpu, linear, 64)) return 0;
    const Save how = Save(imm >> kSaveShift);
    const bool compacted = how == Save::Compacted;
    const u64 wanted = requested(cpu);
    u64 in_use = components_in_use(cpu);
    if (compacted && cpu.mxcsr != kInitialMxcsr) in_use |= kSseState;
    const u64 saved = how == Save::Plain ? wanted : wanted & in_use;

    if (!check_write(cpu, linear, area_bytes(wanted, compacted), softmmu::View(cpu.view))) return 0;
    Header header{.components = wanted & in_use, .layout = wanted | kCompacted};
    if (!compacted) {
        u64 old;
        if (!read_area(cpu, linear + sizeof(SaveArea), &old, sizeof old)) return 0;
        header.components |= old & ~wanted;
    }
    const bool mxcsr = compacted ? saved & kSseState : wanted & kVectorStates;
    if ((saved & kX87State) && !save_x87(cpu, linear, is_wide(imm))) return 0;
    if (mxcsr && !save_mxcsr(cpu, linear)) return 0;
    if ((saved & kSseState) && !save_xmm(cpu, linear)) return 0;
    for (unsigned i = 0; i < kStateLayouts; ++i) {
        const StateLayout& l = kStateLayout[i];
        if (!(saved & bit_of(l))) continue;
        u8 image[kLargestArea];
        const u32 bytes = kComponents[i].put(cpu, image);
        if (!write_area(cpu, linear + (compacted ? compacted_offset(l, wanted) : l.offset), image, bytes))
            return 0;
    }
    write_area(cpu, linear + sizeof(SaveArea), &header, compacted ? 16 : 8);
    return 0;
}

// What a component is without anything saved.
void initialize_x87(ir::Fpu& fpu) {
    initialize(fpu);
    std::memset(fpu.st, 0, sizeof fpu.st);
}

// Does the header describe something that may be restored? `compacted_only`: XRSTORS.
bool valid(const Cpu& cpu, const Header& h, bool compacted_only) {
    if (!(h.layout & kCompacted))
        return !compacted_only && !(h.components & ~cpu.xcr0) && !h.layout && !h.zero[0];
    if (!cpu.model->has(Feature::Xsavec)) return false;
    const u64 layout = h.layout & ~kCompacted;
    u64 rest = 0;
    for (const u64 z : h.zero)
        rest |= z;
    return !(layout & ~cpu.xcr0) && !(h.components & ~layout) && !rest;
}

// imm above size_and_length: 1 for XRSTORS
u64 xrstor(ir::Context& ctx, u64 linear, u64, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    if (misaligned(cpu, linear, 64)) return 0;
    const u64 wanted = requested(cpu);
    SaveArea area;
    Header header;
    if (!read_area(cpu, linear, &area, sizeof area) ||
        !read_area(cpu, linear + sizeof area, &header, sizeof header))
        return 0;
    if (!valid(cpu, header, imm >> kSaveShift)) return raise(cpu, kGP, 0), 0;
    const bool compacted = header.layout & kCompacted;
    const u64 loaded = wanted & header.components;
    const bool mxcsr = compacted ? loaded & kSseState : wanted & kVectorStates;
    if (mxcsr && (area.mxcsr & ~kMxcsrDefined)) return raise(cpu, kGP, 0), 0;

    u8 image[kLargestArea]; // everything is read before anything changes
    for (const StateLayout& l : kStateLayout) {
        const u32 at = compacted ? compacted_offset(l, header.layout) : l.offset;
        if ((loaded & bit_of(l)) && !read_area(cpu, linear + at, image + l.offset, l.bytes)) return 0;
    }
    if (loaded & kX87State)
        get_x87(cpu, is_wide(imm), area);
    else if (wanted & kX87State)
        initialize_x87(cpu.fpu);
    if (mxcsr)
        cpu.mxcsr = area.mxcsr;
    else if (wanted & kSseState)
        cpu.mxcsr = kInitialMxcsr; // compacted, and not saved
    if (wanted & kSseState) get_vectors(cpu, kXmm, loaded & kSseState ? area.xmm[0] : nullptr);
    for (unsigned i = 0; i < kStateLayouts; ++i) {
        const StateLayout& l = kStateLayout[i];
        if (wanted & bit_of(l)) kComponents[i].get(cpu, loaded & bit_of(l) ? image + l.offset : nullptr);
    }
    leave_if_mode_changed(cpu, next_rip_in(cpu, imm));
    return 0;
}

template <Save how> u64 save(ir::Context& ctx, u64 linear, u64 b, u64 imm) {
    return xsave(ctx, linear, b, imm | u64(how) << kSaveShift);
}
u64 restore_supervisor(ir::Context& ctx, u64 linear, u64 b, u64 imm) {
    return xrstor(ctx, linear, b, imm | u64{1} << kSaveShift);
}
constexpr ir::Helper xsave_info{"xsave", save<Save::Plain>}, xsaveopt_info{"xsaveopt", save<Save::Optimized>},
    xsavec_info{"xsavec", save<Save::Compacted>}, xrstor_info{"xrstor", xrstor},
    xrstors_info{"xrstors", restore_supervisor};

unsigned largest(const Translation& t) {
    return area_bytes(t.mode.avx ? state_components(t.model) : 0, false);
}

} // namespace

// x87 state counts as in use always: processors may have it so, and do.
u64 components_in_use(const Cpu& cpu) {
    u64 in_use = kX87State | (any_vector_bits(cpu, kXmm) ? u64{kSseState} : 0);
    for (unsigned i = 0; i < kStateLayouts; ++i)
        if (kComponents[i].in_use(cpu)) in_use |= bit_of(kStateLayout[i]);
    return in_use;
}

namespace {

bool area_instruction(Translation& t, const Instruction& insn, const ir::Helper& helper, ir::Access access,
                      bool privileged = false) {
    t.ir.call(begin_info, {}, {}, {}, privileged);
    return area_call(t, insn, helper, largest(t), access);
}

} // namespace

bool XSAVE(Translation& t, const Instruction& insn) {
    return area_instruction(t, insn, xsave_info, ir::Access::Write);
}
bool XSAVEOPT(Translation& t, const Instruction& insn) {
    return area_instruction(t, insn, xsaveopt_info, ir::Access::Write);
}
bool XSAVEC(Translation& t, const Instruction& insn) {
    return area_instruction(t, insn, xsavec_info, ir::Access::Write);
}
bool XSAVES(Translation& t, const Instruction& insn) {
    return area_instruction(t, insn, xsavec_info, ir::Access::Write, true);
}
bool XRSTOR(Translation& t, const Instruction& insn) {
    return area_instruction(t, insn, xrstor_info, ir::Access::Read);
}
bool XRSTORS(Translation& t, const Instruction& insn) {
    return area_instruction(t, insn, xrstors_info, ir::Access::Read, true);
}

} // namespace dragoman::x86
