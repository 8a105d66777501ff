// The PC's parallel port (IBM PC/AT technical reference; IEEE 1284 compatibility mode, with the direction bit
// of the PS/2): three byte-wide ports. What the guest strobes out goes to the back-end; a printer that is
// always ready answers.
#pragma once

#include "base/io.h"
#include "hw/core/chardev.h"
#include "hw/core/irq.h"
#include "hw/core/state.h"

namespace dragoman::hw {

class ParallelPort final : public Device, public IoHandler {
  public:
    static constexpr u16 base = 0x378;
    static constexpr unsigned port_count = 3, irq = 7;

    // `sink` may be null: nobody is connected. Borrowed.
    ParallelPort(IrqLine& line, CharSink* sink) : line_(line), sink_(sink) {}

    u64 read(u64 offset, unsigned size) override;
    void write(u64 offset, unsigned size, u64 value) override;

    const char* name() const override { return "parallel"; }
    void reset() override;
    void visit(StateVisitor& visitor) override;

  private:
    IrqLine& line_;
    CharSink* sink_;
    u8 data_ = 0, control_ = 0;
};

} // namespace dragoman::hw
