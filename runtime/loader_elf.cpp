// PVH and multiboot kernels.
#include "runtime/loader.h"

namespace dragoman::runtime {

bool is_multiboot(const std::vector<u8>&) { return false; }
bool is_pvh(const std::vector<u8>&) { return false; }
Result<FlatEntry> load_multiboot(const KernelImage& image) { return Error{image.option.kernel + ": multiboot is not built yet"}; }
Result<FlatEntry> load_pvh(const KernelImage& image) { return Error{image.option.kernel + ": PVH is not built yet"}; }

} // namespace dragoman::runtime
