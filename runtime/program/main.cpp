#include "runtime/emulator.h"
#include "runtime/options.h"
#include "runtime/replaced_file.h"
#include "runtime/sandbox.h"

#include "frontend/x86/cpuid.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

using namespace dragoman;
using namespace dragoman::runtime;

namespace {

// -daemonize: the first process waits until the second one has opened everything, and ends with its verdict.
class Daemon {
  public:
    Status start() {
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC) != 0) return Error{std::string("-daemonize: ") + std::strerror(errno)};
        const pid_t child = ::fork();
        if (child < 0) return Error{std::string("-daemonize: ") + std::strerror(errno)};
        if (child != 0) {
            ::close(ends[1]);
            char verdict = 1;
            (void)!::read(ends[0], &verdict, 1); // the end of the pipe without a word: it has complained
            ::_exit(verdict);
        }
        ::setsid();
        pipe_ = ends[1];
        return Ok{};
    }
    void ready() {
        if (pipe_ < 0) return;
        const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
        for (int fd = 0; null >= 0 && fd < 3; ++fd)
            ::dup2(null, fd);
        const char good = 0;
        (void)!::write(pipe_, &good, 1);
        ::close(pipe_);
    }

  private:
    int pipe_ = -1;
};

Status write_pid(const std::string& file) {
    std::FILE* out = std::fopen(file.c_str(), "w");
    if (!out || std::fprintf(out, "%ld\n", long(::getpid())) < 0 || std::fclose(out) != 0)
        return Error{"-pidfile " + file + ": " + std::strerror(errno)};
    return Ok{};
}

// Connections and files of a guest may be many.
void raise_file_limit() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= 16384) return;
    limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, 16384);
    (void)::setrlimit(RLIMIT_NOFILE, &limit);
}

SandboxNeeds sandbox_needs(const Options& options) {
    SandboxNeeds needs;
    for (const NetworkOption& network : options.networks)
        if (const auto* user = std::get_if<UserNetwork>(&network.what)) {
            needs.connections = true;
            if (!user->tftp.empty()) needs.tftp_folders.push_back(user->tftp);
        }
    needs.folders = !options.folders.empty() ||
                    std::any_of(options.drives.begin(), options.drives.end(), [](const DriveOption& d) {
                        return d.file.rfind("fat:", 0) == 0 && !d.read_only;
                    });
    needs.window = options.display == Options::Display::Sdl;
    return needs;
}

// With a sandbox the file of -tb-cache is made before it shuts. Without one what comes from a sandbox is not
// run.
Result<std::unique_ptr<ReplacedFile>> open_translations(const Options& options) {
    const std::string& path = options.vcpu.tb_cache;
    if (!path.empty() && options.sandbox) {
        auto file = ReplacedFile::open_for_sandbox(path);
        if (!file) return Error{"-tb-cache " + path + ": " + file.error().message};
        return file;
    }
    if (!path.empty() && ReplacedFile::from_sandbox(path)) {
        std::fprintf(
            stderr,
            "dragoman: -tb-cache %s: was written with -sandbox on, and is used with it only; it goes\n",
            path.c_str());
        if (::unlink(path.c_str()) != 0) return Error{"-tb-cache " + path + ": " + std::strerror(errno)};
    }
    return std::unique_ptr<ReplacedFile>();
}

} // namespace

int main(int argc, char** argv) {
    const auto complain = [](const Error& error) {
        std::fprintf(stderr, "dragoman: %s\n", error.message.c_str());
        return 1;
    };
    raise_file_limit();
    std::signal(SIGPIPE, SIG_IGN); // a reader of our output that goes away is no reason to end
    auto options = parse_options(argc, argv);
    if (!options) return complain(options.error());
    if (!options->help.empty()) {
        std::fputs(options->help.c_str(), stdout);
        return 0;
    }
    switch (options->action) {
    case Options::Action::Help: std::fputs(help_text().c_str(), stdout); return 0;
    case Options::Action::Version: std::puts("Dragoman emulator version " DRAGOMAN_VERSION); return 0;
    case Options::Action::DeviceHelp: std::fputs(device_help_text().c_str(), stdout); return 0;
    case Options::Action::CpuHelp: std::fputs(x86::cpu_help_text().c_str(), stdout); return 0;
    case Options::Action::Run: break;
    }

    for (const std::string& line : options->warnings)
        std::fprintf(stderr, "dragoman: %s\n", line.c_str());
    Daemon daemon;
    if (options->daemonize)
        if (const auto started = daemon.start(); !started) return complain(started.error());
    if (!options->pid_file.empty())
        if (const auto written = write_pid(options->pid_file); !written) return complain(written.error());

    Log log;
    log.set_items(options->log_items);
    std::unique_ptr<std::FILE, int (*)(std::FILE*)> log_file(nullptr, std::fclose);
    if (!options->log_file.empty()) {
        log_file.reset(std::fopen(options->log_file.c_str(), "w"));
        if (!log_file) return complain({"-D " + options->log_file + ": " + std::strerror(errno)});
        log.set_output(log_file.get());
    }

    auto translations = open_translations(*options);
    if (!translations) return complain(translations.error());
    auto emulator = Emulator::create(*options, log);
    if (!emulator) return complain(emulator.error());
    (*emulator)->keep_translations_in(std::move(*translations));
    if (!options->run_as.empty())
        if (const auto changed = change_user(options->run_as); !changed) return complain(changed.error());
    daemon.ready();
    if (options->sandbox)
        if (const auto entered = enter_sandbox(sandbox_needs(*options)); !entered)
            return complain(entered.error());
    return (*emulator)->run();
}
