// The monitor: a line of words in, text out. Commands run on the vCPU's thread, between guest instructions,
// whether the machine runs or is stopped.
#pragma once

#include "hw/core/chardev.h"
#include "runtime/line_editor.h"

#include <string>

namespace dragoman::runtime {

class Chardev;
class Emulator;

// Runs one line and returns what it prints: nothing or whole lines, each ended by '\n'. A mistake is one line
// that says what was expected.
std::string run_monitor_command(Emulator& emulator, const std::string& line);

// The monitor at a character device.
class Monitor final : public hw::CharReceiver {
  public:
    // Both borrowed. Prints greeting and prompt once somebody is there.
    Monitor(Emulator& emulator, Chardev& chardev);

    bool can_receive() const override { return true; }
    void receive(u8 byte) override;

    std::string execute(const std::string& line) { return run_monitor_command(emulator_, line); }

  private:
    void greet();
    void print(const std::string& text);

    Emulator& emulator_;
    Chardev& chardev_;
    LineEditor editor_;
    bool greeted_ = false;
};

} // namespace dragoman::runtime
