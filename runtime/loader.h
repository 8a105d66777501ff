// Starting kernels without firmware: what -kernel takes, put into memory, and the processor's state at its
// entry.
#pragma once

#include "base/result.h"
#include "frontend/x86/cpu.h"
#include "hw/machine/smbios.h"
#include "softmmu/physical_map.h"

#include <string>
#include <vector>

namespace dragoman::runtime {

struct KernelOption {
    std::string kernel, initrd, append; // file names; initrd may be empty
};

// Registers at the entry of a kernel started in flat 32-bit protected mode without paging: how Linux' 32-bit
// boot protocol, PVH and multiboot all begin. CS, DS, ES, SS are flat; interrupts are off.
struct FlatEntry {
    u32 eip = 0;
    u32 eax = 0, ebx = 0, esi = 0, esp = 0;
    u32 gdt = 0; // where a GDT with the flat descriptors lies (CS 0x10, DS 0x18)
};

// Where the setup code of a bzImage is entered in real mode; DS, ES, FS and GS are SS's.
struct RealEntry {
    u16 cs = 0, ip = 0, ss = 0, sp = 0;
};

// One range of the memory map handed to kernels (ACPI 6.4, 15: 1 RAM, 2 reserved, 3 ACPI tables,
// 4 ACPI tables that stay).
struct MemoryRange {
    u64 base, bytes;
    u32 type;
};

// What kernels without firmware are told about the machine.
struct BoardFacts {
    std::vector<MemoryRange> memory;
    u64 rsdp = 0;             // guest-physical address of the ACPI root pointer; 0: none
    bool text_screen = false; // a display shows 80x25 characters from 0xb8000
    bool isa_panic = false;   // there is a panic device at its ISA port
    bool hpet = true, acpi = true;
    hw::SmbiosFacts smbios; // as far as the user gives them
};

// Recognises the kind of kernel by its header, puts kernel, initial RAM disk and command line into RAM.
// Errors name the file and what is wrong with it.
Result<FlatEntry> load_kernel(const KernelOption& option, const BoardFacts& board, softmmu::PhysicalMap& map);

// Puts the processor into that state (after a reset).
void enter_flat(x86::Cpu& cpu, const FlatEntry& entry);

// A whole file. The error names it and says what is wrong: missing, not readable, a directory, too large.
Result<std::vector<u8>> read_file(const std::string& path, u64 limit);
// Its first so many bytes, or all of them. Errors as above.
Result<std::vector<u8>> read_start(const std::string& path, u64 bytes);

// The loaders behind load_kernel; each is asked whether the file is of its kind.
struct KernelImage {
    const KernelOption& option;
    const std::vector<u8>& file; // all of it; its start is enough for load_pvh
    const BoardFacts& board;
    softmmu::PhysicalMap& map;
};
inline constexpr u64 kernel_header_bytes = 64 * KiB; // enough of a file to tell
bool is_linux(const std::vector<u8>& file);
bool is_multiboot(const std::vector<u8>& file);
bool is_elf(const std::vector<u8>& file); // load_pvh says what is missing for PVH
Result<FlatEntry> load_linux(const KernelImage& image);
// Linux since boot protocol 2.08 can be entered in protected mode; of older bzImages some (iPXE, memdisk)
// have only their setup code, which calls the firmware.
bool has_flat_entry(const std::vector<u8>& linux_file);
Result<RealEntry> load_linux_setup(const KernelImage& image);
Result<FlatEntry> load_multiboot(const KernelImage& image);
Result<FlatEntry> load_pvh(const KernelImage& image);

} // namespace dragoman::runtime
