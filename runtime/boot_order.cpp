#include "runtime/boot_order.h"

#include "runtime/text.h"

#include <algorithm>

namespace dragoman::runtime {

std::vector<u8> boot_order_file(std::vector<BootEntry> entries, const hw::PciBus& pci, bool strict) {
    std::stable_sort(entries.begin(), entries.end(),
                     [](const BootEntry& a, const BootEntry& b) { return a.index < b.index; });
    std::string text;
    for (const BootEntry& entry : entries) {
        std::string node = entry.node;
        for (unsigned slot = 0; entry.card && slot < 32; ++slot)
            if (pci.at(slot, 0) == entry.card) node += format("@%x", slot);
        text += "/pci@i0cf8/" + node + "/" + entry.unit + "\n";
    }
    if (strict) text += "HALT\n";
    if (text.empty()) return {};
    text.back() = '\0';
    return {text.begin(), text.end()};
}

} // namespace dragoman::runtime
