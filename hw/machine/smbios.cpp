#include "hw/machine/smbios.h"

#include "hw/fw_cfg.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace dragoman::hw {

namespace {

// Handles, by convention the type and a number.
enum Handle : u16 {
    kBios = 0x0000,
    kSystem = 0x0100,
    kBoard = 0x0200,
    kChassis = 0x0300,
    kProcessor = 0x0400,
    kOem = 0x0e00,
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
    Writer(std::vector<u8>& bytes, const SmbiosFacts& facts) : bytes_(bytes), facts_(facts) {}
    template <class T> void put(T value) {
        for (unsigned i = 0; i < sizeof(T); ++i)
            bytes_.push_back(u8(u64(value) >> (8 * i)));
    }
    void zeros(std::size_t count) { bytes_.resize(bytes_.size() + count); }
    void begin(u8 type, u16 handle) {
        start_ = bytes_.size();
        type_ = type;
        put<u8>(type);
        put<u8>(0);
        put<u16>(handle);
    }
    // A field that names a string: the user's for `name`, or `usual`; 0, and no string, if that is empty.
    void text(const char* name, const char* usual = "") {
        const auto given = facts_.texts.find({type_, name});
        add(given == facts_.texts.end() ? usual : given->second);
    }
    void add(const std::string& string) { // the same without a name
        if (!string.empty()) strings_.push_back(string);
        put<u8>(u8(string.empty() ? 0 : strings_.size()));
    }
    // The user's number for `name`, or 0: unknown. It was checked.
    void number(const char* name) {
        const auto given = facts_.texts.find({type_, name});
        put<u16>(given == facts_.texts.end() ? u16(0)
                                             : u16(std::strtoul(given->second.c_str(), nullptr, 10)));
    }
    void string(const std::string& s) { strings_.push_back(s); } // no field names it
    void end() {
        const std::size_t length = bytes_.size() - start_;
        bytes_[start_ + 1] = u8(length);
        for (const std::string& s : strings_)
            bytes_.insert(bytes_.end(), s.c_str(), s.c_str() + s.size() + 1);
        zeros(strings_.empty() ? 2 : 1);
        strings_.clear();
        largest_ = std::max(largest_, bytes_.size() - start_);
        ++count_;
    }
    u16 count() const { return count_; }
    u16 largest() const { return u16(std::min<std::size_t>(largest_, 0xffff)); }

