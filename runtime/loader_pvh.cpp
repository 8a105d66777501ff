// PVH kernels: an ELF whose note names a 32-bit entry, which gets hvm_start_info in EBX (Xen:
// docs/misc/pvh.pandoc, xen/include/public/arch-x86/hvm/start_info.h).
#include "runtime/elf.h"
#include "runtime/loader.h"

#include <cstring>

namespace dragoman::runtime {

namespace {

constexpr u32 kNotePhys32Entry = 18; // XEN_ELFNOTE_PHYS32_ENTRY
constexpr u64 kGdtBytes = 32, kLowEnd = 0xa0000;

struct StartInfo {
    u32 magic = 0x336ec578, version = 1;
    u32 flags = 0, modules = 0;
    u64 module_list = 0, command_line = 0, rsdp = 0, memory_map = 0;
    u32 memory_ranges = 0, reserved = 0;
};
struct Module {
    u64 at = 0, bytes = 0, command_line = 0, reserved = 0;
};
struct Range {
    u64 base = 0, bytes = 0;
    u32 type = 0, reserved = 0;
};
static_assert(sizeof(StartInfo) == 56 && sizeof(Module) == 32 && sizeof(Range) == 24);

} // namespace

bool is_elf(const std::vector<u8>& file) {
    return file.size() >= 4 && std::memcmp(file.data(), "\177ELF", 4) == 0;
}

Result<FlatEntry> load_pvh(const KernelImage& image) {
    const std::string& name = image.option.kernel;
    const auto file = FileReader::open(name);
    if (!file) return file.error();
    const auto elf = read_elf(file.value());
    if (!elf) return Error{name + ": " + elf.error().message};
    const auto note = find_note(elf.value(), file.value(), "Xen", kNotePhys32Entry);
    if (!note) return Error{name + ": " + note.error().message};
    if (note.value().size() < 4)
        return Error{name + ": an ELF with neither a PVH note nor a multiboot header: nothing says how to "
                            "start it"};
    u32 entry = 0;
    std::memcpy(&entry, note.value().data(), 4);

    RamPlan plan(image.board);
    if (auto placed = place_elf(elf.value(), file.value(), plan, image.map); !placed)
        return Error{name + ": " + placed.error().message};
    if (!plan.is_ram(entry, 1)) return Error{name + ": its PVH entry lies outside the machine's memory"};

    softmmu::PhysicalMap& map = image.map;
    const auto no_room = [&name] { return Error{name + ": leaves no room for its boot information"}; };
    StartInfo info;
    info.rsdp = image.board.rsdp;

    const std::string& line = image.option.append;
    const auto line_at = plan.lowest(line.size() + 1, 16, 0, 4 * GiB);
    if (!line_at) return Error{"-append: " + std::to_string(line.size()) + " characters do not fit"};
    map.write(*line_at, line.c_str(), line.size() + 1);
    info.command_line = *line_at;

    if (!image.option.initrd.empty()) {
        const auto initrd = read_file(image.option.initrd, map.ram_below_4g());
        if (!initrd) return Error{"(-initrd) " + initrd.error().message};
        const std::vector<u8>& bytes = initrd.value();
        const auto at = plan.highest(bytes.size(), 4096, 1 * MiB, 4 * GiB);
        const auto list = plan.lowest(sizeof(Module), 16, 0, kLowEnd);
        if (!at || !list)
            return Error{"(-initrd) " + image.option.initrd + ": " + std::to_string(bytes.size() / MiB) +
                         " MiB do not fit beside the kernel into " +
                         std::to_string(map.ram_below_4g() / MiB) + " MiB of memory (-m)"};
        map.write(*at, bytes.data(), bytes.size());
        const Module module{.at = *at, .bytes = bytes.size()};
        map.write(*list, &module, sizeof module);
        info.modules = 1;
        info.module_list = *list;
    }

    const std::vector<MemoryRange>& memory = image.board.memory;
    const auto ranges = plan.lowest(memory.size() * sizeof(Range), 16, 0, kLowEnd);
    const auto start_info = plan.lowest(sizeof info, 16, 0, kLowEnd);
    const auto gdt = plan.lowest(kGdtBytes, 16, 0, kLowEnd);
    if (!ranges || !start_info || !gdt) return no_room();
    for (std::size_t i = 0; i < memory.size(); ++i) {
        const Range range{.base = memory[i].base, .bytes = memory[i].bytes, .type = memory[i].type};
        map.write(*ranges + i * sizeof range, &range, sizeof range);
    }
    info.memory_map = *ranges;
    info.memory_ranges = u32(memory.size());
    map.write(*start_info, &info, sizeof info);
    return FlatEntry{.eip = entry, .ebx = *start_info, .gdt = *gdt};
}

} // namespace dragoman::runtime
