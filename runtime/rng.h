// Where the guest's random numbers come from.
#pragma once

#include "base/result.h"
#include "hw/core/entropy.h"
#include "runtime/waker.h"

#include <memory>
#include <string>

namespace dragoman::runtime {

// The kernel's random numbers, or what can be read from `file` (a device, a pipe); the error names what is
// wrong with it. `waker` is borrowed.
Result<std::unique_ptr<hw::EntropySource>> open_entropy(const std::string& file, Waker& waker);

} // namespace dragoman::runtime
