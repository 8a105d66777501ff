// The virtio transport of 9P (Virtual I/O Device 1.2, appendix "9P"): one queue of requests, each answered in
// the buffers that come with it.
#pragma once

#include "hw/virtio_device.h"

#include <string>
#include <vector>

namespace dragoman::hw {

// Who answers.
class NinePServer {
  public:
    static constexpr u32 max_message = 512 * 1024;

    virtual ~NinePServer() = default;
    // `request` is one message of the guest, of any content, up to max_message bytes; the answer has at most
    // `room`.
    virtual std::vector<u8> answer(std::span<const u8> request, std::size_t room) = 0;
    virtual void reset() = 0; // the guest forgets all that it had open
};

class Virtio9p final : public VirtioDevice {
  public:
    // `tag`: what the guest mounts it by, up to 255 bytes. The rest is borrowed.
    Virtio9p(NinePServer& server, const std::string& tag, Log& log);

    std::span<const u8> config() override { return config_; }

  protected:
    void queue_notified(unsigned queue) override;
    void device_reset() override { server_.reset(); }

  private:
    NinePServer& server_;
    std::vector<u8> config_; // u16 length, tag
};

} // namespace dragoman::hw
