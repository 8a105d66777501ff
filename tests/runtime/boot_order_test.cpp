#include "runtime/boot_order.h"

#include "tiny_guest.h"

namespace dragoman::runtime {
namespace {

constexpr u8 halt[] = {0xfa, 0xf4, 0xeb, 0xfd};

std::string order(const std::vector<const char*>& words) {
    std::vector<const char*> all = {"dragoman", "-display", "none", "-drive", "if=ide,index=2,media=cdrom"};
    all.insert(all.end(), words.begin(), words.end());
    auto options = parse_options(int(all.size()), all.data());
    EXPECT_TRUE(options) << (options ? "" : options.error().message);
    if (!options) return "";
    TinyGuest guest(halt);
    options->bios = guest.options.bios;
    options->memory_bytes = 16 * MiB;
    options->vcpu.cache_bytes = 16 * MiB;
    options->start_stopped = true;
    guest.options = *options;
    guest.create();
    const auto file = guest.emulator->pc().fw_cfg().file("bootorder");
    return {file.begin(), file.end()};
}

TEST(BootOrder, NamesWhatHasAnIndex) {
    EXPECT_EQ(order({}), "");
    EXPECT_EQ(order({"-boot", "strict=on"}), std::string("HALT") + '\0');
    const std::string nic = "virtio-net-pci,addr=7,bootindex=3,romfile=";
    EXPECT_EQ(order({"-device", nic.c_str(), "-device", "ide-cd,bus=ide.0,unit=1,bootindex=1", "-boot",
                     "strict=on"}),
              std::string("/pci@i0cf8/ide@1,1/drive@0/disk@1\n/pci@i0cf8/ethernet@7/ethernet-phy@0\nHALT") +
                  '\0');
}

} // namespace
} // namespace dragoman::runtime
