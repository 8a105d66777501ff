// The ACPI and SMBIOS tables: well formed by their specifications, and the same in both forms.
#include "hw/machine/acpi_tables.h"

#include "base/bits.h"
#include "base/io.h"
#include "base/log.h"
#include "hw/fw_cfg.h"
#include "hw/machine/smbios.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>

using namespace dragoman;
using namespace dragoman::hw;

namespace {

constexpr u32 kAt = 0x07ff0000;

u8 sum(const u8* p, std::size_t count) {
    u8 total = 0;
    for (std::size_t i = 0; i < count; ++i)
        total = u8(total + p[i]);
    return total;
}

template <class T> T get(const std::vector<u8>& bytes, std::size_t at) {
    T value{};
    if (at + sizeof value > bytes.size()) {
        ADD_FAILURE() << "reads at " << at << " of " << bytes.size() << " bytes";
        return value;
    }
    std::memcpy(&value, &bytes[at], sizeof value);
    return value;
}

// The tables that RSDT and XSDT list, by signature, and the DSDT that the FADT names.
std::map<std::string, u32> listed(const AcpiTables& acpi, bool wide) {
    std::map<std::string, u32> found;
    const u64 root = (wide ? get<u64>(acpi.root, 24) : get<u32>(acpi.root, 16)) - kAt;
    const u32 length = get<u32>(acpi.tables, root + 4), word = wide ? 8 : 4;
    for (u32 at = 36; at + word <= length; at += word) {
        const u64 table = (wide ? get<u64>(acpi.tables, root + at) : get<u32>(acpi.tables, root + at)) - kAt;
        if (table + 36 > acpi.tables.size()) {
            ADD_FAILURE() << "entry at " << at << " points outside";
            continue;
        }
        found[std::string(reinterpret_cast<const char*>(&acpi.tables[table]), 4)] = u32(table);
    }
    return found;
}

AcpiTables linked(const AcpiFacts& facts) {
    AcpiTables acpi = build_acpi_tables(facts);
    link_acpi_tables(acpi, kAt);
    return acpi;
}

// The firmware's side of the loader script. Files are placed at fixed addresses.
struct Firmware {
    std::map<std::string, std::vector<u8>> files;
    std::map<std::string, u32> at;

