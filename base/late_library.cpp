#include "base/late_library.h"

#include <dlfcn.h>

namespace dragoman {

LateLibrary::LateLibrary(const char* soname) : handle_(dlopen(soname, RTLD_NOW | RTLD_NODELETE)) {
    if (!handle_) missing_ = dlerror();
}

LateLibrary::Function LateLibrary::function(const char* name) {
    void* const at = handle_ ? dlsym(handle_, name) : nullptr;
    if (!at && missing_.empty()) missing_ = dlerror();
    return Function(at);
}

} // namespace dragoman
