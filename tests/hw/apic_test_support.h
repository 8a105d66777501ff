// A local APIC on its bus, with its pins recorded.
#pragma once

#include "chip_test_support.h"
#include "hw/apic_bus.h"
#include "hw/lapic.h"
#include "memory_test_support.h"

namespace dragoman::hw::test {

struct ApicBench : Bench {
    explicit ApicBench(u32 id = 0) : lapic({.id = id}, scheduler, memory, apic_bus, intr, log, pins()) {
        apic_bus.attach(lapic);
        apic_bus.on_eoi([this](u8 vector) { eois.push_back(vector); });
    }
    Lapic::Pins pins() {
        return {.nmi = [this] { nmis++; },
                .smi = [this] { smis++; },
                .init = [this] { inits++; },
                .startup = [this](u8 vector) { startups.push_back(vector); },
                .extint =
                    [this] {
                        lapic.lint0().lower();
                        return u8{0x08};
                    },
                .tsc = [this] { return clock.now() * 2; },
                .tsc_hz = 2000000000};
    }
    u32 get(u32 offset) { return u32(lapic.read(offset, 4)); }
    void put(u32 offset, u32 value) { lapic.write(offset, 4, value); }
    void enable() { put(0xf0, 0x1ff); }
    void send(u8 vector, TriggerMode trigger = TriggerMode::Edge) {
        lapic.deliver(vector, trigger, DeliveryMode::Fixed);
    }

    FakeMemoryMap memory;
    ApicBus apic_bus;
    RecordingLine intr;
    Log log;
    unsigned nmis = 0, smis = 0, inits = 0;
    std::vector<u8> startups, eois;
    Lapic lapic;
};

} // namespace dragoman::hw::test
