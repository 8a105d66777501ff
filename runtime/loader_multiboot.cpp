// Multiboot kernels (Multiboot Specification 0.6.96).
#include "runtime/elf.h"
#include "runtime/loader.h"

#include <algorithm>
#include <cstring>
#include <optional>

namespace dragoman::runtime {

namespace {

constexpr u32 kHeaderMagic = 0x1badb002, kBootMagic = 0x2badb002;
constexpr u64 kSearched = 8192; // the header lies within the first bytes of the file
constexpr u64 kGdtBytes = 32, kLowEnd = 0xa0000, kPage = 4096;
enum HeaderFlag : u32 { kKnownRequired = 0x7, kRequired = 0xffff, kAddressesValid = 1 << 16 };
enum InfoFlag : u32 {
    kHasMemory = 1 << 0,
    kHasCommandLine = 1 << 2,
    kHasModules = 1 << 3,
    kHasMemoryMap = 1 << 6,
    kHasLoaderName = 1 << 9,
    kHasFramebuffer = 1 << 12
};

// 3.1.3: where a file that is no ELF goes. Only the parts that matter here.
struct Header {
    u32 magic, flags, checksum;
    u32 header_address, load_address, load_end, bss_end, entry;
};
constexpr u64 kShortHeader = 12;

// 3.3, up to the framebuffer.
struct Info {
    u32 flags = 0, lower_kib = 0, upper_kib = 0, boot_device = 0, command_line = 0;
    u32 modules = 0, module_list = 0;
    u32 symbols[4] = {};
    u32 map_bytes = 0, map = 0;
    u32 drives_bytes = 0, drives = 0, config_table = 0;
    u32 loader_name = 0, apm_table = 0;
    u32 vbe[4] = {};
    u32 framebuffer[2] = {}; // 64 bits
    u32 pitch = 0, width = 0, height = 0;
    u8 bits_per_pixel = 0, framebuffer_type = 0;
    u8 colour_info[6] = {};
};
static_assert(sizeof(Info) == 116);

struct Module {
    u32 start = 0, end = 0, line = 0, reserved = 0;
};
#pragma pack(push, 4)
struct MapEntry {
    u32 size = 20; // of the rest
    u64 base = 0, bytes = 0;
    u32 type = 0;
};
#pragma pack(pop)
static_assert(sizeof(MapEntry) == 24);

std::optional<u64> find_header(const std::vector<u8>& file) {
    const u64 end = std::min<u64>(file.size(), kSearched);
    for (u64 at = 0; at + kShortHeader <= end; at += 4) {
        u32 field[3];
        std::memcpy(field, &file[at], sizeof field);
        if (field[0] == kHeaderMagic && field[0] + field[1] + field[2] == 0) return at;
    }
    return std::nullopt;
}

// "file args,file args"; two commas stand for one in a name.
std::vector<std::string> split_modules(const std::string& text) {
    std::vector<std::string> result(1);
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != ',') {
            result.back() += text[i];
        } else if (i + 1 < text.size() && text[i + 1] == ',') {
            result.back() += ',';
            ++i;
        } else {
            result.emplace_back();
        }
    }
    result.erase(std::remove(result.begin(), result.end(), std::string()), result.end());
    return result;
}

class Loading {
  public:
    explicit Loading(const KernelImage& image) : image_(image), plan_(image.board) {}
    Result<FlatEntry> run();

  private:
    Error error(const std::string& what) const { return Error{image_.option.kernel + ": " + what}; }
    Result<u32> place_by_addresses(u64 at, const Header& header);
    Result<u32> place_by_elf();
    Status place_modules(Info& info);
    Result<u32> place(const void* bytes, u64 count);
    Result<u32> place_text(const std::string& text) { return place(text.c_str(), text.size() + 1); }
    void describe_memory(Info& info, std::vector<MapEntry>& map) const;

    const KernelImage& image_;
    RamPlan plan_;
};

// Boot information goes below 640 KiB, or where else there is room.
Result<u32> Loading::place(const void* bytes, u64 count) {
    auto at = plan_.lowest(count, 16, 0, kLowEnd);
    if (!at) at = plan_.lowest(count, 16, 0, 4 * GiB);
    if (!at) return error("leaves no room for its boot information");
    image_.map.write(*at, bytes, count);
    return *at;
}

Result<u32> Loading::place_by_addresses(u64 at, const Header& h) {
    const u64 file_bytes = image_.file.size();
    if (h.load_address > h.header_address || h.header_address - h.load_address > at)
        return error("its multiboot header's load address lies before the file");
    const u64 offset = at - (h.header_address - h.load_address);
    if (h.load_end && h.load_end < h.load_address)
        return error("its multiboot header's load end lies before the load address");
    const u64 bytes = h.load_end ? h.load_end - h.load_address : file_bytes - offset;
    if (bytes > file_bytes - offset) return error("cut off: shorter than its multiboot header says");
    if (h.bss_end && h.bss_end < h.load_address + bytes)
        return error("its multiboot header's bss end lies inside the loaded part");
    const u64 memory = h.bss_end ? h.bss_end - h.load_address : bytes;
    if (!plan_.is_ram(h.load_address, memory))
        return error("needs " + std::to_string((h.load_address + memory + MiB - 1) / MiB) +
                     " MiB of memory, the machine has " + std::to_string(image_.map.ram_below_4g() / MiB) +
                     " (-m)");
    image_.map.write(h.load_address, image_.file.data() + offset, bytes);
    clear_ram(image_.map, h.load_address + bytes, memory - bytes);
    plan_.take(h.load_address, memory);
    return h.entry;
}

