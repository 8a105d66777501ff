#include "ir/vec.h"

#include "base/assert.h"

#include <iterator>

namespace dragoman::ir {

const VecOp& vec_op(u16) {
    DRAGOMAN_ASSERT(!"no vector ops");
    __builtin_unreachable();
}
u16 vec_op_count() {
    return 0;
}
int find_vec_op(std::string_view) {
    return -1;
}

} // namespace dragoman::ir
