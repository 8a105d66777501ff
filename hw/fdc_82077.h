// The floppy disk controller 82077AA in PC/AT mode (Intel 82077AA data sheet), on channel 2 of the DMA
// controller: two drives. Registers and phases are in fdc_82077.cpp, commands in fdc_82077_commands.cpp.
#pragma once

#include "base/log.h"
#include "hw/core/irq.h"
#include "hw/core/port_range.h"
#include "hw/core/scheduler.h"
#include "hw/dma8237.h"
#include "hw/floppy_drive.h"

#include <array>
#include <memory>

namespace dragoman::hw {

class Fdc82077 final : public Device {
  public:
    static constexpr unsigned drives = 2, dma_channel = 2;

    Fdc82077(IrqLine& irq, Dma8237& dma, Scheduler& scheduler, Log& log); // borrowed

    void map(IoBus& bus); // 0x3f0-0x3f5 and 0x3f7
    FloppyDrive& drive(unsigned n) { return drives_[n]; }

    const char* name() const override { return "fdc82077"; }
    void reset() override;
    void visit(StateVisitor& visitor) override;

  private:
    u8 read(u32 offset);
    void write(u32 offset, u8 value);
    u8 main_status() const;
    u8 read_fifo();
    void write_fifo(u8 value);
    void write_dor(u8 value);
    void soft_reset();
    void set_irq(bool level);

    // --- commands
    struct Row;
    static const Row* find(u8 command);
    static bool known(u8 command) { return find(command) != nullptr; }
    void execute();
    void result(std::initializer_list<u8> bytes, bool interrupt);
    void specify();
    void sense_drive();
    void recalibrate();
    void sense_interrupt();
    void seek();
    void configure();
    void perpendicular();
    void dumpreg();
    void version();
    void lock();
    void read_id();
    void transfer();
    void format();

    // --- seeking
    void start_seek(unsigned drive, int target, bool to_zero);
    void end_seek(unsigned drive);

    // --- data
    bool find_sector();
    void load_side();
    void collect();
    void move_sector();
    void sector_moved(bool terminal_count);
    void next_sector(bool terminal_count);
    void store();
    void stored(BlockStatus status);
    void format_sector();
    void end_transfer(u8 st1, u8 st2);
    u8 selected() const { return state_.command[1] & 3; }
    FloppyDrive* target();
    BlockDevice::Completion guarded(BlockDevice::Completion done);

    enum class Phase : u8 { Command, Execution, Data, Result };
    struct Seek {
        bool running = false, failed = false;
        u8 target = 0, head = 0;
    };
    struct State {
        u8 dor = 0, tape = 0, rate = 2, precompensation = 0;
        Phase phase = Phase::Command;
        u8 command[9] = {}, have = 0, need = 0;
        u8 results[10] = {}, result_count = 0, result_at = 0;
        bool irq = false;
        u8 reset_pending = 0;                     // drives whose state change a reset announced
        u8 seek_pending = 0, seek_status[4] = {}; // seeks that ended: ST0 of each
        u8 positions[4] = {};                     // PCN
        Seek seeks[drives];
        u8 step_time = 0, head_unload = 0, head_load = 0; // SPECIFY
        bool dma = true;
        u8 config = 0x20, pretrack = 0, perpendicular = 0, last_eot = 0;
        bool locked = false;
    };
    // The data command under way: only while the phase is Execution or Data.
    struct Transfer {
        bool writing = false, verify = false, multitrack = false, formatting = false, single = false;
        u8 side = 0; // of the sector looked for last
        u8 c = 0, h = 0, r = 0, eot = 0, filler = 0;
        u32 left = 0;             // sectors to verify or to format; 0: until the end
        u8 first = 0, loaded = 0; // sectors in the buffer: which, how many
        u32 at = 0, end = 0;      // bytes of the present sector in the data phase
        u32 offset = 0;           // of the present sector in the buffer
        bool last = false;        // writing: terminal count was seen
    };
    using Buffer = std::array<u8, 64 * 512>;

    IrqLine& irq_;
    Dma8237& dma_;
    Scheduler& scheduler_;
    Log& log_;
    PortRange ports_, direction_port_;
    std::array<FloppyDrive, drives> drives_;
    std::array<Timer, drives> seek_timers_;
    State state_;
    Transfer transfer_;
    std::shared_ptr<Buffer> buffer_; // a request to the image keeps its own when a reset comes
    u64 epoch_ = 0;
    unsigned forgotten_ = 0, at_image_ = 0;
    bool deferred_ = false; // a command waits for requests of before a reset
    u8 id_sector_ = 0;      // the sector that passes under the head (READ ID)
};

} // namespace dragoman::hw
