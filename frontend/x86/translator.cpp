#include "frontend/x86/translator.h"

#include "base/bits.h"
#include "frontend/x86/cpuid.h"
#include "frontend/x86/decode.h"
#include "frontend/x86/edge_loop.h"
#include "frontend/x86/exception.h"
#include "frontend/x86/follower.h"
#include "frontend/x86/instruction.h"
#include "frontend/x86/listing.h"
#include "frontend/x86/platform.h"
#include "frontend/x86/system_registers.h"
#include "frontend/x86/translation.h"

#include <algorithm>
#include <cstring>

namespace dragoman::x86 {

namespace {

constexpr u64 kPage = softmmu::kPageSize;

u64 set_rip_helper(ir::Context& ctx, u64 a, u64, u64) {
    ctx.rip = a;
    return 0;
}
constexpr ir::Helper set_rip{"set_rip", set_rip_helper};

u64 choose_helper(ir::Context&, u64 a, u64 b, u64 imm) {
    return a ? b : imm;
}
constexpr ir::Helper choose{"choose", choose_helper};

// Replaces an end that may be linked to another block by one that returns to the run loop: for single steps,
// and after an interrupt shadow, where events must be looked at before the next instruction.
void end_with_exit(ir::Builder& ir) {
    const ir::Inst end = ir.block().insts.back();
    auto exit_by = [&](ir::Ref rip) {
        ir.call(set_rip, {}, rip);
        ir.exit_here();
    };
    switch (end.op) {
    case ir::Op::Jump:
        ir.block().insts.pop_back();
        ir.exit_to(u64(end.imm));
        break;
    case ir::Op::JumpInd:
        ir.block().insts.pop_back();
        exit_by(end.a);
        break;
    case ir::Op::Branch: {
        ir.block().insts.pop_back();
        const ir::Ref rip = ir.temp(), taken = ir.temp();
        ir.mov_imm(8, rip, end.imm2).from_pc = true;
        ir.mov_imm(8, taken, end.imm).from_pc = true;
        ir.add({.op = ir::Op::Cmov, .size = 8, .cond = end.cond, .d = rip, .a = taken});
        exit_by(rip);
        break;
    }
    case ir::Op::BranchNz: {
        ir.block().insts.pop_back();
        const ir::Ref value = ir.temp(), taken = ir.temp();
        if (end.size < 8)
            ir.extend(ir::Op::Zext, end.size, 8, value, end.a);
        else
            ir.mov(8, value, end.a);
        ir.mov_imm(8, taken, end.imm).from_pc = true;
        ir.call(choose, value, value, taken, end.imm2).from_pc = true;
        exit_by(value);
        break;
    }
    default: break; // ExitTo, ExitHere
    }
}

BranchKind branch_kind(const Instruction& insn) {
    switch (insn.zydis.meta.category) {
    case ZYDIS_CATEGORY_COND_BR: return BranchKind::Conditional;
    case ZYDIS_CATEGORY_UNCOND_BR:
    case ZYDIS_CATEGORY_CALL:
    case ZYDIS_CATEGORY_RET:
    case ZYDIS_CATEGORY_SYSCALL:
    case ZYDIS_CATEGORY_SYSRET: return BranchKind::Always;
    default: return BranchKind::None;
    }
}

bool names_xmm(const Instruction& insn) {
    for (unsigned n = 0; n < insn.zydis.operand_count_visible; n++)
        if (insn.operands[n].type == ZYDIS_OPERAND_TYPE_REGISTER &&
            insn.operands[n].reg.value >= ZYDIS_REGISTER_XMM0 &&
            insn.operands[n].reg.value <= ZYDIS_REGISTER_XMM31)
            return true;
    return false;
}

// What the state of the processor forbids, whatever the operands are: the vector, or -1.
int forbidden(const Mode& mode, const CpuModel& model, const InstructionInfo& info, const Instruction& insn) {
    if (info.feature != Feature::Base && !model.has(info.feature)) return kUD;
    // AMD's second encoding (AMD APM vol. 3, 1.7), of which no model offers anything, BEXTR with an immediate
    // included.
    if (insn.zydis.encoding == ZYDIS_INSTRUCTION_ENCODING_XOP) return kUD;
    if ((info.attributes & kNo64) && mode.long64()) return kUD;
    if ((info.attributes & kOnlyProtected) && !mode.protected_mode) return kUD;
    if (insn.lock() && std::none_of(insn.operands, insn.operands + insn.zydis.operand_count_visible,
                                    [](const auto& op) { return op.type == ZYDIS_OPERAND_TYPE_MEMORY; }))
        return kUD;
    if (info.attributes & kAvxOp) {
        const bool avx512 = insn.zydis.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX ||
                            insn.zydis.meta.category == ZYDIS_CATEGORY_KMASK;
        if (!(avx512 ? mode.avx512 : mode.avx) || !mode.protected_mode) return kUD;
        if (mode.sse_traps) return kNM;
    }
    if ((info.attributes & kFpuOp) && mode.fpu_traps()) return kNM;
    const bool both = (info.attributes & (kMmxOp | kSseOp)) == (kMmxOp | kSseOp);
    const bool sse = both ? names_xmm(insn) : bool(info.attributes & kSseOp);
    if (sse) {
        if (mode.sse_undefined) return kUD;
        if (mode.sse_traps) return kNM;
    } else if (info.attributes & kMmxOp) { // SDM vol. 3, table 12-1
        if (mode.emulation) return kUD;
        if (mode.sse_traps) return kNM;
    }
    return -1;
}

} // namespace

struct Translator::Decoders {
    Decoder by_size[3] = {Decoder(16), Decoder(32), Decoder(64)};
    Instruction insn; // reused: large
};

namespace {

enum class Fetch : u8 { Ok, Bad, TooLong, Crosses, Fault };

// Where the bytes of the current page come from.
struct Window {
    const u8* host; // of its first byte; null: not memory, read byte by byte
    u64 gpa;
    i64 begin, end; // of that byte and behind the page's last, from the start of the block
};

} // namespace

Translator::Translator(softmmu::Mmu& mmu, Log& log) : mmu_(mmu), log_(log), decoders_(new Decoders) {}
Translator::~Translator() {
    delete decoders_;
}

bool Translator::translate(Cpu& cpu, ir::Block& block, Source& source, unsigned limit) {
    const Mode mode = current_mode(cpu);
    // EIP runs on past 64 KiB in 16-bit code too; only its branches are cut to 16 bits.
    const u64 rip_mask = low_mask(mode.long64() ? 64 : 32);
    const u64 start = cpu.rip & rip_mask;
    const u64 linear = mode.long64() ? start : u32(cpu.seg[unsigned(ir::Seg::CS)].base + start);
    const u64 cs_limit = mode.long64() ? ~u64{0} : cpu.seg[unsigned(ir::Seg::CS)].limit;
    const auto view = mode.cpl == 3 ? softmmu::View::User : softmmu::View::Supervisor;

    std::vector<ir::Inst> insts = std::move(block.insts); // keeps its room
    insts.clear();
    block = {};
    block.insts = std::move(insts);
    block.pc = start;
    block.linear_pc = linear;
    block.mode_bits = mode.code_bits;
    block.view = mode.view;
    block.user = mode.cpl == 3;
    block.vector_bytes = cpu.vector_bytes;
    block.vectors_lazy = mode.cpl != 3; // as update_key has it
    block.simd_unmasked = mode.simd_unmasked;
    source = {};

    if ((mode.long64() && !canonical(cpu, linear)) || start > cs_limit) {
        raise(cpu, kGP, 0);
        return false;
    }
    const auto first = mmu_.fetch(linear, view);
    if (!first.ok) {
        raise_page_fault(cpu, first.fault);
        return false;
    }
    block.code_pages[0] = first.number;
    const u64 left = kPage - (linear & (kPage - 1)); // in the block's page
    const u64 next_page = mode.long64() ? linear + left : u32(linear + left);
    Window page{first.host, first.gpa, 0, i64(left)}, behind{};
    const Decoder& decoder = decoders_->by_size[mode.code_bits == 64 ? 2 : mode.code_bits / 32];
    Instruction& insn = decoders_->insn;
    if (mode.single_step || !page.host) limit = 1;

    Translation t(block, mode, *cpu.model, cs_limit);
    t.inline_time = cpu.platform && cpu.platform->time_line();
    i64 offset = 0; // of the next instruction from the block's start; before it only in what is followed
    Follower followed(start, linear, left);
    EdgeLoop edge;
    Shadow shadow = kNoShadow;
    bool open = true; // the block has no end yet
    unsigned side_exits = 0;
    u8 cross_bytes[kMaxLength];

    // Decodes the instruction at `offset`.
    auto decode = [&]() -> Fetch {
        const u64 rip = start + u64(offset); // not cut: the limit check sees the carry
        const u64 in_page = u64(page.end - offset);
        // With a limit of 4 GiB - 1 code goes on at 0 (SDM vol. 3, 5.3, leaves it open; processors do).
        const bool limited = cs_limit < 0xffffffff;
        const u64 in_limit = rip <= cs_limit ? cs_limit - rip + 1 : 0;
        const u64 allowed = limited ? std::min<u64>(in_limit, kMaxLength) : kMaxLength;
        if (!allowed) return Fetch::TooLong;

        const u64 near_bytes = std::min(in_page, allowed);
        const u8* bytes = page.host ? page.host + (offset - page.begin) : cross_bytes;
        ZyanStatus status = ZYDIS_STATUS_NO_MORE_DATA;
        if (page.host) {
            status = decoder.decode(bytes, near_bytes, insn);
        } else { // a read of a device may have effects: no more of them than the instruction has bytes
            for (u64 n = 1; n <= near_bytes && status == ZYDIS_STATUS_NO_MORE_DATA; n++) {
                cross_bytes[n - 1] = u8(mmu_.map().load(page.gpa + offset + n - 1, 1));
                status = decoder.decode(bytes, n, insn);
            }
        }
        if (status == ZYDIS_STATUS_NO_MORE_DATA && near_bytes < allowed) {
            if (block.guest_instructions && !(edge.begun() && !page.begin)) return Fetch::Crosses;
            const auto second = mmu_.fetch(next_page, view);
            if (!second.ok) {
                raise_page_fault(cpu, second.fault);
                return Fetch::Fault;
            }
            if (page.host) std::memcpy(cross_bytes, bytes, near_bytes);
            for (u64 n = near_bytes; n < allowed && status == ZYDIS_STATUS_NO_MORE_DATA; n++) {
                cross_bytes[n] = second.host ? second.host[n - near_bytes]
                                             : u8(mmu_.map().load(second.gpa + n - near_bytes, 1));
                status = decoder.decode(cross_bytes, n + 1, insn);
            }
            bytes = cross_bytes;
            source.gpa[1] = second.gpa;
            block.code_pages[1] = second.number;
        }
        insn.rip = rip & rip_mask;
        if (ZYAN_SUCCESS(status)) {
            std::memcpy(insn.bytes, bytes, insn.zydis.length);
            insn.next_rip = (rip + insn.zydis.length) & rip_mask;
            return Fetch::Ok;
        }
        insn.zydis.length = u8(std::min<u64>(source.gpa[1] ? allowed : near_bytes, kMaxLength));
        std::memcpy(insn.bytes, bytes, insn.zydis.length);
        const bool too_long =
            status == ZYDIS_STATUS_NO_MORE_DATA || status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG;
        return too_long ? Fetch::TooLong : Fetch::Bad;
    };

    // At the end of a page: may the block go on in the next, as a loop over the edge?
    auto over_edge = [&] {
        if (page.begin || edge.begun()) return !page.begin;
        if (!edge_loops_ || !page.host || shadow || followed.inside() || block.guest_instructions >= limit)
            return false;
        const auto second = mmu_.fetch(next_page, view);
        if (!second.ok || !second.host || next_page < linear) return false;
        edge.begin(block, source, offset);
        source.gpa[Source::Second] = second.gpa;
        block.code_pages[1] = second.number;
        behind = {second.host, second.gpa, i64(left), i64(left + kPage)};
        return true;
    };

    auto say_unsupported = [&](const char* why) {
        char hex[2 * kMaxLength + 1] = "";
        for (unsigned i = 0; i < insn.length(); i++)
            std::snprintf(hex + 2 * i, 3, "%02x", insn.bytes[i]);
        log_.once("%s: %s at rip %#llx (%u-bit code)", why, hex, static_cast<unsigned long long>(insn.rip),
                  unsigned(mode.code_bits));
    };

    for (;;) {
        const Fetch fetched = decode();
        if (fetched == Fetch::Fault) return false;
        if (fetched == Fetch::Crosses && over_edge()) continue;
        if (fetched == Fetch::Crosses) break;
        if (fetched == Fetch::TooLong && block.guest_instructions)
            break; // the next block finds it again, and faults
        if (fetched == Fetch::TooLong) {
            raise(cpu, kGP, 0);
            return false;
        }
        const InstructionInfo* info = fetched == Fetch::Ok ? find_instruction(insn.zydis) : nullptr;
        if (!info && block.guest_instructions) break; // the next block speaks of it, if it is ever reached

        t.ir.insn(i32(offset));
        bool go_on;
        if (!info) {
            say_unsupported(fetched == Fetch::Bad ? "undefined instruction"
                                                  : ZydisMnemonicGetString(insn.mnemonic()));
            go_on = t.raise(kUD);
        } else if (const int vector = forbidden(mode, *cpu.model, *info, insn); vector >= 0) {
            go_on = t.raise(Vector(vector));
        } else {
            source.branch = branch_kind(insn);
            t.leaves = mode.single_step || shadow;
            go_on = info->translate(t, insn);
            if (go_on && (info->attributes & kEndsBlock)) {
                t.ir.jump(insn.next_rip);
                go_on = false;
            }
        }
        offset += insn.length();
        followed.decoded(offset, insn.length());
        block.guest_instructions++;

        const Shadow was_shadowed = std::exchange(shadow, t.take_shadow());
        // A branch forward is mostly not taken: the block goes on behind it.
        ir::Inst& last = block.insts.back();
        if (!go_on && !was_shadowed && last.op == ir::Op::Branch &&
            u64(last.imm) > std::max(insn.rip, start) && side_exits < side_exits_ &&
            block.guest_instructions < limit) {
            last.op = ir::Op::BranchOut;
            side_exits++;
            go_on = true;
        }
        if (!go_on && !was_shadowed && follow_calls_ && cs_limit >= 0xffffffff && page.host &&
            block.guest_instructions < limit)
            go_on = followed.follow(block, source, insn, offset);
        if (!go_on) {
            if (was_shadowed) end_with_exit(t.ir);
            open = false;
            break;
        }
        if (was_shadowed) {
            t.ir.add({.op = ir::Op::PollIntr, .imm = i64(insn.next_rip)});
            shadow = kNoShadow; // only the first of a row of them holds interrupts off (SDM vol. 2, STI)
        }
        if (offset >= page.end) {
            if (!over_edge()) break;
            page = behind;
        }
        if (stops_ && stops_->count(mode.long64() ? linear + u64(offset) : u32(linear + u64(offset)))) break;
        // Where the code wraps at 64 KiB or 4 GiB a new block begins.
        if (insn.next_rip < insn.rip) break;
        if (block.guest_instructions >= followed.limit(limit)) break;
    }

    if (followed.end(block, source, offset)) {
        open = false;
        shadow = kNoShadow;
    }
    if (edge.end(block, source, offset)) {
        followed.decoded(offset, 0);
        open = true;
        shadow = kNoShadow;
    }
    if (open) {
        if (shadow) {
            t.ir.store_state(1, offsetof(ir::Context, interrupt_shadow), ir::Ref::imm(), shadow);
            t.ir.exit_to(insn.next_rip);
        } else {
            t.ir.jump((start + u64(offset)) & rip_mask);
        }
    }
    if (mode.single_step) end_with_exit(t.ir);

    const u64 bytes = followed.own_bytes();
    block.guest_bytes = u32(bytes);
    source.gpa[Source::First] = first.gpa;
    source.bytes[Source::First] = u32(std::min(bytes, left));
    source.bytes[Source::Second] = u32(bytes) - source.bytes[Source::First];
    followed.put(source, first.gpa);
    source.end = i32(offset);
    if (block.insts.back().op == ir::Op::JumpInd) source.near_branch = t.near_branch();
    return true;
}

} // namespace dragoman::x86
