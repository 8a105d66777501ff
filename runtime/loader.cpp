#include "runtime/loader.h"

#include "frontend/x86/mode.h"
#include "frontend/x86/system_registers.h"
#include "runtime/file_reader.h"

#include <algorithm>

namespace dragoman::runtime {

namespace {

// The first `most` bytes of the file; `whole`: larger files are an error.
Result<std::vector<u8>> read_bytes(const std::string& path, u64 most, bool whole) {
    const auto file = FileReader::open(path);
    if (!file) return file.error();
    const u64 size = file.value().bytes;
    if (whole && size > most)
        return Error{path + ": larger than the " + std::to_string(most / MiB) + " MiB that fit"};
    std::vector<u8> bytes(std::min(size, most));
    if (auto read = file.value().read(0, bytes); !read) return Error{path + ": " + read.error().message};
    return bytes;
}

} // namespace

Result<std::vector<u8>> read_file(const std::string& path, u64 limit) {
    return read_bytes(path, limit, true);
}
Result<std::vector<u8>> read_start(const std::string& path, u64 bytes) {
    return read_bytes(path, bytes, false);
}

Result<FlatEntry> load_kernel(const KernelOption& option, const BoardFacts& board,
                              softmmu::PhysicalMap& map) {
    auto file = read_start(option.kernel, kernel_header_bytes);
    const bool elf = file && is_elf(*file) && !is_multiboot(*file); // load_pvh reads the rest
    if (file && !elf) file = read_file(option.kernel, map.ram_below_4g());
    if (!file) return Error{"-kernel " + file.error().message};
    const KernelImage image{option, *file, board, map};
    Result<FlatEntry> entry =
        is_linux(*file)       ? load_linux(image)
        : is_multiboot(*file) ? load_multiboot(image)
        : is_elf(*file)       ? load_pvh(image)
                        : Error{option.kernel + ": not a kernel: expected a Linux bzImage, an ELF with a "
                                                "PVH note or a multiboot header"};
    if (!entry) return Error{"-kernel " + entry.error().message};
    constexpr u64 flat_gdt[4] = {0, 0, 0x00cf9b000000ffff, 0x00cf93000000ffff};
    map.write(entry->gdt, flat_gdt, sizeof flat_gdt);
    return entry;
}

void enter_flat(x86::Cpu& cpu, const FlatEntry& entry) {
    cpu.cr0 = x86::kCr0PE | x86::kCr0ET;
    x86::update_paging(cpu);
    cpu.gdtr = {entry.gdt, 31};
    cpu.idtr = {0, 0};
    constexpr u16 code = x86::kSegP | x86::kSegS | x86::kSegCode | x86::kSegReadable | x86::kSegAccessed |
                         x86::kSegDB | x86::kSegG;
    constexpr u16 data =
        x86::kSegP | x86::kSegS | x86::kSegWritable | x86::kSegAccessed | x86::kSegDB | x86::kSegG;
    for (unsigned s = 0; s < 6; ++s) {
        const bool cs = s == unsigned(ir::Seg::CS);
        cpu.seg[s] = {.base = 0,
                      .limit = 0xffffffff,
                      .selector = u16(cs ? 0x10 : 0x18),
                      .attributes = cs ? code : data};
    }
    x86::set_cpl(cpu, 0);
    cpu.rip = entry.eip;
    cpu.gpr[0] = entry.eax;
    cpu.gpr[3] = entry.ebx;
    cpu.gpr[4] = entry.esp;
    cpu.gpr[6] = entry.esi;
}

} // namespace dragoman::runtime
