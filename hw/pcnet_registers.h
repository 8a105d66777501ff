// Registers and bits of the Am79C970A, by the names of its data sheet.
#pragma once

#include "base/types.h"

namespace dragoman::hw::pcnet {

// The I/O resources (Tables "I/O map in word and in double word mode"): 16 bytes of address PROM, then four
// registers a word or a double word apart.
constexpr u32 kPorts = 32, kPromBytes = 16;
enum Port : u8 { RDP, RAP, RESET, BDP };

// Control and status registers.
enum Csr : u16 {
    STATUS = 0,
    IADR0 = 1,
    IADR1 = 2,
    MASKS = 3,
    FEATURES = 4,
    EXTENDED = 5,
    LENGTHS = 6,
    LADRF = 8,
    PADR = 12,
    MODE = 15,
    IADR0_ALIAS = 16,
    IADR1_ALIAS = 17,
    BADR = 24, // base of the receive ring
    BADX = 30, // and of the transmit ring
    POLLINT = 47,
    SWS_ALIAS = 58,
    RCVRC = 72,
    XMTRC = 74,
    RCVRL = 76,
    XMTRL = 78,
    FIFOS = 80,
    CHIP_ID = 88,
    MERRTO = 100,
    MISSED = 112,
    COLLISIONS = 114,
    CSR_END = 128,
};

// CSR0
constexpr u16 kInit = 1, kStart = 2, kStop = 4, kDemand = 8, kTxOn = 0x10, kRxOn = 0x20, kIntEnable = 0x40,
              kIntr = 0x80, kInitDone = 0x100, kTxInt = 0x200, kRxInt = 0x400, kMiss = 0x1000,
              kBabble = 0x4000, kErr = 0x8000;
constexpr u16 kStatusEvents = 0x7f00;  // a one acknowledges
constexpr u16 kMaskable = 0x5f00;      // these interrupt, unless masked in CSR3
constexpr u16 kStatusErrors = 0x7800;  // of which ERR is made
constexpr u16 kNoTxStopOnError = 0x40; // CSR3, DXSUFLO
// CSR4
constexpr u16 kNoPolling = 0x1000, kPadTx = 0x800, kStripRx = 0x400, kMissedOverflow = 0x200,
              kUserIntCommand = 0x80, kUserInt = 0x40, kTxStarted = 8;
constexpr u16 kFeatureEvents = 0x026a;
// CSR5
constexpr u16 kNoTxOkInt = 0x8000, kLastTxIntOnly = 0x4000, kSuspend = 1;
constexpr u16 kExtendedEvents = 0x0a90;
// CSR15
constexpr u16 kPromiscuous = 0x8000, kNoBroadcast = 0x4000, kNoPhysical = 0x2000, kNoLinkTest = 0x1000,
              kInternalLoop = 0x40, kForceCollision = 0x10, kNoTxFcs = 8, kLoop = 4, kNoTx = 2, kNoRx = 1;

// Bus configuration registers.
enum Bcr : u16 {
    MSRDA = 0,
    MSWRA = 1,
    MISC = 2,
    LINK_LED = 4,
    DUPLEX = 9,
    BUS = 18,
    EEPROM = 19,
    SWS = 20,
    PCI_LATENCY = 22,
    BCR_END = 32,
};
constexpr u16 kPromWritable = 0x100;                                  // BCR2, APROMWE
constexpr u16 kLedOut = 0x8000, kLedLink = 0x40, kLedInvert = 0x4000; // BCR4
constexpr u16 kDoubleWord = 0x80;                                     // BCR18, DWIO
constexpr u16 kEepromValid = 0x8000, kEepromThere = 0x2000, kEepromEnable = 0x10, kEepromSelect = 4,
              kEepromClock = 2, kEepromData = 1; // BCR19
constexpr u16 kSize32 = 0x100, kPcnetStyle = 0x200;

// Descriptors: bits 31 to 16 of RMD1 and TMD1 as they stand there with 32-bit software structures.
constexpr u32 kOwn = 1u << 31, kDescError = 1u << 30, kRxCrc = 1u << 27, kRxOverflow = 1u << 28,
              kRxBuffer = 1u << 26, kStartOfPacket = 1u << 25, kEndOfPacket = 1u << 24,
              kRxPhysical = 1u << 22, kRxLogical = 1u << 21, kRxBroadcast = 1u << 20, kTxAddFcs = 1u << 29,
              kTxLastInt = 1u << 28,
              kTxCollisions = 7u << 26; // MORE, ONE, DEF: there are none
// TMD2
constexpr u32 kTxBufferError = 1u << 31, kTxUnderflow = 1u << 30, kTxNoCarrier = 1u << 27,
              kTxRetry = 1u << 26;

} // namespace dragoman::hw::pcnet
