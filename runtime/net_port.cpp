#include "runtime/net_port.h"

#include <utility>

namespace dragoman::runtime {

void NetPort::capture(std::span<const u8> frame) {
    for (const auto& capture : captures_)
        capture->write(frame);
}

void NetPort::send(std::span<const u8> frame) {
    if (!link() || frame.size() > hw::max_frame_bytes) return;
    capture(frame);
    transmit(frame);
}

void NetPort::input(std::span<const u8> frame) {
    if (!link() || !card_ || frame.size() > hw::max_frame_bytes || waiting_ + frame.size() > kMaxWaiting)
        return;
    incoming_.emplace_back(frame.begin(), frame.end());
    waiting_ += frame.size();
}

bool NetPort::full() {
    paused_ = waiting_ > kMaxWaiting / 2;
    return paused_;
}

void NetPort::detach() {
    card_ = nullptr;
    incoming_.clear();
    waiting_ = 0;
}

void NetPort::service(bool deliver) {
    while (deliver && !incoming_.empty() && card_->can_receive()) {
        const std::vector<u8> frame = std::move(incoming_.front());
        incoming_.pop_front();
        waiting_ -= frame.size();
        capture(frame);
        card_->receive(frame);
    }
    if (paused_ && !full()) resume();
}

void NetPort::plug(bool in) {
    const bool before = link();
    plugged_ = in;
    tell_link(before);
}

void NetPort::set_connected(bool connected) {
    const bool before = link();
    connected_ = connected;
    tell_link(before);
}

void NetPort::tell_link(bool before) {
    if (link() == before) return;
    incoming_.clear();
    waiting_ = 0;
    if (card_) card_->link_changed(link());
}

} // namespace dragoman::runtime
