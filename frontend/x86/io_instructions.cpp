// IN, OUT, INS, OUTS with the I/O permission bitmap (SDM vol. 2; vol. 1, 19.5).
#include "frontend/x86/system_helpers.h"

#include "base/bits.h"
#include "frontend/x86/debug.h"
#include "frontend/x86/platform.h"
#include "frontend/x86/system_memory.h"
#include "ir/memory.h"

#include <cstring>

namespace dragoman::x86 {

using ir::Ref;

namespace {

// May this program use these ports? Raises if not.
bool io_allowed(Cpu& cpu, u16 port, unsigned size) {
    if (!cpu.protected_mode() || (!cpu.v86() && cpu.cpl <= cpu.iopl())) return true;
    u16 map = 0, bitmap = 0;
    const bool tss32 = (cpu.tr.attributes & (kSegP | 9)) == (kSegP | 9) && cpu.tr.limit >= 0x67;
    if (!tss32) {
        raise(cpu, kGP, 0);
        return false;
    }
    if (!read_system(cpu, cpu.tr.base + 0x66, map)) return false;
    const u32 at = u32{map} + port / 8;
    if (at + 1 > cpu.tr.limit) { // two bytes are read always
        raise(cpu, kGP, 0);
        return false;
    }
    if (!read_system(cpu, cpu.tr.base + at, bitmap)) return false;
    if ((bitmap >> port % 8) & low_mask(size)) {
        raise(cpu, kGP, 0);
        return false;
    }
    return true;
}

// Around one access to a port: an SMI that it brings about may restart the instruction.
class PortAccess {
  public:
    PortAccess(Cpu& cpu, u16 port, unsigned size, bool in, bool string = false, bool repeated = false)
        : cpu_(cpu), io_{.valid = true,
                         .in = in,
                         .string = string,
                         .repeated = repeated,
                         .port = port,
                         .bytes = u8(size),
                         .rip = cpu.rip,
                         .rcx = cpu.gpr[1],
                         .rsi = cpu.gpr[6],
                         .rdi = cpu.gpr[7]},
          pending_(cpu.smi_pending) {
        port_accessed(cpu, port, size);
    }
    ~PortAccess() {
        if (cpu_.smi_pending && !pending_) cpu_.io_smi = io_;
    }

