// What software without firmware is told about the machine, and the tables that tell it.
#pragma once

#include "hw/machine/pc.h"
#include "runtime/loader.h"
#include "softmmu/physical_map.h"

namespace dragoman::runtime {

// Fills in the memory map, and hands the same facts to the firmware through fw_cfg.
void describe_board(const softmmu::PhysicalMap& map, hw::Pc& pc, BoardFacts& board);

// Writes the ACPI tables into RAM, for kernels started without firmware (which would do it).
void place_board_tables(softmmu::PhysicalMap& map, BoardFacts& board);

} // namespace dragoman::runtime
