#include "runtime/emulator.h"

#include "runtime/board.h"
#include "runtime/gdb_stub.h"
#include "runtime/monitor.h"
#include "runtime/qmp.h"
#include "runtime/tb_cache.h"
#include "runtime/vnc_server.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <ctime>
#include <sys/random.h>
#include <unistd.h>

namespace dragoman::runtime {

namespace {

constexpr u64 kMostFirmware = 16 * MiB;
constexpr const char* kFirmwareDirectory = "/usr/share/seabios/";

i64 rtc_start(const Options& options) {
    if (options.rtc_base) return *options.rtc_base;
    std::time_t now = std::time(nullptr);
    if (options.rtc_localtime) {
        std::tm local{};
        localtime_r(&now, &local);
        now += local.tm_gmtoff;
    }
    return now;
}

} // namespace

Emulator::Emulator(const Options& options, Log& log)
    : options_(options), log_(log), waker_([this] { kick(); }), alarm_([this] { kick(); }),
      disks_(
          scheduler_, log, [this] { kick(); }, [this] { stop_machine(); }),
      networks_(waker_, scheduler_, log, [this] { kick(); }),
      chardevs_(
          waker_, log, [this] { kick(); }, [this] { quit(0); }),
      cards_(waker_, scheduler_, chardevs_, events_, log,
             {[this] { watchdog_expired(); }, [this](u8 events) { take_panic(events); }}),
      intr_([this](bool level) {
          if (!vcpu_) return;
          vcpu_->cpu().interrupt_line = level;
          if (level) vcpu_->kick();
      }) {
    if (block::Ring* ring = disks_.ring()) waker_.watch(ring->event(), [ring] { ring->noticed(); });
}

Emulator::~Emulator() {
    alarm_.set(Alarm::never); // it kicks the vCPU
    waker_.stop();            // and so does its thread
    disks_.close();           // and so do these, which also use the devices' memory
    networks_.close();
}

Result<std::unique_ptr<Emulator>> Emulator::create(const Options& options, Log& log) {
    std::unique_ptr<Emulator> emulator(new Emulator(options, log));
    if (auto opened = emulator->open_all(); !opened) return opened.error();
    return emulator;
}

Status Emulator::open_all() {
    if (options_.start_stopped) {
        running_ = false;
        clock_.stop();
    }
    auto model = x86::make_model(options_.cpu);
    if (!model) return Error{"-cpu " + options_.cpu + ": " + model.error().message};
    model_ = *model;
    model_.tsc_hz = tsc_hz();

    auto map = softmmu::PhysicalMap::create(options_.memory_bytes);
    if (!map) return Error{"-m: " + map.error().message};
    map_ = std::move(*map);

    hw::PcConfig config;
    config.ram = {map_->ram(), map_->ram_bytes()};
    config.ram_below_4g = map_->ram_below_4g();
    config.vga = options_.vga;
    config.firmware_on_serial = options_.nographic;
    config.rtc_start = rtc_start(options_);
    config.boot_order = options_.boot_once.empty() ? options_.boot_order : options_.boot_once;
    config.boot_menu = options_.boot_menu;
    config.hpet = options_.hpet;
    config.usb = options_.usb;
    config.tablet = options_.tablet;
    config.acpi = options_.acpi;
    if (options_.debug_exit)
        config.debug_exit = hw::PcConfig::DebugExit{options_.debug_exit->iobase, options_.debug_exit->iosize};
    if (auto s = open_firmware(config); !s) return s;
    if (auto s = networks_.open(options_, config); !s) return s;
    if (auto s = disks_.open(options_, config); !s) return s;
    if (auto s = open_chardevs(config); !s) return s;
    if (auto s = cards_.open(options_, *map_, config); !s) return s;
    config.panic_register = options_.isa_panic;

    hw::PcPins pins;
    pins.intr = &intr_;
    pins.nmi = [this] {
        vcpu_->cpu().nmi_pending = true;
        vcpu_->kick();
    };
    pins.smi = [this] {
        vcpu_->cpu().smi_pending = true;
        vcpu_->kick();
    };
    pins.init = [this] { take(Request::Init); };
    pins.reset = [this] { take(Request::Reset); };
    pins.power_off = [this] { take(Request::PowerOff); };
    pins.exit = [this](int status) {
        exit_status_ = status;
        take(Request::Exit);
    };
    pins.panic = [this](u8 events) { take_panic(events); };
    pins.ejected = [this] { take(Request::Ejected); };
    pins.a20 = [this](bool enabled) { map_->set_a20(enabled); };
    pins.tsc = [this] { return time_stamp() + (vcpu_ ? vcpu_->cpu().tsc_offset : 0); };
    pins.tsc_hz = tsc_hz();
    pc_ = std::make_unique<hw::Pc>(std::move(config), std::move(pins), *map_, *map_, scheduler_, log_);

    auto vcpu = Vcpu::create(*map_, model_, *this, log_, options_.vcpu);
    if (!vcpu) return vcpu.error();
    vcpu_ = std::move(*vcpu);
    kicked_.store(vcpu_.get(), std::memory_order_release);
    vcpu_->on_service([this] { service(); });
    vcpu_->on_idle([this] { wait(); });
    scheduler_.on_earlier([this] { set_deadline(); });

    if (monitor_chardev_) monitor_ = std::make_unique<Monitor>(*this, *monitor_chardev_);
    for (Chardev* chardev : qmp_chardevs_)
        qmps_.push_back(std::make_unique<Qmp>(*this, *chardev));
    if (!options_.gdb.empty()) {
        auto gdb = GdbStub::listen(*this, options_.gdb);
        if (!gdb) return gdb.error();
        gdb_ = std::move(*gdb);
    }
    if (auto s = open_display(); !s) return s;

    std::vector<BootEntry> entries = disks_.boot_entries();
    const auto& networks = networks_.boot_entries();
    entries.insert(entries.end(), networks.begin(), networks.end());
    if (auto file = boot_order_file(std::move(entries), pc_->pci(), options_.boot_strict); !file.empty())
        (void)pc_->fw_cfg().add_file("bootorder", std::move(file));
    board_.isa_panic = options_.isa_panic;
    board_.hpet = options_.hpet;
    board_.acpi = options_.acpi;
    board_.smbios = smbios_facts(options_);
    if (auto s = add_fw_cfg_files(options_, pc_->fw_cfg()); !s) return s;
    describe_board(*map_, *pc_, board_);
    if (auto s = prepare_kernel(); !s) return s;
    if (auto s = boot(); !s) return s;
    vcpu_->kick(); // for input that came before there was anybody to tell
    return Ok{};
}

// In the directories of -L, and where the distribution puts it.
std::string Emulator::find_firmware(const std::string& name) const {
    for (const std::string& directory : options_.firmware_directories)
        if (const std::string path = directory + "/" + name; ::access(path.c_str(), R_OK) == 0) return path;
    return kFirmwareDirectory + name;
}

// The first is the firmware, in which it may keep variables itself; a second one, under it, may do so
// instead.
Status Emulator::open_flashes(hw::PcConfig& config) {
    std::vector<const DriveOption*> drives;
    for (const DriveOption& drive : options_.drives)
        if (drive.interface == DriveOption::Interface::Flash) drives.push_back(&drive);
    std::stable_sort(drives.begin(), drives.end(), [](const DriveOption* a, const DriveOption* b) {
        return a->index.value_or(0) < b->index.value_or(0);
    });
    u64 below = 4 * GiB;
    for (const DriveOption* drive : drives) {
        const bool firmware = drive == drives.front();
        bool rom = firmware && drive->read_only;
        if (firmware && !rom && !drive->snapshot && ::access(drive->file.c_str(), W_OK) != 0 &&
            (errno == EACCES || errno == EROFS)) {
            std::fprintf(stderr, "dragoman: %s: %s cannot be written: it is ROM, and keeps no variables\n",
                         drive->given.c_str(), drive->file.c_str());
            rom = true;
        }
        auto file = FlashFile::open(drive->file, rom || drive->read_only || drive->snapshot);
        if (!file) return Error{drive->given + ": " + file.error().message};
        const std::span<u8> cells = (*file)->cells();
        below -= cells.size();
        if (firmware) config.bios.assign(cells.begin(), cells.end());
        if (!rom) config.flashes.push_back({below, cells, drive->read_only});
        flash_files_.push_back(std::move(*file));
    }
    return Ok{};
}

Status Emulator::open_firmware(hw::PcConfig& config) {
    const bool own = options_.bios.empty();
    std::string bios = own ? find_firmware("bios-256k.bin") : options_.bios;
    if (!own && ::access(bios.c_str(), R_OK) != 0 && bios.find('/') == std::string::npos)
        if (const std::string found = find_firmware(bios); ::access(found.c_str(), R_OK) == 0) bios = found;
    if (auto s = open_flashes(config); !s) return s;
    if (!config.bios.empty()) return open_vga_bios(config);
    auto image = read_file(bios, kMostFirmware);
    if (!image) return Error{"-bios " + image.error().message + (own ? " (package seabios)" : "")};
    if (image->empty() || image->size() % 4096)
        return Error{"-bios " + bios + ": " + std::to_string(image->size()) +
                     " bytes, expected a multiple of 4096 up to 16 MiB"};
    config.bios = std::move(*image);
    return open_vga_bios(config);
}

Status Emulator::open_vga_bios(hw::PcConfig& config) {
    if (options_.vga) {
        auto vga = read_file(find_firmware("vgabios-stdvga.bin"), MiB);
        if (!vga) return Error{"VGA BIOS " + vga.error().message + " (package seabios)"};
        config.vga_bios = std::move(*vga);
    }
    return Ok{};
}

Status Emulator::open_chardevs(hw::PcConfig& config) {
    if (auto s = chardevs_.open(options_); !s) return s;
    for (unsigned n = 0; n < options_.serial.size(); ++n) {
        auto chardev = chardevs_.get("-serial", options_.serial[n], "serial" + std::to_string(n));
        if (!chardev) return chardev.error();
        config.serial[n] = *chardev;
    }
    if (!options_.parallel.empty()) {
        auto chardev = chardevs_.get("-parallel", options_.parallel, "parallel0");
        if (!chardev) return chardev.error();
        config.parallel = hw::PcConfig::Parallel{*chardev};
    }
    auto debugcon = chardevs_.get("-debugcon", options_.debugcon, "debugcon");
    if (!debugcon) return debugcon.error();
    config.debug_console = *debugcon;
    config.debug_console_port = options_.debugcon_port;
    auto monitor = chardevs_.monitor(options_.monitor);
    if (!monitor) return monitor.error();
    monitor_chardev_ = *monitor;
    for (unsigned n = 0; n < options_.qmp.size(); ++n) {
        auto qmp = chardevs_.get("-qmp", options_.qmp[n], "compat_monitor" + std::to_string(n + 1));
        if (!qmp) return qmp.error();
        if (*qmp) qmp_chardevs_.push_back(*qmp);
    }
    return Ok{};
}

Status Emulator::prepare_kernel() {
    const KernelOption kernel{options_.kernel, options_.initrd, options_.append};
    if (kernel.kernel.empty() || !FirmwareBoot::needs(kernel)) return Ok{};
    auto boot = FirmwareBoot::create(kernel, board_, *map_, pc_->fw_cfg(), [this](const std::string& error) {
        std::fprintf(stderr, "dragoman: %s\n", error.c_str());
        exit_status_ = 1;
        take(Request::Exit);
    });
    if (!boot) return boot.error();
    firmware_boot_ = std::move(*boot);
    return Ok{};
}

Status Emulator::boot() {
    pc_->reset();
    vcpu_->reset();
    if (options_.kernel.empty() || firmware_boot_) return Ok{};
    pc_->set_up_without_firmware();
    place_board_tables(*map_, board_);
    auto entry = load_kernel({options_.kernel, options_.initrd, options_.append}, board_, *map_);
    if (!entry) return entry.error();
    enter_flat(vcpu_->cpu(), *entry);
    return Ok{};
}

void Emulator::service() {
    waker_.dispatch();
    if (clock_.follow()) time_changed();
    if (running_) {
        disks_.deliver();
        scheduler_.run_due();
    }
    networks_.service(running_);
    chardevs_.service();
    if (requests_) carry_out();
    set_deadline();
}

void Emulator::set_deadline() {
    const u64 deadline = running_ ? scheduler_.next_deadline() : hw::Scheduler::never;
    alarm_.set_deadline(clock_.now(), deadline);
}

// To be woken costs some 50 us, as much as many a disk's answer takes: while one is awaited, and the last
// wait was short, the wait begins with looking.
void Emulator::wait() {
    using Clock = std::chrono::steady_clock;
    constexpr auto kShort = std::chrono::microseconds(200);
    std::atomic_ref<u32> poll(vcpu_->cpu().poll);
    const auto come = [&] { return poll.load(std::memory_order_acquire) != 0; };
    const auto ended = [ring = disks_.ring()] { return ring && ring->ready(); };
    const Clock::time_point start = Clock::now();
    while (look_first_ && disks_.under_way() && !come() && Clock::now() - start < kShort) {
        if (ended()) return;
        __builtin_ia32_pause();
    }
    while (!come())
        poll.wait(0, std::memory_order_acquire);
    look_first_ = Clock::now() - start < kShort;
}

void Emulator::press_keys(std::span<const hw::KeyCode> keys) {
    for (const hw::KeyCode key : keys)
        pc_->keyboard().key(key, true);
    for (auto key = keys.rbegin(); key != keys.rend(); ++key)
        pc_->keyboard().key(*key, false);
}

bool Emulator::point(u16 x, u16 y, int wheel, unsigned buttons) {
    hw::UsbTablet* const tablet = pc_->tablet();
    if (!tablet || !tablet->configured()) return false;
    tablet->point(x, y, wheel, u8(buttons));
    return true;
}

bool Emulator::random(u64& value) {
    return getrandom(&value, sizeof value, 0) == sizeof value;
}

bool Emulator::apic_read_msr(u32 msr, u64& value) {
    hw::Lapic& apic = pc_->lapic();
    if (msr == 0x1b) {
        value = apic.apic_base();
        return true;
    }
    if (msr == 0x6e0) {
        value = apic.tsc_deadline();
        return true;
    }
    return apic.read_msr(msr, value);
}

bool Emulator::apic_write_msr(u32 msr, u64 value) {
    hw::Lapic& apic = pc_->lapic();
    if (msr == 0x1b) return apic.write_apic_base(value);
    if (msr == 0x6e0) {
        apic.write_tsc_deadline(value);
        return true;
    }
    return apic.write_msr(msr, value);
}

Status Emulator::open_display() {
    if (options_.vnc) return open_vnc();
    if (options_.display != Options::Display::Sdl || !pc_->vga()) return Ok{};
    hw::SdlDisplay::Callbacks hooks;
    hooks.key = [this](hw::KeyCode key, bool down) { pc_->keyboard().key(key, down); };
    hooks.mouse = [this](int dx, int dy, int wheel, unsigned buttons) {
        pc_->mouse().buttons(u8(buttons));
        pc_->mouse().move(dx, dy, wheel);
    };
    hooks.close = [this] { quit(0); };
    auto display = hw::SdlDisplay::open("Dragoman", *pc_->vga(), std::move(hooks));
    if (!display) return Error{"-display sdl: " + display.error().message};
    display_ = std::move(*display);
    display_timer_ = std::make_unique<hw::Timer>(scheduler_, [this] { refresh_display(); });
    refresh_display();
    return Ok{};
}

Status Emulator::open_vnc() {
    const auto failed = [&](const Error& error) { return Error{options_.vnc->given + ": " + error.message}; };
    VncScreen screen;
    screen.name = options_.name.empty() ? "Dragoman" : "Dragoman (" + options_.name + ")";
    screen.guarded = options_.vnc->password || !options_.vnc->secret.empty();
    if (!options_.vnc->secret.empty()) {
        auto password = read_secret(options_.secrets.at(options_.vnc->secret));
        if (!password) return failed(password.error());
        screen.password = *password;
    }
    screen.key = [this](hw::KeyCode key, bool down) { pc_->keyboard().key(key, down); };
    screen.point = [this](u16 x, u16 y, int wheel, unsigned buttons) { return point(x, y, wheel, buttons); };
    screen.mouse = [this](int dx, int dy, int wheel, unsigned buttons) {
        pc_->mouse().buttons(u8(buttons));
        pc_->mouse().move(dx, dy, wheel);
    };
    auto server = VncServer::open(*options_.vnc, std::move(screen), *pc_->vga(), waker_, scheduler_);
    if (!server) return failed(server.error());
    vnc_ = std::move(*server);
    return Ok{};
}

void Emulator::refresh_display() {
    constexpr u64 kRefresh = 33'000'000; // ns
    display_->refresh();
    display_timer_->arm(scheduler_.now() + kRefresh);
}

Status Emulator::screendump(const std::string& file, const std::string& format) {
    if (!format.empty() && format != "ppm" && format != "png")
        return Error{"screendump: expected the format ppm or png; '" + format + "' is not built"};
    if (!pc_->vga()) return Error{"screendump: the machine has no display (-vga none)"};
    hw::Surface surface;
    pc_->vga()->render(surface);
    const bool png = format.empty() ? file.ends_with(".png") : format == "png";
    return hw::write_picture(surface, file, png ? hw::PictureFormat::Png : hw::PictureFormat::Ppm);
}

void Emulator::shutdown_report() {
    std::fprintf(stderr, "dragoman: %s", vcpu_->describe_shutdown().c_str());
}

int Emulator::run() {
    while (!exit_status_) {
        if (!running_ && std::exchange(step_, false)) {
            StopReason reason = StopReason::Requested;
            while (reason == StopReason::Requested) // left over from the stop
                reason = vcpu_->step();
            if (reason == StopReason::Shutdown) take(Request::Reset);
            if (stop_listener_) stop_listener_(reason);
            continue;
        }
        if (!running_) {
            wait();
            ir::take_back_poll(vcpu_->cpu());
            service();
            continue;
        }
        const StopReason reason = vcpu_->run();
        if (exit_status_) break;
        if (reason == StopReason::Difference) {
            quit(1, "host-error");
        } else if (reason == StopReason::Shutdown) {
            shutdown_report();
            if (options_.no_reboot)
                quit(0, "guest-reset");
            else
                take(Request::Reset);
        } else if (reason != StopReason::Requested) {
            stop_machine(reason);
        }
    }
    save_translations();
    return *exit_status_;
}

void Emulator::keep_translations_in(std::unique_ptr<ReplacedFile> file) {
    translations_ = std::move(file);
}

void Emulator::save_translations() {
    if (!vcpu_->tb_cache()) return;
    if (const auto saved = vcpu_->tb_cache()->save(std::move(translations_)); !saved)
        std::fprintf(stderr, "dragoman: -tb-cache %s: %s\n", options_.vcpu.tb_cache.c_str(),
                     saved.error().message.c_str());
}

} // namespace dragoman::runtime
