#include "runtime/monitor.h"

#include "runtime/chardev.h"
#include "runtime/emulator.h"

namespace dragoman::runtime {

Monitor::Monitor(Emulator& emulator, Chardev& chardev) : emulator_(emulator), chardev_(chardev) {
    chardev_.attach(*this);
}

void Monitor::receive(u8 byte) {
    if (byte != '\r' && byte != '\n') {
        line_ += char(byte);
        return;
    }
    const std::string output = execute(std::exchange(line_, {})) + "(dragoman) ";
    chardev_.write({reinterpret_cast<const u8*>(output.data()), output.size()});
}

std::string Monitor::execute(const std::string& line) {
    if (line == "quit" || line == "q") emulator_.quit(0);
    return {};
}

} // namespace dragoman::runtime
