// The debugger's end of the GDB remote serial protocol. One debugger at a time; the machine stops when it
// connects, and goes on when it detaches or its connection ends.
//
// The processor is described to GDB by the mode it is in at that moment: i386:x86-64 in long mode, or when
// -kernel names a 64-bit kernel; i386 in other protected modes; i8086 in real mode (16-bit listings).
// ",arch=x86-64", ",arch=i386" or ",arch=i8086" after the address decides otherwise. Addresses are linear,
// "pc" too (gdb_registers.h). Breakpoints and watchpoints live in the vCPU: guest memory never shows them. A
// step takes no interrupt, and virtual time stands still in it; a
// halted processor takes one that waits already.
#pragma once

#include "base/result.h"

#include <memory>
#include <string>

namespace dragoman::runtime {

class Emulator;

class GdbStub {
  public:
    // Listens at "tcp:[HOST]:PORT[,arch=NAME]". The error names the address and why it cannot be had.
    static Result<std::unique_ptr<GdbStub>> listen(Emulator& emulator, const std::string& address);
    virtual ~GdbStub() = default;
};

} // namespace dragoman::runtime
