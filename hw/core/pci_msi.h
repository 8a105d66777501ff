// Message-signalled interrupts (PCI 3.0, 6.8): instead of driving a line, the function writes a data word to
// an address that software chose. On a PC the write goes to 0xFEExxxxx, where the local APICs take it.
#pragma once

#include "base/io.h"
#include "hw/core/state.h"

#include <array>
#include <functional>

namespace dragoman::hw {

// The table of vectors and the pending bits, as the memory BAR that holds them (4 KiB: table at 0, pending
// bits at 0x800).
class Msix final : public IoHandler {
  public:
    static constexpr unsigned max_vectors = 128;
    static constexpr u32 bar_bytes = 4096, pending_offset = 0x800;
    using Send = std::function<void(u64 address, u32 data)>;

    Msix(unsigned vectors, Send send) : vectors_(vectors), send_(std::move(send)) { reset(); }

    unsigned vectors() const { return vectors_; }
    // Message Control as the guest wrote it: 15 MSI-X enable, 14 function mask. Sends what was waiting.
    void set_control(u16 control);
    bool enabled() const { return enabled_; }
    // The interrupt of one vector; while that is masked it stays pending. Vectors that do not exist are
    // ignored.
    void notify(unsigned vector);

    void reset(); // all vectors masked; the control word is reset with configuration space
    void visit(StateVisitor& visitor);

    u64 read(u64 offset, unsigned size) override;
    void write(u64 offset, unsigned size, u64 value) override;

  private:
    struct Entry { // 6.8.2.6 to 6.8.2.9
        u64 address;
        u32 data;
        u32 control; // bit 0: masked
    };
    struct State {
        std::array<Entry, max_vectors> table;
        std::array<u64, max_vectors / 64> pending;
    };
    void send_pending();

    unsigned vectors_;
    Send send_;
    bool enabled_ = false, masked_ = false;
    State state_{};
};

} // namespace dragoman::hw
