#include "runtime/board.h"

#include "base/bits.h"
#include "hw/machine/acpi_tables.h"
#include "hw/machine/smbios.h"
#include "runtime/option_text.h"

#include <cstring>

namespace dragoman::runtime {

namespace {

// The last KiB of conventional memory is the extended BIOS data area's, by custom.
constexpr u64 kEbda = 0x9fc00, kConventionalEnd = 0xa0000, kRomArea = 0xf0000, kExtended = 0x100000;
// The ACPI tables lie in this much at the top of the RAM below 4 GiB; the 0xf0000 segment holds what software
// finds by scanning.
constexpr u64 kTablesBytes = 64 * KiB;
constexpr u32 kSmbiosEntry = 0xf0000, kRsdp = 0xf0040, kSmbios = 0xf0100;

enum : u32 { kRam = 1, kReserved = 2, kNvs = 4 };

u64 tables_at(u64 ram_below_4g) {
    return align_down(ram_below_4g, kTablesBytes) - kTablesBytes;
}

hw::AcpiFacts acpi_facts(u64 ram_below_4g, const BoardFacts& board) {
    return {
        .ram_below_4g = ram_below_4g, .vga = board.text_screen, .panic = board.isa_panic, .hpet = board.hpet};
}

void put_range(std::vector<u8>& out, const MemoryRange& range) {
    const auto put = [&out](u64 value, unsigned bytes) {
        for (unsigned i = 0; i < bytes; ++i)
            out.push_back(u8(value >> (8 * i)));
    };
    put(range.base, 8);
    put(range.bytes, 8);
    put(range.type, 4);
}

// The BIOS data area, as far as software without a BIOS still looks at it (IBM PC/AT technical reference).
void place_bios_data(softmmu::PhysicalMap& map, bool text_screen) {
    u8 bda[256] = {};
    const auto put16 = [&bda](unsigned at, unsigned value) {
        bda[at] = u8(value);
        bda[at + 1] = u8(value >> 8);
    };
    put16(0x00, 0x3f8);
    put16(0x02, 0x2f8);
    put16(0x0e, kEbda >> 4);
    put16(0x10, 2 << 9 | 1 << 2 | 1 << 1 | (text_screen ? 0 : 3 << 4)); // 2 serial ports, mouse, FPU, display
    put16(0x13, kEbda / KiB);
    if (text_screen) {
        bda[0x49] = 3; // mode
        put16(0x4a, 80);
        put16(0x4c, 0x1000); // bytes of a page
        put16(0x60, 0x0d0e); // cursor's lines
        put16(0x63, 0x3d4);
        bda[0x84] = 24; // rows - 1
        put16(0x85, 16);
    }
    map.write(0x400, bda, sizeof bda);
    const u8 ebda_kib = 1;
    map.write(kEbda, &ebda_kib, 1);
}

} // namespace

hw::SmbiosFacts smbios_facts(const Options& options) {
    hw::SmbiosFacts facts;
    facts.texts = options.smbios.texts;
    facts.oem = options.smbios.oem;
    std::string digits;
    for (const char c : options.uuid)
        if (c != '-') digits += c;
    for (std::size_t n = 0; n < digits.size() / 2; ++n)
        facts.uuid[n] = u8(parse_number(digits.substr(2 * n, 2), 16).value_or(0));
    return facts;
}

Status add_fw_cfg_files(const Options& options, hw::FwCfg& fw_cfg) {
    for (const FwCfgOption& file : options.fw_cfg) {
        std::vector<u8> bytes(file.text.begin(), file.text.end());
        if (!file.file.empty()) {
            auto read = read_file(file.file, 256 * MiB);
            if (!read) return Error{"-fw_cfg name=" + file.name + ": " + read.error().message};
            bytes = std::move(*read);
        }
        if (auto s = fw_cfg.add_file(file.name, std::move(bytes)); !s)
            return Error{"-fw_cfg name=" + file.name + ": " + s.error().message};
    }
    for (const std::string& path : options.option_roms) {
        auto rom = read_file(path, 512 * KiB);
        if (!rom) return Error{"-option-rom " + rom.error().message};
        const std::string name = "genroms/" + path.substr(path.rfind('/') + 1);
        if (auto s = fw_cfg.add_file(name, std::move(*rom)); !s)
            return Error{"-option-rom " + path + ": " + s.error().message};
    }
    // SeaBIOS reads them: milliseconds, little-endian.
    const auto add_time = [&](const char* name, std::optional<unsigned> ms, unsigned bytes) {
        if (!ms) return;
        std::vector<u8> value;
        for (unsigned n = 0; n < bytes; ++n)
            value.push_back(u8(*ms >> (8 * n)));
        (void)fw_cfg.add_file(name, std::move(value));
    };
    add_time("etc/boot-menu-wait", options.splash_ms, 2);
    add_time("etc/boot-fail-wait", options.reboot_ms, 4);
    return Ok{};
}

void describe_board(const softmmu::PhysicalMap& map, hw::Pc& pc, BoardFacts& board) {
    const u64 low = map.ram_below_4g(), bytes = map.ram_bytes();
    board.text_screen = pc.vga() != nullptr;
    board.memory.clear();
    board.memory.push_back({0, kEbda, kRam});
    board.memory.push_back({kEbda, kConventionalEnd - kEbda, kReserved});
    board.memory.push_back({kRomArea, kExtended - kRomArea, kReserved});
    if (low > kExtended + 2 * kTablesBytes) {
        const u64 tables = tables_at(low);
        board.memory.push_back({kExtended, tables - kExtended, kRam});
        board.memory.push_back({tables, low - tables, kNvs});
    }
    if (bytes > low) board.memory.push_back({4 * GiB, bytes - low, kRam});

    // The firmware takes its own parts out of what it is told.
    std::vector<u8> e820;
    put_range(e820, {0, low, kRam});
    if (bytes > low) put_range(e820, {4 * GiB, bytes - low, kRam});
    hw::FwCfg& fw_cfg = pc.fw_cfg();
    (void)fw_cfg.add_file("etc/e820", std::move(e820));
    if (board.acpi) hw::add_acpi_files(fw_cfg, acpi_facts(low, board));
    board.smbios.ram_bytes = bytes;
    board.smbios.ram_below_4g = low;
    hw::add_smbios_files(fw_cfg, board.smbios);
}

void place_board_tables(softmmu::PhysicalMap& map, BoardFacts& board) {
    const u64 low = map.ram_below_4g();
    board.rsdp = 0;
    if (low < kExtended) return;
    place_bios_data(map, board.text_screen);
    const auto smbios = hw::build_smbios(board.smbios, kSmbios);
    map.write(kSmbiosEntry, smbios.entry.data(), smbios.entry.size());
    map.write(kSmbios, smbios.structures.data(), smbios.structures.size());

    if (low <= kExtended + 2 * kTablesBytes || !board.acpi) return;
    hw::AcpiTables acpi = hw::build_acpi_tables(acpi_facts(low, board));
    DRAGOMAN_ASSERT(acpi.tables.size() <= kTablesBytes);
    const u64 at = tables_at(low);
    hw::link_acpi_tables(acpi, u32(at));
    map.write(at, acpi.tables.data(), acpi.tables.size());
    map.write(kRsdp, acpi.root.data(), acpi.root.size());
    board.rsdp = kRsdp;
}

} // namespace dragoman::runtime
