// A character device whose output goes to a file as well (-chardev ...,logfile=).
#pragma once

#include "runtime/chardev.h"

namespace dragoman::runtime {

class Logged final : public Chardev, private hw::CharReceiver {
  public:
    Logged(Chardev& line, Chardev& log) : line_(line), log_(log) { // borrowed
        line_.attach(*this);
        line_.on_connect([this] { announce(); });
        line_.on_disconnect([this] { announce_end(); });
    }

    void write(std::span<const u8> bytes) override {
        log_.write(bytes);
        line_.write(bytes);
    }
    void room() override { line_.room(); }
    bool attended() const override { return line_.attended(); }
    bool is_terminal() const override { return line_.is_terminal(); }

  private:
    bool can_receive() const override { return receiver_ && receiver_->can_receive(); }
    void receive(u8 byte) override { receiver_->receive(byte); }
    std::size_t receive_some(std::span<const u8> bytes) override { return receiver_->receive_some(bytes); }
    void receive_break() override {
        if (receiver_) receiver_->receive_break();
    }

    Chardev& line_;
    Chardev& log_;
};

} // namespace dragoman::runtime
