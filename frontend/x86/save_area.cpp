#include "frontend/x86/save_area.h"

#include "base/bytes.h"
#include "frontend/x86/exception.h"
#include "frontend/x86/system_registers.h"
#include "frontend/x86/x87_ops.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

namespace dragoman::x86 {

using ir::Ref;

namespace {

constexpr u32 kPiece = 64; // the most that one access may have

softmmu::View data_view(const Cpu& cpu) {
    return softmmu::View(cpu.view);
}

// f(a constant of the value of `bytes`): copies of a constant size are a few instructions, others are calls.
template <class F> auto by_width(unsigned bytes, F f) {
    switch (bytes) {
    case 16: return f(std::integral_constant<unsigned, 16>{});
    case 32: return f(std::integral_constant<unsigned, 32>{});
    default: return f(std::integral_constant<unsigned, 64>{});
    }
}

// How many bytes from `linear` on may be touched as one piece; `host`: where, if the TLB leads there.
u32 piece(const Cpu& cpu, u64 linear, u32 bytes, bool write, u8*& host) {
    host = resident(cpu, linear, write, data_view(cpu));
    return std::min(bytes, host ? u32(softmmu::kPageSize - linear % softmmu::kPageSize) : kPiece);
}

} // namespace

void put_x87(const Cpu& cpu, bool wide, SaveArea& area) {
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

void get_x87(Cpu& cpu, bool wide, const SaveArea& area) {
    ir::Fpu& f = cpu.fpu;
    f.control = control_word(area.control);
    f.tag = area.tag;
    f.opcode = area.opcode & 0x7ff;
    f.ip = wide ? area.ip : u32(area.ip);
    f.cs = wide ? 0 : kept_selector(cpu, u16(area.ip >> 32));
    f.dp = wide ? area.dp : u32(area.dp);
    f.ds = wide ? 0 : kept_selector(cpu, u16(area.dp >> 32));
    for (unsigned i = 0; i < 8; ++i)
        std::memcpy(f.st[i], area.st[i], 10);
    set_status_word(f, area.status);
    update_ferr(cpu);
}

u32 put_vectors(const Cpu& cpu, const VectorPart& part, u8* to) {
    const unsigned registers = vector_registers(cpu, part);
    by_width(part.bytes, [&](auto bytes) {
        for (unsigned i = 0; i < registers; ++i)
            std::memcpy(to + i * bytes, cpu.vec[part.first + i] + part.at, bytes);
    });
    return registers * part.bytes;
}
void get_vectors(Cpu& cpu, const VectorPart& part, const u8* from) {
    const unsigned registers = vector_registers(cpu, part);
    by_width(part.bytes, [&](auto bytes) {
        for (unsigned i = 0; i < registers; ++i)
            if (from)
                std::memcpy(cpu.vec[part.first + i] + part.at, from + i * bytes, bytes);
            else
                std::memset(cpu.vec[part.first + i] + part.at, 0, bytes);
    });
}
bool any_vector_bits(const Cpu& cpu, const VectorPart& part) {
    const unsigned registers = vector_registers(cpu, part);
    return by_width(part.bytes, [&](auto bytes) {
        u64 bits = 0;
        for (unsigned i = 0; i < registers && !bits; ++i)
            for (unsigned at = 0; at < bytes; at += sizeof bits)
                bits |= load_as<u64>(cpu.vec[part.first + i] + part.at + at);
        return bits != 0;
    });
}

bool read_area(Cpu& cpu, u64 linear, void* to, u32 bytes) {
    for (u32 at = 0, n; at < bytes; at += n) {
        u8* host;
        n = piece(cpu, linear + at, bytes - at, false, host);
        if (host)
            std::memcpy(static_cast<u8*>(to) + at, host, n);
        else if (!read_memory(cpu, linear + at, static_cast<u8*>(to) + at, n, data_view(cpu)))
            return false;
    }
    return true;
}
bool write_area(Cpu& cpu, u64 linear, const void* from, u32 bytes) {
    for (u32 at = 0, n; at < bytes; at += n) {
        u8* host;
        n = piece(cpu, linear + at, bytes - at, true, host);
        if (host)
            std::memcpy(host, static_cast<const u8*>(from) + at, n);
        else if (!write_memory(cpu, linear + at, static_cast<const u8*>(from) + at, n, data_view(cpu)))
            return false;
    }
    return true;
}

bool misaligned(Cpu& cpu, u64 linear, u32 alignment) {
    if (!(linear & (alignment - 1))) return false;
    if (canonical(cpu, linear))
        raise(cpu, kGP, 0);
    else
        raise_not_canonical(cpu, linear);
    return true;
}

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

} // namespace dragoman::x86
