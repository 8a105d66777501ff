#include "runtime/net_user.h"

#include "runtime/text.h"

#include <arpa/inet.h>
#include <cerrno>
#include <cstring>
#include <sys/epoll.h>
#include <unistd.h>

namespace dragoman::runtime {

namespace {

in_addr address_of(u32 host_order) {
    return {.s_addr = htonl(host_order)};
}

const char* or_null(const std::string& text) {
    return text.empty() ? nullptr : text.c_str();
}

constexpr struct {
    int slirp;
    short poll;
} kEvents[] = {{SLIRP_POLL_IN, POLLIN},
               {SLIRP_POLL_OUT, POLLOUT},
               {SLIRP_POLL_PRI, POLLPRI},
               {SLIRP_POLL_ERR, POLLERR},
               {SLIRP_POLL_HUP, POLLHUP}};

} // namespace

// Called inside libslirp's functions. Frames for the guest only go into the queue.
struct NetUser::Callbacks {
    struct SlirpTimer {
        hw::Timer timer;
        SlirpTimer(NetUser& self, SlirpTimerId id, void* opaque)
            : timer(self.scheduler_, [&self, id, opaque] {
                  slirp_handle_timer(self.slirp_, id, opaque);
                  self.due_ = true;
                  self.wake();
              }) {}
    };
    static NetUser& self(void* opaque) { return *static_cast<NetUser*>(opaque); }

