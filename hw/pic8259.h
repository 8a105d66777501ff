// The interrupt controllers: two 8259A in cascade, as in PIIX3 (8259A data sheet; 82371SB data sheet,
// interrupt controller).
#pragma once

#include "base/log.h"
#include "hw/core/irq.h"
#include "hw/core/port_range.h"
#include "hw/core/state.h"

#include <array>
#include <functional>
#include <string>

namespace dragoman::hw {

// One 8259A. Knows nothing of its partner: the pair below carries the cascade.
class Pic8259 {
  public:
    enum class Role { Master, Slave };

    // `output` is the INT pin: told of every change of its level. `log` is borrowed.
    Pic8259(Role role, std::function<void(bool)> output, Log& log);

    u8 read(u32 offset);
    void write(u32 offset, u8 value);

    void reset();
    void visit(StateVisitor& visitor);

    // The level of IR0..IR7. An edge-triggered request is latched until it is acknowledged; a level-triggered
    // one lasts as long as the level.
    void set_input(unsigned level, bool high);
    // Takes back an edge-triggered request that was not acknowledged: what the slave's INT does when it
    // drops.
    void withdraw(unsigned level);

    // One INTA cycle. Returns the level that is now in service, or `spurious` when no request was left.
    static constexpr unsigned spurious = 8;
    unsigned acknowledge();
    // The vector of a level: ICW2[7:3] and the level. `spurious` has that of level 7.
    u8 vector(unsigned level) const;

    bool output() const { return int_; }
    u8 icw3() const { return icw3_; }
    bool single() const { return icw1_ & 2; }

    u8 elcr() const { return elcr_; }
    void set_elcr(u8 value);

    std::string describe() const;

  private:
    // What the chip waits for after ICW1.
    enum class Init : u8 { NeedIcw1, NeedIcw2, NeedIcw3, NeedIcw4, Ready };

    void start_init(u8 icw1);
    void write_init(u8 value);
    void write_ocw2(u8 value);
    void write_ocw3(u8 value);
    void end_of_interrupt(unsigned level, bool rotate);
    unsigned highest_in_service() const; // by priority, as a non-specific EOI sees it; 8 when none
    unsigned requesting() const;         // the level that would be acknowledged now; 8 when none
    unsigned by_priority(u8 levels) const;
    unsigned priority_of(unsigned level) const { return (level + 7 - lowest_) & 7; } // 0 is the highest
    u8 level_triggered() const { return icw1_ & 8 ? 0xff : elcr_; }                  // ICW1.LTIM or ELCR
    u8 requests() const;
    void update();

    Role role_;
    std::function<void(bool)> output_;
    Log& log_;

    u8 inputs_ = 0; // pin levels; not reset, they belong to the senders
    u8 latched_ = 0;
    u8 imr_ = 0, isr_ = 0;
    u8 icw1_ = 0, icw2_ = 0, icw3_ = 0, icw4_ = 0;
    u8 elcr_ = 0;
    u8 lowest_ = 7; // the level of lowest priority
    Init init_ = Init::NeedIcw1;
    bool read_isr_ = false;
    bool poll_ = false;
    bool special_mask_ = false;
    bool rotate_on_aeoi_ = false;
    bool int_ = false;
};

// Master at 0x20, slave at 0xa0 on the master's IR2, edge/level control registers at 0x4d0.
class PicPair final : public Device {
  public:
    // `intr` is the processor's INTR pin. Both are borrowed.
    PicPair(IrqLine& intr, Log& log);

    void map(IoBus& bus);

    // IRQ 0..15. IRQ 2 is the cascade: the line exists, leads nowhere.
    IrqLine& line(unsigned irq);

    // The processor's interrupt acknowledge: returns the vector. Always answers; when the request has gone,
    // with the vector of IRQ 7 or IRQ 15 and nothing in service at that level.
    u8 acknowledge();
    bool intr() const { return master_.output(); }

    const char* name() const override { return "pic8259"; }
    void reset() override;
    void visit(StateVisitor& visitor) override;

    std::string describe() const; // several lines, for the monitor

  private:
    static constexpr unsigned cascade_level = 2;

    IrqLine& intr_;
    Pic8259 master_, slave_;
    PortRange master_ports_, slave_ports_, elcr_ports_;
    std::array<FunctionLine, 16> lines_;
};

} // namespace dragoman::hw
