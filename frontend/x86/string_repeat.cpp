#include "frontend/x86/string_repeat.h"

#include "base/bits.h"
#include "base/bytes.h"
#include "frontend/x86/cpu.h"
#include "frontend/x86/exception.h"
#include "frontend/x86/segment_check.h"
#include "frontend/x86/system_memory.h"
#include "ir/alu.h"
#include "ir/memory.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cpuid.h>
#include <cstring>

namespace dragoman::x86 {

namespace {

using ir::Access;
using ir::Seg;

// What generated code does itself in the host window costs so many of its accesses more here.
constexpr u32 kPieceCosts = 16;
constexpr u64 kMaxUnits = 65536; // of one call; events get their turn at each page

// A copy of some length from the first byte on. Where pages make pieces of it, the host's own instruction
// beats a library's function, if it has fast strings (CPUID 07H, EBX: ERMS).
void copy_upwards(u8* to, const u8* from, u64 bytes) {
    constexpr u64 kWorthIt = 512;
    static const bool fast = [] {
        u32 eax, ebx = 0, ecx, edx;
        return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && bit(ebx, 9);
    }();
    if (fast && bytes >= kWorthIt)
        asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
    else
        std::memmove(to, from, bytes);
}

enum Gpr : unsigned { Rax, Rcx, Rsi = 6, Rdi = 7 };

// One end of the operation: DS:RSI or ES:RDI.
struct End {
    Gpr reg;
    Seg seg;
    Access access;
};

class Repeater {
  public:
    Repeater(ir::Context& ctx, const Repeat& r)
        : ctx_(ctx), cpu_(static_cast<Cpu&>(ctx)), r_(r), mask_(size_mask(r.address_size)),
          step_(ctx.direction_flag ? -i64(r.size) : i64(r.size)) {}

    void run() {
        if (!(ctx_.gpr[Rcx] & mask_)) return no_units();
        u64 allowance = r_.once ? 1 : kMaxUnits;
        // A fault leaves the flags as they were before the instruction (SDM vol. 2, REP).
        ir::Flags flags = ctx_.flags;
        while (u64 count = ctx_.gpr[Rcx] & mask_) {
            if (!allowance) {
                if (r_.once) ctx_.flags = flags;
                return leave(ir::Exit::Lookup);
            }
            u64 units = fast(std::min(count, allowance));
            if (!units) {
                if (count > 1) expect_stores(count);
                if (!one_unit()) return; // Context::exit is set, nothing of this unit has changed
                units = 1;
            }
            allowance -= units;
            count -= units;
            put(Rcx, count);
            if (uses_source()) put(Rsi, ctx_.gpr[Rsi] + u64(step_) * units);
            if (uses_target()) put(Rdi, ctx_.gpr[Rdi] + u64(step_) * units);
            if (compares()) {
                ir::alu_function(ir::Op::Cmp, r_.size)(left_, right_, 0, flags);
                if ((left_ == right_) == r_.while_not_equal) break;
            }
            if (count && (cpu_.debug_hits || std::atomic_ref(ctx_.poll).load(std::memory_order_relaxed))) {
                leave(ir::Exit::Event);
                break;
            }
        }
        ctx_.flags = flags;
    }

  private:
    // With ECX = 0 processors still write ECX, and MOVS and STOS their pointers, which clears the upper
    // halves in 64-bit mode (observed; the manual is silent).
    void no_units() {
        if (r_.address_size != 4) return;
        put(Rcx, 0);
        if (r_.op == StringOp::Movs) put(Rsi, ctx_.gpr[Rsi]);
        if (r_.op == StringOp::Movs || r_.op == StringOp::Stos) put(Rdi, ctx_.gpr[Rdi]);
    }
    bool compares() const { return r_.op == StringOp::Cmps || r_.op == StringOp::Scas; }
    bool uses_source() const { return r_.op != StringOp::Stos && r_.op != StringOp::Scas; }
    bool uses_target() const { return r_.op != StringOp::Lods; }
    End source() const { return {Rsi, r_.source, Access::Read}; }
    End target() const { return {Rdi, Seg::ES, compares() ? Access::Read : Access::Write}; }

    void leave(ir::Exit exit) { // rip is the instruction itself
        ctx_.exit = exit;
        cpu_.mid_repeat = true;
    }
    void put(Gpr reg, u64 value) {
        u64& r = ctx_.gpr[reg];
        r = r_.address_size < 4 ? (r & ~mask_) | (value & mask_) : value & mask_;
    }
    u64 accumulator() const { return ctx_.gpr[Rax] & size_mask(r_.size); }

