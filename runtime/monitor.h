// The monitor: a line of words in, text out.
#pragma once

#include "hw/core/chardev.h"

#include <string>

namespace dragoman::runtime {

class Chardev;
class Emulator;

class Monitor final : public hw::CharReceiver {
  public:
    // Both borrowed. Prints its greeting and prompt on first input.
    Monitor(Emulator& emulator, Chardev& chardev);

    bool can_receive() const override { return true; }
    void receive(u8 byte) override;

    // Runs one line and returns what it prints.
    std::string execute(const std::string& line);

  private:
    Emulator& emulator_;
    Chardev& chardev_;
    std::string line_;
};

} // namespace dragoman::runtime
