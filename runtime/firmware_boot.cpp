#include "runtime/firmware_boot.h"

#include <algorithm>
#include <cstring>

extern "C" const dragoman::u8 dragoman_boot_rom[], dragoman_boot_rom_end[]; // boot_rom.S

namespace dragoman::runtime {

namespace {

// As boot_rom.S has them.
constexpr u16 kEntryKey = 0x8010; // of those that fw_cfg leaves to the architecture
constexpr u64 kList = 0x600, kListRecord = 20, kListEnd = kList + 64 * kListRecord, kListStop = kListEnd + 32;
constexpr u32 kRam = 1;

// What the ROM reads: where to go, and with which registers.
enum class Entry : u32 { None, Flat, Real };
struct EntryRecord {
    Entry kind = Entry::None;
    u32 eip = 0; // Real: CS in the upper half
    u32 eax = 0, ebx = 0, esi = 0;
    u32 esp = 0; // Real: SS in the upper half
    u16 gdt_limit = 31;
    u16 gdt_low = 0, gdt_high = 0, unused = 0; // the base is not aligned
};
static_assert(sizeof(EntryRecord) == 32);

std::vector<u8> bytes_of(const EntryRecord& record) {
    std::vector<u8> bytes(sizeof record);
    std::memcpy(bytes.data(), &record, sizeof record);
    return bytes;
}

u8 checksum(const u8* at, std::size_t count) { // makes the sum of all bytes 0
    u8 sum = 0;
    for (std::size_t i = 0; i < count; ++i)
        sum = u8(sum + at[i]);
    return u8(-sum);
}

std::vector<u8> option_rom() {
    std::vector<u8> rom(dragoman_boot_rom, dragoman_boot_rom_end);
    const u16 header = u16(rom[0x1a] | rom[0x1b] << 8);
    rom[header + 9u] = checksum(&rom[header], rom[header + 5u] * 16u);
    rom[6] = checksum(rom.data(), rom.size());
    return rom;
}

} // namespace

bool FirmwareBoot::needs(const KernelOption& option) {
    auto file = read_start(option.kernel, kernel_header_bytes);
    return file && (is_multiboot(*file) || (is_linux(*file) && !has_flat_entry(*file)));
}

Result<std::unique_ptr<FirmwareBoot>> FirmwareBoot::create(const KernelOption& option,
                                                           const BoardFacts& board, softmmu::PhysicalMap& map,
                                                           hw::FwCfg& fw_cfg,
                                                           std::function<void(const std::string&)> failed) {
    std::unique_ptr<FirmwareBoot> boot(new FirmwareBoot(option, board, map, std::move(failed)));
    if (auto loaded = boot->load(board); !loaded) return loaded.error();
    constexpr const char* name = "genroms/dragoman.bin";
    const std::string order = std::string("/rom@") + name;
    if (auto s = fw_cfg.add_file(name, option_rom()); !s) return s.error();
    std::vector<u8> line(order.begin(), order.end());
    line.push_back('\0');
    if (auto s = fw_cfg.add_file("bootorder", std::move(line)); !s) return s.error();
    fw_cfg.add_made(kEntryKey, [self = boot.get()] {
        auto entry = self->load(self->facts_of_firmware());
        if (entry) return *entry;
        self->failed_(entry.error().message);
        return bytes_of({});
    });
    return boot;
}

Result<std::vector<u8>> FirmwareBoot::load(const BoardFacts& board) {
    auto file = read_file(option_.kernel, map_.ram_below_4g());
    if (!file) return Error{"-kernel " + file.error().message};
    EntryRecord record;
    if (is_linux(*file) && !has_flat_entry(*file)) {
        auto entry = load_linux_setup({option_, *file, board, map_});
        if (!entry) return Error{"-kernel " + entry.error().message};
        record.kind = Entry::Real;
        record.eip = u32{entry->cs} << 16 | entry->ip;
        record.esp = u32{entry->ss} << 16 | entry->sp;
    } else {
        auto entry = load_kernel(option_, board, map_);
        if (!entry) return entry.error();
        record = {.kind = Entry::Flat,
                  .eip = entry->eip,
                  .eax = entry->eax,
                  .ebx = entry->ebx,
                  .esi = entry->esi,
                  .esp = entry->esp,
                  .gdt_low = u16(entry->gdt),
                  .gdt_high = u16(entry->gdt >> 16)};
    }
    return bytes_of(record);
}

// The guest wrote the list: RAM is only what the machine has.
BoardFacts FirmwareBoot::facts_of_firmware() const {
    BoardFacts facts{.text_screen = board_.text_screen};
    u16 stop = 0;
    map_.read(kListStop, &stop, sizeof stop);
    const u64 end = std::min<u64>(stop, kListEnd), low = map_.ram_below_4g();
    for (u64 at = kList; at + kListRecord <= end; at += kListRecord) {
        u8 raw[kListRecord] = {};
        map_.read(at, raw, sizeof raw);
        MemoryRange range{};
        std::memcpy(&range.base, raw, 8);
        std::memcpy(&range.bytes, raw + 8, 8);
        std::memcpy(&range.type, raw + 16, 4);
        if (range.type == kRam && range.base < 4 * GiB)
            range.bytes = range.base < low ? std::min(range.bytes, low - range.base) : 0;
        if (range.bytes) facts.memory.push_back(range);
    }
    return facts;
}

} // namespace dragoman::runtime
