// Who answers where ranges of guest-physical memory overlap: the priorities of all MemoryMap users, lowest
// first.
#pragma once

namespace dragoman::hw {

enum MapPriority : int {
    kMapPciBar = -2000, // the host bridge decodes everything else before it looks at PCI
    kMapRam = -1000,    // below the top of memory
    kMapLegacyVga = 20, // 0xa0000-0xbffff, over the RAM there
    kMapSegment = 30,   // PAM and SMRAM (shadow RAM), the firmware below 4 GiB
    kMapApic = 40,      // local APIC, IO-APIC, HPET
};

} // namespace dragoman::hw