  private:
    std::vector<u8>& bytes_;
    const SmbiosFacts& facts_;
    std::vector<std::string> strings_;
    std::size_t start_ = 0, largest_ = 0;
    u16 count_ = 0;
    u8 type_ = 0;
};

void put_bios(Writer& w) { // 7.1
    w.begin(0, kBios);
    w.text("vendor", "Dragoman");
    w.text("version", "1.0");
    w.put<u16>(0xe800);
    w.text("date", "01/01/2024");
    w.put<u8>(0);
    w.put<u64>(1 << 3); // characteristics not told
    w.put<u8>(0);
    w.put<u8>(1 << 2);      // content for others than the manufacturer
    w.put<u32>(0xffff0000); // BIOS release 0.0, no embedded controller
    w.end();
}

void put_system(Writer& w, const SmbiosFacts& facts) { // 7.2
    w.begin(1, kSystem);
    w.text("manufacturer", "Dragoman");
    w.text("product", "Standard PC (i440FX + PIIX)");
    w.text("version", "1.0");
    w.text("serial");
    // The first three parts of the UUID are little-endian (7.2.1).
    static constexpr u8 order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
    for (const u8 n : order)
        w.put<u8>(facts.uuid[n]);
    w.put<u8>(6); // wake-up: power switch
    w.text("sku");
    w.text("family");
    w.end();
}

void put_board(Writer& w, const SmbiosFacts& facts) { // 7.3
    const auto about = facts.texts.lower_bound({2, ""});
    if (about == facts.texts.end() || about->first.first != 2) return;
    w.begin(2, kBoard);
    w.text("manufacturer", "Dragoman");
    w.text("product");
    w.text("version");
    w.text("serial");
    w.text("asset");
    w.put<u8>(1); // hosts the machine
    w.text("location");
    w.put<u16>(kChassis);
    w.put<u8>(10); // motherboard
    w.put<u8>(0);
    w.end();
}

void put_chassis(Writer& w) { // 7.4
    w.begin(3, kChassis);
    w.text("manufacturer", "Dragoman");
    w.put<u8>(1); // type: other
    w.text("version");
    w.text("serial");
    w.text("asset");
    for (const u8 safe : {3, 3, 3}) // boot-up, power supply, thermal state
        w.put<u8>(safe);
    w.put<u8>(kUnknown); // security
    w.put<u32>(0);
    w.put<u32>(0); // height, power cords, no contained elements
    w.text("sku");
    w.end();
}

void put_processor(Writer& w, const SmbiosFacts& facts) { // 7.5
    const auto socket = facts.texts.find({4, "sock_pfx"});
    w.begin(4, kProcessor);
    w.add(socket == facts.texts.end() ? "CPU 0" : socket->second + " 0");
    w.put<u8>(3); // central processor
    w.put<u8>(1); // family: other
    w.text("manufacturer", "Dragoman");
    w.put<u64>(0); // ID: CPUID has it
    w.text("version");
    w.put<u8>(0x80); // voltage: 0
    w.put<u16>(0);   // the bus's clock: unknown
    w.number("max-speed");
    w.number("current-speed");
    w.put<u8>(0x41);    // populated, enabled
    w.put<u8>(1);       // upgrade: other
    w.put<u16>(0xffff); // caches: not told
    w.put<u16>(0xffff);
    w.put<u16>(0xffff);
    w.text("serial");
    w.text("asset");
    w.text("part");
    w.put<u8>(1);
    w.put<u8>(1);
    w.put<u8>(1);
    w.put<u16>(kUnknown); // characteristics
    w.put<u16>(1);        // family 2: other
    w.end();
}

void put_oem(Writer& w, const SmbiosFacts& facts) { // 7.12
    if (facts.oem.empty()) return;
    const std::size_t count = std::min<std::size_t>(facts.oem.size(), 255);
    w.begin(11, kOem);
    w.put<u8>(u8(count));
    for (std::size_t n = 0; n < count; ++n)
        w.string(facts.oem[n]);
    w.end();
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
    w.end();

    w.begin(17, kMemoryDevice); // 7.18
    w.put<u16>(kMemoryArray);
    w.put<u16>(0xfffe);
    w.put<u16>(0xffff); // widths: unknown
    w.put<u16>(0xffff);
    const u64 mib = facts.ram_bytes / MiB;
    w.put<u16>(mib < 0x7fff ? u16(mib) : 0x7fff);
    w.put<u8>(9); // DIMM
    w.put<u8>(0);
    w.text("loc_pfx", "DIMM 0");
    w.text("bank");
    w.put<u8>(7); // RAM
    w.put<u16>(kUnknown);
    w.number("speed");
    w.text("manufacturer", "Dragoman");
    w.text("serial");
    w.text("asset");
    w.text("part");
    w.put<u8>(0);
    w.put<u32>(mib < 0x7fff ? 0 : u32(mib));
    w.number("speed"); // as configured
    w.zeros(3 * 2);    // voltages
    w.end();

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
        w.end();
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
    Writer w(out.structures, facts);
    put_bios(w);
    put_system(w, facts);
    put_board(w, facts);
    put_chassis(w);
    put_processor(w, facts);
    put_oem(w, facts);
    put_memory(w, facts);
    w.begin(32, kBoot); // 7.33
    w.zeros(6 + 1);     // reserved; status: no errors
    w.end();
    w.begin(127, kEnd);
    w.end();

    Writer e(out.entry, facts); // 5.2.1
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
