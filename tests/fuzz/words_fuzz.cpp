// libFuzzer: what users and programs write to us, and what a guest writes to a shared folder: the command
// line, files of options, JSON of QMP, lines for the monitor, messages of 9P.
//
// The first byte chooses; the rest is the text. A command line's words end with zeros.
#include "../runtime/tiny_guest.h"
#include "fuzz_input.h"
#include "runtime/monitor.h"
#include "runtime/ninep.h"
#include "runtime/option_table.h"
#include "runtime/qmp.h"
#include "runtime/qmp_commands.h"

#include <fstream>

namespace dragoman::test {
namespace {

using namespace runtime;

// What acts on the host's files, or waits for somebody.
bool harms(const std::string& text) {
    for (const char* word : {"screendump", "memsave", "change", "readconfig", "hostfwd", "quit"})
        if (text.find(word) != std::string::npos) return true;
    return false;
}

void command_line(const std::string& text) {
    std::vector<std::string> words(1);
    for (const char c : text)
        if (c)
            words.back() += c;
        else
            words.emplace_back();
    std::vector<const char*> arguments = {"dragoman"};
    for (const std::string& word : words)
        arguments.push_back(word.c_str());
    (void)parse_options(int(arguments.size()), arguments.data());
}

void option_file(const std::string& text) {
    static const std::string file = "/tmp/dragoman-words-" + std::to_string(getpid());
    std::ofstream(file) << text;
    (void)read_config(file);
    std::remove(file.c_str());
}

Emulator& machine() {
    static constexpr u8 halt[] = {0xfa, 0xf4, 0xeb, 0xfd};
    static TinyGuest guest = [] { return TinyGuest(halt); }();
    if (!guest.emulator) {
        guest.options.start_stopped = true;
        guest.create();
    }
    return *guest.emulator;
}

void qmp(const std::string& text) {
    JsonSplitter splitter;
    for (const char c : text) {
        const auto whole = splitter.take(u8(c));
        if (!whole) continue;
        const Json command = Json::parse(*whole, nullptr, false);
        if (!command.is_object() || !command.contains("execute") || !command["execute"].is_string()) continue;
        const Json arguments = command.value("arguments", Json::object());
        if (arguments.is_object()) (void)run_qmp_command(machine(), command["execute"], arguments);
    }
}

void monitor(const std::string& text) {
    std::size_t at = 0;
    while (at < text.size()) {
        const std::size_t end = std::min(text.find('\n', at), text.size());
        (void)run_monitor_command(machine(), text.substr(at, end - at));
        at = end + 1;
    }
}

void messages(const std::string& text) {
    static NineP server = [] {
        char name[] = "/tmp/dragoman-fuzz-XXXXXX";
        FolderOption option;
        option.path = mkdtemp(name);
        option.read_only = true;
        return NineP(std::move(*Folder::open(option)));
    }();
    server.reset();
    FuzzInput in({reinterpret_cast<const u8*>(text.data()), text.size()});
    while (!in.empty()) { // each: type, length, content
        const u8 type = in.byte();
        std::vector<u8> message(7 + in.byte() % 80);
        const u32 size = u32(message.size());
        std::memcpy(message.data(), &size, sizeof size);
        message[4] = type;
        for (std::size_t n = 7; n < message.size(); ++n)
            message[n] = in.byte();
        (void)server.answer(message, 4096);
    }
}

} // namespace
} // namespace dragoman::test

extern "C" int LLVMFuzzerTestOneInput(const dragoman::u8* data, std::size_t size) {
    using namespace dragoman::test;
    if (size == 0 || size > 65536) return 0;
    const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
    if (data[0] % 5 != 4 && harms(text)) return 0;
    static constexpr void (*kinds[])(const std::string&) = {command_line, option_file, qmp, monitor,
                                                            messages};
    kinds[data[0] % 5](text);
    return 0;
}
