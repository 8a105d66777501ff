#include "hw/machine/smbios.h"

#include "hw/fw_cfg.h"

#include <algorithm>
#include <cstring>
#include <initializer_list>

namespace dragoman::hw {

namespace {

// Handles, by convention the type and a number.
enum Handle : u16 {
    kBios = 0x0000,
    kSystem = 0x0100,
    kChassis = 0x0300,
    kProcessor = 0x0400,
    kMemoryArray = 0x1000,
    kMemoryDevice = 0x1100,
    kMappedArray = 0x1300,
    kBoot = 0x2000,
    kEnd = 0x7f00,
};

constexpr u8 kUnknown = 2;

// Structures one after the other: fields, then strings that fields name by number (6.1).
class Writer {
  public:
    explicit Writer(std::vector<u8>& bytes) : bytes_(bytes) {}
    template <class T> void put(T value) {
        for (unsigned i = 0; i < sizeof(T); ++i)
            bytes_.push_back(u8(u64(value) >> (8 * i)));
    }
    void zeros(std::size_t count) { bytes_.resize(bytes_.size() + count); }
    void begin(u8 type, u16 handle) {
        start_ = bytes_.size();
        put<u8>(type);
        put<u8>(0);
        put<u16>(handle);
    }
    void end(std::initializer_list<const char*> strings) {
        const std::size_t length = bytes_.size() - start_;
        bytes_[start_ + 1] = u8(length);
        largest_ = std::max(largest_, length);
        for (const char* s : strings)
            bytes_.insert(bytes_.end(), s, s + std::strlen(s) + 1);
        zeros(strings.size() ? 1 : 2);
        largest_ = std::max(largest_, bytes_.size() - start_);
        ++count_;
    }
    u16 count() const { return count_; }
    u16 largest() const { return u16(largest_); }

