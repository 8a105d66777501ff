// SMBIOS tables of the PC (DMTF DSP0134 2.8): what the machine is called and how much memory it has.
#pragma once

#include "base/types.h"

#include <array>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace dragoman::hw {

class FwCfg;

struct SmbiosFacts {
    u64 ram_bytes = 0, ram_below_4g = 0;
    std::array<u8, 16> uuid{}; // in the order in which it is written; zeros: none
    // What the user wants in place of the text of a field, by type of structure and name of field.
    std::map<std::pair<unsigned, std::string>, std::string> texts;
    std::vector<std::string> oem; // the strings of type 11
};

struct SmbiosTables {
    std::vector<u8> structures;
    std::vector<u8> entry; // "_SM_", 31 bytes; at a multiple of 16 in 0xf0000-0xfffff to be found
};

// The entry point refers to the structures at guest-physical address `at`.
SmbiosTables build_smbios(const SmbiosFacts& facts, u32 at);

// The files etc/smbios/smbios-anchor and etc/smbios/smbios-tables; the firmware places and links them.
void add_smbios_files(FwCfg& fw_cfg, const SmbiosFacts& facts);

} // namespace dragoman::hw
