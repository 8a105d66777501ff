// Running a numeric vector instruction under the guest's MXCSR. Inside the interpreter only.
#pragma once

#include "ir/inst.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace dragoman::ir {

// `compute` executes the host's instruction anew each time; it runs under the guest's MXCSR with all
// exceptions masked, so that the host never traps. False: an exception that the guest does not mask came up;
// its flag is set and what was computed is to be dropped. `tiny` says of what was computed whether a result is, for an
// instruction that knows no flushing to zero.
template <class F, class T> bool run_numeric(Context& ctx, F compute, T tiny) {
#if defined(__x86_64__)
    constexpr u32 flags = 0x3f, masks = 0x1f80, flush_to_zero = 1u << 15;
    constexpr u32 underflow = 0x10, before_computing = 0x07; // UE; IE DE ZE
    const u32 host = _mm_getcsr();
    const auto run = [&](u32 mxcsr) {
        _mm_setcsr((mxcsr | masks) & ~flags);
        compute();
        const u32 raised = _mm_getcsr() & flags;
        _mm_setcsr(host);
        return raised;
    };
    const u32 unmasked = ~(ctx.mxcsr >> 7) & flags;
    // Unmasked, an underflow need not be inexact, and nothing is flushed: a run that flushes shows whether a
    // result is tiny (SDM vol. 1, 4.9.1.5 and 10.2.3.3).
    u32 raised = 0;
    const bool tiny_counts = unmasked & underflow;
    if (tiny_counts) raised = run(ctx.mxcsr | flush_to_zero) & underflow;
    raised |= run(raised ? ctx.mxcsr & ~flush_to_zero : ctx.mxcsr);
    if (tiny_counts && tiny()) raised |= underflow;
    // What is found before computing keeps the rest from being computed (SDM vol. 1, 11.5.2).
    if (raised & unmasked & before_computing) raised &= before_computing;
    ctx.mxcsr |= raised;
    return !(raised & unmasked);
#else
    static_cast<void>(ctx), static_cast<void>(tiny);
    compute();
    return true;
#endif
}
template <class F> bool run_numeric(Context& ctx, F compute) {
    return run_numeric(ctx, compute, [] { return false; });
}

// The same under embedded rounding: nothing is flagged or raised (SDM vol. 1, 15.6.4).
template <class F> void run_suppressed(const Context& ctx, Rounding rounding, F compute) {
#if defined(__x86_64__)
    constexpr u32 flags = 0x3f, masks = 0x1f80, control_at = 13, control = 3u << control_at;
    u32 mxcsr = (ctx.mxcsr | masks) & ~flags;
    if (rounding != Rounding::Suppress)
        mxcsr = (mxcsr & ~control) | u32(u8(rounding) - u8(Rounding::Nearest)) << control_at;
    const u32 host = _mm_getcsr();
    _mm_setcsr(mxcsr);
    compute();
    _mm_setcsr(host);
#else
    static_cast<void>(ctx), static_cast<void>(rounding);
    compute();
#endif
}

} // namespace dragoman::ir