  private:
    Cpu& cpu_;
    const Cpu::IoInstruction io_;
    const bool pending_;
};

// a: port, b: value, imm: size
u64 in_helper(ir::Context& ctx, u64 a, u64, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    if (cpu.cpl != 0 && !io_allowed(cpu, u16(a), unsigned(imm))) return 0;
    const PortAccess access(cpu, u16(a), unsigned(imm), true);
    return cpu.platform->port_in(u16(a), unsigned(imm)) & size_mask(unsigned(imm));
}
u64 out_helper(ir::Context& ctx, u64 a, u64 b, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    if (cpu.cpl != 0 && !io_allowed(cpu, u16(a), unsigned(imm))) return 0;
    const PortAccess access(cpu, u16(a), unsigned(imm), false);
    cpu.platform->port_out(u16(a), unsigned(imm), u32(b & size_mask(unsigned(imm))));
    return 0;
}
constexpr ir::Helper in_info{"in", in_helper}, out_info{"out", out_helper};

// The port operand: DX or an immediate byte.
Ref port_operand(Translation& t, const Instruction& insn, unsigned n) {
    const Ref port = t.ir.temp();
    if (insn.operands[n].type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
        t.ir.mov_imm(8, port, i64(insn.operands[n].imm.value.u & 0xff));
    else
        t.ir.extend(ir::Op::Zext, 2, 8, port, ir::kRdx);
    return port;
}

// ---- string forms
struct StringIo {
    unsigned size, address_size;
    ir::Seg seg;
    bool repeat, out, once; // once: one element, and back to the run loop
    static StringIo unpack(u64 v) {
        return {unsigned(v & 0xf), unsigned(v >> 4 & 0xf), ir::Seg(v >> 8 & 0xf), bit(v, 12), bit(v, 13),
                bit(v, 14)};
    }
    u64 pack() const {
        return size | address_size << 4 | u64(seg) << 8 | u64{repeat} << 12 | u64{out} << 13 |
               u64{once} << 14;
    }
};

// The linear address of an element, checked as SegAddr does.
bool element_address(Cpu& cpu, const StringIo& io, u64 offset, u64& linear) {
    const ir::Segment& s = cpu.seg[unsigned(io.seg)];
    if (cpu.code64()) {
        linear = offset + (io.seg >= ir::Seg::FS ? s.base : 0);
        return true;
    }
    const bool usable =
        (s.attributes & kSegP) && (io.out ? !(s.attributes & kSegCode) || (s.attributes & kSegReadable)
                                          : !(s.attributes & kSegCode) && (s.attributes & kSegWritable));
    if (!usable || !inside_limit(s, offset, io.size)) {
        raise(cpu, io.seg == ir::Seg::SS ? kSS : kGP, 0);
        return false;
    }
    linear = u32(s.base + offset);
    return true;
}

void write_partial(u64& reg, u64 value, unsigned size) {
    reg = size == 2 ? (reg & ~u64{0xffff}) | (value & 0xffff) : value & size_mask(size);
}

// One element; the registers move only when it is done.
bool string_io_step(Cpu& cpu, const StringIo& io, u16 port) {
    u64& index = cpu.gpr[io.out ? 6 : 7];
    u64 linear = 0;
    if (!element_address(cpu, io, index & size_mask(io.address_size), linear)) return false;
    if (alignment_checked(cpu) && linear % io.size) {
        raise(cpu, kVectorAC, 0);
        return false;
    }
    u8* host = cpu.memory->acquire(cpu, linear, io.size, io.out ? ir::Access::Read : ir::Access::Write);
    if (!host) return false;
    const PortAccess access(cpu, port, io.size, !io.out, true, io.repeat);
    u32 value = 0;
    if (io.out) {
        std::memcpy(&value, host, io.size);
        cpu.platform->port_out(port, io.size, value);
    } else {
        value = cpu.platform->port_in(port, io.size);
        std::memcpy(host, &value, io.size);
        cpu.memory->commit(cpu);
    }
    write_partial(index, cpu.direction_flag ? index - io.size : index + io.size, io.address_size);
    return true;
}

u64 string_io(ir::Context& ctx, u64, u64, u64 imm) {
    constexpr unsigned most = 4096; // elements before events are looked at
    Cpu& cpu = cpu_of(ctx);
    const StringIo io = StringIo::unpack(imm);
    const u16 port = u16(cpu.gpr[2]);
    u64& count = cpu.gpr[1];
    const u64 count_mask = size_mask(io.address_size);
    if (cpu.cpl != 0 && !io_allowed(cpu, port, io.size)) return 0;
    if (io.repeat && !(count & count_mask)) return 0;
    for (unsigned done = 0;; ++done) {
        const bool event = cpu.poll || (cpu.interrupt_line && cpu.interrupt_flag) || cpu.debug_hits;
        if (done == most || (done && (event || io.once))) {
            cpu.exit = ir::Exit::Event; // rip is this instruction's: it goes on from here
            cpu.mid_repeat = true;
            return 0;
        }
        if (!string_io_step(cpu, io, port) || !io.repeat) return 0;
        write_partial(count, count - 1, io.address_size);
        if (!(count & count_mask)) return 0;
    }
}
constexpr ir::Helper string_io_info{"string_io", string_io};

bool emit_string_io(Translation& t, const Instruction& insn, bool out) {
    // Of the operands one is memory: ES:DI, or DS:SI with a possible override.
    ir::Seg seg = ir::Seg::ES;
    unsigned size = insn.operand_size();
    for (unsigned n = 0; n < insn.zydis.operand_count; ++n) {
        if (insn.operands[n].type != ZYDIS_OPERAND_TYPE_MEMORY) continue;
        if (out) seg = Translation::segment(insn, n);
        size = insn.operands[n].size / 8u;
        break;
    }
    const StringIo io{size, insn.address_size(), seg, insn.rep() || insn.repne(), out, t.mode.single_step};
    t.ir.call(string_io_info, {}, {}, {}, i64(io.pack()));
    t.ir.add({.op = ir::Op::PollIntr, .imm = i64(insn.next_rip)});
    return true;
}

} // namespace

bool IN(Translation& t, const Instruction& insn) {
    const unsigned size = insn.operands[0].size / 8u;
    const Ref value = t.ir.temp();
    t.ir.call(in_info, value, port_operand(t, insn, 1), {}, size);
    t.write(insn, 0, size, value);
    t.ir.add({.op = ir::Op::PollIntr, .imm = i64(insn.next_rip)});
    return true;
}

bool OUT(Translation& t, const Instruction& insn) {
    const unsigned size = insn.operands[1].size / 8u;
    t.ir.call(out_info, {}, port_operand(t, insn, 0), ir::kRax, size);
    t.ir.add({.op = ir::Op::PollIntr, .imm = i64(insn.next_rip)}); // what was asked for may be due at once
    return true;
}

bool INS(Translation& t, const Instruction& insn) {
    return emit_string_io(t, insn, false);
}
bool OUTS(Translation& t, const Instruction& insn) {
    return emit_string_io(t, insn, true);
}

} // namespace dragoman::x86
