// An NVM Express controller with one namespace (NVM Express 1.4): registers and queues here (nvme.cpp), admin
// commands (nvme_admin.cpp), what it says of itself (nvme_identify.cpp), reads and writes (nvme_io.cpp).
#pragma once

#include "base/block.h"
#include "base/log.h"
#include "hw/core/pci.h"
#include "hw/core/scheduler.h"
#include "hw/nvme_defs.h"
#include "hw/nvme_prp.h"

#include <array>
#include <memory>
#include <string>
#include <vector>

namespace dragoman::hw {

class Nvme final : public PciFunction, private IoHandler {
  public:
    static constexpr unsigned queue_pairs = 64; // the admin queues are pair 0
    struct Options {
        std::string serial_number; // at most 20 characters
        u32 number = 0;            // tells the namespaces of one machine apart
    };
    // All borrowed. Nothing may be under way when the state is saved.
    Nvme(BlockDevice& image, const Options& options, Scheduler& scheduler, Log& log);

    void reset() override;
    void visit(StateVisitor& visitor) override;

    // The image has another size: the guest is told by an asynchronous event.
    void size_changed();

  private:
    u64 read(u64 offset, unsigned size) override;
    void write(u64 offset, unsigned size, u64 value) override;
    u32 read_register(u32 offset) const;
    void write_register(u32 offset, u32 value);
    void write_doorbell(u32 index, u32 value);

    // --- controller
    void write_configuration(u32 value);
    void settle(); // follows CC.EN when nothing is under way any more
    void start();
    void fail(const char* why); // CSTS.CFS
    void shut_down();
    bool ready() const { return state_.status & 1; }
    u32 page_bytes() const { return 4096u << (state_.configuration >> 7 & 0xf); }

    // --- queues
    // Names the command that a completion belongs to; one of before a reset is ignored.
    struct Ticket {
        u16 sq = 0, id = 0;
        u64 epoch = 0;
    };
    void pump();
    void fetch(unsigned sq);
    bool has_room(unsigned cq) const;
    void complete(const Ticket& ticket, nvme::Status status, u32 result = 0);
    void post(unsigned sq, u16 id, nvme::Status status, u32 result);
    void update_line();

    // --- admin commands
    struct AdminRow;
    static const AdminRow* find(u8 opcode);
    using Reply = std::pair<nvme::Status, u32>;
    void admin(const Ticket& ticket, const nvme::Command& command);
    Reply create_cq(const nvme::Command& command);
    Reply create_sq(const nvme::Command& command);
    Reply delete_cq(const nvme::Command& command);
    void delete_sq(const Ticket& ticket, const nvme::Command& command);
    void finish_delete(unsigned sq);
    Reply identify(const nvme::Command& command);
    Reply get_log_page(const nvme::Command& command);
    Reply abort(const nvme::Command& command);
    Reply set_features(const nvme::Command& command);
    Reply get_features(const nvme::Command& command);
    void take_event_command(const Ticket& ticket);
    Reply give(const nvme::Command& command, u8* data, u32 bytes);
    void identify_controller(u8* out) const;
    void identify_namespace(u8* out) const;
    void identify_descriptors(u8* out) const;
    void smart_log(u8* out) const;
    bool smart_warning() const; // the temperature is beyond what the guest set
    static constexpr u32 queue_numbers = (queue_pairs - 2) | (queue_pairs - 2) << 16; // of feature 07h
    std::array<u8, 16> uuid() const;

    enum EventType : u8 { kErrorEvent, kHealthEvent, kNoticeEvent, kEventTypes };
    void event(EventType type, u8 information, u8 log_page);
    void send_events();
    void note_error(const Ticket& ticket, nvme::Status status);

    // --- I/O commands
    struct Request;
    using Pointer = std::shared_ptr<Request>;
    void io(const Ticket& ticket, const nvme::Command& command);
    nvme::Status read_write(const Pointer& request);
    nvme::Status write_zeroes(const Pointer& request);
    nvme::Status dataset_management(const Pointer& request);
    void next_range(const Pointer& request);
    void flush(const Pointer& request);
    void written(const Pointer& request, bool through);
    void finish(const Pointer& request, nvme::Status status);
    BlockDevice::Completion guarded(BlockDevice::Completion done);

    struct SubmissionQueue {
        bool on = false, deleting = false;
        u16 cq = 0, deleter = 0; // deleter: id of the command that waits
        u32 size = 0, head = 0, tail = 0, running = 0;
        u64 base = 0;
    };
    struct CompletionQueue {
        bool on = false, interrupts = false, phase = true;
        u16 vector = 0;
        u32 size = 0, head = 0, tail = 0;
        u32 promised = 0; // places of commands under way
        u64 base = 0;
    };
    struct Features { // 5.21.1, by number
        u32 arbitration = 0, temperature_over = 343, temperature_under = 0, error_recovery = 0,
            write_cache = 1, coalescing = 0, write_atomicity = 0, events = 0;
        u64 uncoalesced = 0; // by vector
    };
    struct Event {
        bool waiting = false, masked = false; // masked: reported, and its log page not read yet
        u8 information = 0, log_page = 0;
    };
    struct Error {
        u64 count;
        u16 sq, id, status, location;
        u64 lba;
        u32 nsid;
    };
    static constexpr unsigned kEventCommands = 4, kErrors = 4;
    struct State {
        u32 configuration = 0, status = 0, mask = 0, admin_sizes = 0; // CC, CSTS, INTMS, AQA
        u64 admin_sq = 0, admin_cq = 0;                               // ASQ, ACQ
        std::array<SubmissionQueue, queue_pairs> sqs;
        std::array<CompletionQueue, queue_pairs> cqs;
        Features features;
        std::array<Event, kEventTypes> events;
        std::array<u16, kEventCommands> event_commands{};
        u32 event_command_count = 0;
        std::array<Error, kErrors> errors{};
        u64 error_count = 0;
        bool namespace_changed = false;
    };
    struct Statistics {
        u64 sectors_read = 0, sectors_written = 0, reads = 0, writes = 0, media_errors = 0;
    };

    BlockDevice& image_;
    Options options_;
    Scheduler& scheduler_;
    Log& log_;
    State state_;
    Statistics statistics_; // not of the guest's present use: they outlive resets
    u64 epoch_ = 0;         // counts resets
    u64 waiting_ = 0;       // submission queues with something in them
    u32 under_way_ = 0;     // requests to the image, those of before a reset as well
    u64 held_ = 0;          // bytes of memory that these take
    bool pumping_ = false;
    Timer again_;
};

} // namespace dragoman::hw
