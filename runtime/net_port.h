// The host's end of a network card's cable. Everything happens on the vCPU's thread: the card sends inside
// guest accesses, and receives between guest instructions.
#pragma once

#include "hw/core/net.h"
#include "runtime/net_capture.h"

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace dragoman::runtime {

class NetPort : public hw::NetBackend {
  public:
    // `wake` asks for a service() soon; called inside guest accesses.
    NetPort(std::string id, std::function<void()> wake) : id_(std::move(id)), wake_(std::move(wake)) {}

    const std::string& id() const { return id_; }
    void attach(hw::NetReceiver& receiver) override { card_ = &receiver; }
    void detach(); // the card goes away; what waits for it is dropped
    void send(std::span<const u8> frame) final;
    void room() override {
        if (!incoming_.empty() || paused_) wake_();
    }
    bool link() const override { return plugged_ && connected_; }

    // Moves what is under way on the host's side; with `deliver`, frames go to the card as far as it takes
    // them.
    virtual void service(bool deliver);
    virtual std::string describe() const = 0; // one or more lines, each ended by '\n'

    void plug(bool in); // the user pulls the cable, or puts it back
    void add_capture(std::unique_ptr<NetCapture> capture) { captures_.push_back(std::move(capture)); }

  protected:
    virtual void transmit(std::span<const u8> frame) = 0; // must not block
    virtual void resume() {}                              // there is room again after full()
    // A frame from the network. What the card does not take for long is dropped.
    void input(std::span<const u8> frame);
    // So much waits for the card that no more should be read. Says resume() when that is over.
    bool full();
    void set_connected(bool connected); // is there another end?
    void wake() { wake_(); }

  private:
    static constexpr std::size_t kMaxWaiting = 1 * MiB;

    void tell_link(bool before);
    void capture(std::span<const u8> frame);

    std::string id_;
    std::function<void()> wake_;
    hw::NetReceiver* card_ = nullptr;
    std::deque<std::vector<u8>> incoming_;
    std::size_t waiting_ = 0; // bytes of them
    bool paused_ = false;
    bool plugged_ = true, connected_ = true;
    std::vector<std::unique_ptr<NetCapture>> captures_;
};

} // namespace dragoman::runtime
