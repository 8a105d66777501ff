#include "runtime/gdb_stub.h"

namespace dragoman::runtime {

Result<std::unique_ptr<GdbStub>> GdbStub::listen(Emulator&, const std::string& address) {
    return Error{"-gdb " + address + ": not built yet"};
}

} // namespace dragoman::runtime
