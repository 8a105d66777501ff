#include "runtime/cards.h"

#include "hw/i6300esb.h"
#include "hw/pvpanic.h"
#include "hw/virtio_pci.h"
#include "hw/virtio_rng.h"
#include "runtime/rng.h"

#include <algorithm>

namespace dragoman::runtime {

namespace {

using Model = CardOption::Model;

std::unique_ptr<hw::PciFunction> behind_pci(std::unique_ptr<hw::VirtioDevice> device,
                                            const CardOption& card) {
    // A vector for the configuration and one for all queues.
    return std::make_unique<hw::VirtioPci>(std::move(device),
                                           hw::VirtioPci::Options{card.legacy, card.modern, 2});
}

// Does nobody else hold on to it?
bool removable(const CardOption& card) {
    return card.model == Model::Rng;
}

} // namespace

Status Cards::open(const Options& options, softmmu::PhysicalMap& memory, hw::PcConfig& config) {
    release_ = std::make_unique<MemoryRelease>(memory);
    ram_bytes_ = memory.ram_bytes();
    for (unsigned n = 0; n < options.cards.size(); ++n) {
        auto card = make(options, n);
        if (!card) return Error{options.cards[n].given + ": " + card.error().message};
        const CardOption& option = options.cards[n];
        config.cards.push_back({std::move(*card), {}, option.slot, option.id, removable(option)});
    }
    return Ok{};
}

Result<hw::PcConfig::Card> Cards::add_card(const Options& options, unsigned number) {
    const CardOption& option = options.cards[number];
    if (!removable(option))
        return Error{option.given +
                     ": expected a disk, a network card or virtio-rng-pci; others are there from "
                     "the start, or not at all"};
    auto card = make(options, number);
    if (!card) return Error{option.given + ": " + card.error().message};
    return hw::PcConfig::Card{std::move(*card), {}, option.slot, option.id, true};
}

Result<std::unique_ptr<hw::PciFunction>> Cards::make(const Options& options, unsigned number) {
    const CardOption& card = options.cards[number];
    using Function = std::unique_ptr<hw::PciFunction>;
    switch (card.model) {
    case Model::Rng: {
        auto source = open_rng(options, card);
        if (!source) return source.error();
        const hw::VirtioRng::Options how{card.max_bytes, card.period_ms * 1'000'000};
        return behind_pci(std::make_unique<hw::VirtioRng>(**source, scheduler_, how, log_), card);
    }
    case Model::Console: {
        auto console = make_console(options, number);
        if (!console) return console.error();
        return behind_pci(std::move(*console), card);
    }
    case Model::Balloon: return behind_pci(make_balloon(card), card);
    case Model::Watchdog: return Function(std::make_unique<hw::I6300esb>(scheduler_, hooks_.watchdog));
    case Model::Panic: return Function(std::make_unique<hw::PvpanicPci>(hooks_.panic));
    case Model::SharedFolder: break;
    }
    auto folder = make_folder(options, card);
    if (!folder) return folder.error();
    return behind_pci(std::move(*folder), card);
}

Result<std::unique_ptr<hw::VirtioDevice>> Cards::make_folder(const Options& options, const CardOption& card) {
    const auto option = std::find_if(options.folders.begin(), options.folders.end(),
                                     [&](const FolderOption& f) { return f.id == card.folder; });
    auto folder = Folder::open(*option); // the options were checked: it is there
    if (!folder) return folder.error();
    folders_.push_back(std::make_unique<NineP>(std::move(*folder)));
    return std::unique_ptr<hw::VirtioDevice>(
        std::make_unique<hw::Virtio9p>(*folders_.back(), card.mount_tag, log_));
}

Result<hw::EntropySource*> Cards::open_rng(const Options& options, const CardOption& card) {
    const std::string file = card.rng.empty() ? "" : options.rngs.at(card.rng);
    auto source = open_entropy(file, waker_);
    if (!source) return source.error();
    rngs_.push_back(std::move(*source));
    return rngs_.back().get();
}

Result<std::unique_ptr<hw::VirtioDevice>> Cards::make_console(const Options& options, unsigned number) {
    std::vector<hw::VirtioConsole::PortConfig> ports;
    std::vector<std::pair<unsigned, Chardev*>> connected;
    for (const PortOption& port : options.ports) {
        if (port.card != number) continue;
        auto chardev = chardevs_.get("-device", port.chardev, port.id);
        if (!chardev) return chardev.error();
        ports.push_back({*port.number, port.console, port.name, *chardev});
        if (*chardev) connected.emplace_back(*port.number, *chardev);
    }
    auto console = std::make_unique<hw::VirtioConsole>(std::move(ports), log_);
    for (const auto& [port, chardev] : connected) {
        chardev->on_connect([device = console.get(), n = port] { device->set_host_open(n, true); });
        chardev->on_disconnect([device = console.get(), n = port] { device->set_host_open(n, false); });
        console->set_host_open(port, chardev->attended());
    }
    console->on_guest_open([this, number, all = options.ports](unsigned n, bool open) {
        for (const PortOption& port : all)
            if (port.card == number && port.number == n)
                events_.announce({"VSERPORT_CHANGE", {{"id", port.id}, {"open", open}}});
    });
    return std::unique_ptr<hw::VirtioDevice>(std::move(console));
}

std::unique_ptr<hw::VirtioDevice> Cards::make_balloon(const CardOption& card) {
    const hw::VirtioBalloon::Options how{card.deflate_on_oom, card.free_page_reporting};
    auto balloon = std::make_unique<hw::VirtioBalloon>(
        *release_, ram_bytes_, how,
        [this] {
            events_.announce({"BALLOON_CHANGE", {{"actual", balloon_->guest_bytes()}}});
        },
        scheduler_, log_);
    balloon_ = balloon.get();
    return balloon;
}

} // namespace dragoman::runtime
