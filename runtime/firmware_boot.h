// Starting the kernel of -kernel behind the firmware, for what calls the firmware from real mode or wants its
// memory map: multiboot kernels (Xen asks the BIOS for disks and video modes), and bzImages that have only
// the setup code's entry (iPXE, memdisk). The firmware finds an option ROM (boot_rom.S) in fw_cfg and boots
// it first; the ROM selects an fw_cfg item, upon which the loaders (loader.h) put the kernel into RAM, told
// of the firmware's memory map; the item says where to go.
#pragma once

#include "hw/fw_cfg.h"
#include "runtime/loader.h"

#include <functional>

namespace dragoman::runtime {

class FirmwareBoot {
  public:
    // Must this kernel be started behind the firmware? False too for a file that cannot be read: load_kernel
    // says why.
    static bool needs(const KernelOption& option);

    // Offers the option ROM, and checks that the kernel can be loaded. `board`: the memory as it would be
    // without firmware, and the screen. `failed` gets the line of error when the kernel that was good here
    // cannot be loaded later. All borrowed, for as long as the machine runs.
    static Result<std::unique_ptr<FirmwareBoot>> create(const KernelOption& option, const BoardFacts& board,
                                                        softmmu::PhysicalMap& map, hw::FwCfg& fw_cfg,
                                                        std::function<void(const std::string&)> failed);

  private:
    FirmwareBoot(const KernelOption& option, const BoardFacts& board, softmmu::PhysicalMap& map,
                 std::function<void(const std::string&)> failed)
        : option_(option), board_(board), map_(map), failed_(std::move(failed)) {}
    Result<std::vector<u8>> load(const BoardFacts& board);
    BoardFacts facts_of_firmware() const;

    KernelOption option_;
    const BoardFacts& board_;
    softmmu::PhysicalMap& map_;
    std::function<void(const std::string&)> failed_;
};

} // namespace dragoman::runtime
