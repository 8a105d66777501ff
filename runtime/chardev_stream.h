// Character devices over non-blocking descriptors: input and output are bounded, and another end that does
// not read or goes away never holds the emulator up.
#pragma once

#include "runtime/chardev.h"

namespace dragoman::runtime {

class Stream : public Chardev {
  public:
    static constexpr std::size_t kMaxOutput = 64 * KiB; // what waits for the other end; more is lost

    // `name` stands in the log when output is lost.
    Stream(std::string name, Waker& waker, Log& log) : waker_(waker), name_(std::move(name)), log_(log) {}
    ~Stream() override { close_stream(); }

    void write(std::span<const u8> bytes) override;
    void service() override;
    bool attended() const override { return out_ >= 0; }

  protected:
    // Takes over the descriptors, which may be the same; makes them non-blocking.
    void open_stream(int in, int out);
    void close_stream();
    // The other end has closed the connection; the stream is closed already.
    virtual void gone() {}
    // Takes a protocol's own bytes out of the input; returns how many are left.
    virtual std::size_t filter_input(u8* /*bytes*/, std::size_t count) { return count; }
    virtual std::string filter_output(std::span<const u8> bytes) { return {bytes.begin(), bytes.end()}; }
    void send(const std::string& bytes); // unfiltered

    Waker& waker_;

  private:
    void ready();
    void receive_input();
    void flush();
    void update_interest();

    std::string name_;
    Log& log_;
    int in_ = -1, out_ = -1;
    bool paused_ = false; // the receiver is full: input stays in the host
    std::string output_;
};

} // namespace dragoman::runtime
