#include "runtime/chardev.h"

namespace dragoman::runtime {

Result<std::unique_ptr<Chardev>> open_chardev(const std::string& option, const std::string& spec, Waker&) {
    return Error{option + " " + spec + ": not built yet"};
}

} // namespace dragoman::runtime
