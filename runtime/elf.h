// ELF executables (System V ABI, 4 and 5), as far as loading a kernel needs them. Files are hostile: every
// size and offset is checked against the file.
#pragma once

#include "base/result.h"
#include "runtime/file_reader.h"
#include "runtime/ram_plan.h"

#include <string_view>
#include <vector>

namespace dragoman::runtime {

struct ElfSegment {
    u32 type = 0; // kElfLoad, kElfNote, others are of no interest
    u64 offset = 0, file_bytes = 0;
    u64 linear = 0, physical = 0, memory_bytes = 0;
};
constexpr u32 kElfLoad = 1, kElfNote = 4;

struct Elf {
    bool wide = false; // ELFCLASS64
    u64 entry = 0;     // linear
    std::vector<ElfSegment> segments;

    // The entry as a physical address: `entry` where it lies in a segment's physical addresses, otherwise
    // through the segment that holds it as a linear address.
    u64 physical_entry() const;
};

// Header and program headers of an x86 executable. Errors say what is wrong, without the file's name.
Result<Elf> read_elf(const FileReader& file);

// Puts the loadable segments into RAM, by their physical addresses, and takes their place in the plan.
// Errors do not name the file.
Status place_elf(const Elf& elf, const FileReader& file, RamPlan& plan, softmmu::PhysicalMap& map);

// The contents of the first note of that owner and type (4 and 8: Note Section), in the first MiB of each
// segment of notes; empty: there is none. Errors do not name the file.
Result<std::vector<u8>> find_note(const Elf& elf, const FileReader& file, std::string_view owner, u32 type);

// Zeros in RAM.
void clear_ram(softmmu::PhysicalMap& map, u64 at, u64 bytes);

} // namespace dragoman::runtime
