// The virtio entropy device (Virtual I/O Device 1.1, 5.4): one queue of buffers that are filled with random
// bytes.
#pragma once

#include "hw/core/entropy.h"
#include "hw/core/scheduler.h"
#include "hw/virtio_device.h"

namespace dragoman::hw {

class VirtioRng final : public VirtioDevice {
  public:
    struct Options {
        u64 max_bytes = 0; // in each period; 0: no limit
        u64 period_ns = 65'536'000'000;
    };
    // `source`, `scheduler` and `log` are borrowed.
    VirtioRng(EntropySource& source, Scheduler& scheduler, const Options& options, Log& log);

    void visit(StateVisitor& visitor) override;

  protected:
    void queue_notified(unsigned) override { serve(); }
    void device_reset() override;

  private:
    void serve();
    u64 allowance(); // bytes that may still be given in this period

    EntropySource& source_;
    Scheduler& scheduler_;
    Options options_;
    u64 given_ = 0, period_start_ = 0;
    Timer next_period_;
};

} // namespace dragoman::hw
