// Interrupt messages between IO-APIC, MSI writers and local APICs (SDM vol. 3, 11.6.1 and 11.11).
#pragma once

#include "base/types.h"

namespace dragoman::hw {

enum class TriggerMode : u8 { Edge = 0, Level = 1 };

enum class DeliveryMode : u8 {
    Fixed = 0,
    LowestPriority = 1,
    Smi = 2,
    Reserved = 3,
    Nmi = 4,
    Init = 5,
    Startup = 6,
    ExtInt = 7,
};

struct ApicMessage {
    u8 vector = 0;
    DeliveryMode mode = DeliveryMode::Fixed;
    TriggerMode trigger = TriggerMode::Edge;
    bool logical = false; // destination mode
    // xAPIC: 8 bits, of which 0xff is everybody; from an x2APIC: 32 bits, 0xffffffff is everybody.
    u32 destination = 0xff;
    bool x2apic = false;
    bool exclude = false; // everybody but `excluded_id`
    u32 excluded_id = 0;
};

// Takes interrupt messages: the bus that all local APICs listen to.
class ApicSink {
  public:
    virtual ~ApicSink() = default;
    // False: nobody took it.
    virtual bool send(const ApicMessage& message) = 0;
    // A local APIC ended a level-triggered interrupt: the IO-APICs are told.
    virtual void end_of_interrupt(u8 vector) = 0;
};

} // namespace dragoman::hw
