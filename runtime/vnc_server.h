// The screen for viewers elsewhere (-vnc): listens, renders, and tells each of them what is new. Everything
// happens on the vCPU's thread.
#pragma once

#include "base/log.h"
#include "base/result.h"
#include "hw/core/scheduler.h"
#include "runtime/options.h"
#include "runtime/vnc_client.h"

namespace dragoman::runtime {

class VncServer {
  public:
    static constexpr std::size_t most_clients = 16;

    // `screen`: all but the picture and `wanted`. The others are borrowed.
    static Result<std::unique_ptr<VncServer>> open(const VncOption& option, VncScreen screen,
                                                   hw::DisplaySource& source, Waker& waker,
                                                   hw::Scheduler& scheduler);
    ~VncServer();

    const VncOption& option() const { return option_; }
    std::size_t viewers() const;
    std::string describe() const; // one line, for the monitor
    // For those that come from now on. Fails where the option speaks of no password.
    Status set_password(const std::string& password);
    Status expire_password(i64 second); // since 1970

  private:
    VncServer(const VncOption& option, VncScreen screen, hw::DisplaySource& source, Waker& waker,
              hw::Scheduler& scheduler);
    void take_client(int listener, bool web);
    void listen(int fd, bool web);
    void refresh();
    void render();

    VncScreen screen_;
    hw::DisplaySource& source_;
    Waker& waker_;
    hw::Scheduler& scheduler_;
    hw::Timer timer_;
    int listener_ = -1, web_listener_ = -1;
    VncOption option_;
    hw::Surface picture_, next_;
    std::vector<std::unique_ptr<VncClient>> clients_;
};

} // namespace dragoman::runtime
