#include "hw/machine/acpi_tables.h"

#include "base/assert.h"
#include "hw/fw_cfg.h"
#include "hw/hpet.h"
#include "hw/ioapic.h"
#include "hw/machine/dsdt.h"
#include "hw/piix4_pm.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <string_view>

namespace dragoman::hw {

namespace {

constexpr u16 kPmBase = 0x600; // where firmware, and Pc::set_up_without_firmware, put PMBASE
constexpr u16 kResetControl = 0xcf9;
constexpr u32 kLapicBase = 0xfee00000;
constexpr u8 kSciIrq = 9, kCmosCentury = 0x32;
constexpr u8 kAcpiEnable = 0xf1, kAcpiDisable = 0xf0; // what Piix4Pm answers at its APM control port
constexpr u64 kLowestPciWindow = 0x80000000;          // for firmware that puts BARs far over little RAM

constexpr const char* kTablesFile = "etc/acpi/tables";
constexpr const char* kRootFile = "etc/acpi/rsdp";

// Writes little-endian fields one after the other, and takes note of what is to be linked.
class Writer {
  public:
    explicit Writer(AcpiTables& out) : out_(out), bytes_(out.tables) {}

    u32 position() const { return u32(bytes_.size()); }
    void align(u32 to) { bytes_.resize((bytes_.size() + to - 1) / to * to); }
    template <class T> void put(T value) {
        for (unsigned i = 0; i < sizeof(T); ++i)
            bytes_.push_back(u8(u64(value) >> (8 * i)));
    }
    void zeros(u32 count) { bytes_.resize(bytes_.size() + count); }
    void text(std::string_view s, u32 width) {
        DRAGOMAN_ASSERT(s.size() <= width);
        bytes_.insert(bytes_.end(), s.begin(), s.end());
        zeros(width - u32(s.size()));
    }
    template <class T> void pointer(u32 target) {
        out_.pointers.push_back({AcpiTables::Tables, position(), u8(sizeof(T))});
        put<T>(T(target));
    }
    // Generic Address Structure (5.2.3.2) of a register block in I/O space; no address: no block.
    void io_block(u16 address, u8 width, u8 access) {
        put<u8>(1);
        put<u8>(address ? width : 0);
        put<u8>(0);
        put<u8>(address ? access : 0);
        put<u64>(address);
    }

    // A table with the header of 5.2.6: begin() to end().
    u32 begin(std::string_view signature, u8 revision) {
        align(8);
        start_ = position();
        text(signature, 4);
        put<u32>(0); // length
        put<u8>(revision);
        put<u8>(0); // checksum
        text("DRGMAN", 6);
        text("DRAGOMAN", 8);
        put<u32>(1);
        text("DRGM", 4);
        put<u32>(1);
        return start_;
    }
    // A table that is there already.
    u32 whole(std::span<const u8> table, u32 checksum_at) {
        align(8);
        const u32 at = position();
        bytes_.insert(bytes_.end(), table.begin(), table.end());
        out_.checksums.push_back({AcpiTables::Tables, at + checksum_at, at, u32(table.size())});
        return at;
    }
    void end() {
        const u32 length = position() - start_;
        std::memcpy(&bytes_[start_ + 4], &length, 4);
        out_.checksums.push_back({AcpiTables::Tables, start_ + 9, start_, length});
    }

