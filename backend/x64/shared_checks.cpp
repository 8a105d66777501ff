#include "backend/x64/shared_checks.h"

#include "ir/passes/passes.h"

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

// Has the address nothing but registers of the mode's width and a constant?
bool plain(const ir::Address& m, unsigned width) {
    return m.seg == ir::Seg::None && m.size == width && m.linear_size == width;
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

// The accesses are those off base + (index << scale), all else equal.
SharedChecks::Candidate SharedChecks::origin(const ir::Address& m, unsigned width, u64& offset) {
    Candidate c{.scale = m.index.is_reg() ? m.scale : u8(0)};
    offset = u64(m.disp);
    if (m.base.is_reg()) c.base.root = of(m.base).root, offset += of(m.base).offset;
    if (m.index.is_reg()) c.index.root = of(m.index).root, offset += of(m.index).offset << m.scale;
    if (width == 4) offset = u64(i64(i32(offset)));
    return c;
}

void SharedChecks::plan(const ir::Block& block, unsigned slots, bool x87,
                        const std::function<Use(const Inst&)>& use_of) {
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
        const Use use = use_of(inst);
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
                       at - extents_[c.group - 1].last <= kMaxGap &&
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
    for (u32 at = 0; at < places_.size(); ++at) {
        u16& group = places_[at].group;
        if (group && (!members_[group - 1] || at > extents_[group - 1].last)) group = 0;
    }
}

} // namespace dragoman::backend
