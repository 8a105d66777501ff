// Local APIC (SDM vol. 3, chapter 11).
#include "apic_test_support.h"

#include <random>

namespace dragoman::hw::test {
namespace {

class LapicTest : public ::testing::Test, protected ApicBench {
  protected:
    static constexpr u32 kTpr = 0x80, kPpr = 0xa0, kEoi = 0xb0, kLdr = 0xd0, kDfr = 0xe0, kSvr = 0xf0,
                         kIsr = 0x100, kTmr = 0x180, kIrr = 0x200, kEsr = 0x280, kIcrLow = 0x300,
                         kIcrHigh = 0x310, kLvtTimer = 0x320, kLvtLint0 = 0x350, kLvtLint1 = 0x360,
                         kLvtError = 0x370, kInitial = 0x380, kCurrent = 0x390, kDivide = 0x3e0;
    bool irr(u8 vector) { return bit(get(kIrr + vector / 32 * 16), vector % 32); }
    bool isr(u8 vector) { return bit(get(kIsr + vector / 32 * 16), vector % 32); }
    u64 msr(u32 n) {
        u64 value = 0xdead;
        EXPECT_TRUE(lapic.read_msr(n, value)) << std::hex << "MSR 0x" << n;
        return value;
    }
    void to_x2apic() { ASSERT_TRUE(lapic.write_apic_base(lapic.apic_base() | 1 << 10)); }
};

TEST_F(LapicTest, ResetState) {
    EXPECT_EQ(lapic.apic_base(), 0xfee00900u);
    EXPECT_EQ(get(0x20), 0u);
    EXPECT_EQ(get(0x30), 0x00050014u);
    EXPECT_EQ(get(kTpr), 0u);
    EXPECT_EQ(get(kDfr), 0xffffffffu);
    EXPECT_EQ(get(kLdr), 0u);
    EXPECT_EQ(get(kSvr), 0xffu);
    for (u32 lvt : {0x320u, 0x330u, 0x340u, 0x360u, 0x370u})
        EXPECT_EQ(get(lvt), 0x10000u) << std::hex << lvt;
    EXPECT_EQ(get(kLvtLint0), 0x700u) << "virtual wire on the bootstrap processor";
    ASSERT_TRUE(memory.at(0xfee00000));
    EXPECT_EQ(memory.at(0xfee00000)->io, &lapic);
}

TEST_F(LapicTest, VirtualWireBeforeAnySoftware) {
    lapic.lint0().raise();
    EXPECT_TRUE(intr.level);
    EXPECT_TRUE(lapic.has_interrupt());
    EXPECT_EQ(lapic.acknowledge(), 0x08);
    EXPECT_FALSE(intr.level);
    EXPECT_EQ(lapic.acknowledge(), -1);
}

TEST_F(LapicTest, MaskedLint0HoldsTheLevel) {
    enable();
    put(kLvtLint0, 0x10700);
    lapic.lint0().raise();
    EXPECT_FALSE(intr.level);
    put(kLvtLint0, 0x700);
    EXPECT_TRUE(intr.level);
}

TEST_F(LapicTest, SoftwareDisabledAcceptsNothingFixed) {
    send(0x40);
    EXPECT_FALSE(irr(0x40));
    put(kLvtTimer, 0x40);
    EXPECT_EQ(get(kLvtTimer), 0x10040u) << "LVT masks cannot be cleared while disabled";
    enable();
    put(kLvtTimer, 0x40);
    EXPECT_EQ(get(kLvtTimer), 0x40u);
    put(kSvr, 0xff);
    EXPECT_EQ(get(kLvtTimer), 0x10040u);
    lapic.deliver(0, TriggerMode::Edge, DeliveryMode::Nmi);
    EXPECT_EQ(nmis, 1u) << "NMI, SMI, INIT still come through";
}

TEST_F(LapicTest, PriorityAndEoi) {
    enable();
    send(0x41);
    send(0x52);
    EXPECT_TRUE(intr.level);
    EXPECT_EQ(lapic.acknowledge(), 0x52);
    EXPECT_TRUE(isr(0x52));
    EXPECT_FALSE(irr(0x52));
    EXPECT_EQ(get(kPpr), 0x50u);
    EXPECT_FALSE(intr.level) << "0x41 is of a lower class";
    send(0x5f);
    EXPECT_FALSE(intr.level) << "same class";
    send(0x60);
    EXPECT_TRUE(intr.level);
    EXPECT_EQ(lapic.acknowledge(), 0x60);
    put(kEoi, 0);
    EXPECT_FALSE(isr(0x60));
    EXPECT_TRUE(isr(0x52));
    put(kEoi, 0);
    EXPECT_EQ(lapic.acknowledge(), 0x5f);
    put(kEoi, 0);
    EXPECT_EQ(lapic.acknowledge(), 0x41);
    put(kEoi, 0);
    put(kEoi, 0); // nothing in service: harmless
    EXPECT_EQ(lapic.acknowledge(), -1);
    EXPECT_TRUE(eois.empty()) << "edge-triggered ones are not broadcast";
}

TEST_F(LapicTest, TaskPriority) {
    enable();
    put(kTpr, 0x45);
    send(0x4f);
    EXPECT_FALSE(intr.level);
    EXPECT_EQ(get(kPpr), 0x45u);
    EXPECT_EQ(lapic.tpr(), 4);
    lapic.set_tpr(3);
    EXPECT_EQ(get(kTpr), 0x30u);
    EXPECT_TRUE(intr.level);
    lapic.set_tpr(15);
    EXPECT_FALSE(intr.level);
    EXPECT_EQ(lapic.acknowledge(), -1);
}

TEST_F(LapicTest, LevelTriggeredIsBroadcast) {
    enable();
    send(0x90, TriggerMode::Level);
    EXPECT_TRUE(bit(get(kTmr + 0x40), 0x10));
    EXPECT_EQ(lapic.acknowledge(), 0x90);
    put(kEoi, 0);
    EXPECT_EQ(eois, std::vector<u8>{0x90});
    send(0x90); // as edge now
    EXPECT_FALSE(bit(get(kTmr + 0x40), 0x10));
}

TEST_F(LapicTest, Lint1IsNmi) {
    enable();
    put(kLvtLint1, 0x400);
    lapic.lint1().raise();
    lapic.lint1().raise();
    EXPECT_EQ(nmis, 1u) << "by edge";
    lapic.lint1().lower();
    put(kLvtLint1, 0x10400);
    lapic.lint1().raise();
    EXPECT_EQ(nmis, 1u);
}

TEST_F(LapicTest, LevelFixedLint0ComesAgainUntilLowered) {
    enable();
    put(kLvtLint0, 0x8055);
    lapic.lint0().raise();
    EXPECT_EQ(get(kLvtLint0), 0xc055u) << "remote IRR";
    EXPECT_EQ(lapic.acknowledge(), 0x55);
    put(kEoi, 0);
    EXPECT_EQ(lapic.acknowledge(), 0x55) << "still asserted";
    lapic.lint0().lower();
    put(kEoi, 0);
    EXPECT_EQ(get(kLvtLint0), 0x8055u);
    EXPECT_EQ(lapic.acknowledge(), -1);
}

TEST_F(LapicTest, OneShotTimer) {
    enable();
    put(kLvtTimer, 0x31);
    put(kDivide, 0xb); // by 1
    put(kInitial, 1000);
    run_for(400);
    EXPECT_EQ(get(kCurrent), 600u);
    EXPECT_FALSE(intr.level);
    run_for(600);
    EXPECT_TRUE(irr(0x31));
    EXPECT_EQ(get(kCurrent), 0u);
    EXPECT_EQ(lapic.acknowledge(), 0x31);
    put(kEoi, 0);
    run_for(100000);
    EXPECT_FALSE(intr.level);
    EXPECT_EQ(get(kInitial), 1000u);
    put(kLvtTimer, 0x20031); // turning periodic does not start it again
    EXPECT_EQ(get(kCurrent), 0u);
}

TEST_F(LapicTest, DividerTable) {
    enable();
    put(kLvtTimer, 0x31);
    const std::pair<u32, unsigned> table[] = {{0, 2},  {1, 4},  {2, 8},     {3, 16},
                                              {8, 32}, {9, 64}, {0xa, 128}, {0xb, 1}};
    for (const auto& [code, divisor] : table) {
        put(kDivide, code);
        EXPECT_EQ(get(kDivide), code);
        put(kInitial, 1000);
        run_for(100 * divisor);
        EXPECT_EQ(get(kCurrent), 900u) << "code " << code;
        run_for(900 * divisor - 1);
        EXPECT_FALSE(irr(0x31)) << "code " << code;
        run_for(1);
        EXPECT_EQ(lapic.acknowledge(), 0x31) << "code " << code;
        put(kEoi, 0);
    }
}

TEST_F(LapicTest, PeriodicTimer) {
    enable();
    put(kLvtTimer, 0x20031);
    put(kDivide, 0xb);
    put(kInitial, 50000);
    for (int i = 0; i < 5; i++) {
        run_for(49999);
        EXPECT_FALSE(intr.level);
        run_for(1);
        EXPECT_EQ(lapic.acknowledge(), 0x31);
        put(kEoi, 0);
    }
    run_for(10000);
    EXPECT_EQ(get(kCurrent), 40000u);
    put(kInitial, 0);
    run_for(1000000);
    EXPECT_FALSE(intr.level);
}

TEST_F(LapicTest, TooFastPeriodDoesNotHang) {
    enable();
    put(kLvtTimer, 0x20031);
    put(kDivide, 0xb);
    put(kInitial, 1);
    unsigned fired = 0;
    for (int i = 0; i < 100; i++) {
        if (scheduler.next_deadline() > 1000000) break;
        clock.set(std::max(clock.now(), scheduler.next_deadline()));
        scheduler.run_due();
        fired++;
    }
    EXPECT_GT(clock.now(), 500000u) << "time goes on";
    EXPECT_TRUE(irr(0x31));
    EXPECT_GT(fired, 10u);
}

TEST_F(LapicTest, MaskedExpiryIsLost) {
    enable();
    put(kLvtTimer, 0x10031);
    put(kDivide, 0xb);
    put(kInitial, 100);
    run_for(200);
    put(kLvtTimer, 0x31);
    run_for(1000);
    EXPECT_FALSE(intr.level);
}

TEST_F(LapicTest, DueExpiryIsNotLostByAWrite) {
    enable();
    put(kLvtTimer, 0x31);
    put(kDivide, 0xb);
    put(kInitial, 100);
    clock.set(clock.now() + 500); // the scheduler has not run yet
    put(kLvtTimer, 0x10031);
    EXPECT_TRUE(irr(0x31));
}

TEST(LapicMovingClock, OneShotIsNeverLost) {
    struct Moving final : Clock {
        u64 now() const override { return ns += 7; }
        mutable u64 ns = 0;
    } moving;
    Scheduler scheduler(moving);
    FakeMemoryMap memory;
    ApicBus bus;
    RecordingLine intr;
    Log log;
    Lapic lapic({}, scheduler, memory, bus, intr, log, {});
    bus.attach(lapic);
    lapic.write(0xf0, 4, 0x1ff);
    lapic.write(0x3e0, 4, 0xb);
    lapic.write(0x320, 4, 0x31);
    for (u32 count = 1; count < 400; count++) {
        lapic.write(0x380, 4, count);
        for (int i = 0; i < 20; i++)
            lapic.write(0x320, 4, 0x31); // the clock goes on in each
        for (int i = 0; i < 100 && !intr.level; i++)
            scheduler.run_due();
        ASSERT_EQ(lapic.acknowledge(), 0x31) << "lost with count " << count;
        lapic.write(0xb0, 4, 0);
    }
}

TEST_F(LapicTest, TscDeadline) {
    enable();
    lapic.write_tsc_deadline(5000);
    EXPECT_EQ(lapic.tsc_deadline(), 0u) << "ignored in the other modes";
    put(kLvtTimer, 0x40033);
    put(kInitial, 77);
    EXPECT_EQ(get(kCurrent), 0u);
    lapic.write_tsc_deadline(20000); // TSC is 2 GHz
    EXPECT_EQ(lapic.tsc_deadline(), 20000u);
    run_to(9999);
    EXPECT_FALSE(irr(0x33));
    run_to(10002);
    EXPECT_TRUE(irr(0x33));
    EXPECT_EQ(lapic.tsc_deadline(), 0u);
    EXPECT_EQ(lapic.acknowledge(), 0x33);
    put(kEoi, 0);
    lapic.write_tsc_deadline(1); // past: at once
    scheduler.run_due();
    EXPECT_EQ(lapic.acknowledge(), 0x33);
    put(kEoi, 0);
    lapic.write_tsc_deadline(~u64{0}); // never, without overflow
    run_for(1000000);
    EXPECT_FALSE(intr.level);
    lapic.write_tsc_deadline(0);
    EXPECT_EQ(scheduler.next_deadline(), Scheduler::never);
    lapic.write_tsc_deadline(clock.now() * 2 + 1000);
    put(kLvtTimer, 0x33); // leaving the mode disarms
    run_for(1000000);
    EXPECT_FALSE(intr.level);
}

TEST_F(LapicTest, SelfIpiAndShorthands) {
    enable();
    put(kIcrLow, 0x40000 | 0x77);
    EXPECT_EQ(lapic.acknowledge(), 0x77);
    put(kEoi, 0);
    put(kIcrLow, 0x80000 | 0x78); // all including self
    EXPECT_EQ(lapic.acknowledge(), 0x78);
    put(kEoi, 0);
    put(kIcrLow, 0xc0000 | 0x79); // all but self
    EXPECT_EQ(lapic.acknowledge(), -1);
    put(kIcrHigh, 0);
    put(kIcrLow, 0x7a); // physical, ID 0
    EXPECT_EQ(lapic.acknowledge(), 0x7a);
    put(kEoi, 0);
    put(kIcrHigh, 0x05000000);
    put(kIcrLow, 0x7b);
    EXPECT_EQ(lapic.acknowledge(), -1);
    EXPECT_EQ(get(kIcrLow), 0x7bu) << "delivery status is idle";
    put(kIcrHigh, 0xff000000);
    put(kIcrLow, 0x400); // NMI to everybody
    EXPECT_EQ(nmis, 1u);
    put(kIcrLow, 0xc4500); // INIT and SIPI to the others
    put(kIcrLow, 0xc4608);
    put(kIcrHigh, 0);
    put(kIcrLow, 0x4500); // INIT to itself
    EXPECT_EQ(inits, 0u);
    EXPECT_TRUE(startups.empty());
}

TEST_F(LapicTest, LogicalDestinations) {
    enable();
    put(kLdr, 0x02000000);
    put(kIcrHigh, 0x03000000);
    put(kIcrLow, 0x800 | 0x50);
    EXPECT_EQ(lapic.acknowledge(), 0x50) << "flat model";
    put(kEoi, 0);
    put(kIcrHigh, 0x04000000);
    put(kIcrLow, 0x800 | 0x50);
    EXPECT_EQ(lapic.acknowledge(), -1);
    put(kDfr, 0x0fffffff); // cluster model
    put(kLdr, 0x21000000);
    put(kIcrHigh, 0x23000000);
    put(kIcrLow, 0x800 | 0x51);
    EXPECT_EQ(lapic.acknowledge(), 0x51);
    put(kEoi, 0);
    put(kIcrHigh, 0x11000000);
    put(kIcrLow, 0x800 | 0x51);
    EXPECT_EQ(lapic.acknowledge(), -1);
    put(kIcrHigh, 0x21000000);
    put(kIcrLow, 0x900 | 0x52); // lowest priority
    EXPECT_EQ(lapic.acknowledge(), 0x52);
}

TEST_F(LapicTest, TwoApicsAndLowestPriority) {
    enable();
    RecordingLine intr2;
    unsigned inits2 = 0;
    std::vector<u8> startups2;
    Lapic second({.id = 1, .bootstrap = false}, scheduler, memory, apic_bus, intr2, log,
                 {.init = [&] { inits2++; }, .startup = [&](u8 v) { startups2.push_back(v); }});
    apic_bus.attach(second);
    EXPECT_EQ(second.apic_base(), 0xfee00800u);
    put(kIcrLow, 0xc4500);
    put(kIcrLow, 0xc4608);
    EXPECT_EQ(inits2, 1u);
    EXPECT_EQ(startups2, std::vector<u8>{8});
    second.write(kSvr, 4, 0x1ff);
    put(kTpr, 0x20);
    apic_bus.send({.vector = 0x66, .mode = DeliveryMode::LowestPriority, .destination = 0xff});
    EXPECT_FALSE(intr.level);
    EXPECT_TRUE(intr2.level);
    EXPECT_EQ(second.acknowledge(), 0x66);
}

TEST_F(LapicTest, Msi) {
    enable();
    apic_bus.msi(0xfee00000, 0x4042);
    EXPECT_EQ(lapic.acknowledge(), 0x42);
    apic_bus.msi(0xfee05000, 0x4062); // APIC 5
    EXPECT_EQ(lapic.acknowledge(), -1);
    put(kEoi, 0);
    put(kLdr, 0x02000000); // flat model: bit 1
    apic_bus.msi(0xfee02004, 0x4052);
    EXPECT_EQ(lapic.acknowledge(), 0x52) << "a logical destination, although the redirection hint is clear";
    put(kEoi, 0);
    apic_bus.msi(0xfee01004, 0x4053);
    EXPECT_EQ(lapic.acknowledge(), -1);
}

TEST_F(LapicTest, Errors) {
    enable();
    put(kLvtError, 0xe1);
    put(kIcrLow, 0x40005); // send illegal vector
    EXPECT_EQ(get(kEsr), 0u) << "shown only after a write";
    put(kEsr, 0);
    EXPECT_EQ(get(kEsr), 0x20u);
    EXPECT_EQ(lapic.acknowledge(), 0xe1);
    put(kEoi, 0);
    get(0x3f0); // no such register
    lapic.deliver(3, TriggerMode::Edge, DeliveryMode::Fixed);
    put(kEsr, 0);
    EXPECT_EQ(get(kEsr), 0xc0u);
    put(kEsr, 0);
    EXPECT_EQ(get(kEsr), 0u);
    put(kLvtError, 0x03); // the error interrupt is itself illegal: must end
    get(0x3f0);
    put(kEsr, 0);
    EXPECT_EQ(get(kEsr), 0xc0u);
}

TEST_F(LapicTest, BaseMovesAndDisables) {
    EXPECT_TRUE(lapic.write_apic_base(0xfef00900));
    EXPECT_FALSE(memory.at(0xfee00000));
    ASSERT_TRUE(memory.at(0xfef00000));
    EXPECT_FALSE(lapic.write_apic_base(0xfee00901)) << "reserved bit";
    EXPECT_FALSE(lapic.write_apic_base(u64{1} << 45 | 0x900)) << "beyond the physical addresses";
    enable();
    send(0x40);
    EXPECT_TRUE(lapic.write_apic_base(0xfee00100)); // off
    EXPECT_TRUE(memory.regions.empty());
    EXPECT_FALSE(intr.level);
    send(0x40);
    EXPECT_FALSE(lapic.has_interrupt());
    lapic.lint0().raise();
    EXPECT_TRUE(intr.level) << "LINT0 is INTR now";
    lapic.lint1().raise();
    EXPECT_EQ(nmis, 1u);
}

TEST_F(LapicTest, X2apicTransitions) {
    EXPECT_FALSE(lapic.write_apic_base(0xfee00500)) << "EXTD without EN";
    to_x2apic();
    EXPECT_TRUE(memory.regions.empty()) << "no registers in memory";
    EXPECT_FALSE(lapic.write_apic_base(0xfee00900)) << "not back to xAPIC directly";
    EXPECT_TRUE(lapic.write_apic_base(0xfee00100));
    EXPECT_FALSE(lapic.write_apic_base(0xfee00d00)) << "not from disabled into x2APIC";
    EXPECT_TRUE(lapic.write_apic_base(0xfee00900));
    u64 value;
    EXPECT_FALSE(lapic.read_msr(0x802, value)) << "no x2APIC MSRs in xAPIC mode";
    EXPECT_FALSE(lapic.write_msr(0x80b, 0));
}

TEST_F(LapicTest, X2apicRegisters) {
    to_x2apic();
    EXPECT_EQ(msr(0x802), 0u);
    EXPECT_EQ(msr(0x803), 0x50014u);
    EXPECT_EQ(msr(0x80d), 1u) << "LDR: cluster 0, bit 0";
    EXPECT_TRUE(lapic.write_msr(0x80f, 0x1ff));
    EXPECT_TRUE(lapic.write_msr(0x83f, 0x61)); // self IPI
    EXPECT_EQ(msr(0x823), 2u) << "IRR bits 96-127";
    EXPECT_EQ(lapic.acknowledge(), 0x61);
    EXPECT_FALSE(lapic.write_msr(0x80b, 1));
    EXPECT_TRUE(lapic.write_msr(0x80b, 0));
    EXPECT_TRUE(lapic.write_msr(0x830, 0x62)); // destination 0
    EXPECT_EQ(lapic.acknowledge(), 0x62);
    EXPECT_TRUE(lapic.write_msr(0x80b, 0));
    EXPECT_TRUE(lapic.write_msr(0x830, u64{0xffffffff} << 32 | 0x63));
    EXPECT_EQ(lapic.acknowledge(), 0x63);
    EXPECT_TRUE(lapic.write_msr(0x80b, 0));
    EXPECT_TRUE(lapic.write_msr(0x830, u64{1} << 32 | 0x864)); // logical, cluster 0, bit 0
    EXPECT_EQ(lapic.acknowledge(), 0x64);
    EXPECT_EQ(msr(0x830), u64{1} << 32 | 0x864);
    u64 value;
    for (u32 missing : {0x800, 0x804, 0x80b, 0x80e, 0x831, 0x83f, 0x840, 0x8ff})
        EXPECT_FALSE(lapic.read_msr(missing, value)) << std::hex << missing;
    for (u32 readonly : {0x802, 0x803, 0x80a, 0x80d, 0x80e, 0x810, 0x820, 0x831, 0x839})
        EXPECT_FALSE(lapic.write_msr(readonly, 0)) << std::hex << readonly;
    EXPECT_FALSE(lapic.write_msr(0x808, 0x100));
    EXPECT_FALSE(lapic.write_msr(0x838, u64{1} << 32));
    EXPECT_FALSE(lapic.write_msr(0x832, 0x80000));
}

TEST_F(LapicTest, X2apicLogicalId) {
    ApicBench other(0x123);
    ASSERT_TRUE(other.lapic.write_apic_base(0xfee00d00));
    u64 value = 0;
    ASSERT_TRUE(other.lapic.read_msr(0x80d, value));
    EXPECT_EQ(value, 0x00120008u);
}

TEST_F(LapicTest, NarrowAndOddAccesses) {
    enable();
    put(kLdr, 0xab000000);
    EXPECT_EQ(lapic.read(0xd3, 1), 0xabu);
    EXPECT_EQ(lapic.read(0xd2, 2), 0xab00u);
    EXPECT_EQ(lapic.read(0xd4, 4), 0u);
    lapic.write(0x81, 1, 0xff);
    lapic.write(0x84, 4, 0xff);
    EXPECT_EQ(get(kTpr), 0u);
}

TEST_F(LapicTest, DescribeNamesWhatMatters) {
    enable();
    send(0x44, TriggerMode::Level);
    const std::string text = lapic.describe();
    for (const char* part : {"local APIC 0: xAPIC", "LINT0", "IRR: 44(level)", "ISR: none", "INTR asserted"})
        EXPECT_NE(text.find(part), std::string::npos) << part << " is missing in\n" << text;
}

TEST_F(LapicTest, RandomGuest) {
    const u32 seed = 77;
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    for (int i = 0; i < 200000; i++) {
        switch (random() % 8) {
        case 0:
        case 1:
        case 2: lapic.write(random() & 0xfff, 1u << random() % 4, random()); break;
        case 3: lapic.read(random() & 0xfff, 1); break;
        case 4: lapic.write_msr(0x800 + random() % 0x100, random() & random()); break;
        case 5: lapic.write_tsc_deadline(u64{random()} << random() % 33); break;
        case 6: lapic.acknowledge(); break;
        default:
            if (random() % 100 == 0) lapic.write_apic_base(0xfee00000 | (random() & 0xd00));
            lapic.lint0().set(random() & 1);
            clock.set(clock.now() + random() % 1000);
            scheduler.run_due();
        }
        ASSERT_EQ(intr.level, lapic.has_interrupt());
    }
}

TEST_F(LapicTest, RoundTrip) {
    enable();
    put(kLvtTimer, 0x20031);
    put(kDivide, 0xb);
    put(kInitial, 50000);
    run_for(20000);
    send(0x80);
    const StateImage image = save(lapic);
    lapic.acknowledge();
    put(kLvtTimer, 0x10000);
    lapic.write_apic_base(0xfee00100);
    ASSERT_TRUE(load(lapic, image));
    EXPECT_TRUE(intr.level);
    EXPECT_TRUE(memory.at(0xfee00000));
    EXPECT_EQ(lapic.acknowledge(), 0x80);
    put(kEoi, 0);
    run_for(30000);
    EXPECT_EQ(lapic.acknowledge(), 0x31) << "the timer is armed again after loading";
    check_round_trip(lapic, [this] { put(kTpr, 0x70); });
}

} // namespace
} // namespace dragoman::hw::test
