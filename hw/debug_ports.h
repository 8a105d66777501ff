// Ports that talk to whoever runs the machine: the debug console, the exit port of test programs, POST codes.
#pragma once

#include "base/io.h"
#include "hw/core/chardev.h"
#include "hw/core/state.h"

#include <functional>
#include <utility>

namespace dragoman::hw {

// What is written to the port goes to `sink` (borrowed). It reads as 0xe9, by which software finds it.
class DebugConsole final : public IoHandler {
  public:
    static constexpr u16 default_port = 0xe9; // firmware uses 0x402
    static constexpr u8 readback = 0xe9;

    explicit DebugConsole(CharSink& sink) : sink_(sink) {}
    u64 read(u64 offset, unsigned size) override;
    void write(u64 offset, unsigned size, u64 value) override;

  private:
    CharSink& sink_;
};

// A write ends the emulator with the exit status (value << 1) | 1, which `exit` gets. It is called inside the
// guest's access: only take note.
class IsaDebugExit final : public IoHandler {
  public:
    static constexpr u16 default_port = 0x501;
    static constexpr u32 default_size = 2;

    explicit IsaDebugExit(std::function<void(int status)> exit) : exit_(std::move(exit)) {}
    u64 read(u64, unsigned) override { return 0; }
    void write(u64 offset, unsigned size, u64 value) override;

  private:
    std::function<void(int)> exit_;
};

// Port 0x80: the last POST code, kept and otherwise without effect. Guests also write it to wait a little.
class PostPort final : public Device, public IoHandler {
  public:
    static constexpr u16 port = 0x80;

    // `trace` may be empty; called with each new code.
    explicit PostPort(std::function<void(u8 code)> trace = {}) : trace_(std::move(trace)) {}
    u8 code() const { return code_; }

    u64 read(u64, unsigned) override { return code_; }
    void write(u64 offset, unsigned size, u64 value) override;
    const char* name() const override { return "post"; }
    void reset() override { code_ = 0; }
    void visit(StateVisitor& visitor) override { visitor.field("code", code_); }

  private:
    std::function<void(u8)> trace_;
    u8 code_ = 0;
};

} // namespace dragoman::hw
