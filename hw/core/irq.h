// An interrupt line: a wire with a level. The sender sets the level; the receiver (an interrupt controller) decides
// whether level or edge matters.
#pragma once

#include <functional>
#include <utility>

namespace dragoman::hw {

class IrqLine {
  public:
    virtual ~IrqLine() = default;
    virtual void set(bool level) = 0;
    void raise() { set(true); }
    void lower() { set(false); }
    // A short positive pulse, as edge-triggered ISA sources make it.
    void pulse() {
        set(true);
        set(false);
    }
};

// A line that ends in a function. Used by the machine's wiring and by tests.
class FunctionLine final : public IrqLine {
  public:
    explicit FunctionLine(std::function<void(bool)> sink) : sink_(std::move(sink)) {}
    void set(bool level) override { sink_(level); }

  private:
    std::function<void(bool)> sink_;
};

} // namespace dragoman::hw
