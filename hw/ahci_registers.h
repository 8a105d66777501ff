// The registers of an AHCI port (AHCI 1.3.1, 3.3).
#pragma once

#include "base/types.h"

namespace dragoman::hw::ahci {

enum Register : u32 { // 3.3
    kList = 0x00,
    kListUpper = 0x04,
    kFrames = 0x08,
    kFramesUpper = 0x0c,
    kInterruptStatus = 0x10,
    kInterruptEnable = 0x14,
    kCommand = 0x18,
    kTaskFile = 0x20,
    kSignature = 0x24,
    kSataStatus = 0x28,
    kSataControl = 0x2c,
    kSataError = 0x30,
    kSataActive = 0x34,
    kCommandIssue = 0x38,
};
// PxCMD (3.3.7).
inline constexpr u32 kStart = 1u << 0, kSpinUp = 1u << 1, kPowerOn = 1u << 2, kOverride = 1u << 3,
                     kReceive = 1u << 4, kReceiveRunning = 1u << 14, kListRunning = 1u << 15,
                     kAtapi = 1u << 24, kDriveLed = 1u << 25;
// PxIS (3.3.5).
inline constexpr u32 kRegisterFrame = 1u << 0, kPioFrame = 1u << 1, kDeviceBits = 1u << 3,
                     kConnectChange = 1u << 6, kPhyChange = 1u << 22, kOverflow = 1u << 24,
                     kInterfaceFatal = 1u << 27, kBusFatal = 1u << 29, kTaskFileError = 1u << 30;
inline constexpr u32 kEnableBits = 0xfdc000ff;
// PxSERR (3.3.11).
inline constexpr u32 kPhyReadyChanged = 1u << 16, kExchanged = 1u << 26;
// Where frames are put (4.2.1).
inline constexpr u32 kPioAt = 0x20, kRegistersAt = 0x40, kDeviceBitsAt = 0x58;

} // namespace dragoman::hw::ahci
