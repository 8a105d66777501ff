// The user-mode network: libslirp plays a router with DHCP, DNS and TFTP, and turns the guest's connections
// into sockets of this process.
#pragma once

#include "base/log.h"
#include "base/result.h"
#include "hw/core/scheduler.h"
#include "runtime/net_options.h"
#include "runtime/net_port.h"
#include "runtime/waker.h"

#include <map>
#include <poll.h>
#include <slirp/libslirp.h>

namespace dragoman::runtime {

class NetUser final : public NetPort {
  public:
    static Result<std::unique_ptr<NetUser>> open(const std::string& id, const UserNetwork& option,
                                                 Waker& waker, hw::Scheduler& scheduler, Log& log,
                                                 std::function<void()> wake);
    ~NetUser() override;

    void service(bool deliver) override;
    std::string describe() const override;

    Status add_forward(const HostForward& forward);
    Status remove_forward(const HostForward& forward);

  protected:
    void transmit(std::span<const u8> frame) override;

  private:
    struct Callbacks; // libslirp's, which get `this`

    NetUser(const std::string& id, const UserNetwork& option, Waker& waker, hw::Scheduler& scheduler,
            Log& log, std::function<void()> wake);
    bool start();
    void poll_sockets();
    void watch_sockets();
    int add_poll(int fd, int events);

    UserNetwork option_;
    Waker& waker_;
    hw::Scheduler& scheduler_;
    Log& log_;
    hw::Timer timer_; // libslirp's next retransmission or delayed acknowledgement
    // All of libslirp's sockets, behind one descriptor that the waker watches: they come and go often.
    int epoll_;
    std::map<int, u32> watched_; // what epoll_ holds: events by socket
    std::vector<pollfd> polled_; // what libslirp asked for last
    bool due_ = true;            // poll_sockets() has something to do
    Slirp* slirp_ = nullptr;
};

} // namespace dragoman::runtime
