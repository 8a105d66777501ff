// The QEMU Machine Protocol: JSON objects both ways, for programs that drive the emulator. A session begins
// with a greeting and {"execute": "qmp_capabilities"}; then commands are answered in order, and events come
// between answers. Everything happens on the vCPU's thread, between guest instructions.
#pragma once

#include "hw/core/chardev.h"
#include "runtime/emulator.h"

#include <optional>
#include <string>
#include <vector>

namespace dragoman::runtime {

// Finds where a JSON text ends in a stream of bytes. Bounded: 1 MiB, 64 levels.
class JsonSplitter {
  public:
    // A text that is complete with this byte: an object or array, or a run of other characters up to white
    // space. Too long or too deep a text comes as what there is of it, which is no JSON.
    std::optional<std::string> take(u8 byte);
    void reset() { *this = {}; }

  private:
    std::string text_;
    unsigned depth_ = 0;
    bool in_string_ = false, escaped_ = false;
    bool skipping_ = false; // the rest of a line, after a text that is none
};

// One session after another at a character device.
class Qmp final : public hw::CharReceiver {
  public:
    Qmp(Emulator& emulator, Chardev& chardev); // both borrowed

    bool can_receive() const override { return true; }
    void receive(u8 byte) override;

    // Tells the client, once it has negotiated; after the answer of a command that is under way.
    void event(const MachineEvent& event);

  private:
    void greet();
    void execute(const std::string& text);
    void send(const std::string& line);

    Emulator& emulator_;
    Chardev& chardev_;
    JsonSplitter splitter_;
    bool negotiated_ = false, executing_ = false;
    std::vector<std::string> later_; // events during a command
};

} // namespace dragoman::runtime
