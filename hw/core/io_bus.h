// The ISA/PCI port space: who answers which port. Splits and rejects so that no chip has to.
#pragma once

#include "base/io.h"

#include <array>
#include <memory>
#include <vector>

namespace dragoman::hw {

// Access sizes that a chip decodes. A wider access is split into several of `max` bytes, a narrower one is passed as
// it is when `min` allows and otherwise reads the containing unit.
struct IoWidths {
    unsigned min = 1;
    unsigned max = 4;
};

class IoBus {
  public:
    static constexpr unsigned port_count = 0x10000;

    using Widths = IoWidths;

    IoBus();

    // Claims ports [base, base+count). `handler` is borrowed. Overlapping another claim is a wiring mistake and
    // asserts, except that `override_existing` moves the ports (PCI BARs over what the guest chose badly).
    void map(u16 base, u32 count, IoHandler& handler, Widths widths = {}, bool override_existing = false);
    // Gives up what `map` claimed with the same base and handler. Unknown claims are ignored.
    void unmap(u16 base, IoHandler& handler);

    // Guest IN and OUT of 1, 2 or 4 bytes. Ports that nobody claims read as ones. An access that crosses claims is
    // split into bytes.
    u32 in(u16 port, unsigned size);
    void out(u16 port, unsigned size, u32 value);

  private:
    struct Claim {
        u16 base = 0;
        u32 count = 0;
        IoHandler* handler = nullptr;
        Widths widths;
    };
    u32 read_claim(const Claim& claim, u16 port, unsigned size);
    void write_claim(const Claim& claim, u16 port, unsigned size, u32 value);
    const Claim* claim_of(u16 port, unsigned size) const;

    std::vector<std::unique_ptr<Claim>> claims_;
    std::vector<const Claim*> by_port_; // port -> claim, no search on the way
};

} // namespace dragoman::hw
