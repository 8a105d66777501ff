// A cable to another emulator: a stream socket that carries each frame after its length (32 bits,
// big-endian). A server takes the next client when the last one has gone; without another end the link is
// down.
#pragma once

#include "base/log.h"
#include "base/result.h"
#include "runtime/net_options.h"
#include "runtime/net_port.h"
#include "runtime/waker.h"

namespace dragoman::runtime {

class NetStream final : public NetPort {
  public:
    static Result<std::unique_ptr<NetStream>> open(const std::string& id, const StreamNetwork& option,
                                                   Waker& waker, Log& log, std::function<void()> wake);
    ~NetStream() override;

    std::string describe() const override;

  protected:
    void transmit(std::span<const u8> frame) override;
    void resume() override { update_interest(); }

  private:
    static constexpr std::size_t kMaxOutput = 1 * MiB; // what waits for the other end; more is lost

    NetStream(const std::string& id, std::string address, Waker& waker, Log& log, std::function<void()> wake)
        : NetPort(id, std::move(wake)), address_(std::move(address)), waker_(waker), log_(log) {}
    void take_client();
    void begin(int fd);
    void end();
    void ready();
    void receive();
    void flush();
    void update_interest();

    std::string address_;
    Waker& waker_;
    Log& log_;
    int listener_ = -1, fd_ = -1;
    std::string path_; // of a local socket that we listen at
    std::vector<u8> input_, output_;
};

} // namespace dragoman::runtime
