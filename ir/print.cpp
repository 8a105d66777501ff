// IR to text; the grammar is in docs/ir.md.
#include "ir/block.h"
#include "ir/memory.h"
#include "ir/state_names.h"
#include "ir/text.h"
#include "ir/vec.h"
#include "ir/vex.h"

#include <cinttypes>
#include <cstdio>

namespace dragoman::ir {

namespace {

using text::ref_name;

constexpr std::size_t operand_column = 14, flags_column = 48;

std::string hex(u64 v) {
    char buffer[24];
    std::snprintf(buffer, sizeof buffer, v < 10 ? "%" PRIu64 : "0x%" PRIx64, v);
    return buffer;
}
std::string signed_hex(i64 v) {
    return v < 0 ? "-" + hex(u64{0} - u64(v)) : hex(u64(v));
}

std::string address(const Address& mem, unsigned mode_bits) {
    std::string s;
    if (mem.seg != Seg::None) s += std::string(text::seg_names[u8(mem.seg)]) + ":";
    s += "[";
    const bool registers = !mem.base.is_none() || !mem.index.is_none();
    if (!mem.base.is_none()) s += ref_name(mem.base, mem.size);
    if (!mem.index.is_none()) {
        if (!mem.base.is_none()) s += " + ";
        s += ref_name(mem.index, mem.size);
        if (mem.scale || mem.base.is_none()) s += "*" + std::to_string(1u << mem.scale);
    }
    if (!registers)
        s += hex(u64(mem.disp));
    else if (mem.disp < 0)
        s += " - " + hex(u64{0} - u64(mem.disp));
    else if (mem.disp > 0)
        s += " + " + hex(u64(mem.disp));
    s += "]";
    if (mem.size != mode_bits / 8) s += "/a" + std::to_string(mem.size);
    if (mem.linear_size != (mode_bits == 64 ? 8 : 4)) s += "/l" + std::to_string(mem.linear_size);
    if (mem.from_pc) s += "/pc";
    return s;
}

class Printer {
  public:
    Printer(const Inst& inst, unsigned mode_bits) : inst_(inst), mode_bits_(mode_bits) {}

    std::string run() {
        line_ = mnemonic();
        pad(operand_column);
        operands();
        while (!line_.empty() && line_.back() == ' ')
            line_.pop_back();
        live_flags();
        return line_;
    }

  private:
    std::string mnemonic() const {
        std::string s = inst_.lock ? "lock " : "";
        s += text::op_name(inst_.op);
        if (inst_.op == Op::Rmw) s += "." + text::op_name(inst_.sub);
        if (inst_.op == Op::Vec) {
            s += ".";
            s += vec_op(inst_.vec).mnemonic;
            if (inst_.size != 8) s += "." + std::to_string(inst_.size);
        }
        if (inst_.op == Op::Vex)
            s += "." + std::string(vex_op(inst_.vec).row) + "." + std::to_string(inst_.size) +
                 (inst_.size2 == 8 ? "" : "." + std::to_string(inst_.size2));
        if (text::has_cond(inst_.op)) s += "." + std::string(text::cond_names[u8(inst_.cond)]);
        if (text::has_size(inst_.op)) s += "." + std::to_string(inst_.size);
        if (text::has_size2(inst_.op)) s += "." + std::to_string(inst_.size2);
        return s;
    }
    void pad(std::size_t column) { line_.resize(std::max(line_.size() + 1, column), ' '); }

    void item(const std::string& s) {
        if (!first_) line_ += ", ";
        first_ = false;
        line_ += s;
    }
    void ref(Ref r, unsigned size, i64 imm) {
        item(r.is_imm() ? signed_hex(imm) + (inst_.from_pc ? "/pc" : "") : r.is_none() ? "-" : ref_name(r, size));
    }
    void memory() { item(address(inst_.mem, mode_bits_)); }
    void state() {
        const std::string_view name = state_name(u32(inst_.imm));
        item(name.empty() ? "[state+" + hex(u64(inst_.imm)) + "]" : std::string(name));
    }

