// What software without firmware is told about the machine, and the tables that tell it.
#pragma once

#include "hw/machine/pc.h"
#include "runtime/loader.h"
#include "runtime/options.h"
#include "softmmu/physical_map.h"

namespace dragoman::runtime {

// What the options say about names, for the SMBIOS tables.
hw::SmbiosFacts smbios_facts(const Options& options);

// Reads the files of -fw_cfg and hands them over.
Status add_fw_cfg_files(const Options& options, hw::FwCfg& fw_cfg);

// Fills in the memory map, and hands the same facts to the firmware through fw_cfg.
void describe_board(const softmmu::PhysicalMap& map, hw::Pc& pc, BoardFacts& board);

// Writes the ACPI tables into RAM, for kernels started without firmware (which would do it).
void place_board_tables(softmmu::PhysicalMap& map, BoardFacts& board);

} // namespace dragoman::runtime
