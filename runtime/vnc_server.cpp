#include "runtime/vnc_server.h"

#include <algorithm>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

namespace dragoman::runtime {

namespace {

constexpr u64 kRefresh = 33'000'000; // ns between two pictures

} // namespace

Result<std::unique_ptr<VncServer>> VncServer::open(const VncOption& option, VncScreen screen,
                                                   hw::DisplaySource& source, Waker& waker,
                                                   hw::Scheduler& scheduler) {
    VncOption at = option;
    auto fd = at.tcp ? listen_tcp(*at.tcp) : listen_unix(at.path);
    while (!fd && at.tcp && std::stoul(at.tcp->port) < at.last_port) {
        at.tcp->port = std::to_string(std::stoul(at.tcp->port) + 1);
        if (at.web_port && at.web_follows) ++*at.web_port;
        fd = listen_tcp(*at.tcp);
    }
    if (!fd) return fd.error();
    std::unique_ptr<VncServer> server(new VncServer(at, std::move(screen), source, waker, scheduler));
    server->listen(*fd, false);
    if (at.web_port) {
        auto web = listen_tcp({at.tcp->host, std::to_string(*at.web_port)});
        if (!web) return Error{"websocket=: " + web.error().message};
        server->listen(*web, true);
    }
    return server;
}

VncServer::VncServer(const VncOption& option, VncScreen screen, hw::DisplaySource& source, Waker& waker,
                     hw::Scheduler& scheduler)
    : screen_(std::move(screen)), source_(source), waker_(waker), scheduler_(scheduler),
      timer_(scheduler, [this] { refresh(); }), option_(option) {
    screen_.picture = &picture_;
    screen_.wanted = [this] {
        if (!timer_.armed()) timer_.arm(scheduler_.now());
    };
    source_.render(picture_);
}

void VncServer::listen(int fd, bool web) {
    (web ? web_listener_ : listener_) = fd;
    fcntl(fd, F_SETFL, O_NONBLOCK);
    waker_.watch(fd, [this, fd, web] { take_client(fd, web); });
}

VncServer::~VncServer() {
    clients_.clear();
    if (web_listener_ >= 0) {
        waker_.unwatch(web_listener_);
        close(web_listener_);
    }
    if (listener_ < 0) return;
    waker_.unwatch(listener_);
    close(listener_);
    if (!option_.tcp) unlink(option_.path.c_str());
}

std::size_t VncServer::viewers() const {
    return std::size_t(
        std::count_if(clients_.begin(), clients_.end(), [](const auto& client) { return !client->gone(); }));
}

std::string VncServer::describe() const {
    const std::string at = option_.tcp ? option_.tcp->host + ":" + option_.tcp->port : option_.path;
    const std::size_t count = viewers();
    return "VNC at " + at + (screen_.guarded ? ", with a password: " : ": ") + std::to_string(count) +
           (count == 1 ? " viewer\n" : " viewers\n");
}

Status VncServer::set_password(const std::string& password) {
    if (!screen_.guarded)
        return Error{"everybody may look: expected password=on or password-secret= at -vnc"};
    screen_.password = password;
    screen_.expires.reset();
    return Ok{};
}

Status VncServer::expire_password(i64 second) {
    if (!screen_.guarded)
        return Error{"there is no password: expected password=on or password-secret= at -vnc"};
    screen_.expires = second;
    return Ok{};
}

void VncServer::take_client(int listener, bool web) {
    const int fd = accept_client(listener);
    if (fd < 0) return;
    std::erase_if(clients_, [](const auto& client) { return client->gone(); });
    if (clients_.size() == most_clients) {
        close(fd);
        return;
    }
    render();
    clients_.push_back(std::make_unique<VncClient>(fd, screen_, waker_, web));
}

void VncServer::refresh() {
    std::erase_if(clients_, [](const auto& client) { return client->gone(); });
    if (source_.take_changed()) render();
    for (const auto& client : clients_)
        client->update();
    if (std::any_of(clients_.begin(), clients_.end(), [](const auto& c) { return c->waits(); }))
        timer_.arm(scheduler_.now() + kRefresh);
}

void VncServer::render() {
    source_.render(next_);
    std::swap(picture_, next_); // next_ is the one before now
    if (picture_.width != next_.width || picture_.height != next_.height) {
        for (const auto& client : clients_)
            client->resized();
        return;
    }
    constexpr u32 tile = VncClient::tile;
    for (u32 y = 0; y < picture_.height; ++y)
        for (u32 x = 0; x < picture_.width; x += tile) {
            const std::size_t bytes = std::min(tile, picture_.width - x) * sizeof(u32);
            if (std::memcmp(picture_.line(y) + x, next_.line(y) + x, bytes) == 0) continue;
            for (const auto& client : clients_)
                client->changed(x / tile, y / tile);
        }
}

} // namespace dragoman::runtime