  private:
    std::vector<u8>& bytes_;
    std::size_t start_ = 0, largest_ = 0;
    u16 count_ = 0;
};

void put_bios(Writer& w) { // 7.1
    w.begin(0, kBios);
    w.put<u8>(1); // vendor
    w.put<u8>(2); // version
    w.put<u16>(0xe800);
    w.put<u8>(3); // release date
    w.put<u8>(0);
    w.put<u64>(1 << 3); // characteristics not told
    w.put<u8>(0);
    w.put<u8>(1 << 2);      // content for others than the manufacturer
    w.put<u32>(0xffff0000); // BIOS release 0.0, no embedded controller
    w.end({"Dragoman", "1.0", "01/01/2024"});
}

void put_system(Writer& w) { // 7.2
    w.begin(1, kSystem);
    w.put<u8>(1);
    w.put<u8>(2);
    w.put<u8>(3);
    w.put<u8>(0);  // serial number
    w.zeros(16);   // UUID: not present
    w.put<u8>(6);  // wake-up: power switch
    w.put<u16>(0); // SKU, family
    w.end({"Dragoman", "Standard PC (i440FX + PIIX)", "1.0"});
}

void put_chassis(Writer& w) { // 7.4
    w.begin(3, kChassis);
    w.put<u8>(1);
    w.put<u8>(1); // type: other
    w.put<u16>(0);
    w.put<u8>(0);
    for (const u8 safe : {3, 3, 3}) // boot-up, power supply, thermal state
        w.put<u8>(safe);
    w.put<u8>(kUnknown); // security
    w.put<u32>(0);
    w.put<u32>(0); // height, power cords, no contained elements
    w.put<u8>(0);  // SKU number
    w.end({"Dragoman"});
}

void put_processor(Writer& w) { // 7.5
    w.begin(4, kProcessor);
    w.put<u8>(1);  // socket
    w.put<u8>(3);  // central processor
    w.put<u8>(1);  // family: other
    w.put<u8>(2);  // manufacturer
    w.put<u64>(0); // ID: CPUID has it
    w.put<u8>(0);
    w.put<u8>(0x80);    // voltage: 0
    w.zeros(3 * 2);     // clocks: unknown
    w.put<u8>(0x41);    // populated, enabled
    w.put<u8>(1);       // upgrade: other
    w.put<u16>(0xffff); // caches: not told
    w.put<u16>(0xffff);
    w.put<u16>(0xffff);
    w.zeros(3); // serial number, asset tag, part number
    w.put<u8>(1);
    w.put<u8>(1);
    w.put<u8>(1);
    w.put<u16>(kUnknown); // characteristics
    w.put<u16>(1);        // family 2: other
    w.end({"CPU 0", "Dragoman"});
}

void put_memory(Writer& w, const SmbiosFacts& facts) {
    w.begin(16, kMemoryArray); // 7.17
    w.put<u8>(1);              // location: other
    w.put<u8>(3);              // system memory
    w.put<u8>(3);              // no error correction
    const u64 kib = facts.ram_bytes / KiB;
    const bool large = kib >= 0x80000000;
    w.put<u32>(large ? 0x80000000 : u32(kib));
    w.put<u16>(0xfffe); // no error information
    w.put<u16>(1);
    w.put<u64>(large ? facts.ram_bytes : 0);
    w.end({});

    w.begin(17, kMemoryDevice); // 7.18
    w.put<u16>(kMemoryArray);
    w.put<u16>(0xfffe);
    w.put<u16>(0xffff); // widths: unknown
    w.put<u16>(0xffff);
    const u64 mib = facts.ram_bytes / MiB;
    w.put<u16>(mib < 0x7fff ? u16(mib) : 0x7fff);
    w.put<u8>(9); // DIMM
    w.put<u8>(0);
    w.put<u8>(1); // locator
    w.put<u8>(0);
    w.put<u8>(7); // RAM
    w.put<u16>(kUnknown);
    w.put<u16>(0); // speed
    w.put<u8>(2);  // manufacturer
    w.zeros(3);
    w.put<u8>(0);
    w.put<u32>(mib < 0x7fff ? 0 : u32(mib));
    w.zeros(2 + 3 * 2); // configured speed, voltages
    w.end({"DIMM 0", "Dragoman"});

    // 7.20: what is mapped below and above 4 GiB
    const u64 above = facts.ram_bytes - facts.ram_below_4g;
    const auto put_range = [&](u16 handle, u64 base, u64 bytes) {
        const u64 last = (base + bytes) / KiB - 1;
        const bool wide = last >= 0xffffffff;
        w.begin(19, handle);
        w.put<u32>(wide ? 0xffffffff : u32(base / KiB));
        w.put<u32>(wide ? 0xffffffff : u32(last));
        w.put<u16>(kMemoryArray);
        w.put<u8>(1);
        w.put<u64>(wide ? base : 0);
        w.put<u64>(wide ? base + bytes - 1 : 0);
        w.end({});
    };
    put_range(kMappedArray, 0, facts.ram_below_4g);
    if (above) put_range(kMappedArray + 1, 4 * GiB, above);
}

u8 sum(const u8* p, std::size_t count) {
    u8 total = 0;
    for (std::size_t i = 0; i < count; ++i)
        total = u8(total + p[i]);
    return total;
}

} // namespace

SmbiosTables build_smbios(const SmbiosFacts& facts, u32 at) {
    SmbiosTables out;
    Writer w(out.structures);
    put_bios(w);
    put_system(w);
    put_chassis(w);
    put_processor(w);
    put_memory(w, facts);
    w.begin(32, kBoot); // 7.33
    w.zeros(6 + 1);     // reserved; status: no errors
    w.end({});
    w.begin(127, kEnd);
    w.end({});

    Writer e(out.entry); // 5.2.1
    const auto text = [&](const char* s) { out.entry.insert(out.entry.end(), s, s + std::strlen(s)); };
    text("_SM_");
    e.put<u8>(0);
    e.put<u8>(31);
    e.put<u8>(2);
    e.put<u8>(8);
    e.put<u16>(w.largest());
    e.put<u8>(0);
    e.zeros(5);
    text("_DMI_");
    e.put<u8>(0);
    e.put<u16>(u16(out.structures.size()));
    e.put<u32>(at);
    e.put<u16>(w.count());
    e.put<u8>(0x28);
    out.entry[21] = u8(-sum(&out.entry[16], 15));
    out.entry[4] = u8(-sum(out.entry.data(), 31));
    return out;
}

void add_smbios_files(FwCfg& fw_cfg, const SmbiosFacts& facts) {
    SmbiosTables tables = build_smbios(facts, 0);
    (void)fw_cfg.add_file("etc/smbios/smbios-anchor", std::move(tables.entry));
    (void)fw_cfg.add_file("etc/smbios/smbios-tables", std::move(tables.structures));
}

} // namespace dragoman::hw
