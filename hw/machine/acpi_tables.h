// The ACPI tables of the PC (ACPI 6.4, 5.2), in the two forms in which software gets them: linked at
// addresses that the caller chooses, or as files with a script by which the firmware places and links them.
#pragma once

#include "base/types.h"

#include <vector>

namespace dragoman::hw {

class FwCfg;

// What differs from machine to machine.
struct AcpiFacts {
    u64 ram_below_4g = 0; // bytes; the PCI memory window begins here at the earliest
    bool vga = true;      // a VGA answers at its legacy addresses
    bool panic = false;   // there is a panic device at its ISA port
    bool hpet = true;
};

// Tables that refer to each other, in two pieces: everything but the root pointer, and the root pointer.
struct AcpiTables {
    enum Piece : u8 { Tables, Root };

    // At `at` of `in` is an address in `Tables`, of `bytes` bytes: until linked, the offset in that piece.
    struct Pointer {
        Piece in;
        u32 at;
        u8 bytes;
    };
    // The byte at `at` makes the sum over [start, start + length) zero: until linked, zero.
    struct Checksum {
        Piece in;
        u32 at, start, length;
    };

    std::vector<u8> tables; // wants to lie at a multiple of 64
    std::vector<u8> root;   // 36 bytes; wants to lie at a multiple of 16, below 1 MiB to be found by a scan
    std::vector<Pointer> pointers;
    std::vector<Checksum> checksums; // to be made in this order, after the pointers
};

constexpr u32 kAcpiTablesAlign = 64;

AcpiTables build_acpi_tables(const AcpiFacts& facts); // not linked

// Fills in pointers and checksums for `tables` at guest-physical address `at` (below 4 GiB).
void link_acpi_tables(AcpiTables& tables, u32 at);

// The commands by which the firmware does the same: records of 128 bytes that allocate a file, add the
// address of one file to a pointer in another, and make a checksum.
std::vector<u8> acpi_loader_script(const AcpiTables& tables);

// The files etc/acpi/rsdp, etc/acpi/tables and etc/table-loader.
void add_acpi_files(FwCfg& fw_cfg, const AcpiFacts& facts);

} // namespace dragoman::hw
