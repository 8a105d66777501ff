// A network interface of the host (Linux: Documentation/networking/tuntap). Making one takes privilege; one
// that was made for the user, or an open descriptor, does not.
#pragma once

#include "base/result.h"
#include "runtime/net_options.h"
#include "runtime/net_port.h"
#include "runtime/waker.h"

namespace dragoman::runtime {

class NetTap final : public NetPort {
  public:
    static Result<std::unique_ptr<NetTap>> open(const std::string& id, const TapNetwork& option, Waker& waker,
                                                std::function<void()> wake);
    ~NetTap() override;

    std::string describe() const override { return "tap " + interface_ + "\n"; }

  protected:
    void transmit(std::span<const u8> frame) override;
    void resume() override { waker_.wait_for(fd_, true, false); }

  private:
    NetTap(const std::string& id, int fd, std::string interface, Waker& waker, std::function<void()> wake);
    void ready();

    int fd_;
    std::string interface_;
    Waker& waker_;
};

} // namespace dragoman::runtime
