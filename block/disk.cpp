#include "block/disk.h"

#include <cstring>
#include <string_view>

namespace dragoman::block {

namespace {

// Of one read. A thread takes longer to wake than the page cache to copy so much; what is longer a thread
// copies meanwhile.
constexpr u64 kMostInRing = 32 * KiB;

bool all_zero(const u8* p, u64 bytes) {
    return bytes && p[0] == 0 && std::memcmp(p, p + 1, bytes - 1) == 0;
}

} // namespace

Disk::Disk(std::shared_ptr<Image> image, Workers& workers, Options options)
    : image_(std::move(image)), workers_(workers), options_(std::move(options)),
      sectors_(image_->bytes() / sector_bytes) {
    // A raw image fills up its last sector; of other formats a part of one is not used.
    if (image_->bytes() % sector_bytes != 0 && image_->format() == std::string_view("raw")) ++sectors_;
}

void Disk::submit(Work work, OnError on_error, Completion done) {
    auto outcome = std::make_shared<Outcome>();
    workers_.run([this, work, outcome] { *outcome = work(*image_); },
                 [this, work, on_error, done = std::move(done), outcome]() mutable {
                     completed(std::move(work), on_error, std::move(done), std::move(*outcome));
                 });
}

void Disk::completed(Work work, OnError on_error, Completion done, Outcome outcome) {
    if (!outcome.failed() || on_error == OnError::Ignore) return done(BlockStatus::Ok);
    const bool stop =
        on_error == OnError::Stop || (on_error == OnError::NoSpace && outcome.status == BlockStatus::NoSpace);
    // A guest tries again and again; the user is told once.
    if (options_.report && outcome.message != last_report_)
        options_.report(outcome.message + (stop ? "; the machine is stopped" : ""));
    last_report_ = outcome.message;
    if (!stop) return done(outcome.status);
    held_.push_back({std::move(work), on_error, std::move(done)});
    if (options_.stop) options_.stop();
}

Outcome Disk::grow(u64 new_bytes) {
    Outcome o = image_->resize(new_bytes);
    if (!o.failed()) sectors_ = new_bytes / sector_bytes;
    return o;
}

void Disk::retry() {
    std::deque<Held> held;
    held.swap(held_);
    last_report_.clear();
    for (Held& h : held)
        submit(std::move(h.work), h.on_error, std::move(h.done));
}

void Disk::give_up() {
    std::deque<Held> held;
    held.swap(held_);
    for (Held& h : held)
        h.done(BlockStatus::IoError);
}

void Disk::read(u64 sector, u32 count, u8* to, Completion done) {
    if (!in_range(sector, count)) return done(BlockStatus::OutOfRange);
    const u64 at = sector * sector_bytes, bytes = u64{count} * sector_bytes;
    const Work work = [=](Image& image) { return image.read(at, to, bytes); };
    if (const auto place = image_->place(at, bytes); options_.ring && place && bytes <= kMostInRing) {
        // What does not work there is done again by a thread, which knows how to fail.
        if (workers_.read(*place, to, u32(bytes), [this, work, done, bytes](i64 result) {
                if (result == i64(bytes)) return done(BlockStatus::Ok);
                submit(work, options_.on_read_error, done);
            }))
            return;
    }
    submit(work, options_.on_read_error, std::move(done));
}

void Disk::write(u64 sector, u32 count, const u8* from, Completion done) {
    if (read_only()) return done(BlockStatus::ReadOnly);
    if (!in_range(sector, count)) return done(BlockStatus::OutOfRange);
    const bool sync = options_.write_through, detect = options_.detect_zeroes, unmap = options_.discard;
    submit(
        [=](Image& image) {
            const u64 at = sector * sector_bytes, bytes = u64{count} * sector_bytes;
            Outcome o = detect && all_zero(from, bytes) ? image.write_zeroes(at, bytes, unmap)
                                                        : image.write(at, from, bytes);
            return o.failed() || !sync ? o : image.flush();
        },
        options_.on_write_error, std::move(done));
}

void Disk::flush(Completion done) {
    if (options_.ignore_flush || read_only()) return done(BlockStatus::Ok);
    submit([](Image& image) { return image.flush(); }, options_.on_write_error, std::move(done));
}

void Disk::discard(u64 sector, u64 count, Completion done) {
    if (read_only()) return done(BlockStatus::ReadOnly);
    if (!in_range(sector, count)) return done(BlockStatus::OutOfRange);
    if (!options_.discard || count == 0) return done(BlockStatus::Ok);
    submit([=](Image& image) { return image.discard(sector * sector_bytes, count * sector_bytes); },
           options_.on_write_error, std::move(done));
}

void Disk::write_zeroes(u64 sector, u64 count, bool unmap, Completion done) {
    if (read_only()) return done(BlockStatus::ReadOnly);
    if (!in_range(sector, count)) return done(BlockStatus::OutOfRange);
    if (count == 0) return done(BlockStatus::Ok);
    const bool give_back = unmap && options_.discard, sync = options_.write_through;
    submit(
        [=](Image& image) {
            Outcome o = image.write_zeroes(sector * sector_bytes, count * sector_bytes, give_back);
            return o.failed() || !sync ? o : image.flush();
        },
        options_.on_write_error, std::move(done));
}

} // namespace dragoman::block