    u64 linear(const End& e) const {
        const u64 offset = ctx_.gpr[e.reg] & mask_;
        if (r_.long64) return e.seg >= Seg::FS ? offset + ctx_.seg[unsigned(e.seg)].base : offset;
        return u32(offset + ctx_.seg[unsigned(e.seg)].base);
    }

    // ---- unit by unit
    u8* acquire(const End& e) {
        const u64 offset = ctx_.gpr[e.reg] & mask_;
        if (!r_.long64 &&
            !segment_allows(ctx_.seg[unsigned(e.seg)], offset, offset + r_.size - 1, e.access)) {
            raise(ctx_, e.seg == Seg::SS ? kSS : kGP, 0);
            return nullptr;
        }
        if (alignment_checked(cpu_) && linear(e) % r_.size) {
            raise(ctx_, kVectorAC, 0);
            return nullptr;
        }
        return ctx_.memory->acquire(ctx_, linear(e), r_.size, e.access);
    }
    bool load(const End& e, u64& value) {
        const u8* host = acquire(e);
        if (host) value = load_bytes(host, r_.size);
        return host;
    }
    bool store(const End& e, u64 value) {
        u8* host = acquire(e);
        if (!host) return false;
        store_bytes(host, r_.size, value);
        ctx_.memory->commit(ctx_);
        return true;
    }
    // A page that is filled anew and was code before: else each unit would look for it.
    void expect_stores(u64 units) const {
        if (!cpu_.mmu || compares() || !uses_target() || step_ < 0) return;
        cpu_.mmu->expect_stores(linear(target()), units * r_.size, softmmu::View(ctx_.view));
    }
    bool one_unit() {
        u64 value = 0;
        switch (r_.op) {
        case StringOp::Movs: return load(source(), value) && store(target(), value);
        case StringOp::Stos: return store(target(), accumulator());
        case StringOp::Lods:
            if (!load(source(), value)) return false;
            load_accumulator(value);
            return true;
        case StringOp::Cmps:
            return load(target(), right_) && load(source(), left_); // in the order of processors
        case StringOp::Scas: left_ = accumulator(); return load(target(), right_);
        }
        return false;
    }
    void load_accumulator(u64 value) {
        u64& rax = ctx_.gpr[Rax];
        rax = r_.size < 4 ? (rax & ~size_mask(r_.size)) | value : value;
    }

    // ---- as much as one page of each end allows, when the TLB says that it may be touched directly
    // Host pointer to the first unit, and `units` lowered to what can be done from there; null: not directly.
    u8* direct(const End& e, u64& units) const {
        if (!cpu_.mmu || (alignment_checked(cpu_) && linear(e) % r_.size)) return nullptr;
        const u64 at = linear(e), offset = ctx_.gpr[e.reg] & mask_, in_page = at % softmmu::kPageSize;
        const bool write = e.access != Access::Read;
        const auto view = softmmu::View(ctx_.view);
        u8* const host = resident(cpu_, at, write, view);
        if (!host || in_page + r_.size > softmmu::kPageSize) return nullptr;
        if (in_bulk_) cpu_.mmu->accessed_cold(at, write, view, kPieceCosts);
        const u64 room = step_ > 0 ? (softmmu::kPageSize - in_page) / r_.size : in_page / r_.size + 1;
        const u64 unwrapped = step_ > 0 ? (mask_ - offset) / r_.size : offset / r_.size;
        units = std::min({units, room, std::max<u64>(unwrapped, 1)});
        if (!r_.long64) {
            const u64 first = step_ > 0 ? offset : offset - (units - 1) * r_.size;
            if (!segment_allows(ctx_.seg[unsigned(e.seg)], first, first + units * r_.size - 1, e.access))
                return nullptr;
        }
        return host;
    }

    // Units done, 0 if none could be.
    u64 fast(u64 units) {
        u8* from = nullptr;
        u8* to = nullptr;
        if (uses_source() && !(from = direct(source(), units))) return 0;
        if (uses_target() && !(to = direct(target(), units))) return 0;
        switch (r_.op) {
        case StringOp::Movs: move(to, from, units); return units;
        case StringOp::Stos: fill(to, units); return units;
        case StringOp::Lods:
            load_accumulator(load_bytes(from + step_ * i64(units - 1), r_.size));
            return units;
        case StringOp::Cmps:
            return compare(units, [&](i64 at) {
                left_ = load_bytes(from + at, r_.size);
                right_ = load_bytes(to + at, r_.size);
            });
        case StringOp::Scas:
            left_ = accumulator();
            return compare(units, [&](i64 at) { right_ = load_bytes(to + at, r_.size); });
        }
        return 0;
    }

