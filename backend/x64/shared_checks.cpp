#include "backend/x64/shared_checks.h"

#include "ir/passes/passes.h"
#include "ir/x87.h"

#include <algorithm>
#include <bit>

namespace dragoman::backend {

using ir::Inst;
using ir::Op;
using ir::Ref;

namespace {

constexpr u32 kMaxSpan = 256;    // a wider group more often straddles two pages
constexpr u32 kMaxGap = 16;      // ops between two members: all of them are emitted twice
constexpr unsigned kMaxOpen = 8; // groups that may still grow

bool shares(const Inst& inst, unsigned width, bool x87) {
    switch (inst.op) {
    case Op::Load:
    case Op::LoadZx:
    case Op::LoadSx:
    case Op::Store: break;
    case Op::VLoad:
        if (!inst.d.is_xmm()) return false;
        break;
    case Op::VStore:
        if (!inst.a.is_xmm()) return false;
        break;
    case Op::X87:
        if (!inst.from_memory || !x87) return false;
        break;
    default: return false;
    }
    return inst.mem.seg == ir::Seg::None && inst.mem.size == width && inst.mem.linear_size == width;
}

bool writes(const Inst& inst) {
    return inst.op == Op::Store || inst.op == Op::VStore ||
           (inst.op == Op::X87 && ir::X87Call::unpack(u64(inst.imm)).stores());
}

// The group with one more access; its span is more than kMaxSpan if that lies too far away.
SharedGroup extend(SharedGroup group, u64 offset, u32 size) {
    const u64 above = offset - group.first, below = group.first - offset;
    if (above <= kMaxSpan) {
        group.span = std::max(group.span, u32(above) + size);
    } else if (below <= kMaxSpan) {
        group.span = std::max(group.span + u32(below), size);
        group.first = offset;
    } else {
        group.span = kMaxSpan + 1;
    }
    return group;
}

} // namespace

// Accesses off one origin: base + (index << scale).
struct SharedChecks::Candidate {
    Value base, index; // their offsets are 0: they are in SharedGroup::first
    u8 scale = 0;
    u16 group = 0; // index + 1
};

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

void SharedChecks::plan(const ir::Block& block, unsigned slots, bool x87) {
    places_.assign(block.insts.size(), {});
    groups_.clear();
    regions_.clear();
    extents_.clear();
    members_.clear();
    roots_ = 0;
    for (Value& v : values_)
        v = {.root = ++roots_, .offset = 0};
    const unsigned width = block.mode_bits == 64 ? 8 : block.mode_bits == 32 ? 4 : 0;
    if (!width) return;

    std::vector<Candidate> open;
    for (u32 at = 0; at < block.insts.size(); ++at) {
        const Inst& inst = block.insts[at];
        if (inst.op == Op::Call || (inst.op == Op::X87 && !x87) || (inst.op == Op::Vec && !inst.d.is_xmm()))
            open.clear(); // C++ code may change mappings
        if (shares(inst, width, x87)) {
            Candidate wanted{.scale = inst.mem.index.is_reg() ? inst.mem.scale : u8(0)};
            u64 offset = u64(inst.mem.disp);
            if (inst.mem.base.is_reg())
                wanted.base.root = of(inst.mem.base).root, offset += of(inst.mem.base).offset;
            if (inst.mem.index.is_reg()) {
                wanted.index.root = of(inst.mem.index).root;
                offset += of(inst.mem.index).offset << inst.mem.scale;
            }
            if (width == 4) offset = u64(i64(i32(offset)));
            const auto same = std::find_if(open.begin(), open.end(), [&](const Candidate& c) {
                if (c.base != wanted.base || c.index != wanted.index || c.scale != wanted.scale) return false;
                const SharedGroup& g = groups_[c.group - 1];
                return (g.write || !writes(inst)) && at - extents_[c.group - 1].last <= kMaxGap &&
                       extend(g, offset, inst.size).span <= kMaxSpan;
            });
            if (same != open.end()) {
                SharedGroup& g = groups_[same->group - 1];
                g = extend(g, offset, inst.size);
                extents_[same->group - 1].last = at;
                ++members_[same->group - 1];
                places_[at] = {same->group, offset};
            } else {
                groups_.push_back({.write = writes(inst), .first = offset, .span = inst.size});
                extents_.push_back({at, at});
                members_.push_back(1);
                wanted.group = u16(groups_.size());
                places_[at] = {wanted.group, offset};
                if (open.size() == kMaxOpen) open.erase(open.begin());
                open.push_back(wanted);
            }
        }
        follow(inst, width);
    }
    make_regions(slots);
}

void SharedChecks::make_regions(unsigned slots) {
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
    for (Place& p : places_)
        if (p.group && !members_[p.group - 1]) p.group = 0;
}

} // namespace dragoman::backend
