// The DSDT, compiled from dsdt.asl when the project is built.
#pragma once

#include "base/types.h"

#include <span>

namespace dragoman::hw {

std::span<const u8> dsdt_aml(); // a whole ACPI table, checksum included

} // namespace dragoman::hw
