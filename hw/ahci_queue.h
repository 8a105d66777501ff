// The queued commands of a SATA disk: READ and WRITE FPDMA QUEUED (Serial ATA 3.0, 13.6), up to 32 at a time,
// in whatever order the image ends them.
#pragma once

#include "base/block.h"
#include "hw/ahci_prd.h"
#include "hw/ata_disk.h"

#include <functional>
#include <memory>

namespace dragoman::hw {

class AhciQueue {
  public:
    static constexpr u8 read_command = 0x60, write_command = 0x61;
    struct Failure {
        u8 tag = 0, error = 0; // the Error register
        bool memory = false;   // not the disk's fault: guest memory that is not there
        bool list_too_short = false;
        u64 lba = 0;
    };
    struct Port {
        std::function<DmaBus*()> memory; // null: no DMA now
        std::function<void(u8 tag)> done;
        std::function<void(const Failure&)> failed; // the port forgets the others
        std::function<void()> drained;              // the last forgotten request ended
    };
    // `disk` is borrowed.
    AhciQueue(AtaDisk& disk, Port port) : disk_(disk), port_(std::move(port)) {}

    // A command frame of `fis` (20 bytes) and its list. Ends in done() or failed(), perhaps at once.
    void start(const u8* fis, const PrdCursor& list);
    unsigned running() const { return running_; }
    // The commands under way end without a word; what the image does for them goes on.
    void forget();
    // Requests to the image that were forgotten: until there are none, a write of theirs might land on a
    // later one.
    unsigned forgotten() const { return forgotten_; }

  private:
    struct Command;
    using Pointer = std::shared_ptr<Command>;
    void next_piece(const Pointer& command);
    void written(const Pointer& command);
    void finish(const Pointer& command, BlockStatus status);
    void fail(const Pointer& command, Failure failure);
    template <class F> BlockDevice::Completion guarded(const Pointer& command, F&& f);

    AtaDisk& disk_;
    Port port_;
    unsigned running_ = 0, at_image_ = 0, forgotten_ = 0;
    u64 epoch_ = 0;
};

} // namespace dragoman::hw