  private:
    AcpiTables& out_;
    std::vector<u8>& bytes_;
    u32 start_ = 0;
};

// Firmware ACPI Control Structure (5.2.10): no header, no checksum.
u32 put_facs(Writer& w) {
    const u32 at = w.position();
    w.text("FACS", 4);
    w.put<u32>(64);
    w.zeros(56);
    return at;
}

// Fixed ACPI Description Table (5.2.9), as of ACPI 4.0: its revision 4, 244 bytes.
u32 put_fadt(Writer& w, const AcpiFacts& facts, u32 facs, u32 dsdt) {
    enum : u32 { kWbinvd = 1 << 0, kProcC1 = 1 << 2, kNoSleepButton = 1 << 5, kNoFixedRtc = 1 << 6 };
    enum : u32 { kResetRegister = 1 << 10 };
    enum : u16 { kLegacyDevices = 1 << 0, kKeyboard8042 = 1 << 1, kNoVga = 1 << 2 };
    constexpr u16 kNever = 0xfff; // P_LVLn_LAT: C2 and C3 do not exist

    const u32 at = w.begin("FACP", 4);
    w.pointer<u32>(facs);
    w.pointer<u32>(dsdt);
    w.put<u8>(0);
    w.put<u8>(1); // Preferred_PM_Profile: desktop
    w.put<u16>(kSciIrq);
    w.put<u32>(Piix4Pm::apm_base); // SMI_CMD
    w.put<u8>(kAcpiEnable);
    w.put<u8>(kAcpiDisable);
    w.put<u16>(0);                  // S4BIOS_REQ, PSTATE_CNT
    w.put<u32>(kPmBase);            // PM1a_EVT_BLK
    w.put<u32>(0);                  // PM1b_EVT_BLK
    w.put<u32>(kPmBase + 4);        // PM1a_CNT_BLK
    w.put<u32>(0);                  // PM1b_CNT_BLK
    w.put<u32>(0);                  // PM2_CNT_BLK
    w.put<u32>(kPmBase + 8);        // PM_TMR_BLK
    w.put<u32>(Piix4Pm::gpe0_base); // GPE0_BLK
    w.put<u32>(0);                  // GPE1_BLK
    w.put<u8>(4);                   // PM1_EVT_LEN
    w.put<u8>(2);                   // PM1_CNT_LEN
    w.put<u8>(0);                   // PM2_CNT_LEN
    w.put<u8>(4);                   // PM_TMR_LEN
    w.put<u8>(4);                   // GPE0_BLK_LEN
    w.zeros(3);                     // GPE1_BLK_LEN, GPE1_BASE, CST_CNT
    w.put<u16>(kNever);
    w.put<u16>(kNever);
    w.zeros(8); // FLUSH_SIZE .. MON_ALRM
    w.put<u8>(kCmosCentury);
    w.put<u16>(u16(kLegacyDevices | kKeyboard8042 | (facts.vga ? 0 : kNoVga)));
    w.put<u8>(0);
    w.put<u32>(kWbinvd | kProcC1 | kNoSleepButton | kNoFixedRtc | kResetRegister);
    w.io_block(kResetControl, 8, 1);
    w.put<u8>(0x06);      // RESET_VALUE: RCPU and SRST, a hard reset (82371SB, 2.5.5)
    w.zeros(3);           // ARM_BOOT_ARCH, minor version
    w.put<u64>(0);        // X_FIRMWARE_CTRL: the 32-bit field holds it
    w.pointer<u64>(dsdt); // X_DSDT
    w.io_block(kPmBase, 32, 2);
    w.io_block(0, 0, 0);
    w.io_block(kPmBase + 4, 16, 2);
    w.io_block(0, 0, 0);
    w.io_block(0, 0, 0);
    w.io_block(kPmBase + 8, 32, 3);
    w.io_block(Piix4Pm::gpe0_base, 32, 1);
    w.io_block(0, 0, 0);
    w.end();
    return at;
}

// Multiple APIC Description Table (5.2.12): what make_isa_lines of the machine wires.
u32 put_madt(Writer& w) {
    enum : u8 { kLocalApic = 0, kIoApic = 1, kSourceOverride = 2, kLocalNmi = 4 };
    enum : u16 { kAsBus = 0, kActiveHigh = 1, kLevel = 3 << 2 };
    const auto override_irq = [&w](u8 irq, u32 input, u16 flags) {
        w.put<u8>(kSourceOverride);
        w.put<u8>(10);
        w.put<u8>(0); // ISA
        w.put<u8>(irq);
        w.put<u32>(input);
        w.put<u16>(flags);
    };

    const u32 at = w.begin("APIC", 3);
    w.put<u32>(kLapicBase);
    w.put<u32>(1); // PCAT_COMPAT: there are 8259s, too
    w.put<u8>(kLocalApic);
    w.put<u8>(8);
    w.put<u8>(0);  // _UID of the processor
    w.put<u8>(0);  // APIC ID
    w.put<u32>(1); // enabled
    w.put<u8>(kIoApic);
    w.put<u8>(12);
    w.put<u16>(0); // APIC ID as it is after reset
    w.put<u32>(u32(Ioapic::base));
    w.put<u32>(0); // first interrupt
    override_irq(0, 2, kAsBus);
    // The SCI, and the ISA IRQs that PCI interrupts are routed to
    for (const u8 irq : {5, 9, 10, 11})
        override_irq(irq, irq, kActiveHigh | kLevel);
    w.put<u8>(kLocalNmi);
    w.put<u8>(6);
    w.put<u8>(0xff); // all processors
    w.put<u16>(kAsBus);
    w.put<u8>(1); // LINT1
    w.end();
    return at;
}

// IA-PC HPET specification 1.0a, 3.2.4
u32 put_hpet(Writer& w) {
    constexpr u32 kVendor = 0x8086, kLegacyRoute = 1 << 15, kCounter64 = 1 << 13, kRevision = 1;
    const u32 at = w.begin("HPET", 1);
    w.put<u32>(kVendor << 16 | kLegacyRoute | kCounter64 | (Hpet::timer_count - 1) << 8 | kRevision);
    w.put<u8>(0); // memory
    w.put<u8>(64);
    w.put<u16>(0);
    w.put<u64>(Hpet::base);
    w.put<u8>(0);     // HPET number
    w.put<u16>(0x80); // shortest period worth asking for, in ticks
    w.put<u8>(0);
    w.end();
    return at;
}

// Windows ACPI Emulated devices Table: reading the PM timer once is enough.
u32 put_waet(Writer& w) {
    const u32 at = w.begin("WAET", 1);
    w.put<u32>(1 << 1);
    w.end();
    return at;
}

// The DSDT, with the machine's figures in it: the values of Name (MBAS, ...) and others, each a DWordConst
// (20.2.3).
u32 put_dsdt(Writer& w, const AcpiFacts& facts) {
    constexpr u32 kChecksumAt = 9, kPresent = 0xf;
    const struct {
        u8 name[6];
        u32 value;
    } figures[] = {
        {{0x08, 'M', 'B', 'A', 'S', 0x0c}, u32(std::max(facts.ram_below_4g, kLowestPciWindow))},
        {{0x08, 'P', 'S', 'T', 'A', 0x0c}, facts.panic ? kPresent : 0},
        {{0x08, 'H', 'S', 'T', 'A', 0x0c}, facts.hpet ? kPresent : 0},
    };
    const std::span<const u8> aml = dsdt_aml();
    std::vector<u8> bytes(aml.begin(), aml.end());
    for (const auto& [name, value] : figures) {
        const auto found = std::search(bytes.begin(), bytes.end(), std::begin(name), std::end(name));
        DRAGOMAN_ASSERT(bytes.end() - found >= 10);
        std::memcpy(&*found + sizeof name, &value, sizeof value);
    }
    bytes[kChecksumAt] = 0;
    return w.whole(bytes, kChecksumAt);
}

template <class T> u32 put_root(Writer& w, const char* signature, std::span<const u32> tables) {
    const u32 at = w.begin(signature, 1);
    for (const u32 table : tables)
        w.pointer<T>(table);
    w.end();
    return at;
}

// Root System Description Pointer (5.2.5.3), revision 2
void make_rsdp(AcpiTables& out, u32 rsdt, u32 xsdt) {
    out.root.assign(36, 0);
    u8* p = out.root.data();
    std::memcpy(p, "RSD PTR ", 8);
    std::memcpy(p + 9, "DRGMAN", 6);
    p[15] = 2;
    std::memcpy(p + 16, &rsdt, 4);
    p[20] = 36;
    std::memcpy(p + 24, &xsdt, 4);
    out.pointers.push_back({AcpiTables::Root, 16, 4});
    out.pointers.push_back({AcpiTables::Root, 24, 8});
    out.checksums.push_back({AcpiTables::Root, 8, 0, 20});
    out.checksums.push_back({AcpiTables::Root, 32, 0, 36});
}

std::vector<u8>& piece(AcpiTables& tables, AcpiTables::Piece which) {
    return which == AcpiTables::Root ? tables.root : tables.tables;
}

} // namespace

AcpiTables build_acpi_tables(const AcpiFacts& facts) {
    AcpiTables out;
    Writer w(out);
    const u32 facs = put_facs(w); // first: it wants to be aligned to 64
    const u32 dsdt = put_dsdt(w, facts);
    std::vector<u32> listed = {put_fadt(w, facts, facs, dsdt), put_madt(w), put_waet(w)};
    if (facts.hpet) listed.push_back(put_hpet(w));
    const u32 rsdt = put_root<u32>(w, "RSDT", listed);
    const u32 xsdt = put_root<u64>(w, "XSDT", listed);
    make_rsdp(out, rsdt, xsdt);
    return out;
}

void link_acpi_tables(AcpiTables& tables, u32 at) {
    for (const AcpiTables::Pointer& p : tables.pointers) {
        u8* const field = &piece(tables, p.in)[p.at];
        u64 value = 0;
        std::memcpy(&value, field, p.bytes);
        value += at;
        std::memcpy(field, &value, p.bytes);
    }
    for (const AcpiTables::Checksum& c : tables.checksums) {
        std::vector<u8>& bytes = piece(tables, c.in);
        u8 sum = 0;
        for (u32 i = 0; i < c.length; ++i)
            sum = u8(sum + bytes[c.start + i]);
        bytes[c.at] = u8(bytes[c.at] - sum);
    }
}

std::vector<u8> acpi_loader_script(const AcpiTables& tables) {
    enum : u32 { kAllocate = 1, kAddPointer = 2, kAddChecksum = 3 };
    enum : u8 { kHighMemory = 1, kFSegment = 2 };
    constexpr u32 kRecord = 128, kName = 56;

    std::vector<u8> script;
    u8* record = nullptr;
    u32 at = 0;
    const auto put32 = [&](u32 value) {
        std::memcpy(record + at, &value, 4);
        at += 4;
    };
    const auto put_name = [&](const char* name) {
        std::memcpy(record + at, name, std::strlen(name));
        at += kName;
    };
    const auto begin = [&](u32 command) {
        script.resize(script.size() + kRecord);
        record = script.data() + script.size() - kRecord;
        at = 0;
        put32(command);
    };
    const auto name_of = [](AcpiTables::Piece p) { return p == AcpiTables::Root ? kRootFile : kTablesFile; };

    begin(kAllocate);
    put_name(kRootFile);
    put32(16);
    record[at] = kFSegment;
    begin(kAllocate);
    put_name(kTablesFile);
    put32(kAcpiTablesAlign);
    record[at] = kHighMemory;
    for (const AcpiTables::Pointer& p : tables.pointers) {
        begin(kAddPointer);
        put_name(name_of(p.in));
        put_name(kTablesFile);
        put32(p.at);
        record[at] = p.bytes;
    }
    for (const AcpiTables::Checksum& c : tables.checksums) {
        begin(kAddChecksum);
        put_name(name_of(c.in));
        put32(c.at);
        put32(c.start);
        put32(c.length);
    }
    return script;
}

void add_acpi_files(FwCfg& fw_cfg, const AcpiFacts& facts) {
    AcpiTables tables = build_acpi_tables(facts);
    (void)fw_cfg.add_file("etc/table-loader", acpi_loader_script(tables));
    (void)fw_cfg.add_file(kTablesFile, std::move(tables.tables));
    (void)fw_cfg.add_file(kRootFile, std::move(tables.root));
}

} // namespace dragoman::hw
