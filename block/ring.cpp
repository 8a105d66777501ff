#include "block/ring.h"

#include <liburing.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <utility>

namespace dragoman::block {

namespace {
constexpr unsigned kMost = 128; // reads at a time
} // namespace

Ring::Ring() : ring_(std::make_unique<io_uring>()), pending_(kMost) {
    for (u32 n = kMost; n-- > 0;)
        free_.push_back(n);
}

std::unique_ptr<Ring> Ring::open() {
    std::unique_ptr<Ring> ring(new Ring);
    return ring->start() ? std::move(ring) : nullptr;
}

bool Ring::start() {
    if (io_uring_queue_init(kMost, ring_.get(), IORING_SETUP_R_DISABLED) != 0) return false;
    started_ = true;
    event_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (event_ < 0 || io_uring_register_eventfd_async(ring_.get(), event_) != 0) return false;
    io_uring_restriction only[2] = {};
    only[0].opcode = IORING_RESTRICTION_SQE_OP, only[0].sqe_op = IORING_OP_READ;
    only[1].opcode = IORING_RESTRICTION_REGISTER_OP, only[1].register_op = IORING_REGISTER_ENABLE_RINGS;
    // Not all versions of liburing have functions for these two.
    const auto set = [this](unsigned what, void* values, unsigned count) {
        return syscall(SYS_io_uring_register, ring_->ring_fd, what, values, count) == 0;
    };
    return set(IORING_REGISTER_RESTRICTIONS, only, 2) && set(IORING_REGISTER_ENABLE_RINGS, nullptr, 0);
}

Ring::~Ring() {
    if (started_) {
        drain();
        io_uring_queue_exit(ring_.get());
    }
    if (event_ >= 0) close(event_);
}

bool Ring::read(Place place, u8* to, u32 bytes, std::function<void(i64)> done) {
    if (free_.empty()) return false;
    io_uring_sqe* entry = io_uring_get_sqe(ring_.get());
    if (!entry) return false;
    const u32 number = free_.back();
    io_uring_prep_read(entry, place.fd, to, bytes, place.at);
    io_uring_sqe_set_data64(entry, number);
    free_.pop_back();
    pending_[number] = std::move(done);
    ++under_way_;
    int submitted;
    do
        submitted = io_uring_submit(ring_.get()); // or deliver()'s, where the kernel is short of memory now
    while (submitted == -EINTR);
    return true;
}

bool Ring::ready() const {
    return under_way_ && (io_uring_cq_ready(ring_.get()) || io_uring_sq_ready(ring_.get()));
}

void Ring::deliver() {
    if (!under_way_) return;
    if (io_uring_sq_ready(ring_.get())) io_uring_submit(ring_.get());
    io_uring_cqe* entry;
    while (under_way_ && io_uring_peek_cqe(ring_.get(), &entry) == 0) {
        const auto number = u32(io_uring_cqe_get_data64(entry));
        const i64 result = entry->res;
        io_uring_cqe_seen(ring_.get(), entry);
        --under_way_;
        free_.push_back(number);
        std::exchange(pending_[number], nullptr)(result);
    }
}

void Ring::noticed() {
    u64 count;
    (void)!::read(event_, &count, sizeof count);
}

void Ring::drain() {
    while (under_way_ && io_uring_cq_ready(ring_.get()) < under_way_) {
        io_uring_cqe* entry;
        if (io_uring_sq_ready(ring_.get())) io_uring_submit(ring_.get());
        if (io_uring_wait_cqe_nr(ring_.get(), &entry, under_way_) == -EINTR) continue;
    }
}

} // namespace dragoman::block
