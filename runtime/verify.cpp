#include "runtime/executor.h"

namespace dragoman::runtime {

std::unique_ptr<Executor> make_verifying_executor(backend::Backend& backend, softmmu::PhysicalMap&, Log&) {
    return make_generated_executor(backend);
}

} // namespace dragoman::runtime
