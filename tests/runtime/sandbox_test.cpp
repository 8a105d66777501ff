// The sandbox, from the inside: in a child process, because there is no way back.
#include "runtime/sandbox.h"

#include "base/types.h"
#include "block/ring.h"
#include "child.h"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>

namespace dragoman::runtime {
namespace {

// Each: what is tried; true if it worked.
struct Attempt {
    const char* what;
    bool (*works)();
    bool wanted, with_network;
};

bool connects() {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd >= 0) close(fd);
    return fd >= 0;
}

const Attempt attempts[] = {
    {"open", [] { return open("/dev/null", O_RDONLY) >= 0; }, false, false},
    {"creat", [] { return syscall(SYS_creat, "/tmp/dragoman-sandbox-test", 0600) >= 0; }, false, false},
    {"the resolver's address",
     [] {
         const int fd = open("/etc/resolv.conf", O_RDONLY);
         return fd >= 0 || errno == ENOENT;
     },
     false, true},
    {"openat2", [] { return syscall(SYS_openat2, AT_FDCWD, ".", nullptr, 0) < 0 && errno != EPERM; }, false,
     false},
    {"unlink", [] { return unlink("/nosuch") < 0 && errno != EPERM; }, false, false},
    {"rename", [] { return rename("/nosuch", "/nosuch2") < 0 && errno != EPERM; }, false, false},
    {"execve", [] { return execl("/bin/true", "true", nullptr) < 0 && errno != EPERM; }, false, false},
    {"fork", [] { return fork() >= 0; }, false, false},
    {"a socket", connects, false, true},
    {"kill", [] { return kill(getppid(), 0) == 0; }, false, false},
    {"ptrace", [] { return syscall(SYS_ptrace, 0, 0, 0, 0) < 0 && errno != EPERM; }, false, false},
    {"io_uring", [] { return syscall(SYS_io_uring_setup, 1, nullptr) < 0 && errno != EPERM; }, false, false},
    {"typing into the terminal", [] { return ioctl(0, TIOCSTI, "x") < 0 && errno != EPERM; }, false, false},
    {"memory that runs",
     [] {
         return mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
                MAP_FAILED;
     },
     true, true},
    {"a thread",
     [] {
         int n = 0;
         std::thread([&] { n = 1; }).join();
         return n == 1;
     },
     true, true},
    {"a pipe",
     [] {
         int ends[2];
         char c = 'x';
         return pipe2(ends, 0) == 0 && write(ends[1], &c, 1) == 1 && read(ends[0], &c, 1) == 1;
     },
     true, true},
};

// A ring that was there before still reads.
bool reads(block::Ring& ring, int file) {
    u8 bytes[4] = {};
    i64 result = 0;
    if (!ring.read({file, 0}, bytes, sizeof bytes, [&](i64 r) { result = r; })) return false;
    ring.drain();
    ring.deliver();
    return result == sizeof bytes && bytes[1] == 'E';
}

// The numbers of the attempts that went otherwise than wanted, as an exit status: 0 for none.
int try_all(bool network) {
    // The thread was there before: it is confined as well.
    int thread_works = -1;
    std::atomic<int> stage{0};
    std::thread other([&] {
        while (stage != 1)
            std::this_thread::yield();
        thread_works = open("/dev/null", O_RDONLY) >= 0;
    });
    const auto ring = block::Ring::open(); // may be null
    const int file = open("/proc/self/exe", O_RDONLY);
    if (!enter_sandbox({.connections = network})) return 100;
    stage = 1;
    other.join();
    if (thread_works != 0) return 101;
    if (ring && !reads(*ring, file)) return 102;
    for (unsigned n = 0; n < std::size(attempts); ++n)
        if (attempts[n].works() != (network ? attempts[n].with_network : attempts[n].wanted))
            return int(n) + 1;
    return 0;
}

TEST(Sandbox, WhatIsLeft) {
    for (const bool network : {false, true}) {
        const int failed = in_child([&] { return try_all(network); });
        EXPECT_EQ(failed, 0) << (failed >= 100                                  ? "the filter"
                                 : failed && failed <= int(std::size(attempts)) ? attempts[failed - 1].what
                                                                                : "")
                             << (network ? ", with a network" : "");
    }
}

TEST(Sandbox, UsersThatDoNotExist) {
    for (const char* user : {"no such user", "1:", ":1", "x:y", "4294967295:0"}) {
        const Status changed = change_user(user);
        ASSERT_FALSE(changed) << user;
        EXPECT_NE(changed.error().message.find("expected"), std::string::npos) << changed.error().message;
    }
}

} // namespace
} // namespace dragoman::runtime
