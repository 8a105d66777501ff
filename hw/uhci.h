// The USB host controller of the PIIX3 (82371SB; Universal Host Controller Interface 1.1): two ports.
//
// The guest's schedule lies in its memory and may change there at any time without a word to the controller,
// so it has to be walked each millisecond. While nothing happens it is walked more seldom: an answer that is
// late by a few milliseconds shows nowhere, and an idle guest costs little.
#pragma once

#include "base/log.h"
#include "hw/core/pci.h"
#include "hw/core/scheduler.h"
#include "hw/usb_device.h"

namespace dragoman::hw {

class Uhci final : public PciFunction {
  public:
    static constexpr unsigned ports = 2;

    explicit Uhci(Scheduler& scheduler, Log& log); // borrowed

    // Before the first reset; borrowed. Its reset and its state are the controller's.
    void attach(unsigned port, UsbDevice& device) { devices_[port] = &device; }
    void wake(); // a device has data

    void reset() override;
    void visit(StateVisitor& visitor) override;

  private:
    class Registers final : public IoHandler {
      public:
        explicit Registers(Uhci& owner) : owner_(owner) {}
        u64 read(u64 offset, unsigned size) override { return owner_.read(offset, size); }
        void write(u64 offset, unsigned size, u64 value) override { owner_.write(offset, size, value); }

      private:
        Uhci& owner_;
    };
    struct State {
        u16 command = 0, status = 0, enable = 0;
        u16 frame = 0;  // at `frame_start`
        u16 walked = 0; // the last that was
        u64 frame_start = 0;
        u32 list = 0;
        u8 sof = 64;
        bool completed = false, short_packet = false; // what USBINT stands for
        std::array<u16, ports> port{};
        u8 quiet = 0; // walks since something was done
    };
    struct Descriptor; // a TD
    enum class Outcome : u8 { Advance, Next, End };

    u64 read(u64 offset, unsigned size);
    void write(u64 offset, unsigned size, u64 value);
    void write_port(unsigned n, u16 value);
    void reset_controller();
    void connect_ports();
    bool running() const { return s_.command & 1; }
    void bring_frame(); // counts the frames that have passed
    void arm();
    void walk();
    void run_queue(u32 head, unsigned& left, u32& next);
    Outcome run_descriptor(u32 at, u32& next, bool& depth);
    UsbDevice* find(u8 address);
    void update_interrupt();

    Scheduler& scheduler_;
    Log& log_;
    Registers registers_{*this};
    std::array<UsbDevice*, ports> devices_{};
    State s_;
    Timer timer_;
    bool done_something_ = false; // in this walk
};

} // namespace dragoman::hw