    void run(std::span<const u8> script) {
        ASSERT_EQ(script.size() % 128, 0u);
        for (std::size_t record = 0; record < script.size(); record += 128)
            step(script.data() + record);
    }
    void step(const u8* r) {
        const auto word = [r](u32 offset) {
            u32 value;
            std::memcpy(&value, r + offset, 4);
            return value;
        };
        const auto file = [r](u32 offset) { return std::string(reinterpret_cast<const char*>(r + offset)); };
        const std::string name = file(4);
        ASSERT_TRUE(files.count(name)) << name;
        std::vector<u8>& bytes = files[name];
        switch (word(0)) {
        case 1: {
            ASSERT_TRUE(std::has_single_bit(word(60)));
            const bool f_segment = r[64] == 2;
            at[name] = f_segment ? 0xf5a00 : kAt;
            ASSERT_EQ(at[name] % word(60), 0u);
            break;
        }
        case 2: {
            const std::string target = file(60);
            const u32 offset = word(116), width = r[120];
            ASSERT_TRUE(at.count(target)) << target << " is not allocated yet";
            ASSERT_LE(offset + width, bytes.size());
            u64 value = 0;
            std::memcpy(&value, &bytes[offset], width);
            ASSERT_LT(value, files[target].size());
            value += at[target];
            std::memcpy(&bytes[offset], &value, width);
            break;
        }
        case 3: {
            const u32 offset = word(60), start = word(64), length = word(68);
            ASSERT_LE(start + length, bytes.size());
            ASSERT_LT(offset, bytes.size());
            bytes[offset] = u8(bytes[offset] - sum(&bytes[start], length));
            break;
        }
        default: FAIL() << "command " << word(0);
        }
    }
};

class NoDma final : public DmaBus {
  public:
    bool read(u64, void*, u64) override { return false; }
    bool write(u64, const void*, u64) override { return false; }
};

TEST(AcpiTables, RootPointerHasBothChecksums) {
    const AcpiTables acpi = linked({.ram_below_4g = 128 * MiB});
    ASSERT_EQ(acpi.root.size(), 36u);
    EXPECT_EQ(std::memcmp(acpi.root.data(), "RSD PTR ", 8), 0);
    EXPECT_EQ(sum(acpi.root.data(), 20), 0);
    EXPECT_EQ(sum(acpi.root.data(), 36), 0);
    EXPECT_EQ(acpi.root[15], 2);
}

TEST(AcpiTables, EveryTableIsWholeAndSumsToZero) {
    const AcpiTables acpi = linked({.ram_below_4g = 128 * MiB});
    const auto narrow = listed(acpi, false), wide = listed(acpi, true);
    EXPECT_EQ(narrow, wide);
    for (const char* wanted : {"FACP", "APIC", "HPET", "WAET"})
        EXPECT_TRUE(narrow.count(wanted)) << wanted;
    auto all = narrow;
    if (narrow.count("FACP")) all["DSDT"] = get<u32>(acpi.tables, narrow.at("FACP") + 40) - kAt;
    all["RSDT"] = get<u32>(acpi.root, 16) - kAt;
    all["XSDT"] = u32(get<u64>(acpi.root, 24) - kAt);
    for (const auto& [signature, at] : all) {
        SCOPED_TRACE(signature);
        EXPECT_EQ(std::memcmp(&acpi.tables.at(at), signature.data(), 4), 0);
        const u32 length = get<u32>(acpi.tables, at + 4);
        ASSERT_GE(length, 36u);
        ASSERT_LE(at + length, acpi.tables.size());
        EXPECT_EQ(sum(&acpi.tables[at], length), 0);
    }
}

TEST(AcpiTables, FixedTableNamesTheChips) {
    const AcpiTables acpi = linked({.ram_below_4g = 128 * MiB, .vga = true});
    const u32 at = listed(acpi, true).at("FACP");
    EXPECT_EQ(get<u32>(acpi.tables, at + 4), 244u); // ACPI 4.0
    EXPECT_EQ(get<u16>(acpi.tables, at + 46), 9);
    EXPECT_EQ(get<u32>(acpi.tables, at + 48), 0xb2u);
    EXPECT_EQ(acpi.tables[at + 52], 0xf1);
    EXPECT_EQ(acpi.tables[at + 53], 0xf0);
    EXPECT_EQ(get<u32>(acpi.tables, at + 56), 0x600u);
    EXPECT_EQ(get<u32>(acpi.tables, at + 64), 0x604u);
    EXPECT_EQ(get<u32>(acpi.tables, at + 76), 0x608u);
    EXPECT_EQ(get<u32>(acpi.tables, at + 80), 0xafe0u);
    EXPECT_EQ(get<u32>(acpi.tables, at + 88), 0x04000204u); // lengths of PM1 event, control, PM2, timer
    EXPECT_EQ(acpi.tables[at + 108], 0x32);
    EXPECT_EQ(get<u16>(acpi.tables, at + 109) & 4, 0);
    EXPECT_TRUE(get<u32>(acpi.tables, at + 112) & 1u << 10);
    EXPECT_EQ(get<u64>(acpi.tables, at + 120), 0xcf9u);
    EXPECT_EQ(get<u64>(acpi.tables, at + 140), get<u32>(acpi.tables, at + 40));
    // The extended blocks repeat the legacy ones.
    EXPECT_EQ(get<u64>(acpi.tables, at + 152), 0x600u);
    EXPECT_EQ(get<u64>(acpi.tables, at + 176), 0x604u);
    EXPECT_EQ(get<u64>(acpi.tables, at + 212), 0x608u);
    EXPECT_EQ(get<u64>(acpi.tables, at + 224), 0xafe0u);
    const u32 facs = get<u32>(acpi.tables, at + 36) - kAt;
    EXPECT_EQ(facs % 64, 0u);
    EXPECT_EQ(std::memcmp(&acpi.tables.at(facs), "FACS", 4), 0);
    EXPECT_EQ(get<u32>(acpi.tables, facs + 4), 64u);

    const AcpiTables blind = linked({.ram_below_4g = 128 * MiB, .vga = false});
    EXPECT_EQ(get<u16>(blind.tables, listed(blind, true).at("FACP") + 109) & 4, 4);
}

TEST(AcpiTables, InterruptTableIsWiredAsTheBoard) {
    const AcpiTables acpi = linked({.ram_below_4g = 128 * MiB});
    const u32 at = listed(acpi, true).at("APIC");
    const u32 end = at + get<u32>(acpi.tables, at + 4);
    std::map<u8, std::pair<u32, u16>> overrides;
    unsigned processors = 0, controllers = 0;
    u32 entry = at + 44;
    while (entry + 2 <= end) {
        const u8 type = acpi.tables[entry], length = acpi.tables[entry + 1];
        ASSERT_GE(length, 2);
        ASSERT_LE(entry + length, end);
        if (type == 0) ++processors;
        if (type == 1) {
            ++controllers;
            EXPECT_EQ(get<u32>(acpi.tables, entry + 4), 0xfec00000u);
        }
        if (type == 2)
            overrides[acpi.tables[entry + 3]] = {get<u32>(acpi.tables, entry + 4),
                                                 get<u16>(acpi.tables, entry + 8)};
        entry += length;
    }
    EXPECT_EQ(entry, end);
    EXPECT_EQ(processors, 1u);
    EXPECT_EQ(controllers, 1u);
    const std::map<u8, std::pair<u32, u16>> wanted = {
        {0, {2, 0}}, {5, {5, 13}}, {9, {9, 13}}, {10, {10, 13}}, {11, {11, 13}}};
    EXPECT_EQ(overrides, wanted);
}

TEST(AcpiTables, HpetMayBeAbsent) {
    EXPECT_TRUE(listed(linked({.hpet = true}), false).count("HPET"));
    const AcpiTables without = linked({.hpet = false});
    EXPECT_FALSE(listed(without, false).count("HPET"));
    EXPECT_FALSE(listed(without, true).count("HPET"));
}

TEST(AcpiTables, PciWindowBeginsOverTheRam) {
    const std::pair<u64, u32> cases[] = {
        {64 * MiB, 0x80000000}, {3 * GiB, 0xc0000000}, {3584 * MiB, 0xe0000000}};
    for (const auto& [ram, window] : cases) {
        const AcpiTables acpi = linked({.ram_below_4g = ram});
        const std::string_view name("\x08MBAS\x0c", 6),
            all(reinterpret_cast<const char*>(acpi.tables.data()), acpi.tables.size());
        const std::size_t at = all.find(name);
        ASSERT_NE(at, std::string_view::npos);
        EXPECT_EQ(all.find(name, at + 1), std::string_view::npos);
        EXPECT_EQ(get<u32>(acpi.tables, at + 6), window) << ram / MiB << " MiB";
    }
}

TEST(AcpiTables, FirmwareBuildsTheSameTables) {
    const AcpiFacts facts{.ram_below_4g = 512 * MiB};
    NoDma dma;
    Log log;
    FwCfg fw_cfg(dma, log);
    add_acpi_files(fw_cfg, facts);
    Firmware firmware;
    for (const char* name : {"etc/acpi/rsdp", "etc/acpi/tables"}) {
        const auto bytes = fw_cfg.file(name);
        ASSERT_FALSE(bytes.empty()) << name;
        firmware.files[name].assign(bytes.begin(), bytes.end());
    }
    firmware.run(fw_cfg.file("etc/table-loader"));
    const AcpiTables acpi = linked(facts);
    EXPECT_EQ(firmware.files["etc/acpi/rsdp"], acpi.root);
    EXPECT_EQ(firmware.files["etc/acpi/tables"], acpi.tables);
    EXPECT_GE(firmware.at["etc/acpi/rsdp"], 0xf0000u);
}

TEST(AcpiTables, DisassemblerReadsTheDefinitionBlocks) {
    if (std::system("iasl -v >/dev/null 2>&1") != 0) GTEST_SKIP() << "iasl is not installed";
    const AcpiTables acpi = linked({.ram_below_4g = 128 * MiB});
    auto tables = listed(acpi, true);
    tables["DSDT"] = get<u32>(acpi.tables, tables.at("FACP") + 40) - kAt;
    char directory[] = "/tmp/acpi_tables_test.XXXXXX";
    ASSERT_NE(mkdtemp(directory), nullptr);
    for (const auto& [signature, at] : tables) {
        SCOPED_TRACE(signature);
        const std::string base = std::string(directory) + "/" + signature;
        std::ofstream(base + ".aml", std::ios::binary)
            .write(reinterpret_cast<const char*>(&acpi.tables[at]), get<u32>(acpi.tables, at + 4));
        const std::string command = "iasl -p " + base + " -d " + base + ".aml >" + base + ".log 2>&1";
        EXPECT_EQ(std::system(command.c_str()), 0) << command;
        std::ifstream listing(base + ".dsl");
        const std::string text{std::istreambuf_iterator<char>(listing), {}};
        EXPECT_GT(text.size(), 200u);
        EXPECT_EQ(text.find("Invalid"), std::string::npos) << text;
        EXPECT_EQ(text.find("ncorrect checksum"), std::string::npos) << text;
        if (signature == "DSDT") {
            for (const char* wanted : {"PNP0A03", "PNP0C0F", "PNP0103", "_S5", "_PRT"})
                EXPECT_NE(text.find(wanted), std::string::npos) << wanted;
        }
    }
    std::filesystem::remove_all(directory);
}

// Walks the structures: returns the types in their order.
std::vector<unsigned> structure_types(const std::vector<u8>& bytes) {
    std::vector<unsigned> types;
    std::size_t at = 0;
    while (at + 4 <= bytes.size()) {
        types.push_back(bytes[at]);
        std::size_t end = at + bytes[at + 1];
        while (end + 1 < bytes.size() && (bytes[end] || bytes[end + 1]))
            ++end;
        at = end + 2;
    }
    EXPECT_EQ(at, bytes.size());
    return types;
}

TEST(Smbios, EntryPointAndStructuresAgree) {
    for (const u64 ram : {u64{64 * MiB}, u64{6 * GiB}, u64{64 * GiB}}) {
        SCOPED_TRACE(ram / MiB);
        const u64 low = std::min<u64>(ram, 3 * GiB);
        const SmbiosTables t = build_smbios({.ram_bytes = ram, .ram_below_4g = low}, 0xf0100);
        ASSERT_EQ(t.entry.size(), 31u);
        EXPECT_EQ(std::memcmp(t.entry.data(), "_SM_", 4), 0);
        EXPECT_EQ(std::memcmp(&t.entry[16], "_DMI_", 5), 0);
        EXPECT_EQ(sum(t.entry.data(), 31), 0);
        EXPECT_EQ(sum(&t.entry[16], 15), 0);
        EXPECT_EQ(get<u32>(t.entry, 24), 0xf0100u);
        EXPECT_EQ(get<u16>(t.entry, 22), t.structures.size());
        const auto types = structure_types(t.structures);
        EXPECT_EQ(get<u16>(t.entry, 28), types.size());
        std::vector<unsigned> wanted = {0, 1, 3, 4, 16, 17, 19};
        if (ram > low) wanted.push_back(19);
        wanted.insert(wanted.end(), {32, 127});
        EXPECT_EQ(types, wanted);
    }
}

TEST(Smbios, SaysWhatTheUserWants) {
    SmbiosFacts facts{.ram_bytes = 64 * MiB, .ram_below_4g = 64 * MiB};
    for (u8 n = 0; n < 16; ++n)
        facts.uuid[n] = n;
    facts.texts[{1, "serial"}] = "ds=nocloud";
    facts.texts[{1, "family"}] = "F";
    facts.texts[{2, "product"}] = "Board";
    facts.oem = {"one", "two"};
    facts.texts[{4, "max-speed"}] = "2000";
    facts.texts[{4, "current-speed"}] = "1999";
    facts.texts[{17, "speed"}] = "3200";
    const SmbiosTables t = build_smbios(facts, 0xf0100);
    const auto types = structure_types(t.structures);
    EXPECT_EQ(types, (std::vector<unsigned>{0, 1, 2, 3, 4, 11, 16, 17, 19, 32, 127}));
    const std::string all(t.structures.begin(), t.structures.end());
    const std::size_t system = all.find(std::string("\x01\x1b\0\x01", 4)); // type, length, handle
    ASSERT_NE(system, std::string::npos);
    EXPECT_EQ(all[system + 7], 4) << "the serial number is the fourth string";
    EXPECT_EQ(all.substr(system + 8, 16), std::string("\3\2\1\0\5\4\7\6\x8\x9\xa\xb\xc\xd\xe\xf", 16));
    EXPECT_EQ(all[system + 25], 0) << "no SKU";
    EXPECT_EQ(all[system + 26], 5) << "the family";
    const std::size_t processor = all.find(std::string("\x04\x2a\0\x04", 4)),
                      memory = all.find(std::string("\x11\x28\0\x11", 4));
    ASSERT_TRUE(processor != std::string::npos && memory != std::string::npos);
    EXPECT_EQ(get<u16>(t.structures, processor + 0x14), 2000);
    EXPECT_EQ(get<u16>(t.structures, processor + 0x16), 1999);
    EXPECT_EQ(get<u16>(t.structures, memory + 0x15), 3200);
    EXPECT_EQ(get<u16>(t.structures, memory + 0x20), 3200);
    EXPECT_NE(all.find(std::string("\0ds=nocloud\0F\0\0", 15)), std::string::npos);
    EXPECT_NE(all.find(std::string("\x0b\5\0\x0e\2one\0two\0\0", 14)), std::string::npos);
}

} // namespace
