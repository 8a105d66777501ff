// A tablet on the USB: a pointer that says where it is, not how far it has moved (HID 1.11). What it points
// at needs no calibration, so a viewer's pointer and the guest's are at the same place.
#pragma once

#include "hw/usb_device.h"

#include <functional>

namespace dragoman::hw {

class UsbTablet final : public UsbDevice {
  public:
    static constexpr u16 most = 0x7fff; // of each axis
    enum Button : u8 { Left = 1, Right = 2, Middle = 4 };

    // `notify`: there is something to be asked for. Called from point().
    explicit UsbTablet(std::function<void()> notify) : notify_(std::move(notify)) { reset(); }

    // Where the pointer is, from the top left; the wheel's steps towards the user, and a mask of the buttons.
    void point(u16 x, u16 y, int wheel, u8 buttons);

    const char* name() const override { return "usb-tablet"; }
    void visit(StateVisitor& visitor) override;
    bool has_data() const override { return state_.count != 0; }

  private:
    struct Report {
        u8 buttons = 0;
        u16 x = 0, y = 0;
        i8 wheel = 0;
    };
    static constexpr unsigned room = 16; // reports that wait; moves among them become one

    std::span<const u8> descriptor(u8 type, u8 index) override;
    int request(const Setup& setup, std::span<u8> reply) override;
    UsbAnswer in(unsigned endpoint, std::span<u8> data) override;
    void bus_reset() override { state_ = {}; }
    unsigned write(const Report& report, std::span<u8> to) const;

    struct State {
        std::array<Report, room> waiting{};
        u8 first = 0, count = 0;
        Report last; // as the host knows it
        u8 idle = 0, protocol = 1;
    };
    State state_;
    std::function<void()> notify_;
};

} // namespace dragoman::hw
