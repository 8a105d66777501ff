#include "runtime/emulator.h"
#include "runtime/options.h"

#include "frontend/x86/cpuid.h"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

using namespace dragoman;
using namespace dragoman::runtime;

int main(int argc, char** argv) {
    const auto complain = [](const Error& error) {
        std::fprintf(stderr, "dragoman: %s\n", error.message.c_str());
        return 1;
    };
    std::signal(SIGPIPE, SIG_IGN); // a reader of our output that goes away is no reason to end
    auto options = parse_options(argc, argv);
    if (!options) return complain(options.error());
    switch (options->action) {
    case Options::Action::Help: std::fputs(help_text().c_str(), stdout); return 0;
    case Options::Action::Version: std::puts("Dragoman emulator version " DRAGOMAN_VERSION); return 0;
    case Options::Action::DeviceHelp: std::fputs(device_help_text().c_str(), stdout); return 0;
    case Options::Action::CpuHelp: std::fputs(x86::cpu_help_text().c_str(), stdout); return 0;
    case Options::Action::Run: break;
    }

    Log log;
    log.set_items(options->log_items);
    std::unique_ptr<std::FILE, int (*)(std::FILE*)> log_file(nullptr, std::fclose);
    if (!options->log_file.empty()) {
        log_file.reset(std::fopen(options->log_file.c_str(), "w"));
        if (!log_file) return complain({"-D " + options->log_file + ": " + std::strerror(errno)});
        log.set_output(log_file.get());
    }

    auto emulator = Emulator::create(*options, log);
    if (!emulator) return complain(emulator.error());
    return (*emulator)->run();
}
