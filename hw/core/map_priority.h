// Who answers where ranges of guest-physical memory overlap: the priorities of all MemoryMap users, lowest
// first.
#pragma once

namespace dragoman::hw {

enum MapPriority : int {
    kMapPciBar = -2000, // the host bridge decodes everything else before it looks at PCI
    kMapRam = -1000,    // below the top of memory
    kMapVideoHole = 10, // 0xa0000-0xbffff belongs to PCI, not to the RAM there
    kMapLegacyVga = 20, // and what answers in it
    kMapSegment = 30,   // PAM and SMRAM (shadow RAM), the firmware below 4 GiB
    kMapFlash = 35,     // a flash, also in the firmware's place
    kMapApic = 40,      // local APIC, IO-APIC, HPET
};

} // namespace dragoman::hw
