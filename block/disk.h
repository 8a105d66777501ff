// An image as the block device of a controller: requests go to worker threads, completions come back on the
// thread that calls Workers::deliver().
#pragma once

#include "base/block.h"
#include "block/image.h"
#include "block/workers.h"

#include <deque>
#include <memory>

namespace dragoman::block {

class Disk final : public BlockDevice {
  public:
    // What an error of the host does.
    enum class OnError : u8 {
        Report,  // the guest sees a device error
        Stop,    // the machine stops; the request is tried again when it goes on
        NoSpace, // Stop when the host's storage is full, Report otherwise
        Ignore,
    };
    struct Options {
        bool discard = false;       // pass discards on to the image
        bool detect_zeroes = false; // write zeroes as such
        bool ignore_flush = false;  // cache=unsafe
        bool write_through = false; // each write ends with a flush
        bool ring = true;           // reads by the ring, where there is one
        OnError on_read_error = OnError::Report, on_write_error = OnError::Report;
        std::function<void(const std::string&)> report; // one line for the user, on the delivering thread
        std::function<void()> stop;                     // for OnError::Stop
    };
    // `workers` is borrowed.
    Disk(std::shared_ptr<Image> image, Workers& workers, Options options);

    u64 sectors() const override { return sectors_; }
    bool read_only() const override { return image_->read_only(); }
    void read(u64 sector, u32 count, u8* to, Completion done) override;
    void write(u64 sector, u32 count, const u8* from, Completion done) override;
    void flush(Completion done) override;
    bool can_discard() const override { return options_.discard && !read_only(); }
    void discard(u64 sector, u64 count, Completion done) override;
    bool can_write_zeroes() const override { return !read_only(); }
    void write_zeroes(u64 sector, u64 count, bool unmap, Completion done) override;

    // While no request is being worked on (Workers::drain). The new size is not below the old one.
    Outcome grow(u64 new_bytes);
    void retry();   // what stopped the machine, when it goes on
    void give_up(); // or ends it as an error: the image will not be there any more
    Image& image() const { return *image_; }

  private:
    using Work = std::function<Outcome(Image&)>;
    void submit(Work work, OnError on_error, Completion done);
    void completed(Work work, OnError on_error, Completion done, Outcome outcome);
    bool in_range(u64 sector, u64 count) const { return sector <= sectors_ && count <= sectors_ - sector; }

    std::shared_ptr<Image> image_;
    Workers& workers_;
    Options options_;
    u64 sectors_;
    struct Held {
        Work work;
        OnError on_error;
        Completion done;
    };
    std::deque<Held> held_;
    std::string last_report_;
};

} // namespace dragoman::block
