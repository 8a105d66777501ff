// What the keyboard controller sees of a device on a PS/2 wire.
#pragma once

#include "base/types.h"
#include "hw/core/state.h"

#include <algorithm>
#include <array>
#include <functional>
#include <string>
#include <utility>

namespace dragoman::hw {

class Ps2Device {
  public:
    virtual ~Ps2Device() = default;
    // A byte from the host.
    virtual void receive(u8 byte) = 0;
    // Is there a byte to send? take() gives it; it may only be called then.
    virtual bool has_data() const = 0;
    virtual u8 take() = 0;

    // The controller's ear: called when has_data() may have become true.
    void on_data(std::function<void()> ready) { ready_ = std::move(ready); }

  protected:
    void data_ready() {
        if (ready_) ready_();
    }

  private:
    std::function<void()> ready_;
};

// A bounded first-in first-out queue that can be saved.
template <class T, unsigned N> class BoundedQueue {
  public:
    bool empty() const { return size_ == 0; }
    unsigned size() const { return size_; }
    unsigned room() const { return N - size_; }
    // What does not fit is lost; says whether it fitted.
    bool push(T value) {
        if (size_ == N) return false;
        items_[size_++] = value;
        return true;
    }
    T pop() {
        const T first = items_[0];
        std::copy(items_.begin() + 1, items_.begin() + size_, items_.begin());
        items_[--size_] = T{};
        return first;
    }
    void clear() { *this = {}; }
    void visit(StateVisitor& visitor, const std::string& name) {
        visitor.field((name + ".items").c_str(), items_);
        visitor.field((name + ".size").c_str(), size_);
        size_ = std::min<u32>(size_, N);
    }

  private:
    std::array<T, N> items_{};
    u32 size_ = 0;
};

} // namespace dragoman::hw
