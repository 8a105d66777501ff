// What stands behind serial ports, the monitor and the debug console: the terminal, files, sockets.
#pragma once

#include "base/log.h"
#include "base/result.h"
#include "hw/core/chardev.h"
#include "runtime/waker.h"

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <termios.h>

namespace dragoman::runtime {

// A stream of bytes to and from the host. Everything happens on the vCPU's thread, between guest
// instructions.
class Chardev : public hw::CharBackend {
  public:
    ~Chardev() override = default;

    void attach(hw::CharReceiver& receiver) override { receiver_ = &receiver; }
    void room() override { // the next service() delivers what waits
        if (!pending_.empty() && wake_) wake_();
    }
    // `wake` asks for a service() soon; called inside guest accesses.
    void on_room(std::function<void()> wake) { wake_ = std::move(wake); }

    // Hands over input that waits, as far as the receiver takes it.
    virtual void service();
    // Is there input that the receiver could not take yet?
    bool has_pending() const { return !pending_.empty(); }

    // Does anybody see what is written now? on_connect() tells of the moment when somebody comes,
    // on_disconnect() when he has gone.
    virtual bool attended() const { return true; }
    virtual bool is_terminal() const { return false; }
    void on_connect(std::function<void()> notify) { connected_ = std::move(notify); }
    void on_disconnect(std::function<void()> notify) { disconnected_ = std::move(notify); }

  protected:
    static constexpr std::size_t kMaxPending = 4096;
    void input(const u8* bytes, std::size_t count); // from the host
    bool full() const { return pending_.size() >= kMaxPending; }
    void announce() { // somebody is there now
        if (connected_) connected_();
    }
    void announce_end() {
        if (disconnected_) disconnected_();
    }
    hw::CharReceiver* receiver_ = nullptr;

  private:
    std::deque<u8> pending_;
    std::function<void()> wake_, connected_, disconnected_;
};

// The terminal, or whatever standard input and output are. The terminal is raw while this lives and is
// restored at its end, also when a signal ends the process.
class Terminal final : public Chardev {
  public:
    // `signals`: Ctrl-C ends the emulator, Ctrl-Z stops it.
    Terminal(Waker& waker, bool signals);
    ~Terminal() override;

    void write(std::span<const u8> bytes) override;
    void service() override;
    bool is_terminal() const override { return true; }

  private:
    void readable();

    Waker& waker_;
    bool paused_ = false; // nobody takes what comes
    bool ended_ = false;
};

// Opens one of
//     file:NAME                                  what is written goes to the file; no input
//     tcp:[HOST]:PORT[,server][,nowait][,nodelay]  a TCP connection; without HOST on this machine only
//     telnet:[HOST]:PORT[,server][,nowait]       the same with the telnet protocol
//     unix:PATH[,server][,nowait]                a socket in the file system
//     append:NAME                                the same, behind what is there
//     fd:NUMBER[,server][,nowait]                a socket that is open already
//     ringbuf:BYTES                              memory, for whoever asks for it (QMP's ringbuf-read)
//     /dev/NAME                                  a device of the host
//     pipe:NAME                                  NAME.in and NAME.out, or NAME for both
//     pty                                        a new pseudo-terminal, named on standard error with `label`
// "server=on,wait=off" is another spelling of "server,nowait". A server without nowait waits here for its
// client. The error is one line that names `option`, `spec` and what was expected. `waker` and `log` are
// borrowed.
Result<std::unique_ptr<Chardev>> open_chardev(const std::string& option, const std::string& spec,
                                              const std::string& label, Waker& waker, Log& log);

} // namespace dragoman::runtime
