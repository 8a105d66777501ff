// Cards that come and go while the machine runs, and the drives and networks behind them. Texts are those of
// the command line's options. On the vCPU's thread, between guest instructions; what fails changes nothing.
#pragma once

#include "base/result.h"

#include <string>

namespace dragoman::runtime {

class Emulator;

class Hotplug {
  public:
    explicit Hotplug(Emulator& emulator) : emulator_(emulator) {} // borrowed

    Status add_device(const std::string& text);                           // of -device
    Status add_drive(const std::string& option, const std::string& text); // of -drive (if=none) or -blockdev
    Status add_network(const std::string& text);                          // of -netdev

    // The guest is asked; when it has let go, the event DEVICE_DELETED tells, and the image behind a disk is
    // closed.
    Status remove_device(const std::string& id);
    Status remove_drive(const std::string& id); // one that no device uses
    Status remove_network(const std::string& id);

    void finish_removals(); // of cards that the guest has ejected

  private:
    Emulator& emulator_;
};

} // namespace dragoman::runtime
