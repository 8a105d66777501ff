#include "runtime/hotplug.h"

#include "runtime/emulator.h"

#include <algorithm>

namespace dragoman::runtime {

namespace {

bool id_taken(const Options& o, const std::string& id) {
    const auto has_it = [&](const auto& list) {
        return std::any_of(list.begin(), list.end(), [&](const auto& device) { return device.id == id; });
    };
    return !id.empty() && (has_it(o.disks) || has_it(o.ahci) || has_it(o.nics) || has_it(o.cards));
}

// A drive that is no more; the others keep their numbers.
DriveOption no_drive() {
    DriveOption drive;
    drive.interface = DriveOption::Interface::None;
    return drive;
}

template <class List> void erase_id(List& list, const std::string& id) {
    std::erase_if(list, [&](const auto& each) { return each.id == id; });
}

} // namespace

Status Hotplug::add_device(const std::string& text) {
    Options& now = emulator_.options();
    const auto wrong = [&text](const std::string& expected) {
        return Error{"-device " + text + ": expected " + expected};
    };
    auto with = with_option(now, "device", text);
    if (!with) return with.error();
    const auto add = [&](const auto& option, auto&& make) -> Status {
        if (id_taken(now, option.id)) return wrong("an id of its own; '" + option.id + "' is taken");
        const auto slot = emulator_.pc().slot_for_card(option.slot);
        if (!slot) return wrong("a free PCI slot, addr=02 to 1f");
        Result<hw::PcConfig::Card> card = make();
        if (!card) return card.error();
        emulator_.pc().plug(std::move(*card), *slot);
        return Ok{};
    };
    Status added = wrong("a card for the PCI bus; this device is there from the start, or not at all");
    if (with->disks.size() > now.disks.size())
        added = add(with->disks.back(), [&] { return emulator_.disks().add_card(with->disks.back()); });
    else if (with->nics.size() > now.nics.size())
        added = add(with->nics.back(), [&] { return emulator_.networks().add_card(with->nics.back()); });
    else if (with->cards.size() > now.cards.size())
        added = add(with->cards.back(),
                    [&] { return emulator_.cards().add_card(*with, unsigned(with->cards.size() - 1)); });
    if (added) now = std::move(*with);
    return added;
}

Status Hotplug::add_drive(const std::string& option, const std::string& text) {
    auto with = with_option(emulator_.options(), option, text);
    if (!with) return with.error();
    if (with->disks.size() > emulator_.options().disks.size() || with->drives.back().id.empty())
        return Error{"-" + option + " " + text + ": expected if=none,id=ID"};
    if (auto s = emulator_.disks().add_drive(with->drives.back()); !s) return s;
    emulator_.options() = std::move(*with);
    return Ok{};
}

Status Hotplug::add_network(const std::string& text) {
    auto with = with_option(emulator_.options(), "netdev", text);
    if (!with) return with.error();
    if (auto s = emulator_.networks().add_network(with->networks.back()); !s) return s;
    emulator_.options() = std::move(*with);
    return Ok{};
}

Status Hotplug::remove_device(const std::string& id) {
    if (emulator_.pc().ask_removal(id)) return Ok{};
    if (id_taken(emulator_.options(), id)) return Error{"'" + id + "' is not a card that can be taken out"};
    return Error{"there is no device '" + id + "'"};
}

Status Hotplug::remove_drive(const std::string& id) {
    if (auto s = emulator_.disks().remove_drive(id); !s) return s;
    for (DriveOption& drive : emulator_.options().drives)
        if (drive.id == id) drive = no_drive();
    return Ok{};
}

Status Hotplug::remove_network(const std::string& id) {
    if (auto s = emulator_.networks().remove_network(id); !s) return s;
    for (NetworkOption& network : emulator_.options().networks)
        if (network.id == id) network = {}; // the others keep their numbers
    return Ok{};
}

void Hotplug::finish_removals() {
    emulator_.disks().settle(); // requests of the card end while it still exists
    for (hw::PcConfig::Card& card : emulator_.pc().take_ejected()) {
        Options& options = emulator_.options();
        emulator_.networks().remove_card(card.id);
        card.function.reset();
        emulator_.disks().remove_card(card.id);
        for (const DiskDevice& disk : options.disks)
            if (disk.id == card.id && disk.drive) options.drives[*disk.drive] = no_drive();
        erase_id(options.disks, card.id);
        erase_id(options.nics, card.id);
        erase_id(options.cards, card.id);
        MachineEvent event{"DEVICE_DELETED", {{"path", "/machine/peripheral/" + card.id}}};
        if (card.id[0] != '#') event.data.push_back({"device", card.id});
        emulator_.events().announce(std::move(event));
    }
}

} // namespace dragoman::runtime
