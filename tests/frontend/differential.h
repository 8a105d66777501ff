// One case of the comparison between the host's processor and the translated instruction, and the machine
// that runs it.
#pragma once

#include "native.h"

#include "base/zeros.h"
#include "frontend/x86/cpu.h"
#include "frontend/x86/cpuid.h"
#include "frontend/x86/guest_memory.h"
#include "frontend/x86/translator.h"
#include "ir/block.h"

#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace dragoman::test {

// Runs a block once, until it leaves: the interpreter, or a backend.
using Executor = std::function<void(x86::Cpu&, ir::Block&)>;

// A processor in 64-bit user mode (by default) with paging off, so that linear addresses are those of RAM.
class Machine {
  public:
    explicit Machine(Executor executor);

    x86::Cpu& cpu() { return cpu_; }
    u8* ram() { return map_->ram(); }
    void set_mode64();
    // 16- or 32-bit code at CPL 0: real mode with `bits` 16, flat protected mode with 32.
    void set_mode(unsigned bits);
    // 64-bit mode with paging on: linear addresses as before, but nothing is behind the data area of Native.
    void set_paged_mode64();
    // Writes `code` at cs:rip and runs it block by block until `instructions` have been begun, or it faults.
    // Returns the last exit.
    ir::Exit run(std::span<const u8> code, unsigned instructions = 1);
    // Translates the block at cs:rip.
    bool translate(ir::Block& block, unsigned limit);

  private:
    Log log_;
    std::unique_ptr<softmmu::PhysicalMap> map_;
    softmmu::Tlb tlb_;
    std::unique_ptr<softmmu::Mmu> mmu_;
    std::unique_ptr<x86::GuestMemory> memory_;
    Zeros<ir::JumpCache> jump_cache_{1};
    x86::CpuModel model_;
    x86::Cpu cpu_;
    std::unique_ptr<x86::Translator> translator_;
    Executor executor_;
};

// Random instructions that can run natively, with registers and memory that they can work on.
struct Case {
    std::vector<u8> code;
    unsigned instructions = 1;
    UserState before;
    std::vector<u8> data;              // of the data area
    ir::Flags compare = ir::kAllFlags; // arithmetic flags that the manual defines after it
    std::string text;
};
// Until one is found that `wanted` (by its mnemonic) accepts; null: any.
Case random_case(std::mt19937_64& random, const std::function<bool(ZydisMnemonic)>& wanted = nullptr);

// All of the general-purpose group that exist in 64-bit mode, and on the host.
std::vector<ZydisMnemonic> integer_mnemonics();

// A run of `length` instructions on registers alone: for flags and registers from one instruction to the
// next.
Case random_sequence(std::mt19937_64& random, unsigned length);

// Empty if the machine and the host agree; otherwise everything needed to see what is wrong.
std::string compare(Machine& machine, Native& native, const Case& c);

} // namespace dragoman::test
