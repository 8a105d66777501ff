// One port of an AHCI adapter: its registers (AHCI 1.3.1, 3.3), its command list and the device on its link
// (5.3).
#pragma once

#include "base/io.h"
#include "hw/ahci_prd.h"
#include "hw/ahci_queue.h"
#include "hw/ata_disk.h"
#include "hw/atapi_cd.h"
#include "hw/core/scheduler.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace dragoman::hw {

class AhciPort final {
  public:
    static constexpr u32 register_bytes = 0x80;
    struct Adapter {
        std::function<DmaBus*()> memory; // null while bus mastering is off
        std::function<void()> changed;   // interrupting() may have changed
    };
    // `scheduler` and `log` are borrowed.
    AhciPort(Scheduler& scheduler, Adapter adapter, Log& log);

    void attach(std::unique_ptr<AtaDisk> disk);
    void attach(std::unique_ptr<AtapiCd> cd);

    u32 read(u32 offset) const;
    // The bits of `mask` are what the guest's access covers.
    void write(u32 offset, u32 value, u32 mask);
    bool interrupting() const { return (interrupt_status() & state_.interrupt_enable) != 0; }

    void power_on();  // everything back to defaults
    void hba_reset(); // 10.4.3: the addresses of lists stay
    void visit(const std::string& prefix, StateVisitor& visitor);

  private:
    void connect(std::unique_ptr<AtaDevice> device);
    u32 interrupt_status() const;
    void raise(u32 bits);
    void write_command(u32 value, u32 mask);
    void write_sata_control(u32 value);
    void stop_engine();
    void reset_link();
    bool usable() const { return device_ && (state_.sata_control & 0xf) == 0; }

    void pump();
    bool step();
    bool fetch();
    void control_frame(unsigned slot, u8 control);
    void start(const u8* fis);
    bool move_data();
    void finish();
    void fatal(u32 cause, const char* why);
    void queued_done(u8 tag);
    void queued_failed(const AhciQueue::Failure& failure);

    void receive(u32 at, const void* fis, u32 bytes);
    void receive_registers(bool interrupt);
    void receive_pio_setup(u32 bytes, bool to_memory, bool interrupt);
    void receive_device_bits(u32 tags);
    void set_task_file(u8 status, u8 error) { state_.task_file = u32(error) << 8 | status; }
    u64 list() const { return (u64{state_.list[1]} << 32 | state_.list[0]) & ~u64{0x3ff}; }

    struct State {
        u32 list[2] = {0, 0}, frames[2] = {0, 0}; // PxCLB, PxFB and their upper halves
        u32 interrupt_status = 0, interrupt_enable = 0;
        u32 command = 0, task_file = 0x7f, signature = 0xffffffff;
        u32 sata_control = 0, sata_error = 0, sata_active = 0, issued = 0;
        u8 last_slot = 31;
        bool in_reset = false; // a control frame has set SRST
        bool signing = false;  // the device owes the frame after a reset
        bool unposted = false; // that frame waits for FRE
        bool halted = false;   // an error: nothing runs until ST is cleared (6.2.2)
        bool running = false;  // a command that is not queued is under way; only while the image works
        u8 slot = 0;           // its slot
    };
    // The command under way.
    struct Running {
        u64 header = 0, table = 0;
        PrdCursor list;
        bool packet_due = false, pio_in = false;
    };

    Scheduler& scheduler_;
    Adapter adapter_;
    Log& log_;
    std::unique_ptr<AtaDevice> device_;
    AtaDisk* disk_ = nullptr;
    std::optional<AhciQueue> queue_;
    State state_;
    Running running_;
    bool pumping_ = false;
    u64 changes_ = 0; // counts stops and resets: what a step held before may be gone
    Timer again_;
};

} // namespace dragoman::hw
