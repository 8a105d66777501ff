// The log: one object made by the runtime and handed to whoever has something to say. Lines are grouped by the words
// of the option -d; "not emulated" lines are always shown, once for each distinct text.
#pragma once

#include "base/types.h"

#include <cstdarg>
#include <cstdio>
#include <string>
#include <unordered_set>

namespace dragoman {

enum class LogItem : u32 {
    InAsm = 1u << 0,  // the guest's instructions of each block translated
    Op = 1u << 1,     // its IR, as translated
    OpOpt = 1u << 2,  // its IR, after the passes
    OutAsm = 1u << 3, // its host code
    Int = 1u << 4,    // interrupts and exceptions
    Exec = 1u << 5,   // each block entered from the run loop
    Cpu = 1u << 6,    // registers before each such block
    Mmu = 1u << 7,    // page walks and TLB flushes
    Unimp = 1u << 8,  // what is not emulated
    GuestError = 1u << 9, // what the guest should not have done
};

class Log {
  public:
    explicit Log(std::FILE* out = stderr) : out_(out) {}

    void set_output(std::FILE* out) { out_ = out; } // borrowed
    std::FILE* output() const { return out_; }
    void enable(LogItem item) { items_ |= static_cast<u32>(item); }
    void set_items(u32 mask) { items_ = mask; }
    u32 items() const { return items_; }
    bool enabled(LogItem item) const { return items_ & static_cast<u32>(item); }

    [[gnu::format(printf, 3, 4)]] void print(LogItem item, const char* format, ...) {
        if (!enabled(item)) return;
        std::va_list args;
        va_start(args, format);
        std::vfprintf(out_, format, args);
        va_end(args);
    }

    // For what is missing or lost: shown whatever -d says, but each distinct text only once. No newline in `format`.
    [[gnu::format(printf, 2, 3)]] void once(const char* format, ...) {
        char line[512];
        std::va_list args;
        va_start(args, format);
        std::vsnprintf(line, sizeof line, format, args);
        va_end(args);
        if (said_.size() < 1000 && said_.insert(line).second) std::fprintf(out_, "dragoman: %s\n", line);
    }

  private:
    std::FILE* out_;
    u32 items_ = 0;
    std::unordered_set<std::string> said_;
};

} // namespace dragoman
