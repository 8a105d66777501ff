#include "hw/apic_bus.h"

#include "base/bits.h"
#include "hw/lapic.h"

namespace dragoman::hw {

bool ApicBus::send(const ApicMessage& message) {
    if (message.mode != DeliveryMode::LowestPriority) {
        bool taken = false;
        for (Lapic* lapic : lapics_)
            if (lapic->is_destination(message))
                taken |= lapic->deliver(message.vector, message.trigger, message.mode);
        return taken;
    }
    Lapic* lowest = nullptr; // of equal ones the first, so that a run repeats exactly
    for (Lapic* lapic : lapics_) {
        if (!lapic->is_destination(message) || !lapic->enabled()) continue;
        if (!lowest || lapic->ppr() < lowest->ppr()) lowest = lapic;
    }
    return lowest && lowest->deliver(message.vector, message.trigger, DeliveryMode::Fixed);
}

void ApicBus::end_of_interrupt(u8 vector) {
    for (auto& listener : listeners_)
        listener(vector);
}

void ApicBus::msi(u64 address, u32 data) {
    ApicMessage message;
    message.destination = u32(bits(address, 19, 12));
    // Systems put a logical destination here with the redirection hint clear, and processors honour it.
    message.logical = bit(address, 2);
    message.vector = u8(data);
    message.mode = DeliveryMode(bits(data, 10, 8));
    message.trigger = bit(data, 15) ? TriggerMode::Level : TriggerMode::Edge;
    if (message.trigger == TriggerMode::Level && !bit(data, 14)) return; // deassertion does nothing
    send(message);
}

} // namespace dragoman::hw
