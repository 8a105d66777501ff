#include "runtime/sandbox.h"

#include "runtime/known_files.h"
#include "runtime/option_text.h"

#include <asm/termbits.h>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <grp.h>
#include <linux/fs.h>
#include <memory>
#include <pwd.h>
#include <sched.h>
#include <seccomp.h>
#include <span>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

namespace dragoman::runtime {

namespace {

// What works on descriptors that are open, on memory, on threads of one's own and on time. Everything that
// takes a name of something outside is missing here: files, programs, processes, addresses.
constexpr const char* always[] = {
    "read",
    "readv",
    "pread64",
    "preadv",
    "preadv2",
    "write",
    "writev",
    "pwrite64",
    "pwritev",
    "pwritev2",
    "close",
    "fstat",
    "newfstatat",
    "lseek",
    "fsync",
    "fdatasync",
    "sync_file_range",
    "fallocate",
    "ftruncate",
    "fadvise64",
    "io_uring_enter", // of a ring that is open, and can do nothing but read
    "fcntl",
    "flock",
    "dup",
    "dup2",
    "dup3",
    "pipe2",
    "eventfd2",
    "timerfd_create",
    "timerfd_settime",
    "timerfd_gettime",
    "poll",
    "ppoll",
    "select",
    "pselect6",
    "epoll_create1",
    "epoll_ctl",
    "epoll_wait",
    "epoll_pwait",
    "epoll_pwait2",
    "mmap",
    "munmap",
    "mprotect",
    "mremap",
    "madvise",
    "msync",
    "brk",
    "mlock",
    "munlock",
    "membarrier",
    "futex",
    "set_robust_list",
    "rseq",
    "sched_yield",
    "sched_getaffinity",
    "exit",
    "exit_group",
    "gettid",
    "getpid",
    "getppid",
    "tgkill",
    "getuid",
    "geteuid",
    "getgid",
    "getegid",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "rt_sigtimedwait",
    "rt_sigsuspend",
    "sigaltstack",
    "restart_syscall",
    "clock_gettime",
    "clock_getres",
    "clock_nanosleep",
    "nanosleep",
    "gettimeofday",
    "time",
    "times",
    "timer_create",
    "timer_settime",
    "timer_delete",
    "timer_gettime",
    "getitimer",
    "setitimer",
    "getrandom",
    "getrusage",
    "getrlimit",
    "uname",
    "sysinfo",
    "getcpu",
    "accept",
    "accept4",
    "recvfrom",
    "recvmsg",
    "recvmmsg",
    "sendmsg",
    "sendmmsg",
    "shutdown",
    "getsockopt",
    "setsockopt",
    "getsockname",
    "getpeername",
};
constexpr const char* for_connections[] = {"socket", "connect", "bind", "listen", "sendto"};
// Beneath a folder that is open: openat2 with RESOLVE_BENEATH is the only way in.
constexpr const char* for_folders[] = {
    "openat2",    "getdents64", "mkdirat",   "unlinkat",   "renameat2",    "linkat",    "symlinkat",
    "readlinkat", "mknodat",    "fchmod",    "fchown",     "fchownat",     "utimensat", "fstatfs",
    "statx",      "fgetxattr",  "fsetxattr", "flistxattr", "fremovexattr",
};
constexpr const char* for_window[] = {"ioctl",  "shmget",       "shmat", "shmdt",
                                      "shmctl", "memfd_create", "sendto"};

// Terminals, sockets, block devices. Not TIOCSTI, which types into somebody's terminal.
constexpr unsigned long ioctls[] = {TCGETS,  TCSETS,   TCSETSW,    TCSETSF,    TIOCGWINSZ,  FIONREAD,
                                    FIONBIO, TIOCGPTN, BLKDISCARD, BLKZEROOUT, BLKGETSIZE64};

class Filter {
  public:
    Filter() : context_(seccomp_init(SCMP_ACT_ERRNO(EPERM))) {}
    ~Filter() {
        if (context_) seccomp_release(context_);
    }
    Filter(const Filter&) = delete;
    Filter& operator=(const Filter&) = delete;

    void allow(std::span<const char* const> names) {
        for (const char* name : names)
            if (const int number = seccomp_syscall_resolve_name(name); number != __NR_SCMP_ERROR)
                check(seccomp_rule_add(context_, SCMP_ACT_ALLOW, number, 0));
    }
    void allow(const char* name, const scmp_arg_cmp& argument) {
        check(seccomp_rule_add_array(context_, SCMP_ACT_ALLOW, seccomp_syscall_resolve_name(name), 1,
                                     &argument));
    }
    // The call raises SIGSYS; its handler answers.
    void trap(const char* name) {
        check(seccomp_rule_add(context_, SCMP_ACT_TRAP, seccomp_syscall_resolve_name(name), 0));
    }
    void refuse(const char* name, int error) {
        check(seccomp_rule_add(context_, SCMP_ACT_ERRNO(std::uint32_t(error)),
                               seccomp_syscall_resolve_name(name), 0));
    }
    Status enter() {
        if (!context_) return Error{"-sandbox on: the filter cannot be made"};
        check(seccomp_attr_set(context_, SCMP_FLTATR_CTL_TSYNC, 1)); // every thread
        if (!error_) check(seccomp_load(context_));
        if (error_)
            return Error{"-sandbox on: the host's kernel refuses the filter: " +
                         std::string(std::strerror(error_))};
        return Ok{};
    }

