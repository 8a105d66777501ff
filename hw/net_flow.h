// Which of a card's queue pairs a conversation uses (Virtual I/O Device 1.1, 5.1.6.5.5): the one on which the
// driver last sent a packet of it.
#pragma once

#include "hw/core/state.h"

#include <array>
#include <span>

namespace dragoman::hw {

class FlowTable {
  public:
    // The driver sent this frame on that pair (below 255).
    void sent(std::span<const u8> frame, unsigned pair);
    // Where a frame that came in goes, of `pairs` ones: for what was never sent by, always the same one.
    unsigned pair_for(std::span<const u8> frame, unsigned pairs) const;
    void clear() { flows_ = {}; }
    void visit(StateVisitor& visitor) { visitor.field("flows", flows_); }

  private:
    static constexpr unsigned kBits = 10;
    // A conversation's hash with the pair, plus 1, in its low byte. One that has the same place takes it.
    std::array<u64, 1 << kBits> flows_{};
};

} // namespace dragoman::hw
