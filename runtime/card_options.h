// Cards besides disks and networks as the command line describes them.
#pragma once

#include "base/types.h"

#include <optional>
#include <string>
#include <vector>

namespace dragoman::runtime {

struct CardOption {
    enum class Model : u8 { Rng, Console, Balloon, SharedFolder, Watchdog, Panic };

    Model model = Model::Rng;
    std::string id;
    std::optional<unsigned> slot;      // PCI
    bool legacy = true, modern = true; // virtio
    std::string rng;                   // Rng: id of an -object; empty: the kernel's random numbers
    u64 max_bytes = 0, period_ms = 65536;
    bool deflate_on_oom = false, free_page_reporting = false; // Balloon
    std::string folder, mount_tag;                            // SharedFolder: id of an -fsdev
    std::string given;                                        // the option as the user gave it, for errors
};

// A port of a Console card.
struct PortOption {
    std::string id, name, chardev;  // chardev: "chardev:ID", or empty
    std::string bus;                // "ID.0" of the card; empty: the first one
    std::optional<unsigned> number; // nothing: the next free one
    bool console = false;
    unsigned card = 0; // number in Options::cards, once it is known
    std::string given;
};

// A folder of the host that the guest may mount (-fsdev, -virtfs).
struct FolderOption {
    // Who owns new files, and what becomes of their modes: Mapped keeps the guest's view in extended
    // attributes, None makes them the emulator's user's, Passthrough tries to set them as the guest says.
    enum class Security : u8 { Passthrough, None, Mapped };

    std::string id, path;
    Security security = Security::None;
    bool read_only = false;
    std::string given;
};

// What happens when a watchdog runs out (-watchdog-action), or the guest's kernel says that it has crashed
// (-action panic=).
enum class WatchdogAction : u8 { Reset, Shutdown, Poweroff, Pause, Debug, None, Nmi };
enum class PanicAction : u8 { Shutdown, ExitFailure, Pause, None };

} // namespace dragoman::runtime
