// Registers of the 82540EM (PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual
// 317453, chapter 13): offsets in the memory BAR, and bits.
#pragma once

#include "base/types.h"

namespace dragoman::hw::e1000 {

enum Register : u32 {
    CTRL = 0x0000,
    STATUS = 0x0008,
    EECD = 0x0010,
    EERD = 0x0014,
    MDIC = 0x0020,
    VET = 0x0038,
    ICR = 0x00c0,
    ITR = 0x00c4,
    ICS = 0x00c8,
    IMS = 0x00d0,
    IMC = 0x00d8,
    RCTL = 0x0100,
    TCTL = 0x0400,
    PBA = 0x1000,
    RDBAL = 0x2800,
    RDBAH = 0x2804,
    RDLEN = 0x2808,
    RDH = 0x2810,
    RDT = 0x2818,
    TDBAL = 0x3800,
    TDBAH = 0x3804,
    TDLEN = 0x3808,
    TDH = 0x3810,
    TDT = 0x3818,
    STATISTICS = 0x4000, // to 0x40ff; clear on read
    MPC = 0x4010,        // missed packets
    GPRC = 0x4074,       // good packets received
    BPRC = 0x4078,
    MPRC = 0x407c,
    GPTC = 0x4080, // good packets transmitted
    GORCL = 0x4088,
    GORCH = 0x408c,
    GOTCL = 0x4090,
    GOTCH = 0x4094,
    TORL = 0x40c0,
    TORH = 0x40c4,
    TOTL = 0x40c8,
    TOTH = 0x40cc,
    TPR = 0x40d0,
    TPT = 0x40d4,
    RXCSUM = 0x5000,
    MTA = 0x5200,  // 128 dwords
    RAL = 0x5400,  // 16 pairs
    VFTA = 0x5600, // 128 dwords
    END = 0x6000,  // nothing beyond
};

enum : u32 { // CTRL, STATUS
    kCtrlReset = 1u << 26,
    kCtrlVlanMode = 1u << 30,
    kCtrlPhyReset = 1u << 31,
    kCtrlSetLinkUp = 1u << 6,
    kStatusFullDuplex = 1u << 0,
    kStatusLinkUp = 1u << 1,
    kStatus1000 = 2u << 6,
};

enum : u32 { // ICR and its companions
    kIntTxWritten = 1u << 0,
    kIntTxEmpty = 1u << 1,
    kIntLink = 1u << 2,
    kIntRxMinimum = 1u << 4,
    kIntRxOverrun = 1u << 6,
    kIntRxTimer = 1u << 7,
    kIntMdio = 1u << 9,
};

enum : u32 { // RCTL
    kRxEnable = 1u << 1,
    kRxUnicastPromiscuous = 1u << 3,
    kRxMulticastPromiscuous = 1u << 4,
    kRxLong = 1u << 5,
    kRxLoopback = 3u << 6,
    kRxBroadcast = 1u << 15,
    kRxVlanFilter = 1u << 18,
    kRxSizeExtension = 1u << 25,
    kRxStripCrc = 1u << 26,
};
constexpr u32 kTxEnable = 1u << 1; // TCTL
constexpr u32 kRxcsumIp = 1u << 8, kRxcsumTcp = 1u << 9;

enum : u8 { // transmit descriptor command, 3.3.3
    kCmdEop = 1u << 0,
    kCmdTse = 1u << 2, // context: TSE too
    kCmdIc = 1u << 2,  // legacy: insert checksum
    kCmdRs = 1u << 3,
    kCmdDext = 1u << 5,
    kCmdVle = 1u << 6,
};
constexpr u8 kTucmdTcp = 1, kTucmdIp = 2; // context
constexpr u8 kDescriptorDone = 1;
constexpr u8 kRxEop = 2, kRxIgnoreChecksum = 4, kRxVlan = 8, kRxTcpChecked = 0x20, kRxIpChecked = 0x40,
             kRxInexact = 0x80;

} // namespace dragoman::hw::e1000