  private:
    void check(int result) {
        if (result < 0 && !error_) error_ = -result;
    }
    scmp_filter_ctx context_;
    int error_ = 0;
};

// libslirp reads the address of the host's resolver when a guest asks for a name, and again whenever the file
// has changed.
constexpr const char* kResolver = "/etc/resolv.conf";

// What openat() finds. The first call says it; a signal's handler has no other way to it.
const KnownFiles& known_files(std::unique_ptr<const KnownFiles> files = nullptr) {
    static const std::unique_ptr<const KnownFiles> known = std::move(files);
    return *known;
}

void answer_open(int, siginfo_t*, void* context) {
    const int saved = errno;
    greg_t* registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
    const char* const path = reinterpret_cast<const char*>(registers[REG_RSI]);
    const bool known =
        registers[REG_RAX] == SYS_openat && path && (registers[REG_RDX] & O_ACCMODE) == O_RDONLY;
    const int found = known ? known_files().open(path) : -EPERM;
    registers[REG_RAX] = found == -ENOENT && std::strcmp(path, kResolver) != 0 ? -EPERM : found;
    errno = saved;
}

Status answer_opens(const SandboxNeeds& needs) {
    auto files = std::make_unique<KnownFiles>();
    files->add(kResolver);
    for (const std::string& folder : needs.tftp_folders)
        if (auto s = files->add_folder(folder); !s) return Error{"-sandbox on: tftp=" + s.error().message};
    (void)known_files(std::move(files));
    struct sigaction action {};
    action.sa_sigaction = answer_open;
    action.sa_flags = SA_SIGINFO;
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGSYS, &action, nullptr) == 0) return Ok{};
    return Error{"-sandbox on: " + std::string(std::strerror(errno))};
}

} // namespace

Status enter_sandbox(const SandboxNeeds& needs) {
    Filter filter;
    filter.allow(always);
    // Threads, but no processes. The newer call has its flags in memory, where no filter sees them: without
    // it the C library takes the older one.
    filter.allow("clone", SCMP_A0_64(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
    filter.refuse("clone3", ENOSYS);
    if (!needs.window)
        for (const unsigned long request : ioctls)
            filter.allow("ioctl", SCMP_A1_64(SCMP_CMP_MASKED_EQ, 0xffffffff, request));
    if (!needs.connections && !needs.window) // on a socket that is connected
        filter.allow("sendto", SCMP_A4_64(SCMP_CMP_EQ, 0));
    if (needs.connections) {
        filter.allow(for_connections);
        filter.trap("openat");
        if (auto s = answer_opens(needs); !s) return s;
    }
    if (needs.folders) filter.allow(for_folders);
    if (needs.window) filter.allow(for_window);
    return filter.enter();
}

Status change_user(const std::string& user) {
    const auto failed = [&](const char* what) {
        return Error{"-runas " + user + ": " + what + ": " + std::strerror(errno)};
    };
    uid_t uid = 0;
    gid_t gid = 0;
    const std::size_t colon = user.find(':');
    if (colon != std::string::npos) {
        const auto u = parse_number(user.substr(0, colon)), g = parse_number(user.substr(colon + 1));
        if (!u || !g || *u > 0xfffffffe || *g > 0xfffffffe)
            return Error{"-runas " + user + ": expected the name of a user, or UID:GID in numbers"};
        uid = uid_t(*u);
        gid = gid_t(*g);
        if (setgroups(1, &gid) != 0) return failed("cannot leave the groups");
    } else {
        const passwd* entry = getpwnam(user.c_str());
        if (!entry)
            return Error{"-runas " + user +
                         ": expected the name of a user, or UID:GID; there is no such user"};
        uid = entry->pw_uid;
        gid = entry->pw_gid;
        if (initgroups(user.c_str(), gid) != 0) return failed("cannot change the groups");
    }
    if (setgid(gid) != 0) return failed("cannot change the group");
    if (setuid(uid) != 0) return failed("cannot change the user");
    if (uid != 0 && setuid(0) == 0) return Error{"-runas " + user + ": the rights of root did not go away"};
    return Ok{};
}

} // namespace dragoman::runtime
