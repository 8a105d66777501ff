#include "hw/debug_ports.h"

#include "base/bits.h"

#include <algorithm>
#include <array>

namespace dragoman::hw {

u64 DebugConsole::read(u64, unsigned size) {
    return readback & size_mask(size);
}

void DebugConsole::write(u64, unsigned size, u64 value) {
    std::array<u8, 8> bytes{};
    for (unsigned i = 0; i < size && i < bytes.size(); i++)
        bytes[i] = u8(value >> (8 * i));
    sink_.write({bytes.data(), std::min<std::size_t>(size, bytes.size())});
}

void IsaDebugExit::write(u64, unsigned, u64 value) {
    if (exit_) exit_(int((u32(value) << 1) | 1));
}

void PostPort::write(u64 offset, unsigned, u64 value) {
    if (offset != 0 || u8(value) == code_) return;
    code_ = u8(value);
    if (trace_) trace_(code_);
}

} // namespace dragoman::hw