    static ssize_t send_packet(const void* bytes, size_t count, void* opaque) {
        self(opaque).input({static_cast<const u8*>(bytes), count});
        return ssize_t(count);
    }
    static void guest_error(const char* text, void* opaque) {
        self(opaque).log_.print(LogItem::GuestError, "network '%s': %s\n", self(opaque).id().c_str(), text);
    }
    static int64_t clock(void* opaque) { return int64_t(self(opaque).scheduler_.now()); }
    static void* timer_new(SlirpTimerId id, void* what, void* opaque) {
        return new SlirpTimer(self(opaque), id, what);
    }
    static void timer_free(void* timer, void*) { delete static_cast<SlirpTimer*>(timer); }
    static void timer_mod(void* timer, int64_t ms, void*) {
        static_cast<SlirpTimer*>(timer)->timer.arm(u64(std::max<int64_t>(ms, 0)) * 1'000'000);
    }
    static void register_fd(int, void*) {} // it is asked for in watch_sockets() or not at all
    static void unregister_fd(int fd, void* opaque) {
        NetUser& net = self(opaque);
        if (net.watched_.erase(fd)) epoll_ctl(net.epoll_, EPOLL_CTL_DEL, fd, nullptr);
    }
    static void notify(void* opaque) {
        self(opaque).due_ = true;
        self(opaque).wake();
    }
    static int add_poll(int fd, int events, void* opaque) { return self(opaque).add_poll(fd, events); }
    static int get_revents(int index, void* opaque) {
        const short happened = self(opaque).polled_[std::size_t(index)].revents;
        int events = 0;
        for (const auto& [slirp, poll] : kEvents)
            if (happened & poll) events |= slirp;
        return events;
    }
    static constexpr SlirpCb table = {.send_packet = send_packet,
                                      .guest_error = guest_error,
                                      .clock_get_ns = clock,
                                      .timer_new = nullptr,
                                      .timer_free = timer_free,
                                      .timer_mod = timer_mod,
                                      .register_poll_fd = register_fd,
                                      .unregister_poll_fd = unregister_fd,
                                      .notify = notify,
                                      .init_completed = nullptr,
                                      .timer_new_opaque = timer_new};
};

NetUser::NetUser(const std::string& id, const UserNetwork& option, Waker& waker, hw::Scheduler& scheduler,
                 Log& log, std::function<void()> wake)
    : NetPort(id, std::move(wake)), option_(option), waker_(waker), scheduler_(scheduler), log_(log),
      timer_(scheduler,
             [this] {
                 due_ = true;
                 this->wake();
             }),
      epoll_(epoll_create1(EPOLL_CLOEXEC)) {}

Result<std::unique_ptr<NetUser>> NetUser::open(const std::string& id, const UserNetwork& option, Waker& waker,
                                               hw::Scheduler& scheduler, Log& log,
                                               std::function<void()> wake) {
    std::unique_ptr<NetUser> net(new NetUser(id, option, waker, scheduler, log, std::move(wake)));
    if (net->epoll_ < 0) return Error{std::strerror(errno)};
    if (!net->start()) return Error{"libslirp does not take these values"};
    for (const HostForward& forward : option.forwards)
        if (auto s = net->add_forward(forward); !s) return s.error();
    return net;
}

bool NetUser::start() {
    const auto pick = [&](std::optional<u32> chosen, u32 number) {
        return address_of(chosen.value_or(option_.network | (number & ~option_.mask)));
    };
    std::vector<const char*> search;
    for (const std::string& name : option_.dns_search)
        search.push_back(name.c_str());
    search.push_back(nullptr);

    SlirpConfig config{};
    config.version = 4;
    config.restricted = option_.restricted;
    config.in_enabled = option_.ipv4;
    config.vnetwork = address_of(option_.network);
    config.vnetmask = address_of(option_.mask);
    config.vhost = pick(option_.host, 2);
    config.vdhcp_start = pick(option_.dhcp_start, 15);
    config.vnameserver = pick(option_.name_server, 3);
    config.in6_enabled = option_.ipv6;
    inet_pton(AF_INET6, "fec0::", &config.vprefix_addr6);
    config.vprefix_len = 64;
    inet_pton(AF_INET6, "fec0::2", &config.vhost6);
    inet_pton(AF_INET6, "fec0::3", &config.vnameserver6);
    config.vhostname = or_null(option_.hostname);
    config.tftp_server_name = or_null(option_.tftp_server);
    config.tftp_path = or_null(option_.tftp);
    config.bootfile = or_null(option_.boot_file);
    config.vdnssearch = option_.dns_search.empty() ? nullptr : search.data();
    config.vdomainname = or_null(option_.domain);
    slirp_ = slirp_new(&config, &Callbacks::table, this);
    if (!slirp_) return false;
    waker_.watch(epoll_, [this] { poll_sockets(); });
    return true;
}

NetUser::~NetUser() {
    if (slirp_) {
        waker_.unwatch(epoll_);
        slirp_cleanup(slirp_);
    }
    if (epoll_ >= 0) close(epoll_);
}

std::string NetUser::describe() const {
    const auto text = [](u32 a) {
        return format("%u.%u.%u.%u", a >> 24, a >> 16 & 255, a >> 8 & 255, a & 255);
    };
    std::string lines = "user network " + text(option_.network) + ", mask " + text(option_.mask) +
                        (option_.restricted ? ", restricted\n" : "\n");
    if (char* connections = slirp_connection_info(slirp_)) {
        lines += connections;
        std::free(connections); // GLib's allocator is the C library's since GLib 2.46
    }
    return lines;
}

Status NetUser::add_forward(const HostForward& f) {
    if (slirp_add_hostfwd(slirp_, f.udp, address_of(f.host_address), f.host_port, address_of(f.guest_address),
                          f.guest_port) != 0)
        return Error{"hostfwd=" + text_of(f) + ": " + std::strerror(errno)};
    due_ = true;
    wake();
    return Ok{};
}

Status NetUser::remove_forward(const HostForward& f) {
    if (slirp_remove_hostfwd(slirp_, f.udp, address_of(f.host_address), f.host_port) != 0)
        return Error{"no such forward (info network lists them)"};
    due_ = true;
    return Ok{};
}

void NetUser::transmit(std::span<const u8> frame) {
    slirp_input(slirp_, frame.data(), int(frame.size()));
    due_ = true;
    wake();
}

void NetUser::service(bool deliver) {
    if (due_) poll_sockets();
    NetPort::service(deliver);
}

void NetUser::poll_sockets() {
    due_ = false;
    const int n = poll(polled_.data(), polled_.size(), 0);
    slirp_pollfds_poll(slirp_, n < 0, Callbacks::get_revents, this);
    watch_sockets();
}

int NetUser::add_poll(int fd, int events) {
    short wanted = 0;
    for (const auto& [slirp, poll] : kEvents)
        if (events & slirp) wanted = short(wanted | poll);
    polled_.push_back({.fd = fd, .events = wanted, .revents = 0});
    return int(polled_.size() - 1);
}

void NetUser::watch_sockets() {
    polled_.clear();
    u32 ms = ~0u;
    slirp_pollfds_fill(slirp_, &ms, Callbacks::add_poll, this);
    if (ms == ~0u)
        timer_.cancel();
    else
        timer_.arm(scheduler_.now() + u64{ms} * 1'000'000);

    std::map<int, u32> wanted;
    for (const pollfd& p : polled_)
        wanted[p.fd] |= u32(u16(p.events)); // EPOLLIN and its companions are POLLIN and its
    for (const auto& [fd, events] : watched_)
        if (!wanted.count(fd)) epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr);
    for (const auto& [fd, events] : wanted) {
        const auto before = watched_.find(fd);
        if (before != watched_.end() && before->second == events) continue;
        epoll_event event{.events = events, .data = {.fd = fd}};
        if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0 && errno == EEXIST)
            epoll_ctl(epoll_, EPOLL_CTL_MOD, fd, &event);
    }
    watched_ = std::move(wanted);
}

} // namespace dragoman::runtime
