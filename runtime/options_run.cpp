#include "runtime/option_table.h"

#include "base/log.h"

#include <algorithm>

namespace dragoman::runtime {

namespace {

std::string help_line(std::string_view word, std::string_view what, std::size_t width) {
    std::string line(word);
    line.resize(width, ' ');
    return line.append(what) + "\n";
}

struct LogWord {
    const char* word;
    LogItem item;
    const char* help;
};
constexpr LogWord log_words[] = {
    {"in_asm", LogItem::InAsm, "the guest's instructions of each block translated"},
    {"op", LogItem::Op, "its IR, as translated"},
    {"op_opt", LogItem::OpOpt, "its IR, after the passes"},
    {"out_asm", LogItem::OutAsm, "its host code"},
    {"int", LogItem::Int, "interrupts and exceptions"},
    {"cpu_reset", LogItem{}, "accepted: what ends in a reset by a triple fault is always told"},
    {"exec", LogItem::Exec, "each block entered from the run loop"},
    {"cpu", LogItem::Cpu, "registers before each such block"},
    {"mmu", LogItem::Mmu, "page faults and TLB flushes"},
    {"unimp", LogItem::Unimp, "what is not emulated"},
    {"guest_errors", LogItem::GuestError, "what the guest should not have done"},
    {"nochain", LogItem{}, "accepted"},
    {"pcall", LogItem{}, "accepted"},
    {"page", LogItem{}, "accepted"},
    {"fpu", LogItem{}, "accepted"},
    {"strace", LogItem{}, "accepted"},
    {"plugin", LogItem{}, "accepted"},
};

std::string log_word_list() {
    std::string list;
    for (const LogWord& w : log_words)
        list += (list.empty() ? "" : ",") + std::string(w.word);
    return list;
}

Complaint set_log(Options& o, const std::string& text) {
    if (text == "help" || text == "?") {
        for (const LogWord& w : log_words)
            o.help += help_line(w.word, w.help, 14);
        return {};
    }
    const auto items = parse_log_words(text);
    if (!items) return items.error().message;
    o.log_items |= items.value();
    return {};
}

// Of -passes: those that are neither passes over IR nor the emitter's.
constexpr struct {
    std::string_view name;
    bool VcpuOptions::*on;
    std::string_view what;
} kRunLoopSwitches[] = {
    {"side-exits", &VcpuOptions::side_exits, "blocks go on behind branches forward"},
    {"follow-calls", &VcpuOptions::follow_calls, "and in what they call"},
    {"edge-loops", &VcpuOptions::edge_loops, "a loop over the end of a page is one block"},
    {"reuse", &VcpuOptions::reuse, "code made once serves the same bytes elsewhere"},
    {"cold", &VcpuOptions::cold, "what is met first is interpreted"},
    {"compiler-thread", &VcpuOptions::compiler_thread, "a second thread compiles"},
    {"inline-time", &VcpuOptions::inline_time, "RDTSC reads the clock without C++"},
};

// Calls `each(name, what)` for all that -passes knows.
template <class Each> void for_each_pass(Each each) {
    for (const ir::Pass& pass : ir::passes())
        each(pass.name, pass.what);
    for (const backend::Switch& s : backend::kSwitches)
        each(s.name, s.what);
    for (const auto& s : kRunLoopSwitches)
        each(s.name, s.what);
}

Complaint set_passes(Options& o, const std::string& text) {
    if (text == "help" || text == "?") {
        for_each_pass(
            [&](std::string_view name, std::string_view what) { o.help += help_line(name, what, 22); });
        return {};
    }
    for (const auto& [key, value] : key_values(text)) {
        const auto on = parse_on_off(value);
        bool known = false;
        if (on && key == "all") {
            o.vcpu.passes = *on ? ir::PassSwitches{} : ir::PassSwitches::none();
            known = true;
        }
        for (const auto& s : kRunLoopSwitches)
            if (on && (key == "all" || key == s.name)) o.vcpu.*s.on = *on, known = true;
        for (const backend::Switch& s : backend::kSwitches)
            if (on && (key == "all" || key == s.name)) o.vcpu.backend.*s.on = *on, known = true;
        if (known || (on && o.vcpu.passes.set(key, *on))) continue;
        std::string names;
        for_each_pass([&](std::string_view name, std::string_view) { names += std::string(name) + " "; });
        return "NAME=on|off with a pass of " + names + "(-passes help tells of each), or all=on|off";
    }
    return {};
}

} // namespace

Result<u32> parse_log_words(const std::string& text) {
    u32 items = 0;
    for (const auto& [word, value] : key_values(text)) {
        if (word.rfind("trace:", 0) == 0) continue; // there are no such events
        const auto* w = std::ranges::find(log_words, word, &LogWord::word);
        if (w == std::end(log_words))
            return Error{"words of " + log_word_list() + "; '" + word + "' is none of them"};
        items |= u32(w->item);
    }
    return items;
}

std::span<const OptionRow> run_options() {
    static const std::vector<OptionRow> rows = {
        {"S", nullptr, "do not start: wait for cont in the monitor or a debugger",
         [](Options& o, const std::string&) -> Complaint {
             o.start_stopped = true;
             return {};
         }},
        {"s", nullptr, "the same as -gdb tcp::1234",
         [](Options& o, const std::string&) -> Complaint {
             o.gdb = "tcp::1234";
             return {};
         }},
        {"gdb", "DEV", "debugger connection: tcp:[HOST]:PORT, unix:PATH or none",
         [](Options& o, const std::string& v) -> Complaint {
             if (v != "none" && v.rfind("tcp:", 0) != 0 && v.rfind("unix:", 0) != 0)
                 return "tcp:[HOST]:PORT, unix:PATH or none";
             o.gdb = v == "none" ? "" : v;
             return {};
         }},
        {"d", "WORDS", "log: words of " + log_word_list(), set_log},
        {"D", "FILE", "where -d writes (standard error)",
         [](Options& o, const std::string& v) -> Complaint {
             o.log_file = v;
             return file_name(v);
         }},
        {"no-reboot", nullptr, "exit instead of rebooting",
         [](Options& o, const std::string&) -> Complaint {
             o.no_reboot = true;
             return {};
         }},
        {"no-shutdown", nullptr, "stop instead of exiting when the guest powers off",
         [](Options& o, const std::string&) -> Complaint {
             o.no_shutdown = true;
             return {};
         }},
        {"tb-size", "MIB", "size of the translation cache (256)",
         [](Options& o, const std::string& v) -> Complaint {
             const auto bytes = parse_size(v, MiB);
             if (!bytes || *bytes < 1 * MiB || *bytes > 2 * GiB - MiB) return "1 to 2047 MiB";
             o.vcpu.cache_bytes = *bytes;
             return {};
         }},
        {"tb-cache", "FILE", "keep translations in this file, for the next run of the same guest",
         [](Options& o, const std::string& v) -> Complaint {
             o.vcpu.tb_cache = v;
             return file_name(v);
         }},
        {"passes", "LIST", "turn optimisations on and off: NAME=on|off,... or all=off; help lists them",
         set_passes},
        {"verify", nullptr, "run interpreter and generated code in lockstep, stop at the first difference",
         [](Options& o, const std::string&) -> Complaint {
             o.vcpu.verify = true;
             return {};
         }},
        {"version", nullptr, "print the version",
         [](Options& o, const std::string&) -> Complaint {
             o.action = Options::Action::Version;
             return {};
         }},
        {"help", nullptr, "this text",
         [](Options& o, const std::string&) -> Complaint {
             o.action = Options::Action::Help;
             return {};
         }},
    };
    return rows;
}

} // namespace dragoman::runtime
