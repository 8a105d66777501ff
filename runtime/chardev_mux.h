// One line that a serial port and the monitor share: what is typed goes to one of them, and after an escape
// character (Ctrl-A) a letter is a command to the line itself: c switches, x quits, h lists the rest.
#pragma once

#include "runtime/chardev.h"

namespace dragoman::runtime {

class Mux final : private hw::CharReceiver {
  public:
    static constexpr unsigned fronts = 2;

    // `line` is borrowed; `quit`: the user asks for the end.
    Mux(Chardev& line, std::function<void()> quit, u8 escape);
    ~Mux() override;

    Chardev& front(unsigned n); // 0: the first user (serial port), 1: the monitor
    void on_room(const std::function<void()>& wake);
    void service();

  private:
    class Front;
    bool can_receive() const override;
    void receive(u8 byte) override;
    void receive_break() override;
    void command(u8 byte);
    void say(const std::string& text);
    void switch_to(unsigned n);

    Chardev& line_;
    std::function<void()> quit_;
    u8 escape_;
    std::unique_ptr<Front> fronts_[fronts];
    unsigned active_ = 0;
    bool escaped_ = false;
};

} // namespace dragoman::runtime