    void operands() {
        const Inst& i = inst_;
        unsigned d_size = i.size, a_size = i.size;
        if (text::has_size2(i.op)) d_size = i.size2;
        if (i.op == Op::ExtHi) d_size = 1, a_size = 8;
        if (i.op == Op::InsHi) d_size = 8, a_size = 1;
        if (i.op == Op::Setcc) d_size = 1;
        if (i.op == Op::Crc32) d_size = a_size = 4;
        if (i.op == Op::JumpInd || i.op == Op::JumpOut || i.op == Op::SetFlags) a_size = 8;
        if (i.op == Op::LoadState || i.op == Op::SegAddr) d_size = 8;
        switch (info(i.op).form) {
        case Form::None: break;
        case Form::D: ref(i.d, d_size, 0); break;
        case Form::A: ref(i.a, a_size, i.imm); break;
        case Form::DA: ref(i.d, d_size, 0), ref(i.a, a_size, i.imm); break;
        case Form::AB: ref(i.a, a_size, i.imm), ref(i.b, i.size, i.imm); break;
        case Form::DAB: ref(i.d, d_size, 0), ref(i.a, a_size, i.imm), ref(i.b, i.size, i.imm); break;
        case Form::DABC:
            ref(i.d, d_size, 0), ref(i.a, a_size, i.imm), ref(i.b, i.size, i.imm), ref(i.c, 1, i.imm);
            break;
        case Form::DCA: ref(i.d, d_size, 0), ref(i.c, d_size, 0), ref(i.a, a_size, i.imm); break;
        case Form::DM: ref(i.d, d_size, 0), memory(); break;
        case Form::MA:
            if (i.op == Op::Rmw && !i.d.is_none()) ref(i.d, d_size, 0);
            memory();
            if (i.op == Op::CheckAlign || i.op == Op::CheckAc)
                item(hex(u64(i.imm)));
            else if (!i.a.is_none())
                ref(i.a, a_size, i.imm);
            if (i.op == Op::Rmw && !i.c.is_none()) ref(i.c, 1, i.imm);
            break;
        case Form::D_Mem:
            ref(i.d, d_size, 0), memory();
            item(u64(i.imm) < 3 ? std::string(text::access_names[i.imm]) : signed_hex(i.imm));
            break;
        case Form::D_Imm: ref(i.d, d_size, 0), state(); break;
        case Form::A_Imm:
            if (i.op == Op::StoreState)
                state(), ref(i.a, a_size, i.imm2);
            else
                ref(i.a, a_size, i.imm2), item(hex(u64(i.imm)));
            break;
        case Form::Imm: item(hex(u64(i.imm))); break;
        case Form::Branch:
            if (i.op == Op::BranchNz) ref(i.a, a_size, 0);
            item(hex(u64(i.imm))), item(hex(u64(i.imm2)));
            break;
        case Form::Rmw: break;
        case Form::ImmSize: item(hex(u64(i.imm))); break;
        case Form::Vec: vector(); break;
        case Form::Vex: vex(); break;
        case Form::X87: x87(); break;
        case Form::Call: call(); break;
        }
    }
    void vector() {
        if (!inst_.d.is_none() || inst_.from_memory || !inst_.a.is_none()) ref(inst_.d, inst_.size, 0);
        if (inst_.from_memory)
            memory();
        else if (!inst_.a.is_none())
            ref(inst_.a, inst_.size, inst_.imm);
        if (vec_op(inst_.vec).has_imm) item(hex(u8(inst_.imm)));
    }
    void vex() {
        const VexOp& op = vex_op(inst_.vec);
        const Ref operands[] = {inst_.d, inst_.a, inst_.b, inst_.c};
        for (unsigned n = 0; n < 4; ++n)
            if (op.operands[n] == VexOperand::Imm)
                item(hex(u8(inst_.imm)));
            else if (inst_.from_memory && n == (op.stores() ? 0 : 2))
                memory();
            else if (op.operands[n] != VexOperand::None)
                ref(operands[n], inst_.size2, 0);
        if (!inst_.mask.is_none()) line_ += " {" + ref_name(inst_.mask, 8) + "}";
        if (inst_.zeroing) line_ += " {z}";
        if (inst_.broadcast) line_ += " {1to}";
        if (inst_.rounding != Rounding::Mxcsr)
            line_ += " {" + std::string(text::rounding_names[u8(inst_.rounding)]) + "}";
    }
    void x87() {
        item(inst_.helper ? inst_.helper->name : "(no helper)");
        if (inst_.from_memory)
            memory();
        else if (!inst_.a.is_none())
            ref(inst_.a, 8, 0);
        item(hex(u64(inst_.imm)));
    }
    void call() {
        if (!inst_.d.is_none()) line_ += ref_name(inst_.d, 8) + " = ";
        line_ += inst_.helper ? inst_.helper->name : "(no helper)";
        line_ += "(";
        argument(inst_.a, inst_.b.is_none());
        argument(inst_.b, true);
        if (inst_.imm || inst_.a.is_imm() || inst_.b.is_imm()) item("imm=" + signed_hex(inst_.imm) + (inst_.from_pc ? "/pc" : ""));
        line_ += ")";
    }
    void argument(Ref r, bool last) {
        if (r.is_none() && last) return;
        item(r.is_imm() ? "imm" : r.is_none() ? "-" : ref_name(r, 8));
    }

    // "!cz": of the flags written only CF and ZF are looked at; nothing: all of them are.
    void live_flags() {
        const Flags written = flags_written(inst_);
        if (!(written & ~inst_.live)) return;
        pad(flags_column);
        line_ += "!";
        for (const auto& f : text::flag_letters)
            if (written & inst_.live & f.flag) line_ += f.letter;
        if (line_.back() == '!') line_ += "-";
    }

    const Inst& inst_;
    const unsigned mode_bits_;
    std::string line_;
    bool first_ = true;
};

} // namespace

std::string print(const Inst& inst, unsigned mode_bits) {
    return Printer(inst, mode_bits).run();
}
std::string print(const Inst& inst) {
    return print(inst, 64);
}

std::string print(const Block& block) {
    char line[160];
    std::snprintf(line, sizeof line,
                  "block pc=0x%" PRIx64 " linear=0x%" PRIx64 " bytes=%u instructions=%u mode=%u view=%u\n",
                  block.pc, block.linear_pc, block.guest_bytes, block.guest_instructions,
                  unsigned(block.mode_bits), unsigned(block.view));
    std::string s = line;
    if (block.vector_bytes != 16) s.insert(s.size() - 1, " vectors=" + std::to_string(block.vector_bytes));
    if (block.simd_unmasked) s.insert(s.size() - 1, " unmasked=1");
    if (block.follows) s.insert(s.size() - 1, " follows=1");
    bool open = false; // an instruction's offset was printed, none of its ops yet
    for (const Inst& inst : block.insts) {
        if (inst.op == Op::Insn) {
            if (open) s += "nop\n";
            // Code that a block has followed may lie before its start.
            std::snprintf(line, sizeof line, inst.imm < 0 ? "-%04" PRIx64 " " : "%04" PRIx64 "  ",
                          inst.imm < 0 ? u64(0) - u64(inst.imm) : u64(inst.imm));
            s += line;
            open = true;
            continue;
        }
        if (!open) s += "      ";
        open = false;
        s += print(inst, block.mode_bits);
        s += "\n";
    }
    if (open) s += "nop\n";
    return s;
}

} // namespace dragoman::ir
