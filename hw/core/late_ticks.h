// Periodic interrupts that fell while the host gave the processor no time. Sent all at once they would meet a
// request that is latched already, and a guest that counts them would lose time. So they follow one by one,
// faster than the period. What a guest loses by its own doing, with interrupts off, stays lost: those came in
// time.
#pragma once

#include "hw/core/scheduler.h"
#include "hw/core/state.h"

#include <algorithm>

namespace dragoman::hw {

class LateTicks {
  public:
    static constexpr u32 most = 4096;               // so many are owed; older ones are lost
    static constexpr u64 shortest_period = 100'000; // ns; faster ones merge
    static constexpr u64 per_period = 8;

    // `tick` sends one. False: the line is not in a state for it; it is tried again.
    LateTicks(Scheduler& scheduler, std::function<bool()> tick)
        : scheduler_(scheduler), timer_(scheduler, [this, tick = std::move(tick)] {
              if (tick()) --s_.owed;
              arm();
          }) {}

    void add(u64 ticks, u64 period_ns) {
        if (!ticks || period_ns < shortest_period) return;
        s_ = {u32(std::min<u64>(s_.owed + ticks, most)), 0, period_ns / per_period};
        if (!timer_.armed()) arm();
    }
    void forget() {
        s_ = {};
        timer_.cancel();
    }
    void visit(StateVisitor& visitor, const char* name) {
        visitor.field(name, s_);
        if (!visitor.loading()) return;
        timer_.cancel();
        arm();
    }

  private:
    void arm() {
        if (s_.owed) timer_.arm(scheduler_.now() + std::max(s_.apart, shortest_period / per_period));
    }
    struct State { // without padding
        u32 owed = 0, unused = 0;
        u64 apart = 0; // ns
    };
    Scheduler& scheduler_;
    Timer timer_;
    State s_;
};

} // namespace dragoman::hw
