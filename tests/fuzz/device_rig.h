// What the device fuzzer plays with: a chip on a bus of its own, memory in which its own registers lie as
// well, a disk that ends its requests when told to, and a clock that is moved by hand.
#pragma once

#include "../hw/chip_test_support.h"
#include "../hw/pci_test_support.h"
#include "base/bits.h"
#include "fuzz_input.h"
#include "hw/core/pci.h"

#include <memory>
#include <string>
#include <vector>

namespace dragoman::test {

// RAM, and behind it whatever the map says: DMA reaches registers, which the machine's wiring does not allow.
// A chip that stays whole under that stays whole.
class FuzzMemory final : public DmaBus {
  public:
    static constexpr u64 size = 128 * KiB;
    explicit FuzzMemory(hw::test::FakeMap& map) : map_(map), ram_(size) {}
    bool read(u64 gpa, void* to, u64 bytes) override { return move(gpa, static_cast<u8*>(to), bytes, false); }
    bool write(u64 gpa, const void* from, u64 bytes) override {
        return move(gpa, static_cast<u8*>(const_cast<void*>(from)), bytes, true);
    }

  private:
    bool move(u64 gpa, u8* data, u64 bytes, bool writing);

    hw::test::FakeMap& map_;
    std::vector<u8> ram_;
    unsigned depth_ = 0; // the registers may do DMA themselves
};

// A disk without contents. Buffers are touched when a request ends: at once, or when told to.
class FuzzDisk final : public BlockDevice {
  public:
    bool later = false, protect = false;
    u8 fail_every = 0; // every so many requests one fails; 0: none

    u64 sectors() const override { return 2880; }
    bool read_only() const override { return protect; }
    void read(u64 sector, u32 count, u8* to, Completion done) override;
    void write(u64 sector, u32 count, const u8* from, Completion done) override;
    void flush(Completion done) override {
        submit([] {}, std::move(done));
    }
    bool can_discard() const override { return true; }
    void discard(u64 sector, u64 count, Completion done) override;
    bool can_write_zeroes() const override { return true; }
    void write_zeroes(u64 sector, u64 count, bool, Completion done) override {
        discard(sector, count, std::move(done));
    }

    void finish(unsigned which); // ends one of those that wait
    bool idle() const { return waiting_.empty(); }

  private:
    struct Waiting {
        std::function<void()> work;
        Completion done;
        BlockStatus status;
    };
    void submit(std::function<void()> work, Completion done);

    std::vector<Waiting> waiting_;
    unsigned count_ = 0;
};

// A chip and its surroundings.
class DeviceRig {
  public:
    virtual ~DeviceRig() = default;
    // What a driver does, with the input's bytes in the places that matter: brings the chip to where it takes
    // commands, or gives it one.
    virtual void drive(FuzzInput& input) = 0;

    // Plays the input to its end, and then lets everything finish that can.
    void play(FuzzInput& input);

  protected:
    void add(hw::PciFunction& function); // connects it, and gives it places and decoding
    void store(u64 gpa, unsigned size, u64 value);

    struct Range {
        u64 first, bytes;
    };
    hw::test::QuietLog log_;
    hw::SteppedClock clock_;
    hw::Scheduler scheduler_{clock_};
    hw::IoBus ports_;
    hw::test::FakeMap map_;
    FuzzMemory memory_{map_};
    FuzzDisk disk_;
    hw::test::RecordingLine line_;
    std::vector<Range> port_ranges_;
    std::vector<hw::Device*> devices_;
    hw::PciFunction* pci_ = nullptr;

  private:
    void step(FuzzInput& input);
    void access_ports(FuzzInput& input);
    void access_registers(FuzzInput& input);
    void save_and_load(FuzzInput& input);
};

// The device of this name; null: there is none.
std::unique_ptr<DeviceRig> make_rig(const std::string& name);
std::vector<std::string> rig_names();

// network_rigs.cpp
std::unique_ptr<DeviceRig> make_e1000_rig();
std::unique_ptr<DeviceRig> make_pcnet_rig();
std::unique_ptr<DeviceRig> make_rtl8139_rig();
std::unique_ptr<DeviceRig> make_virtio_net_rig();

} // namespace dragoman::test
