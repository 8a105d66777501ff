// The kernel's ring for reading files (io_uring): no thread waits, and what lies in the page cache is there
// when read() returns. Writes are for threads: where a file system cannot take one without waiting (most
// cannot), the ring gives it to a thread of the kernel's, whose end then has to be heard of by one more.
#pragma once

#include "base/types.h"

#include <functional>
#include <memory>
#include <vector>

struct io_uring;

namespace dragoman::block {

// Where bytes of a disk lie as they are in a file of the host.
struct Place {
    int fd;
    u64 at;
};

class Ring {
  public:
    // Null where the kernel has none or refuses it. It can do nothing but read: it stays when the
    // process enters a sandbox that filters system calls, which what a ring does are not.
    static std::unique_ptr<Ring> open();
    ~Ring();
    Ring(const Ring&) = delete;
    Ring& operator=(const Ring&) = delete;

    // `done` gets the number of bytes, or a negative error, from deliver(). False: the ring is full.
    bool read(Place place, u8* to, u32 bytes, std::function<void(i64)> done);
    bool ready() const; // deliver() has something to do
    void deliver();
    unsigned under_way() const { return under_way_; }
    void drain(); // waits until all reads have ended; deliver() still has to be called
    // Becomes readable when a read ends that had not when read() returned, until noticed().
    int event() const { return event_; }
    void noticed();

  private:
    Ring();
    bool start();

    std::unique_ptr<io_uring> ring_;
    bool started_ = false;
    int event_ = -1;
    std::vector<std::function<void(i64)>> pending_; // by number of the read
    std::vector<u32> free_;
    unsigned under_way_ = 0;
};

} // namespace dragoman::block
