// PIIX4 power management: PM1a block, PM timer, GPE0, APM ports, SMBus host (data sheet 290562, 7.2;
// ACPI 6.4, 4.8).
#include "hw/piix4_pm.h"

#include "base/bits.h"

#include "chip_test_support.h"

namespace dragoman::hw::test {
namespace {

constexpr u16 kPm = 0x600, kSmb = 0x700, kGpe = 0xafe0;

class Piix4PmTest : public ::testing::Test, protected Bench {
  protected:
    void SetUp() override {
        pm.config_write(0x40, 4, kPm);
        pm.config_write(0x80, 1, 1);
    }
    u16 in16(u16 port) { return u16(bus.in(port, 2)); }
    void out16(u16 port, u16 value) { bus.out(port, 2, value); }
    static u64 ns_of_tick(u64 tick) { return (tick * 1000000000 + 3579544) / 3579545; }

    RecordingLine sci;
    Log log;
    unsigned power_offs = 0, smis = 0;
    Piix4Pm pm{bus, scheduler, sci, log, {[this] { power_offs++; }, [this] { smis++; }}, {}};
};

TEST_F(Piix4PmTest, Identity) {
    EXPECT_EQ(pm.config_read(0, 4), 0x71138086u);
    EXPECT_EQ(pm.config_read(8, 4), 0x06800003u);
    EXPECT_EQ(pm.config_read(0x40, 4), kPm | 1u);
    EXPECT_FALSE(bit(pm.config_read(0x58, 4), 25)) << "APMC_EN: firmware prepares system management mode if clear";
}

// A write to APMC raises an SMI if APMC_EN (DEVACTB) and SMI_EN (GLBCTL) are set; GLBSTS tells.
TEST_F(Piix4PmTest, ApmcRaisesSmi) {
    bus.out(0xb2, 1, 0x12);
    pm.config_write(0x58, 4, 1u << 25);
    bus.out(0xb2, 1, 0x12);
    EXPECT_EQ(smis, 0u);
    bus.out(kPm + 0x28, 4, 0x00010001);
    EXPECT_EQ(bus.in(kPm + 0x28, 4), 0x00010001u);
    bus.out(0xb2, 1, 0x34);
    EXPECT_EQ(smis, 1u);
    EXPECT_EQ(bus.in(0xb2, 1), 0x34u);
    EXPECT_EQ(in16(kPm + 0x18), 1u << 5);
    out16(kPm + 0x18, 1u << 5);
    EXPECT_EQ(in16(kPm + 0x18), 0u);
    pm.config_write(0x58, 4, 0);
    bus.out(0xb2, 1, 0x34);
    EXPECT_EQ(smis, 1u);
}

TEST_F(Piix4PmTest, PmBaseMovesAndCloses) {
    EXPECT_EQ(in16(kPm), 0);
    pm.config_write(0x40, 4, 0xb000);
    EXPECT_EQ(in16(kPm), 0xffff);
    EXPECT_EQ(in16(0xb000), 0);
    pm.config_write(0x80, 1, 0);
    EXPECT_EQ(in16(0xb000), 0xffff);
    pm.config_write(0x40, 4, 0xffffffff);
    pm.config_write(0x80, 1, 1);
    EXPECT_EQ(in16(0xffc0), 0);
    pm.reset();
    EXPECT_EQ(in16(0xffc0), 0xffff);
}

TEST_F(Piix4PmTest, TimerCountsAt3579545Hz) {
    run_to(1000000000);
    EXPECT_EQ(bus.in(kPm + 8, 4), 3579545u);
    run_to(ns_of_tick(0xffffff));
    EXPECT_EQ(bus.in(kPm + 8, 4), 0xffffffu);
    run_to(ns_of_tick(0x1000000));
    EXPECT_EQ(bus.in(kPm + 8, 4), 0u) << "24 bits";
    bus.out(kPm + 8, 4, 55);
    EXPECT_EQ(bus.in(kPm + 8, 4), 0u) << "read-only";
    EXPECT_EQ(bus.in(kPm + 9, 1), 0u);
}

TEST_F(Piix4PmTest, TimerOverflowRaisesSci) {
    out16(kPm + 2, 1); // TMROF_EN
    out16(kPm + 4, 1); // SCI_EN
    run_to(ns_of_tick(0x800000) - 1);
    EXPECT_EQ(in16(kPm), 0);
    EXPECT_FALSE(sci.level);
    run_to(ns_of_tick(0x800000));
    EXPECT_TRUE(sci.level);
    EXPECT_EQ(in16(kPm), 1);
    out16(kPm, 1);
    EXPECT_FALSE(sci.level);
    run_to(ns_of_tick(0x1000000)); // bit 23 changes either way
    EXPECT_TRUE(sci.level);
}

TEST_F(Piix4PmTest, TimerOverflowShowsWithoutEnable) {
    run_to(ns_of_tick(0x800000) - 1);
    EXPECT_EQ(scheduler.next_deadline(), Scheduler::never) << "nobody waits for it";
    EXPECT_EQ(in16(kPm) & 1, 0);
    run_to(ns_of_tick(0x800000));
    EXPECT_EQ(in16(kPm) & 1, 1);
    out16(kPm, 1);
    EXPECT_EQ(in16(kPm) & 1, 0);
}

TEST(Piix4PmMovingClock, TimerReadsAreWhole) {
    struct Moving final : Clock {
        u64 now() const override { return ns += 50000; }
        mutable u64 ns = 0;
    } moving;
    Scheduler scheduler(moving);
    IoBus bus;
    RecordingLine sci;
    Log log;
    Piix4Pm pm(bus, scheduler, sci, log, Piix4Pm::Pins{}, {});
    pm.config_write(0x40, 4, kPm);
    pm.config_write(0x80, 1, 1);
    u32 last = bus.in(kPm + 8, 4);
    for (int i = 0; i < 10000; i++) {
        const u32 now = bus.in(kPm + 8, 4);
        ASSERT_LT((now - last) & 0xffffff, 0x1000u) << "from " << last << " to " << now;
        last = now;
    }
}

TEST_F(Piix4PmTest, PowerButton) {
    pm.press_power_button();
    EXPECT_FALSE(sci.level);
    EXPECT_EQ(in16(kPm), 0x100);
    out16(kPm + 2, 0x100);
    EXPECT_FALSE(sci.level) << "SCI_EN is clear";
    out(0xb2, 0xf1);
    EXPECT_TRUE(sci.level);
    out16(kPm, 0x100);
    EXPECT_FALSE(sci.level);
}

TEST_F(Piix4PmTest, AcpiEnableAndDisable) {
    out(0xb3, 0x5a);
    EXPECT_EQ(in(0xb3), 0x5a);
    out(0xb2, 0xf1);
    EXPECT_EQ(in16(kPm + 4) & 1, 1);
    EXPECT_EQ(in(0xb2), 0xf1);
    out(0xb2, 0xf0);
    EXPECT_EQ(in16(kPm + 4) & 1, 0);
}

TEST_F(Piix4PmTest, SoftOff) {
    out16(kPm + 4, 1);
    EXPECT_EQ(power_offs, 0u);
    out16(kPm + 4, 0x2001); // SUS_TYP 0, SUS_EN
    EXPECT_EQ(power_offs, 1u);
    EXPECT_EQ(in16(kPm + 4), 1) << "SUS_EN is write-only";
    out16(kPm + 4, 0x2401); // type 1 is not emulated: awake again
    EXPECT_EQ(power_offs, 1u);
    EXPECT_EQ(in16(kPm) & 0x8000, 0x8000);
    out(kPm + 5, 0x20); // byte access to the upper half
    EXPECT_EQ(power_offs, 2u);
}

TEST_F(Piix4PmTest, Gpe0) {
    out16(kPm + 4, 1);
    pm.raise_gpe(3);
    EXPECT_FALSE(sci.level);
    EXPECT_EQ(in(kGpe), 8);
    out(kGpe + 2, 8);
    EXPECT_TRUE(sci.level);
    EXPECT_EQ(in16(kGpe + 2), 8);
    out(kGpe, 8);
    EXPECT_FALSE(sci.level);
    pm.raise_gpe(9);
    EXPECT_EQ(in(kGpe + 1), 2);
    out16(kGpe + 2, 0x0200);
    EXPECT_TRUE(sci.level);
}

TEST_F(Piix4PmTest, SmbusHasNobodyOnIt) {
    pm.config_write(0x90, 4, kSmb);
    EXPECT_EQ(in(kSmb), 0xff) << "not enabled yet";
    pm.config_write(0xd2, 1, 0x09); // enable, interrupt by IRQ 9
    EXPECT_EQ(in(kSmb), 0);
    out(kSmb + 4, 0xa1);
    out(kSmb + 3, 0);
    out(kSmb + 2, 0x49); // START, byte data, INTEREN
    EXPECT_EQ(in(kSmb), 4) << "DEV_ERR, not busy";
    EXPECT_TRUE(sci.level);
    out(kSmb, 4);
    EXPECT_EQ(in(kSmb), 0);
    EXPECT_FALSE(sci.level);
    for (int i = 0; i < 100; i++)
        out(kSmb + 7, u8(i)); // more than the block holds
    in(kSmb + 2);
    EXPECT_EQ(in(kSmb + 7), 96);
}

TEST_F(Piix4PmTest, RoundTrip) {
    out16(kPm + 2, 1);
    out16(kPm + 4, 1);
    run_to(123456789);
    const StateImage image = save(pm);
    out16(kPm + 2, 0);
    pm.config_write(0x40, 4, 0xb000);
    ASSERT_TRUE(load(pm, image));
    EXPECT_EQ(in16(kPm + 4), 1);
    run_to(ns_of_tick(0x800000));
    EXPECT_TRUE(sci.level) << "the timer is armed again after loading";
    check_round_trip(pm, [this] { out(0xb2, 0x77); });
}

} // namespace
} // namespace dragoman::hw::test
