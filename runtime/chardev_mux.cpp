#include "runtime/chardev_mux.h"

#include "base/assert.h"

#include <unistd.h>

namespace dragoman::runtime {

class Mux::Front final : public Chardev {
  public:
    Front(Mux& mux, unsigned number) : mux_(mux), number_(number) {}
    void write(std::span<const u8> bytes) override { mux_.line_.write(bytes); }
    bool attended() const override { return mux_.active_ == number_ && mux_.line_.attended(); }
    bool has_room() const { return !full(); }
    void type(u8 byte) {
        if (!full()) input(&byte, 1);
    }
    void send_break() {
        if (receiver_) receiver_->receive_break();
    }
    void come() { announce(); }
    void go() { announce_end(); }

  private:
    Mux& mux_;
    unsigned number_;
};

Mux::Mux(Chardev& line, std::function<void()> quit, u8 escape)
    : line_(line), quit_(std::move(quit)),
      escape_(escape), fronts_{std::make_unique<Front>(*this, 0), std::make_unique<Front>(*this, 1)} {
    line_.attach(*this);
    line_.on_connect([this] { fronts_[active_]->come(); });
    line_.on_disconnect([this] { fronts_[active_]->go(); });
}

Mux::~Mux() = default;

Chardev& Mux::front(unsigned n) {
    DRAGOMAN_ASSERT(n < fronts);
    return *fronts_[n];
}

void Mux::on_room(const std::function<void()>& wake) {
    for (const auto& front : fronts_)
        front->on_room(wake);
}

void Mux::service() {
    for (const auto& front : fronts_)
        front->service();
}

// From a keyboard what is too much is lost, so that a command always gets through; from a program it waits.
bool Mux::can_receive() const {
    return fronts_[active_]->has_room() || (line_.is_terminal() && isatty(STDIN_FILENO));
}

void Mux::receive(u8 byte) {
    if (escaped_) {
        escaped_ = false;
        command(byte);
    } else if (byte == escape_) {
        escaped_ = true;
    } else {
        fronts_[active_]->type(byte);
    }
}

void Mux::receive_break() {
    fronts_[active_]->send_break();
}

void Mux::say(const std::string& text) {
    line_.write({reinterpret_cast<const u8*>(text.data()), text.size()});
}

void Mux::command(u8 byte) {
    if (byte == escape_) return fronts_[active_]->type(byte);
    const std::string key = std::string("Ctrl-") + char('@' + escape_);
    std::string help = "\r\n";
    for (const char* line :
         {"h  this help", "x  quit", "c  switch between serial port and monitor", "b  send a break"})
        help += key + " " + line + "\r\n";
    help += key + " " + key + "  send " + key + "\r\n";
    switch (byte) {
    case 'h':
    case '?': say(help); break;
    case 'x':
        say("\r\n");
        quit_();
        break;
    case 'c': switch_to(1 - active_); break;
    case 'b': fronts_[active_]->send_break(); break;
    default: break;
    }
}

void Mux::switch_to(unsigned n) {
    active_ = n;
    if (n == 1) fronts_[1]->type('\r'); // the monitor answers with its prompt
}

} // namespace dragoman::runtime
