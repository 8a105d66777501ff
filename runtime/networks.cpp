#include "runtime/networks.h"

#include "hw/e1000.h"
#include "hw/pcnet.h"
#include "hw/rtl8139.h"
#include "hw/virtio_net.h"
#include "hw/virtio_pci.h"
#include "runtime/loader.h"
#include "runtime/net_stream.h"
#include "runtime/net_tap.h"
#include "runtime/net_user.h"
#include "runtime/text.h"

#include <algorithm>

namespace dragoman::runtime {

namespace {

constexpr const char* kRomDirectory = "/usr/lib/ipxe/qemu/";
constexpr u64 kMaxRom = 1 * MiB;

template <class T> Result<std::unique_ptr<NetPort>> as_port(Result<std::unique_ptr<T>> opened) {
    if (!opened) return opened.error();
    return std::unique_ptr<NetPort>(std::move(*opened));
}

struct ModelRow {
    const char* name;
    const char* rom; // iPXE's
};
constexpr ModelRow row_of(NicOption::Model model) {
    switch (model) {
    case NicOption::Model::E1000: return {"e1000", "pxe-e1000.rom"};
    case NicOption::Model::Pcnet: return {"pcnet", "pxe-pcnet.rom"};
    case NicOption::Model::Rtl8139: return {"rtl8139", "pxe-rtl8139.rom"};
    case NicOption::Model::VirtioNet: break;
    }
    return {"virtio-net-pci", "pxe-virtio.rom"};
}

std::unique_ptr<hw::PciFunction> make_function(const NicOption& nic, hw::NetBackend* backend,
                                               hw::Scheduler& scheduler, Log& log) {
    switch (nic.model) {
    case NicOption::Model::E1000: return std::make_unique<hw::E1000>(*nic.mac, backend, scheduler, log);
    case NicOption::Model::Pcnet: return std::make_unique<hw::Pcnet>(*nic.mac, backend, scheduler, log);
    case NicOption::Model::Rtl8139: return std::make_unique<hw::Rtl8139>(*nic.mac, backend, scheduler, log);
    case NicOption::Model::VirtioNet: break;
    }
    const hw::VirtioPci::Options how{nic.legacy, nic.modern,
                                     nic.vectors.value_or(hw::VirtioNet::default_vectors(nic.pairs))};
    return std::make_unique<hw::VirtioPci>(std::make_unique<hw::VirtioNet>(*nic.mac, backend, log, nic.pairs),
                                           how);
}

} // namespace

Result<std::unique_ptr<NetPort>> Networks::open_network(const NetworkOption& option) {
    if (const auto* user = std::get_if<UserNetwork>(&option.what))
        return as_port(NetUser::open(option.id, *user, waker_, scheduler_, log_, kick_));
    if (const auto* stream = std::get_if<StreamNetwork>(&option.what))
        return as_port(NetStream::open(option.id, *stream, waker_, log_, kick_));
    return as_port(NetTap::open(option.id, std::get<TapNetwork>(option.what), waker_, kick_));
}

Status Networks::open(const Options& options, hw::PcConfig& config) {
    for (const NetworkOption& option : options.networks)
        if (auto s = add_network(option); !s) return s;
    for (const CaptureOption& option : options.captures) {
        auto capture = NetCapture::create(option.file, option.snap_bytes);
        if (!capture) return Error{option.given + ": '" + option.file + "': " + capture.error().message};
        for (const auto& port : ports_)
            if (port->id() == option.network_id) port->add_capture(std::move(*capture));
    }
    nics_ = options.nics;
    const bool boots = (options.boot_order + options.boot_once).find('n') != std::string::npos;
    for (const NicOption& nic : nics_) {
        auto card = make_card(nic, boots);
        if (!card) return card.error();
        config.cards.push_back(std::move(*card));
    }
    return Ok{};
}

Status Networks::add_network(const NetworkOption& option) {
    auto port = open_network(option);
    if (!port) return Error{option.given + ": " + port.error().message};
    ports_.push_back(std::move(*port));
    return Ok{};
}

Result<hw::PcConfig::Card> Networks::add_card(const NicOption& nic) {
    auto card = make_card(nic, false);
    if (card) nics_.push_back(nic);
    return card;
}

void Networks::remove_card(const std::string& id) {
    const auto nic = std::find_if(nics_.begin(), nics_.end(), [&](const NicOption& n) { return n.id == id; });
    if (nic == nics_.end()) return;
    if (nic->network) ports_[*nic->network]->detach();
    nics_.erase(nic);
}

Status Networks::remove_network(const std::string& id) {
    for (unsigned n = 0; n < ports_.size(); ++n) {
        if (!ports_[n] || ports_[n]->id() != id) continue;
        for (const NicOption& nic : nics_)
            if (nic.network == n) return Error{"'" + id + "' is in use by a card (device_del takes it out)"};
        ports_[n].reset();
        return Ok{};
    }
    return Error{"there is no network '" + id + "' (info network lists them)"};
}

Result<hw::PcConfig::Card> Networks::make_card(const NicOption& nic, bool boots_from_network) {
    hw::NetBackend* backend = nic.network ? ports_[*nic.network].get() : nullptr;
    hw::PcConfig::Card card;
    card.slot = nic.slot;
    card.id = nic.id;
    card.removable = true;
    card.function = make_function(nic, backend, scheduler_, log_);
    // Firmware boots from a network with the help of the card's own ROM.
    std::string rom = nic.romfile.value_or("");
    if (!nic.romfile && (boots_from_network || nic.boot_index)) rom = row_of(nic.model).rom;
    if (!rom.empty()) {
        if (rom.find('/') == std::string::npos) rom = kRomDirectory + rom;
        auto image = read_file(rom, kMaxRom);
        if (!image)
            return Error{nic.given + ": ROM " + image.error().message +
                         (nic.romfile ? "" : " (package ipxe-qemu, for -boot n)")};
        if (image->empty()) return Error{nic.given + ": ROM " + rom + ": is empty"};
        card.rom = std::move(*image);
    }
    if (nic.boot_index)
        boot_entries_.push_back({*nic.boot_index, card.function.get(), "ethernet", "ethernet-phy@0"});
    return card;
}

void Networks::close() {
    ports_.clear();
}

void Networks::service(bool running) {
    for (const auto& port : ports_)
        if (port) port->service(running);
}

std::string Networks::describe() const {
    std::string text;
    std::vector<bool> used(ports_.size());
    for (const NicOption& nic : nics_) {
        const hw::MacAddress& m = *nic.mac;
        text += format("%s %02x:%02x:%02x:%02x:%02x:%02x", row_of(nic.model).name, m[0], m[1], m[2], m[3],
                       m[4], m[5]);
        if (!nic.network) {
            text += ": no cable\n";
            continue;
        }
        used[*nic.network] = true;
        const NetPort& port = *ports_[*nic.network];
        text += ": " + port.id() + (port.link() ? ": " : " (link down): ") + port.describe();
    }
    for (std::size_t n = 0; n < ports_.size(); ++n)
        if (ports_[n] && !used[n]) text += "no card: " + ports_[n]->id() + ": " + ports_[n]->describe();
    return text.empty() ? "no network\n" : text;
}

Status Networks::change_forward(const std::string& id, const std::string& what, bool add) {
    const auto forward = parse_host_forward(what, add);
    if (!forward)
        return Error{"'" + what + "': expected [tcp|udp]:[HOSTADDR]:HOSTPORT" +
                     (add ? "-[GUESTADDR]:GUESTPORT" : "")};
    for (const auto& port : ports_) {
        auto* user = dynamic_cast<NetUser*>(port.get());
        if (user && (id.empty() || id == user->id()))
            return add ? user->add_forward(*forward) : user->remove_forward(*forward);
    }
    return Error{id.empty() ? std::string("there is no user network") : "'" + id + "' is no user network"};
}

Status Networks::add_forward(const std::string& id, const std::string& what) {
    return change_forward(id, what, true);
}

Status Networks::remove_forward(const std::string& id, const std::string& what) {
    return change_forward(id, what, false);
}

Status Networks::plug(const std::string& id, bool in) {
    for (const auto& port : ports_) {
        if (!port || port->id() != id) continue;
        port->plug(in);
        return Ok{};
    }
    return Error{"there is no network '" + id + "' (info network lists them)"};
}

} // namespace dragoman::runtime
