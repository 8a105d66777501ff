#include "backend/x64/portable_code.h"

#include "softmmu/tlb.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

namespace dragoman::backend {

namespace {

static_assert(std::is_trivially_copyable_v<ir::Inst> && std::is_trivially_copyable_v<LinkSite> &&
              std::is_trivially_copyable_v<SidePoint>);

// Does the instruction use Inst::helper, rather than Inst::vec?
bool has_helper(const ir::Inst& inst) {
    return inst.op == ir::Op::Call || inst.op == ir::Op::X87;
}

CallRecord record_at(const u8* code, u64 offset) {
    CallRecord record;
    std::memcpy(&record, code + offset, sizeof record);
    return record;
}

template <class T> T* pointer(u64 value) {
    return reinterpret_cast<T*>(value);
}

// Are all addresses that a block at this pc names canonical (48 bits)? Where they are not it looks different.
bool is_plain(u64 pc) {
    constexpr u64 reach = u64{1} << 32;
    const auto canonical = [](u64 address) { return u64((i64(address) >> 47) + 1) <= 1; };
    return canonical(pc + reach) && canonical(pc - reach);
}

unsigned bytes_of(PcForm form) {
    return form == PcForm::Eight ? 8 : 4;
}

// The number that leads to `then`, in place of the one that led to `before`. False: it does not fit.
bool move_number(u8* at, PcForm form, u64 before, u64 then) {
    u64 number = 0;
    std::memcpy(&number, at, bytes_of(form));
    switch (form) {
    case PcForm::Eight: number = then; break;
    case PcForm::Signed:
        if (i64(then) != i32(then)) return false;
        number = then;
        break;
    case PcForm::Unsigned:
        if (then != u32(then)) return false;
        number = then;
        break;
    case PcForm::Low: number = then; break;
    case PcForm::TagSlot: number += 8 * (softmmu::tlb_index(then) - softmmu::tlb_index(before)); break;
    case PcForm::PageSlot:
        number += softmmu::TlbTables::code_number_of(then, false) -
                  softmmu::TlbTables::code_number_of(before, false);
        break;
    default: return false;
    }
    std::memcpy(at, &number, bytes_of(form));
    return true;
}

} // namespace

bool CodeMover::take(const u8* entry, const Compiled& made, std::span<const std::unique_ptr<ir::Inst>> kept,
                     const std::vector<u32>& stub_jumps, PortableCode& to) {
    code_.assign(entry, entry + made.code_bytes);
    stub_jumps_ = stub_jumps;
    for (const u32 at : stub_jumps_) {
        u32 stub;
        std::memcpy(&stub, &code_[at], sizeof stub);
        stub += u32(entry + at + 4 - buffer_);
        DRAGOMAN_ASSERT(stub < stub_bytes_);
        std::memcpy(&code_[at], &stub, sizeof stub);
    }
    for (const u32 number : made.numbers)
        if (number) std::memset(&code_[number], 0, sizeof(u32));
    for (u32 n = 0; n < made.calls; ++n) {
        const u64 offset = made.code_bytes - (made.calls - n) * sizeof(CallRecord);
        CallRecord record = record_at(code_.data(), offset);
        if (record.fn == reinterpret_cast<const void*>(run_interpreter)) {
            const auto it = std::ranges::find(kept, pointer<ir::Inst>(record.imm),
                                              [](const auto& inst) { return inst.get(); });
            if (it == kept.end()) return false;
            record.imm = u64(it - kept.begin());
        }
        const auto position = image_.position_of_code(record.fn);
        if (!position) return false;
        record.fn = pointer<const void>(*position);
        std::memcpy(&code_[offset], &record, sizeof record);
    }
    kept_.clear();
    for (const auto& inst : kept) {
        kept_.push_back(*inst);
        if (!has_helper(*inst)) continue;
        const auto position = image_.position_of_data(inst->helper, sizeof(ir::Helper));
        if (!position) return false;
        kept_.back().helper = pointer<const ir::Helper>(*position);
    }
    to = {.movable = made.movable,
          .pc_numbers = made.pc_numbers,
          .entry = made.entry,
          .saved_entry = made.saved_entry,
          .far_entry = made.far_entry,
          .numbers = {made.numbers[0], made.numbers[1]},
          .host_instructions = made.host_instructions,
          .calls = made.calls,
          .kinds = made.kinds,
          .links = made.links,
          .points = made.points,
          .stub_jumps = stub_jumps_,
          .kept = kept_,
          .code = code_};
    return true;
}

bool CodeMover::place(const PortableCode& from, u8* writable, const u8* at, Compiled& out) const {
    const u64 bytes = from.code.size();
    const auto inside = [&](u64 offset, u64 size) { return offset <= bytes && size <= bytes - offset; };
    if (!bytes || bytes > kMostCodeBytes || from.calls > bytes / sizeof(CallRecord)) return false;
    for (const u32 entry : {from.entry, from.saved_entry, from.far_entry})
        if (!inside(entry, 1)) return false;
    for (const u32 number : from.numbers)
        if (!inside(number, sizeof number)) return false;
    for (const LinkSite& link : from.links)
        if (!inside(link.jump_offset, 6) || !inside(link.stub_offset, 1) || link.return_offset < 4 ||
            link.return_offset > bytes)
            return false;
    for (const SidePoint& point : from.points)
        if (point.return_offset > bytes) return false;
    if (!std::ranges::is_sorted(from.points, {}, &SidePoint::return_offset)) return false;
    for (const PcNumber& number : from.pc_numbers)
        if (u8(number.form) > u8(PcForm::PageSlot) || !inside(number.offset, bytes_of(number.form)))
            return false;
    const u64 by = from.pc - from.made_pc;
    if (by && (!from.movable || by % softmmu::kPageSize || !is_plain(from.made_pc) || !is_plain(from.pc)))
        return false;

    out.clear();
    for (const ir::Inst& inst : from.kept) {
        if (inst.op >= ir::Op::Count) return false;
        out.kept.push_back(std::make_unique<ir::Inst>(inst));
        if (inst.from_pc) out.kept.back()->imm += i64(by);
        if (inst.mem.from_pc) out.kept.back()->mem.disp += i64(by);
        if (!has_helper(inst)) continue;
        const u64 position = reinterpret_cast<u64>(inst.helper);
        out.kept.back()->helper =
            static_cast<const ir::Helper*>(image_.data_at(position, sizeof(ir::Helper)));
        if (position % alignof(ir::Helper) || !out.kept.back()->helper) return false;
    }
    std::memcpy(writable, from.code.data(), bytes);
    if (by)
        for (const PcNumber& number : from.pc_numbers) {
            const u64 before = from.made_pc + u64(i64(number.distance));
            if (!move_number(writable + number.offset, number.form, before, before + by)) return false;
        }
    for (const u32 jump : from.stub_jumps) {
        u32 stub;
        if (!inside(jump, sizeof stub)) return false;
        std::memcpy(&stub, writable + jump, sizeof stub);
        if (stub >= stub_bytes_) return false;
        stub -= u32(at + jump + 4 - buffer_);
        std::memcpy(writable + jump, &stub, sizeof stub);
    }
    for (unsigned part = 0; part < 2; ++part)
        if (from.numbers[part])
            std::memcpy(writable + from.numbers[part], &from.code_pages[part], sizeof(u32));
    for (u32 n = 0; n < from.calls; ++n) {
        const u64 offset = bytes - (from.calls - n) * sizeof(CallRecord);
        CallRecord record = record_at(writable, offset);
        record.rip += by;
        record.fn = image_.code_at(reinterpret_cast<u64>(record.fn));
        if (!record.fn) return false;
        if (record.fn == reinterpret_cast<const void*>(run_interpreter)) {
            if (record.imm >= out.kept.size()) return false;
            record.imm = reinterpret_cast<u64>(out.kept[record.imm].get());
        }
        std::memcpy(writable + offset, &record, sizeof record);
    }
    out.code_bytes = u32(bytes);
    out.entry = from.entry;
    out.saved_entry = from.saved_entry;
    out.far_entry = from.far_entry;
    std::copy_n(from.numbers, 2, out.numbers);
    out.host_instructions = from.host_instructions;
    out.kinds = from.kinds;
    out.calls = from.calls;
    out.links.assign(from.links.begin(), from.links.end());
    for (LinkSite& link : out.links)
        link.target += by;
    out.movable = from.movable;
    out.points.assign(from.points.begin(), from.points.end());
    return true;
}

} // namespace dragoman::backend
