// What the tests of chips share: a line that remembers, port shorthands, and the save/change/load/compare
// check.
#pragma once

#include "base/log.h"
#include "hw/core/io_bus.h"
#include "hw/core/irq.h"
#include "hw/core/scheduler.h"
#include "hw/core/state.h"

#include <cstdio>
#include <functional>
#include <gtest/gtest.h>
#include <vector>

namespace dragoman::hw::test {

class RecordingLine final : public IrqLine {
  public:
    void set(bool to) override {
        if (to && !level) rises++;
        if (!to && level) falls++;
        level = to;
    }
    bool level = false;
    unsigned rises = 0, falls = 0;
};

// A log that nobody reads, for tests that provoke complaints.
class QuietLog final : public Log {
  public:
    QuietLog() : Log(std::fopen("/dev/null", "w")) {}
    ~QuietLog() { std::fclose(output()); }
};

// A port space, a clock that is moved by hand, and the scheduler over it.
struct Bench {
    SteppedClock clock;
    Scheduler scheduler{clock};
    IoBus bus;

    u8 in(u16 port) { return static_cast<u8>(bus.in(port, 1)); }
    void out(u16 port, u8 value) { bus.out(port, 1, value); }
    // Moves to an absolute time, stopping at every deadline on the way, as the run loop does.
    void run_to(u64 ns) {
        while (scheduler.next_deadline() <= ns) {
            if (scheduler.next_deadline() > clock.now()) clock.set(scheduler.next_deadline());
            scheduler.run_due();
        }
        clock.set(ns);
    }
    void run_for(u64 ns) { run_to(clock.now() + ns); }
};

inline StateImage save(Device& device) {
    StateImage image;
    StateImage::Saver saver(image);
    device.visit(saver);
    return image;
}

inline bool load(Device& device, const StateImage& image) {
    StateImage::Loader loader(image);
    device.visit(loader);
    return loader.complete();
}

// Names the fields in which two images differ.
inline std::string difference(const StateImage& a, const StateImage& b) {
    std::string names;
    for (const auto& [name, bytes] : a.fields()) {
        const auto other = b.fields().find(name);
        if (other == b.fields().end() || other->second != bytes) names += name + " ";
    }
    return names;
}

// The chip is in some interesting state; `change` must alter it; loading must bring all of it back.
inline void check_round_trip(Device& device, const std::function<void()>& change) {
    const StateImage before = save(device);
    change();
    const StateImage changed = save(device);
    EXPECT_NE(difference(before, changed), "") << device.name() << ": the change did not show in the state";
    EXPECT_TRUE(load(device, before)) << device.name() << ": a field was missing or had another size";
    EXPECT_EQ(difference(before, save(device)), "") << device.name() << ": these fields did not come back";
    device.reset();
    const StateImage once = save(device);
    device.reset();
    EXPECT_EQ(difference(once, save(device)), "")
        << device.name() << ": a second reset differs from the first";
}

} // namespace dragoman::hw::test
