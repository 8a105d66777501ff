// The order in which the firmware tries what has a bootindex: the file "bootorder" of fw_cfg, with a line for
// each in the form of Open Firmware's paths.
#pragma once

#include "hw/core/pci.h"

#include <string>
#include <vector>

namespace dragoman::runtime {

struct BootEntry {
    unsigned index = 0;
    const hw::PciFunction* card = nullptr; // null: `node` is the whole address on the PCI bus
    std::string node;                      // "scsi": of the card, without its slot
    std::string unit;                      // "disk@0,0"
};

// `strict`: nothing else is tried. Empty: there is nothing to say.
std::vector<u8> boot_order_file(std::vector<BootEntry> entries, const hw::PciBus& pci, bool strict);

} // namespace dragoman::runtime
