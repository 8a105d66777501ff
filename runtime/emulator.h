// The whole emulator: the machine, its processor, and what connects both to the host.
#pragma once

#include "frontend/x86/system_registers.h"
#include "hw/core/picture_file.h"
#include "hw/machine/pc.h"
#include "hw/sdl_display.h"
#include "runtime/alarm.h"
#include "runtime/cards.h"
#include "runtime/chardevs.h"
#include "runtime/clock.h"
#include "runtime/disks.h"
#include "runtime/firmware_boot.h"
#include "runtime/flash_file.h"
#include "runtime/hotplug.h"
#include "runtime/loader.h"
#include "runtime/machine_events.h"
#include "runtime/networks.h"
#include "runtime/options.h"
#include "runtime/vcpu.h"
#include "runtime/waker.h"

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace dragoman::runtime {

class Monitor;
class Qmp;
class GdbStub;
class ReplacedFile;
class VncServer;

class Emulator final : private x86::Platform {
  public:
    // Opens everything the options name; nothing has started when it fails. `options` is copied.
    static Result<std::unique_ptr<Emulator>> create(const Options& options, Log& log);
    ~Emulator() override;

    // What becomes the file of -tb-cache at the end, when the sandbox lets no file be made.
    void keep_translations_in(std::unique_ptr<ReplacedFile> file);
    // Runs until the machine is powered off or somebody quits: the exit status of the process.
    int run();

    // For the monitor and the debugger; on the vCPU's thread, between guest instructions.
    void stop_machine(StopReason why = StopReason::Requested); // virtual time stands still
    void continue_machine();
    void step_machine(); // one instruction of the stopped machine, soon; then it stops again
    bool running() const { return running_; }
    const char* status() const { return running_ ? "running" : stopped_as_; } // as QMP's RunState names it
    void quit(int status, const char* cause = "host-ui");
    void request_reset() { take(Request::HostReset); }
    void press_power_button();
    void press_keys(std::span<const hw::KeyCode> keys); // all together
    // The pointer is there now, 0 to UsbTablet::most each way. False: no tablet is in use that could say so.
    bool point(u16 x, u16 y, int wheel, unsigned buttons);
    // What a program that sends events one by one has sent before.
    struct Pointer {
        u16 x = 0, y = 0;
        u8 buttons = 0;
    };
    Pointer& pointer() { return pointer_; }
    // `format`: ppm or png; empty: png for a name that ends so, ppm for others.
    Status screendump(const std::string& file, const std::string& format = "");
    VncServer* vnc() const { return vnc_.get(); } // null: there is none

    Vcpu& vcpu() { return *vcpu_; }
    hw::Pc& pc() { return *pc_; }
    softmmu::PhysicalMap& memory() { return *map_; }
    Disks& disks() { return disks_; }
    Networks& networks() { return networks_; }
    Chardevs& chardevs() { return chardevs_; }
    Cards& cards() { return cards_; }
    Hotplug& hotplug() { return hotplug_; }
    Log& log() { return log_; }
    Waker& waker() { return waker_; }
    Options& options() { return options_; } // actions may be changed
    // Told after each stop of the running machine and after each step; for the debugger.
    void on_stop(std::function<void(StopReason)> listener) { stop_listener_ = std::move(listener); }
    MachineEvents& events() { return events_; }

  private:
    // What guest accesses ask for; carried out between instructions.
    enum class Request : u8 {
        None = 0,
        Init = 1,
        Reset = 2,
        PowerOff = 4,
        Exit = 8,
        HostReset = 16,
        Watchdog = 32,
        Panic = 64,
        Ejected = 128
    };

    Emulator(const Options& options, Log& log);
    Status open_all();
    Status open_chardevs(hw::PcConfig& config);
    std::string find_firmware(const std::string& name) const;
    Status open_firmware(hw::PcConfig& config);
    Status open_flashes(hw::PcConfig& config);
    Status open_vga_bios(hw::PcConfig& config);
    Status open_display();
    Status open_vnc();
    Status prepare_kernel();
    Status boot(); // reset, and the kernel of -kernel
    // From any thread, also before there is a vCPU: input is watched from the start.
    void kick() {
        if (Vcpu* const vcpu = kicked_.load(std::memory_order_acquire)) vcpu->kick();
    }
    void service();
    void wait();
    void take(Request request);
    void carry_out();
    void act_on_watchdog();
    void act_on_panic();
    void stop_as(const char* status); // a stopped machine, for another reason than that somebody asked
    void shutdown_report();
    void save_translations();
    void take_panic(u8 events);
    void watchdog_expired();
    void time_changed() {
        if (vcpu_) x86::update_time(vcpu_->cpu());
    }
    void set_deadline();
    void refresh_display();

    // x86::Platform
    u32 port_in(u16 port, unsigned size) override { return pc_->port_in(port, size); }
    void port_out(u16 port, unsigned size, u32 value) override { pc_->port_out(port, size, value); }
    u64 time_stamp() override { return clock_.now(); } // 1 GHz
    const TimeLine* time_line() override {
        return options_.vcpu.inline_time && !options_.vcpu.verify ? clock_.line() : nullptr;
    }
    u64 tsc_hz() override { return 1'000'000'000; }
    bool random(u64& value) override;
    u8 apic_tpr() override { return pc_->lapic().tpr(); }
    void system_management(bool active) override { pc_->system_management(active); }
    void set_apic_tpr(u8 value) override { pc_->lapic().set_tpr(value); }
    bool apic_read_msr(u32 msr, u64& value) override;
    bool apic_write_msr(u32 msr, u64 value) override;
    u8 apic_id() override { return u8(pc_->lapic().id()); }
    int acknowledge_interrupt() override { return pc_->acknowledge_interrupt(); }
    void fpu_error(bool level) override { pc_->fpu_error().set_ferr(level); }
    bool fpu_errors_ignored() override { return pc_->fpu_error().ignne(); }

    Options options_;
    Log& log_;
    HostClock clock_;
    hw::Scheduler scheduler_{clock_};
    MachineEvents events_{scheduler_};
    Waker waker_;
    Alarm alarm_; // at the next deadline
    x86::CpuModel model_;
    std::unique_ptr<softmmu::PhysicalMap> map_;
    Disks disks_;
    Networks networks_;
    Chardevs chardevs_;
    Cards cards_;
    Hotplug hotplug_{*this};
    Chardev* monitor_chardev_ = nullptr;
    std::vector<Chardev*> qmp_chardevs_;
    hw::FunctionLine intr_;
    std::vector<std::unique_ptr<FlashFile>> flash_files_; // behind the machine's flashes
    std::unique_ptr<hw::Pc> pc_;
    std::unique_ptr<Vcpu> vcpu_;
    std::atomic<Vcpu*> kicked_ = nullptr; // the same
    std::unique_ptr<hw::SdlDisplay> display_;
    std::unique_ptr<hw::Timer> display_timer_;
    std::unique_ptr<VncServer> vnc_;
    std::unique_ptr<ReplacedFile> translations_;
    std::unique_ptr<Monitor> monitor_;
    std::vector<std::unique_ptr<Qmp>> qmps_;
    std::unique_ptr<GdbStub> gdb_;
    std::function<void(StopReason)> stop_listener_;
    BoardFacts board_;
    std::unique_ptr<FirmwareBoot> firmware_boot_; // of a kernel that is started behind the firmware

    Pointer pointer_;
    u8 requests_ = 0;
    u8 panic_ = 0; // PanicEvent
    bool running_ = true;
    const char* stopped_as_ = "prelaunch";
    bool step_ = false;
    bool look_first_ = false; // wait()
    std::optional<int> exit_status_;
};

} // namespace dragoman::runtime
