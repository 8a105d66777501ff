#include "hw/e1000_eeprom.h"

#include "base/bits.h"

namespace dragoman::hw {

namespace {

constexpr u32 kSk = 1, kCs = 2, kDi = 4, kDo = 8, kReq = 0x40, kGnt = 0x80, kPresent = 0x100;

// PHY registers (IEEE 802.3, 22.2.4) of a Marvell 88E1011.
enum {
    kControl = 0,
    kPhyStatus = 1,
    kId1 = 2,
    kId2 = 3,
    kAdvertise = 4,
    kPartner = 5,
    kExpansion = 6,
    kGigControl = 9,
    kGigStatus = 10,
    kExtendedStatus = 15,
    kSpecificControl = 16,
    kSpecificStatus = 17,
    kExtendedSpecific = 20
};
constexpr u16 kControlReset = 0x8000, kControlRestart = 0x0200;

Eeprom93c46::Words contents(const MacAddress& mac) {
    Eeprom93c46::Words words;
    words.fill(0xffff);
    for (unsigned n = 0; n < 3; ++n)
        words[n] = u16(mac[2 * n] | mac[2 * n + 1] << 8);
    words[0x08] = 0x3000; // board number
    words[0x09] = 0x1000;
    words[0x0a] = 0x6403; // initialization control 1: subsystem and vendor IDs are valid
    words[0x0b] = 0x1100; // subsystem, its vendor, device, vendor
    words[0x0c] = 0x1af4;
    words[0x0d] = 0x100e;
    words[0x0e] = 0x8086;
    words[0x0f] = 0x3040; // initialization control 2
    for (unsigned n = 0x03; n < 0x08; ++n)
        words[n] = 0;
    u16 sum = 0;
    for (unsigned n = 0; n < 0x3f; ++n)
        sum = u16(sum + words[n]);
    words[0x3f] = u16(0xbaba - sum); // 5.6.35: all words add up to 0xbaba
    return words;
}

} // namespace

E1000Eeprom::E1000Eeprom(const MacAddress& mac) : chip_(contents(mac)) {}

u32 E1000Eeprom::read_eecd() const {
    return eecd_ | kPresent | (chip_.out() ? kDo : 0) | (eecd_ & kReq ? kGnt : 0);
}

void E1000Eeprom::write_eecd(u32 value) {
    eecd_ = value & (kSk | kCs | kDi | kReq | 0x30);
    chip_.set_wires(value & kCs, value & kSk, value & kDi);
}

void E1000Eeprom::write_eerd(u32 value) {
    eerd_ = value & 0xff00;
    if (bit(value, 0)) eerd_ |= 0x10 | u32{chip_.word(unsigned(bits(value, 15, 8)))} << 16;
}

void E1000Eeprom::reset() {
    eecd_ = eerd_ = 0;
    chip_.reset();
}

void E1000Eeprom::visit(StateVisitor& visitor) {
    chip_.visit(visitor);
    visitor.field("eeprom.eecd", eecd_);
    visitor.field("eeprom.eerd", eerd_);
}

void E1000Phy::reset() {
    registers_ = {};
    registers_[kControl] = 0x1140; // autonegotiation, full duplex, 1000 Mb/s
    registers_[kId1] = 0x0141;
    registers_[kId2] = 0x0c20;
    registers_[kAdvertise] = 0x0de1;
    registers_[kExpansion] = 0x0001;
    registers_[kGigControl] = 0x0e00;
    registers_[kExtendedStatus] = 0x3000;
    registers_[kSpecificControl] = 0x0360;
    registers_[kExtendedSpecific] = 0x0d60;
}

u16 E1000Phy::read(unsigned index) {
    switch (index) {
    case kPhyStatus: return u16(0x7949 | (link_ ? 0x24 : 0)); // autonegotiation complete, link
    case kPartner: return link_ ? 0xcde1 : 0;
    case kGigStatus: return link_ ? 0x3c00 : 0;
    case kSpecificStatus:
        return u16(0x8000 | 0x2000 | (link_ ? 0x0c00 : 0)); // 1000, full duplex, resolved, link
    default: return registers_[index];
    }
}

u32 E1000Phy::access(u32 mdic) {
    // MDIC: data 15:0, register 20:16, PHY 25:21, opcode 27:26 (1 write, 2 read), ready 28, interrupt 29,
    // error 30
    const u32 done = (mdic & ~(1u << 30)) | 1u << 28;
    const unsigned index = unsigned(bits(mdic, 20, 16));
    if (bits(mdic, 25, 21) != 1) return done | 1u << 30; // the only PHY is number 1
    if (bits(mdic, 27, 26) == 2) return (done & ~0xffffu) | read(index);
    if (bits(mdic, 27, 26) != 1) return done | 1u << 30;
    const u16 value = u16(mdic);
    if (index == kControl && (value & kControlReset))
        reset();
    else if (index == kControl)
        registers_[index] = value & u16(~kControlRestart);
    else if (index == kAdvertise || index == kGigControl || index >= kSpecificControl)
        registers_[index] = value;
    return done;
}

void E1000Phy::visit(StateVisitor& visitor) {
    visitor.field("phy.registers", registers_);
}

} // namespace dragoman::hw
