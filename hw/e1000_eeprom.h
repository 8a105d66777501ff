// What the 82540EM has beside itself: the serial EEPROM (a 93C46 of 64 words, Microwire) and the PHY, read
// through MDIC (Software Developer's Manual 317453, 5 and 8).
#pragma once

#include "hw/core/net.h"
#include "hw/core/state.h"
#include "hw/eeprom_93c46.h"

#include <array>

namespace dragoman::hw {

class E1000Eeprom final {
  public:
    explicit E1000Eeprom(const MacAddress& mac);

    // The four wires as bits of EECD: 0 SK, 1 CS, 2 DI in; 3 DO out. 6 REQ is granted at once (7 GNT).
    u32 read_eecd() const;
    void write_eecd(u32 value);
    u32 read_eerd() const { return eerd_; }
    void write_eerd(u32 value); // start 0, done 4, address 15:8, data 31:16
    void reset();
    void visit(StateVisitor& visitor);

  private:
    Eeprom93c46 chip_;
    u32 eecd_ = 0, eerd_ = 0;
};

class E1000Phy final {
  public:
    explicit E1000Phy(bool link) : link_(link) { reset(); }
    // A management frame as written to MDIC; what reads back (with the ready bit).
    u32 access(u32 mdic);
    void set_link(bool up) { link_ = up; }
    bool link() const { return link_; }
    void reset();
    void visit(StateVisitor& visitor);

  private:
    u16 read(unsigned index);
    bool link_;
    std::array<u16, 32> registers_{};
};

} // namespace dragoman::hw
