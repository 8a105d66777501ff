// Structures and codes of NVM Express 1.4, as far as this controller knows them.
#pragma once

#include "base/types.h"

namespace dragoman::hw::nvme {

struct Command {      // 4.2
    u8 opcode, flags; // flags: 7:6 PSDT, 1:0 fused
    u16 id;
    u32 nsid;
    u32 cdw2, cdw3;
    u64 metadata, prp1, prp2;
    u32 cdw10, cdw11, cdw12, cdw13, cdw14, cdw15;
};
static_assert(sizeof(Command) == 64);

struct Completion { // 4.6
    u32 result, reserved;
    u16 sq_head, sq_id;
    u16 id, status; // status: 0 phase, 15:1 status field
};
static_assert(sizeof(Completion) == 16);

enum AdminOpcode : u8 { // 5
    kDeleteSq = 0x00,
    kCreateSq = 0x01,
    kGetLogPage = 0x02,
    kDeleteCq = 0x04,
    kCreateCq = 0x05,
    kIdentify = 0x06,
    kAbort = 0x08,
    kSetFeatures = 0x09,
    kGetFeatures = 0x0a,
    kAsyncEvent = 0x0c,
};
enum IoOpcode : u8 { // 6
    kFlush = 0x00,
    kWrite = 0x01,
    kRead = 0x02,
    kWriteZeroes = 0x08,
    kDatasetManagement = 0x09,
};

// The status field (4.6.1): code, type << 8, Do Not Retry.
using Status = u16;
inline constexpr Status kDnr = 0x4000;
enum : Status {
    kSuccess = 0,
    kInvalidOpcode = 0x001 | kDnr,
    kInvalidField = 0x002 | kDnr,
    kTransferError = 0x004,
    kAbortedBySqDeletion = 0x008,
    kInvalidNamespace = 0x00b | kDnr,
    kSequenceError = 0x00c | kDnr,
    kPrpOffsetInvalid = 0x013 | kDnr,
    kLbaOutOfRange = 0x080 | kDnr,
    kCapacityExceeded = 0x081,
    kInvalidCq = 0x100 | kDnr,
    kInvalidQueueId = 0x101 | kDnr,
    kInvalidQueueSize = 0x102 | kDnr,
    kTooManyEvents = 0x105 | kDnr,
    kInvalidVector = 0x108 | kDnr,
    kInvalidLogPage = 0x109 | kDnr,
    kInvalidQueueDeletion = 0x10c | kDnr,
    kNotSaveable = 0x10d | kDnr,
    kReadOnlyRange = 0x182 | kDnr,
    kWriteFault = 0x280,
    kUnrecoveredRead = 0x281,
};

} // namespace dragoman::hw::nvme