Result<u32> Loading::place_by_elf() {
    if (!is_elf(image_.file))
        return error("a multiboot header without load addresses in a file that is no ELF");
    const FileReader file = FileReader::over(image_.file);
    const auto elf = read_elf(file);
    if (!elf) return error(elf.error().message);
    if (auto placed = place_elf(elf.value(), file, plan_, image_.map); !placed)
        return error(placed.error().message);
    const u64 entry = elf.value().physical_entry();
    if (entry >= 4 * GiB) return error("its entry lies over 4 GiB, where multiboot cannot go");
    return u32(entry);
}

Status Loading::place_modules(Info& info) {
    std::vector<Module> modules;
    for (const std::string& text : split_modules(image_.option.initrd)) {
        const std::string file = text.substr(0, text.find(' '));
        const auto bytes = read_file(file, image_.map.ram_below_4g());
        if (!bytes) return Error{"(-initrd) " + bytes.error().message};
        const u64 count = bytes.value().size();
        // Over the kernel: some kernels take the memory right behind their own end.
        const auto at = plan_.highest(std::max<u64>(count, 1), kPage, 1 * MiB, 4 * GiB);
        if (!at)
            return Error{"(-initrd) " + file + ": " + std::to_string(count / MiB) +
                         " MiB do not fit beside the kernel into " +
                         std::to_string(image_.map.ram_below_4g() / MiB) + " MiB of memory (-m)"};
        image_.map.write(*at, bytes.value().data(), count);
        const auto line = place_text(text);
        if (!line) return line.error();
        modules.push_back({.start = *at, .end = u32(*at + count), .line = line.value()});
    }
    const auto list = place(modules.data(), modules.size() * sizeof(Module));
    if (!list) return list.error();
    info.flags |= kHasModules;
    info.modules = u32(modules.size());
    info.module_list = list.value();
    return Ok{};
}

void Loading::describe_memory(Info& info, std::vector<MapEntry>& map) const {
    info.lower_kib = 640;
    for (const MemoryRange& range : image_.board.memory) {
        if (range.type == 1 && range.base == 0) info.lower_kib = u32(range.bytes / KiB);
        if (range.type == 1 && range.base == 1 * MiB) info.upper_kib = u32(range.bytes / KiB);
        map.push_back({.base = range.base, .bytes = range.bytes, .type = range.type});
    }
}

Result<FlatEntry> Loading::run() {
    const u64 at = *find_header(image_.file);
    Header header{};
    std::memcpy(&header, &image_.file[at], std::min<u64>(sizeof header, image_.file.size() - at));
    if (const u32 unknown = header.flags & kRequired & ~kKnownRequired)
        return error("its multiboot header requires features " + std::to_string(unknown) +
                     " that are not known");
    if ((header.flags & kAddressesValid) && image_.file.size() - at < sizeof header)
        return error("cut off inside the multiboot header");
    const auto entry = header.flags & kAddressesValid ? place_by_addresses(at, header) : place_by_elf();
    if (!entry) return entry.error();
    if (!plan_.is_ram(entry.value(), 1)) return error("its entry lies outside the machine's memory");

    Info info;
    info.flags = kHasMemory | kHasCommandLine | kHasMemoryMap | kHasLoaderName;
    std::vector<MapEntry> memory;
    describe_memory(info, memory);
    if (auto placed = place_modules(info); !placed) return placed.error();

    // As boot loaders do, the line begins with the kernel's name.
    std::string line = image_.option.kernel;
    if (!image_.option.append.empty()) line += " " + image_.option.append;
    const auto line_at = place_text(line);
    if (!line_at) return line_at.error();
    info.command_line = line_at.value();
    const auto loader_name = place_text("Dragoman");
    if (!loader_name) return loader_name.error();
    info.loader_name = loader_name.value();
    info.map_bytes = u32(memory.size() * sizeof(MapEntry));
    const auto map_at = place(memory.data(), info.map_bytes);
    if (!map_at) return map_at.error();
    info.map = map_at.value();
    if (image_.board.text_screen) {
        info.flags |= kHasFramebuffer;
        info.framebuffer[0] = 0xb8000;
        info.pitch = 160;
        info.width = 80;
        info.height = 25;
        info.bits_per_pixel = 16;
        info.framebuffer_type = 2; // text
    }
    const auto info_at = place(&info, sizeof info);
    if (!info_at) return info_at.error();
    const u8 no_gdt_yet[kGdtBytes] = {};
    const auto gdt = place(no_gdt_yet, sizeof no_gdt_yet);
    if (!gdt) return gdt.error();
    return FlatEntry{.eip = entry.value(), .eax = kBootMagic, .ebx = info_at.value(), .gdt = gdt.value()};
}

} // namespace

bool is_multiboot(const std::vector<u8>& file) {
    return find_header(file).has_value();
}

Result<FlatEntry> load_multiboot(const KernelImage& image) {
    return Loading(image).run();
}

} // namespace dragoman::runtime
