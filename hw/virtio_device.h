// What all virtio devices have in common (Virtual I/O Device 1.1, chapter 2): status, features, queues and
// configuration space. A device derives from this; a transport (virtio_pci.h) shows it to the guest.
#pragma once

#include "base/io.h"
#include "base/log.h"
#include "hw/core/state.h"
#include "hw/virtio_queue.h"

#include <memory>
#include <span>
#include <vector>

namespace dragoman::hw {

// Feature bits that belong to the queues and the transport (chapter 6).
inline constexpr unsigned kVirtioAnyLayout = 27, kVirtioIndirect = 28, kVirtioEventIndex = 29,
                          kVirtioVersion1 = 32;

// Device status (2.1).
enum VirtioStatus : u8 {
    kVirtioAcknowledge = 1,
    kVirtioDriver = 2,
    kVirtioDriverOk = 4,
    kVirtioFeaturesOk = 8,
    kVirtioNeedsReset = 0x40,
    kVirtioFailed = 0x80,
};

// What a device asks of its transport.
class VirtioTransport {
  public:
    virtual ~VirtioTransport() = default;
    virtual DmaBus* memory() = 0; // null while the device may not reach memory
    virtual void queue_interrupt(VirtQueue& queue) = 0;
    virtual void config_interrupt() = 0;
};

class VirtioDevice {
  public:
    struct Identity {
        const char* name;
        u16 id;           // device type, chapter 5
        u16 transitional; // PCI device ID with a legacy interface; 0: there is none
        u32 class_code;   // as in PciIdentity
    };
    virtual ~VirtioDevice() = default;

    const Identity& identity() const { return identity_; }
    std::vector<VirtQueue>& queues() { return queues_; }

    // --- for the transport

    void connect(VirtioTransport& transport) { transport_ = &transport; } // borrowed
    u64 offered() const { return offered_; }
    void withdraw(u64 features) {
        offered_ &= ~features;
    } // what the transport or the user does not want offered
    u64 accepted_features() const { return accepted_; }
    void accept(u64 features); // the driver's choice, of what is offered; not after FEATURES_OK
    u8 status() const { return status_; }
    void set_status(u8 status);    // 0 resets
    void notified(unsigned queue); // the driver rang; numbers that do not exist are ignored
    virtual std::span<const u8> config() { return {}; } // the device's configuration space
    virtual void config_write(u64 /*offset*/, unsigned /*size*/, u64 /*value*/) {} // inside config()
    u8 config_generation() const { return generation_; }
    void reset();
    virtual void visit(StateVisitor& visitor);

    // --- for queues and devices

    bool accepted(unsigned feature) const { return accepted_ >> feature & 1; }
    // Guest memory; null while the device must leave the queues alone: before the driver is ready, after a
    // mistake of its, or without leave to master the bus.
    DmaBus* memory();
    bool driver_ok() const { return (status_ & kVirtioDriverOk) && !(status_ & kVirtioNeedsReset); }
    void fail(const char* why); // the driver's mistake: nothing works until it resets the device

  protected:
    // `log` is borrowed. Each queue has the size (a power of two) named in `sizes`. INDIRECT, EVENT_IDX,
    // ANY_LAYOUT and VERSION_1 are offered without being named in `features`.
    VirtioDevice(const Identity& identity, u64 features, std::span<const u16> sizes, Log& log);

    virtual void queue_notified(unsigned queue) = 0;
    virtual void driver_ready() {}    // DRIVER_OK was set
    virtual void device_reset() = 0;  // forget all that the driver did; queues and features are reset by now
    void interrupt(VirtQueue& queue); // after push(): interrupts if the driver wants it
    void config_changed();            // tells the driver to look at configuration space again

    Log& log_;

  private:
    Identity identity_;
    u64 offered_, accepted_ = 0;
    u8 status_ = 0, generation_ = 0;
    std::vector<VirtQueue> queues_;
    VirtioTransport* transport_ = nullptr;
};

} // namespace dragoman::hw
