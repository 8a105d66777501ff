// The watchdog timer of the Intel 6300ESB (data sheet 300641, 15): two timers one behind the other. The first
// one may interrupt; the second one pulls WDT_TOUT#, on which the machine acts.
#pragma once

#include "base/io.h"
#include "hw/core/pci.h"
#include "hw/core/scheduler.h"

#include <functional>

namespace dragoman::hw {

class I6300esb final : public PciFunction {
  public:
    // `time_out`: called from the scheduler. Both are borrowed.
    I6300esb(Scheduler& scheduler, std::function<void()> time_out);

    void reset() override;
    void visit(StateVisitor& visitor) override;

  protected:
    void config_written(u8 offset, unsigned size) override;

  private:
    class Registers final : public IoHandler {
      public:
        explicit Registers(I6300esb& owner) : owner_(owner) {}
        u64 read(u64 offset, unsigned size) override { return owner_.read(offset, size); }
        void write(u64 offset, unsigned size, u64 value) override { owner_.write(offset, size, value); }

      private:
        I6300esb& owner_;
    };
    struct State {
        u32 preload[2] = {0xfffff, 0xfffff};
        u32 unlocked = 0;  // how far the unlock sequence has come: 2 is all of it
        u32 interrupt = 0; // the first stage has run out
        u32 timed_out = 0; // and the second
        u32 stage = 0;     // 0: not running, 1, 2
        u64 deadline = 0;
    };

    u64 read(u64 offset, unsigned size);
    void write(u64 offset, unsigned size, u64 value);
    void start(unsigned stage);
    void expired();
    bool enabled() const;
    void update_interrupt();

    Scheduler& scheduler_;
    std::function<void()> time_out_;
    Registers registers_{*this};
    State s_;
    Timer timer_;
};

} // namespace dragoman::hw
