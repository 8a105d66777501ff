// A guest run by the interpreter and by generated code, in machines of their own, and what differs in the
// end.
#pragma once

#include "../runtime/vcpu_machine.h"

#include <string>

namespace dragoman::test {

// Ends the process if one input takes more than a minute of processor time: no wall clock, so that a busy
// host is not taken for a hang. (libFuzzer's own -timeout uses the signal that the emulator's timers need.)
class HangGuard {
  public:
    HangGuard();
    ~HangGuard();
};

// How a guest of the fuzzer is run; from the input.
struct PairOptions {
    Way generated;
    // Generated code is left at every poll, so that a guest that never ends can be compared too; else it runs
    // as it would for a user, but only guests that end by themselves.
    bool stepwise = true;
    unsigned turns = 200; // of the run loop
};

// `prepare` makes the guest in each of the machines, which are as new and have RAM of kPairRam bytes. Returns what differs,
// with both states; empty if nothing. Guests that executed something whose flags are undefined, and not the
// same for all forms of the instruction, may differ.
inline constexpr u64 kPairRam = 2 * MiB;
std::string run_pair(const PairOptions& options, const std::function<void(VcpuMachine&)>& prepare);

// The same under -verify: block by block, also where flags are undefined, but not what calls C++. What
// differs.
std::string run_lockstep(const PairOptions& options, const std::function<void(VcpuMachine&)>& prepare);

// Passes and forms of generated code: all on, all off, one off at a time.
Way way_of(unsigned number);

// Writes `what`, and ends the process as a fuzzer understands it; nothing if it is empty.
void expect_no_difference(const std::string& what);

} // namespace dragoman::test