    void move(u8* to, const u8* from, u64 units) const {
        const u64 bytes = units * r_.size;
        // The order of the units is seen only where the target lies ahead of the source and overlaps it.
        const u64 ahead = step_ > 0 ? u64(to - from) : u64(from - to);
        if (ahead >= bytes || ahead == 0) {
            const i64 lowest = step_ > 0 ? 0 : step_ * i64(units - 1);
            if (step_ > 0)
                copy_upwards(to, from, bytes);
            else
                std::memmove(to + lowest, from + lowest, bytes);
            return;
        }
        for (i64 at = 0; units > 0; units--, at += step_) {
            const u64 value = load_bytes(from + at, r_.size);
            store_bytes(to + at, r_.size, value);
        }
    }

    void fill(u8* to, u64 units) const {
        if (step_ < 0) to += step_ * i64(units - 1);
        const u64 value = accumulator();
        switch (r_.size) {
        case 1: std::memset(to, int(value), units); break;
        case 2: fill_with(to, u16(value), units); break;
        case 4: fill_with(to, u32(value), units); break;
        default: fill_with(to, value, units); break;
        }
    }
    template <class T> static void fill_with(u8* to, T value, u64 units) {
        for (u64 i = 0; i < units; i++)
            std::memcpy(to + i * sizeof value, &value, sizeof value);
    }

    template <class Load> u64 compare(u64 units, Load load_pair) {
        for (u64 done = 0; done < units; done++) {
            load_pair(step_ * i64(done));
            if ((left_ == right_) == r_.while_not_equal) return done + 1;
        }
        return units;
    }

    ir::Context& ctx_;
    Cpu& cpu_;
    const Repeat r_;
    const u64 mask_;
    const i64 step_;
    const bool in_bulk_ = repeat_helper(r_).bulk.kind != ir::Bulk::None && step_ > 0;
    u64 left_ = 0, right_ = 0; // of the last comparison
};

u64 repeat(ir::Context& ctx, u64, u64, u64 imm) {
    Repeater(ctx, Repeat::unpack(imm)).run();
    return 0;
}

} // namespace

u64 Repeat::pack() const {
    return u64(op) | u64{size} << 8 | u64{address_size} << 16 | u64(source) << 24 | u64{long64} << 32 |
           u64{while_not_equal} << 33 | u64{once} << 34 | u64{flat} << 35;
}

Repeat Repeat::unpack(u64 p) {
    return {.op = StringOp(p & 0xff),
            .size = u8(p >> 8),
            .address_size = u8(p >> 16),
            .source = Seg(p >> 24 & 0xff),
            .long64 = bit(p, 32),
            .while_not_equal = bit(p, 33),
            .once = bit(p, 34),
            .flat = bit(p, 35)};
}

const ir::Helper& repeat_helper(const Repeat& r) {
    static constexpr ir::Helper compare{"rep_compare", repeat, ir::kAllFlags,
                                        ir::kAllFlags}; // RCX = 0 keeps the flags
    static constexpr ir::Helper move{"rep_move", repeat};
    static constexpr auto in_bulk = [](ir::Bulk::Kind kind) {
        std::array<ir::Helper, 4> by_size;
        for (unsigned n = 0; n < by_size.size(); ++n)
            by_size[n] = {"rep_move", repeat, 0, 0, {kind, u8(1 << n)}};
        return by_size;
    };
    static constexpr std::array<ir::Helper, 4> moves = in_bulk(ir::Bulk::Move),
                                               fills = in_bulk(ir::Bulk::Fill);
    const bool bulk = r.flat && !r.once;
    switch (r.op) {
    case StringOp::Cmps:
    case StringOp::Scas: return compare;
    case StringOp::Movs: return bulk ? moves[unsigned(std::countr_zero(r.size))] : move;
    case StringOp::Stos: return bulk ? fills[unsigned(std::countr_zero(r.size))] : move;
    case StringOp::Lods: break;
    }
    return move;
}

} // namespace dragoman::x86
