// A disk as a virtio device (Virtual I/O Device 1.1, 5.2).
#pragma once

#include "base/block.h"
#include "hw/virtio_device.h"

#include <array>
#include <memory>
#include <string>
#include <vector>

namespace dragoman::hw {

class VirtioBlk final : public VirtioDevice {
  public:
    static constexpr u16 queue_size = 256;
    static constexpr unsigned max_queues = 16;
    struct Options {
        unsigned queues = 1;
        std::string serial_number; // what GET_ID says; at most 20 characters
    };
    // `image` and `log` are borrowed. Nothing may be under way when the state is saved.
    VirtioBlk(BlockDevice& image, const Options& options, Log& log);

    std::span<const u8> config() override { return config_; }
    void config_write(u64 offset, unsigned size, u64 value) override;
    void visit(StateVisitor& visitor) override;

    void size_changed(); // the image has another size: the driver is told

  private:
    struct Request;
    using Pointer = std::shared_ptr<Request>;

    void queue_notified(unsigned queue) override { take(queue); }
    void device_reset() override;

    void take(unsigned queue);
    void start(const Pointer& request);
    void transfer(const Pointer& request, bool writing);
    void next_piece(const Pointer& request);
    void next_range(const Pointer& request);
    void flush(const Pointer& request);
    void get_id(const Pointer& request);
    void finish(const Pointer& request, u8 status);
    void finish(const Pointer& request, BlockStatus status);
    void give_back(const Request& request);
    // What the image calls: goes on with `next`, or ends the request that failed or is forgotten.
    BlockDevice::Completion then(const Pointer& request, std::function<void()> next);
    template <class T> void put_config(unsigned offset, T value);
    bool write_back() const;

    BlockDevice& image_;
    std::string serial_number_;
    std::array<u8, 60> config_{}; // 5.2.4
    unsigned epoch_ = 0;          // counts resets: what was started before is forgotten
    u64 held_ = 0;                // bytes of memory that requests under way take
    unsigned under_way_ = 0;      // requests to the image that have not ended
    bool draining_ = false;       // they are of before a reset: what comes now must not overtake them
    bool waiting_ = false;        // chains were left in a queue because of one or the other
};

} // namespace dragoman::hw
