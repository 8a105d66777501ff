// The queries of QMP.
#include "runtime/qmp_commands.h"
#include "runtime/vnc_server.h"

#include <cstdio>
#include <unistd.h>

namespace dragoman::runtime {

namespace {

QmpAnswer query_version(const QmpCall&) {
    return qmp_version();
}

QmpAnswer query_status(const QmpCall& call) {
    return Json{
        {"running", call.emulator.running()}, {"singlestep", false}, {"status", call.emulator.status()}};
}

QmpAnswer query_name(const QmpCall& call) {
    const std::string& name = call.emulator.options().name;
    return name.empty() ? Json::object() : Json{{"name", name}};
}

QmpAnswer query_cpus_fast(const QmpCall&) {
    return Json::array({{{"cpu-index", 0},
                         {"qom-path", "/machine/cpu[0]"},
                         {"thread-id", getpid()},
                         {"props", {{"socket-id", 0}, {"core-id", 0}, {"thread-id", 0}}},
                         {"target", "x86_64"}}});
}

QmpAnswer query_kvm(const QmpCall&) {
    return Json{{"enabled", false}, {"present", false}};
}

QmpAnswer query_target(const QmpCall&) {
    return Json{{"arch", "x86_64"}};
}

QmpAnswer query_memory(const QmpCall& call) {
    return Json{{"base-memory", call.emulator.options().memory_bytes}, {"plugged-memory", 0}};
}

QmpAnswer query_block(const QmpCall& call) {
    Json list = Json::array();
    for (const DriveInfo& drive : call.emulator.disks().list()) {
        Json row = {{"device", drive.name},
                    {"qdev", drive.name},
                    {"type", "unknown"},
                    {"removable", drive.removable},
                    {"locked", false}};
        if (drive.inserted) {
            const bool through = drive.cache == "writethrough";
            row["inserted"] = {
                {"file", drive.file},
                {"drv", drive.format},
                {"ro", drive.read_only},
                {"encrypted", false},
                {"cache", {{"writeback", !through}, {"direct", false}, {"no-flush", drive.ignores_flush}}},
                {"image",
                 {{"filename", drive.file}, {"format", drive.format}, {"virtual-size", drive.bytes}}}};
        }
        list.push_back(std::move(row));
    }
    return list;
}

QmpAnswer query_uuid(const QmpCall& call) {
    const std::string& uuid = call.emulator.options().uuid;
    return Json{{"UUID", uuid.empty() ? "00000000-0000-0000-0000-000000000000" : uuid}};
}

QmpAnswer query_chardev(const QmpCall& call) {
    Json list = Json::array();
    for (const Chardevs::Info& chardev : call.emulator.chardevs().list())
        list.push_back(
            {{"label", chardev.label}, {"filename", chardev.what}, {"frontend-open", chardev.open}});
    return list;
}

QmpAnswer query_balloon(const QmpCall& call) {
    hw::VirtioBalloon* device = call.emulator.cards().balloon();
    if (!device) return QmpError{"DeviceNotActive", "there is no balloon (-device virtio-balloon-pci)"};
    return Json{{"actual", device->guest_bytes()}};
}

QmpAnswer query_mice(const QmpCall& call) {
    hw::UsbTablet* const tablet = call.emulator.pc().tablet();
    const bool used = tablet && tablet->configured();
    Json list =
        Json::array({{{"name", "PS/2 mouse"}, {"index", 0}, {"current", !used}, {"absolute", false}}});
    if (tablet) list.push_back({{"name", "USB tablet"}, {"index", 1}, {"current", used}, {"absolute", true}});
    return list;
}

QmpAnswer query_vnc(const QmpCall& call) {
    const VncServer* vnc = call.emulator.vnc();
    if (!vnc) return Json{{"enabled", false}};
    const VncOption& option = vnc->option();
    Json clients = Json::array(); // who they are is not kept
    for (std::size_t n = 0; n < vnc->viewers(); ++n)
        clients.push_back({{"host", ""}, {"service", ""}, {"family", "unknown"}, {"websocket", false}});
    const bool v6 = option.tcp && option.tcp->host.find(':') != std::string::npos;
    return Json{{"enabled", true},
                {"host", !option.tcp                ? option.path
                         : option.tcp->host.empty() ? "127.0.0.1"
                                                    : option.tcp->host},
                {"service", option.tcp ? option.tcp->port : ""},
                {"family", !option.tcp ? "unix"
                           : v6        ? "ipv6"
                                       : "ipv4"},
                {"auth", option.secret.empty() && !option.password ? "none" : "vnc"},
                {"clients", clients}};
}

QmpAnswer query_vnc_servers(const QmpCall& call) {
    const QmpAnswer one = query_vnc(call);
    const Json& about = std::get<Json>(one);
    if (!about["enabled"].get<bool>()) return Json::array();
    return Json::array({{{"id", "default"},
                         {"auth", about["auth"]},
                         {"clients", about["clients"]},
                         {"server",
                          {{{"host", about["host"]},
                            {"service", about["service"]},
                            {"family", about["family"]},
                            {"auth", about["auth"]},
                            {"websocket", false}}}}}});
}

const QmpArgument nodes_arguments[] = {{"flat", Json::value_t::boolean, true}};
// Drives by the name of their image's node.
QmpAnswer query_nodes(const QmpCall& call) {
    Json list = Json::array();
    for (const DriveInfo& drive : call.emulator.disks().list())
        if (drive.inserted)
            list.push_back(
                {{"node-name", drive.name},
                 {"file", drive.file},
                 {"drv", drive.format},
                 {"ro", drive.read_only},
                 {"encrypted", false},
                 {"image",
                  {{"filename", drive.file}, {"format", drive.format}, {"virtual-size", drive.bytes}}}});
    return list;
}

QmpAnswer query_current_machine(const QmpCall&) {
    return Json{{"wakeup-suspend-support", false}};
}
QmpAnswer query_migrate(const QmpCall&) {
    return Json::object(); // never was one
}

// Transfers are not counted; programs ask for it to learn the drives.
QmpAnswer query_blockstats(const QmpCall& call) {
    Json list = Json::array();
    for (const DriveInfo& drive : call.emulator.disks().list())
        list.push_back({{"device", drive.name}, {"qdev", drive.name}, {"stats", Json::object()}});
    return list;
}

Json regions_of(const hw::PciFunction& f) {
    Json regions = Json::array();
    for (unsigned n = 0; n < 6; ++n) {
        const u32 bar = f.config_read(u8(hw::kPciBar0 + 4 * n), 4);
        if (!bar) continue;
        if (bar & 1) {
            regions.push_back({{"bar", n}, {"type", "io"}, {"address", bar & ~3u}});
            continue;
        }
        const bool wide = (bar & 6) == 4 && n < 5;
        const u64 high = wide ? f.config_read(u8(hw::kPciBar0 + 4 * n + 4), 4) : 0;
        regions.push_back({{"bar", n},
                           {"type", "memory"},
                           {"address", high << 32 | (bar & ~15u)},
                           {"prefetch", (bar & 8) != 0},
                           {"mem_type_64", wide}});
        n += wide;
    }
    return regions;
}

QmpAnswer query_pci(const QmpCall& call) {
    Json devices = Json::array();
    for (unsigned place = 0; place < 256; ++place) {
        const hw::PciFunction* f = call.emulator.pc().pci().at(place / 8, place % 8);
        if (!f) continue;
        const auto config = [&](unsigned offset, unsigned size) { return f->config_read(u8(offset), size); };
        devices.push_back(
            {{"bus", 0},
             {"slot", place / 8},
             {"function", place % 8},
             {"qdev_id", f->name()},
             {"class_info", {{"class", config(hw::kPciClass + 1, 2)}}},
             {"id", {{"vendor", config(hw::kPciVendorId, 2)}, {"device", config(hw::kPciDeviceId, 2)}}},
             {"irq_pin", config(hw::kPciInterruptPin, 1)},
             {"irq", config(hw::kPciInterruptLine, 1)},
             {"regions", regions_of(*f)}});
    }
    return Json::array({{{"bus", 0}, {"devices", std::move(devices)}}});
}

constexpr QmpCommand queries[] = {
    {"query-version", {}, query_version},
    {"query-status", {}, query_status},
    {"query-name", {}, query_name},
    {"query-uuid", {}, query_uuid},
    {"query-chardev", {}, query_chardev},
    {"query-balloon", {}, query_balloon},
    {"query-mice", {}, query_mice},
    {"query-blockstats", {}, query_blockstats},
    {"query-cpus-fast", {}, query_cpus_fast},
    {"query-kvm", {}, query_kvm},
    {"query-target", {}, query_target},
    {"query-memory-size-summary", {}, query_memory},
    {"query-block", {}, query_block},
    {"query-pci", {}, query_pci},
    {"query-vnc", {}, query_vnc},
    {"query-vnc-servers", {}, query_vnc_servers},
    {"query-named-block-nodes", nodes_arguments, query_nodes},
    {"query-current-machine", {}, query_current_machine},
    {"query-migrate", {}, query_migrate},
};

} // namespace

std::span<const QmpCommand> qmp_queries() {
    return queries;
}

Json qmp_version() {
    unsigned major = 0, minor = 0, micro = 0;
    std::sscanf(DRAGOMAN_VERSION, "%u.%u.%u", &major, &minor, &micro);
    return {{"qemu", {{"major", major}, {"minor", minor}, {"micro", micro}}}, // the schema's name for it
            {"package", "Dragoman " DRAGOMAN_VERSION}};
}

} // namespace dragoman::runtime
