#include "backend/x64/shared_checks.h"

#include "backend/x64/registers.h"
#include "ir/passes/passes.h"

#include <algorithm>
#include <bit>

namespace dragoman::backend {

using ir::Inst;
using ir::Op;
using ir::Ref;

namespace {

constexpr u32 kMaxSpan = 256; // a wider group more often straddles two pages
constexpr u32 kMaxGap = 16;   // ops between two members: all are emitted twice, as those of a loop are anyway
constexpr unsigned kMaxOpen = 8; // groups that may still grow
constexpr i64 kMaxStride = 2048; // for more than a round or two in a page

// Has the address nothing but registers of the mode's width and a constant?
bool plain(const ir::Address& m, unsigned width) {
    return m.seg == ir::Seg::None && m.size == width && m.linear_size == width;
}

// What is left of a sum of addresses, or of a counter, in so many bytes.
i64 cut(i64 value, unsigned bytes) {
    return bytes == 4 ? i64(i32(value)) : value;
}

// The group with one more access; its span is more than kMaxSpan if that lies too far away, or wants another
// alignment.
SharedGroup extend(SharedGroup group, u64 offset, const SharedChecks::Use& use) {
    const u64 above = offset - group.first, below = group.first - offset;
    group.write |= use.write;
    if (use.aligned && !group.aligned) {
        group.aligned = use.aligned;
        group.aligned_at = offset;
    } else if (use.aligned &&
               (use.aligned != group.aligned || ((offset - group.aligned_at) & group.aligned))) {
        group.span = kMaxSpan + 1;
        return group;
    }
    if (above <= kMaxSpan) {
        group.span = std::max(group.span, u32(above) + use.bytes);
    } else if (below <= kMaxSpan) {
        group.span = std::max(group.span + u32(below), use.bytes);
        group.first = offset;
    } else {
        group.span = kMaxSpan + 1;
    }
    return group;
}

// May it be in a loop with checks ahead, though it shares none? What calls C++ code must not: that may change
// mappings, many rounds before the next check.
bool stays_in_loop(const Inst& inst, bool x87) {
    const u8 effects = ir::info(inst.op).effects;
    switch (inst.op) {
    case Op::Insn:
    case Op::BranchOut:
    case Op::JumpOut:
    case Op::CheckAlign:
    case Op::ClearUpper: return true;
    case Op::Vec:
    case Op::Vex: return !inst.from_memory;
    case Op::X87: return x87 && !inst.from_memory;
    default: return !(effects & (ir::kTouchesMemory | ir::kMayFault | ir::kTouchesState | ir::kEndsBlock));
    }
}

} // namespace

// A register plus a constant stays what it was, moved by the constant.
void SharedChecks::follow(const Inst& inst, unsigned width) {
    const u32 written = ir::registers_written(inst);
    if (!written) return;
    Value result{.root = ++roots_, .offset = 0};
    if (inst.size == width && inst.d.is_reg()) {
        const bool by_constant = inst.a.is_reg() && inst.b.is_imm();
        switch (inst.op) {
        case Op::Mov:
            if (inst.a.is_reg()) result = of(inst.a);
            break;
        case Op::Add:
            if (by_constant) result = {of(inst.a).root, of(inst.a).offset + u64(inst.imm)};
            break;
        case Op::Sub:
            if (by_constant) result = {of(inst.a).root, of(inst.a).offset - u64(inst.imm)};
            break;
        case Op::Lea:
            if (inst.mem.size == width && inst.mem.base.is_reg() && inst.mem.index.is_none())
                result = {of(inst.mem.base).root, of(inst.mem.base).offset + u64(inst.mem.disp)};
            break;
        default: break;
        }
    }
    for (u32 left = written; left; left &= left - 1)
        values_[std::countr_zero(left)] = {.root = ++roots_, .offset = 0};
    if (inst.d.is_reg()) of(inst.d) = result;
}

// Only in place: the others are unknown, with no root.
void SharedChecks::follow_low(const Inst& inst) {
    const bool counts = inst.d.is_gpr() && inst.size >= 4 && inst.a == inst.d && inst.b.is_imm() &&
                        (inst.op == Op::Add || inst.op == Op::Sub);
    for (u32 left = ir::registers_written(inst); left; left &= left - 1) {
        const unsigned n = std::countr_zero(left);
        if (n >= ir::kGprs) continue;
        Value& low = lows_[n];
        if (counts && inst.d == Ref::gpr(u8(n)))
            low.offset += inst.op == Op::Add ? u64(inst.imm) : -u64(inst.imm);
        else
            low = {};
    }
}

// The accesses are those off base + (index << scale), all else equal.
SharedChecks::Candidate SharedChecks::origin(const ir::Address& m, unsigned width, u64& offset) {
    Candidate c{.scale = m.index.is_reg() ? m.scale : u8(0), .from_pc = m.from_pc};
    offset = u64(m.disp);
    if (m.base.is_reg()) c.base.root = of(m.base).root, offset += of(m.base).offset;
    if (m.index.is_reg()) c.index.root = of(m.index).root, offset += of(m.index).offset << m.scale;
    offset = u64(cut(i64(offset), width));
    return c;
}

void SharedChecks::plan(const ir::Block& block, unsigned slots, bool x87, u32 round_end,
                        const std::function<Use(const Inst&)>& use) {
    if (!try_plan(block, slots, x87, round_end, use)) try_plan(block, slots, x87, 0, use);
}

// False: it is no loop with checks ahead.
bool SharedChecks::try_plan(const ir::Block& block, unsigned slots, bool x87, u32 round_end,
                            const std::function<Use(const Inst&)>& use_of) {
    places_.assign(block.insts.size(), {});
    groups_.clear();
    regions_.clear();
    extents_.clear();
    members_.clear();
    origins_.clear();
    is_loop_ = false;
    roots_ = 0;
    for (Value& v : values_)
        v = {.root = ++roots_, .offset = 0};
    std::copy_n(values_.begin(), lows_.size(), lows_.begin());
    const unsigned width = block.mode_bits == 64 ? 8 : block.mode_bits == 32 ? 4 : 0;
    if (!width) return true;

    std::vector<Candidate> open;
    for (u32 at = 0; at < block.insts.size(); ++at) {
        const Inst& inst = block.insts[at];
        const Use use = use_of(inst);
        if (at == round_end) {
            at_round_end_ = values_;
            lows_at_round_end_ = lows_;
        }
        if (at < round_end && !use.bytes && !stays_in_loop(inst, x87)) return false;
        if (inst.op == Op::Call || (inst.op == Op::X87 && !x87) ||
            (inst.op == Op::Vec && !inst.d.is_xmm() && !use.bytes))
            open.clear(); // C++ code may change mappings
        // A check of alignment before a store is one that an access of the same origin may have made.
        const bool checks = inst.op == Op::CheckAlign && u64(inst.imm) <= 0x3f;
        if ((use.bytes || checks) && plain(inst.mem, width)) {
            u64 offset = 0;
            Candidate wanted = origin(inst.mem, width, offset);
            const Use wants = checks ? Use{.aligned = u8(inst.imm)} : use;
            const auto same = std::find_if(open.begin(), open.end(), [&](const Candidate& c) {
                return c.base == wanted.base && c.index == wanted.index && c.scale == wanted.scale &&
                       c.from_pc == wanted.from_pc &&
                       (at < round_end || at - extents_[c.group - 1].last <= kMaxGap) &&
                       extend(groups_[c.group - 1], offset, wants).span <= kMaxSpan;
            });
            if (same != open.end()) {
                const u16 number = same->group;
                SharedGroup& g = groups_[number - 1];
                places_[at] = {number, offset};
                if (checks) {
                    if (!g.aligned) g.aligned = wants.aligned, g.aligned_at = offset;
                } else {
                    g = extend(g, offset, wants);
                    extents_[number - 1].last = at;
                    ++members_[number - 1];
                }
            } else if (!checks) {
                groups_.push_back({.write = use.write,
                                   .aligned = use.aligned,
                                   .aligned_at = offset,
                                   .first = offset,
                                   .span = use.bytes});
                extents_.push_back({at, at});
                members_.push_back(1);
                wanted.group = u16(groups_.size());
                origins_.push_back(wanted);
                places_[at] = {wanted.group, offset};
                if (open.size() == kMaxOpen) open.erase(open.begin());
                open.push_back(wanted);
            }
        }
        follow(inst, width);
        follow_low(inst);
    }
    if (round_end) return plan_loop(round_end, width, slots);
    make_regions(block, slots);
    return true;
}

// What a value changes by in each round; not steady: by something else each time.
i64 SharedChecks::step_of(const Value& v, bool& steady) const {
    if (!v.root) return 0;
    if (v.root > ir::kGprs || values_[v.root - 1].root != v.root) return steady = false, 0;
    return i64(values_[v.root - 1].offset);
}

// A register that tells the rounds: best one with a host register, and best the whole of it.
bool SharedChecks::find_counter(unsigned width) {
    int best = 0;
    for (u8 n = 0; n < ir::kGprs; ++n) {
        bool steady = at_round_end_[n].root == n + 1u;
        i64 step = step_of({.root = n + 1u}, steady), offset = i64(at_round_end_[n].offset);
        u8 bytes = u8(width);
        if (!steady && lows_[n].root) {
            steady = true;
            step = i64(lows_[n].offset), offset = i64(lows_at_round_end_[n].offset), bytes = 4;
        }
        step = cut(step, bytes), offset = cut(offset, bytes);
        if (!steady || !step || step != i32(step) || offset != i32(offset)) continue;
        const bool in_register = host::uncounted[n] != host::memory; // counted, R12 costs a load more
        const int worth = 1 + 2 * in_register + (bytes == 8);
        if (worth <= best) continue;
        best = worth;
        loop_.counter = Ref::gpr(n), loop_.step = step, loop_.offset = offset, loop_.width = bytes;
    }
    return best > 0;
}

bool SharedChecks::plan_loop(u32 round_end, unsigned width, unsigned slots) {
    loop_ = {.end = round_end};
    if (!find_counter(width)) return false;

    unsigned used = 0;
    bool moving = false; // one of them does
    for (std::size_t n = 0; n < groups_.size() && used < slots; ++n) {
        SharedGroup& g = groups_[n];
        const Candidate& c = origins_[n];
        bool steady = true;
        const i64 stride =
            cut(step_of(c.base, steady) + i64(u64(step_of(c.index, steady)) << c.scale), width);
        if (!steady || stride > kMaxStride || stride < -kMaxStride || (stride & g.aligned)) continue;
        if (stride && !moving) loop_.stride = stride;
        if (stride && moving && stride != loop_.stride) loop_.stride = 0;
        moving |= stride != 0;
        g.ahead = true;
        g.stride = stride;
        g.slot = u8(used++);
        const auto holder = [](const Value& v) { return v.root ? Ref::gpr(v.root - 1) : Ref::none(); };
        g.origin = {.base = holder(c.base),
                    .index = holder(c.index),
                    .scale = c.scale,
                    .size = u8(width),
                    .linear_size = u8(width),
                    .from_pc = c.from_pc,
                    .disp = i64(g.first)};
        is_loop_ = true;
    }
    if (!is_loop_) return false;
    regions_.push_back({0, round_end - 1});
    for (std::size_t n = 0; n < groups_.size(); ++n)
        if (!groups_[n].ahead) {
            if (members_[n] > 1 && used < slots)
                groups_[n].slot = u8(used++);
            else
                members_[n] = 0;
        }
    drop_places();
    return true;
}

void SharedChecks::make_regions(const ir::Block& block, unsigned slots) {
    unsigned used = 0;
    for (std::size_t g = 0; g < groups_.size(); ++g) {
        bool keep = members_[g] > 1;
        if (keep && !regions_.empty() && extents_[g].first <= regions_.back().last) {
            keep = used < slots;
            if (keep) regions_.back().last = std::max(regions_.back().last, extents_[g].last);
        } else if (keep) {
            regions_.push_back(extents_[g]);
            used = 0;
        }
        if (keep)
            groups_[g].slot = u8(used++);
        else
            members_[g] = 0;
    }
    drop_places();
    // A PUSH or POP at the end with what it does to RSP: see Emitter::moves_stack_late.
    for (SharedRegion& region : regions_) {
        const Inst& behind = block.insts[region.last + 1];
        region.last += behind.op == Op::Lea && behind.d == ir::kRsp;
    }
}

// Of groups that share nothing, and of checks behind the last member.
void SharedChecks::drop_places() {
    for (u32 at = 0; at < places_.size(); ++at) {
        u16& group = places_[at].group;
        if (group && (!members_[group - 1] || at > extents_[group - 1].last)) group = 0;
    }
}

} // namespace dragoman::backend
