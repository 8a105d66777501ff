// The debugger's end of the GDB remote serial protocol.
#pragma once

#include "base/result.h"

#include <memory>
#include <string>

namespace dragoman::runtime {

class Emulator;

class GdbStub {
  public:
    // Listens at "tcp:[HOST]:PORT". The error names the address and why it cannot be had.
    static Result<std::unique_ptr<GdbStub>> listen(Emulator& emulator, const std::string& address);
    virtual ~GdbStub() = default;
};

} // namespace dragoman::runtime
