// Physical Region Pages (NVMe 1.4, 4.3): where in guest memory the data of a command lies.
#pragma once

#include "base/io.h"
#include "hw/nvme_defs.h"

#include <vector>

namespace dragoman::hw {

class NvmeData {
  public:
    // Follows the pointers of a transfer of `bytes` bytes, 1 to 1 MiB; `page` is the controller's page size.
    // A list is read once, here: the guest may change it afterwards.
    nvme::Status gather(DmaBus& memory, u64 prp1, u64 prp2, u32 bytes, u32 page);
    u32 bytes() const { return bytes_; }
    // Moves `count` bytes, at most bytes(), between `data` and the start of the transfer. False: some of it
    // is not RAM.
    bool move(DmaBus& memory, u8* data, u32 count, bool to_memory) const;

  private:
    struct Part {
        u64 address;
        u32 bytes;
    };
    void add(u64 address, u32 bytes);

    std::vector<Part> parts_;
    u32 bytes_ = 0;
};

} // namespace dragoman::hw
