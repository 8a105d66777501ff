// A serial EEPROM of 64 words of 16 bits (93C46, Microwire), as network cards have it for their address.
#pragma once

#include "base/types.h"
#include "hw/core/state.h"

#include <array>

namespace dragoman::hw {

class Eeprom93c46 final {
  public:
    using Words = std::array<u16, 64>;
    explicit Eeprom93c46(const Words& words) : words_(words) {}

    u16 word(unsigned index) const { return words_[index % words_.size()]; }
    // The wires: chip select, clock, data in; bits move with the clock's rising edge.
    void set_wires(bool select, bool clock, bool in);
    bool out() const { return output_; }
    void reset();
    void visit(StateVisitor& visitor);

  private:
    Words words_;   // what is written there in real life is not kept: reads only
    u16 shift_ = 0; // command and address so far, then the data going out
    u8 count_ = 0;  // bits of them
    bool clock_ = false, output_ = true, reading_ = false;
};

} // namespace dragoman::hw
