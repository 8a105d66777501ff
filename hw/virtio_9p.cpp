#include "hw/virtio_9p.h"

#include <algorithm>

namespace dragoman::hw {

namespace {

constexpr VirtioDevice::Identity kIdentity{"virtio-9p-pci", 9, 0x1009, 0x018000};
constexpr u16 kSizes[] = {128};
constexpr unsigned kMountTag = 0; // feature

} // namespace

Virtio9p::Virtio9p(NinePServer& server, const std::string& tag, Log& log)
    : VirtioDevice(kIdentity, u64{1} << kMountTag, kSizes, log), server_(server) {
    config_.resize(2 + tag.size());
    config_[0] = u8(tag.size());
    config_[1] = u8(tag.size() >> 8);
    std::copy(tag.begin(), tag.end(), config_.begin() + 2);
}

void Virtio9p::queue_notified(unsigned) {
    VirtQueue& queue = queues()[0];
    std::vector<u8> request;
    for (unsigned left = queue.size(); left; --left) {
        const auto chain = queue.pop();
        if (!chain) break;
        const u64 bytes = chain->out.bytes();
        if (bytes > NinePServer::max_message) return fail("a 9P message longer than any can be");
        request.resize(bytes);
        if (!chain->out.read(*memory(), 0, request.data(), bytes)) return fail("a 9P message outside memory");
        const std::size_t room = std::min<u64>(chain->in.bytes(), NinePServer::max_message);
        const std::vector<u8> answer = server_.answer(request, room);
        if (answer.size() > room || !chain->in.write(*memory(), 0, answer.data(), answer.size()))
            return fail("no room for a 9P answer");
        queue.push(*chain, u32(answer.size()));
    }
    if (memory()) interrupt(queue);
}

} // namespace dragoman::hw
