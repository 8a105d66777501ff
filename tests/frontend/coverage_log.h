// What a test run has executed, for scripts/coverage. Records only if the environment names a folder.
#pragma once

#include "base/types.h"

#include <memory>
#include <set>
#include <span>
#include <string>

namespace dragoman::test {

// Appends to $DRAGOMAN_COVERAGE/NAME, when it goes away, one line for each kind of execution seen:
// mode, CPL, bytes of one instruction, vector (3: it ended without exception), where it comes from.
class CoverageLog {
  public:
    static constexpr unsigned kDone = 3;

    // Null if nobody asked for it.
    static std::unique_ptr<CoverageLog> open(const char* name);
    ~CoverageLog();

    // `mode` is a name of tests/baremetal/manual.py; bits: width of the code. One example is kept of each
    // mnemonic with its kinds and sizes of operands.
    void add(const char* mode, unsigned bits, unsigned cpl, std::span<const u8> code, unsigned vector);

  private:
    explicit CoverageLog(std::string path, std::string name)
        : path_(std::move(path)), name_(std::move(name)) {}

    std::string path_, name_, lines_;
    std::set<std::string> seen_;
};

// A decoded instruction's Form::name(); empty if it is none. `length` gets its bytes.
std::string instruction_form(unsigned bits, std::span<const u8> code, unsigned& length);

} // namespace dragoman::test
