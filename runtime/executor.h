// The ways to run one block: generated code, the interpreter, or both in lockstep.
#pragma once

#include "frontend/x86/cpu.h"
#include "runtime/translation_cache.h"

#include <memory>

namespace dragoman::runtime {

class Executor {
  public:
    virtual ~Executor() = default;
    // Runs from `block` until control comes back; on return Context::exit says why. Blocks that it runs may
    // go on into others that they are linked to.
    virtual void run(x86::Cpu& cpu, CachedBlock& block) = 0;
    virtual bool may_link() const { return false; }
    virtual bool needs_ir() const { return false; }
    // How many of a freshly translated block's guest instructions it wants in one block.
    virtual unsigned preferred_length(const ir::Block& block) const { return block.guest_instructions; }
    // A difference was found and reported; nothing may go on.
    virtual bool failed() const { return false; }
};

// Blocks without code are interpreted.
std::unique_ptr<Executor> make_generated_executor(backend::Backend& backend);
std::unique_ptr<Executor> make_interpreting_executor();
// Runs each block by the interpreter, takes its effects back, runs it as generated code, and compares. Blocks
// that do more than compute and touch RAM (calls into C++, MMIO, stores into code) are only run as generated
// code.
std::unique_ptr<Executor> make_verifying_executor(backend::Backend& backend, softmmu::Mmu& mmu, Log& log);

} // namespace dragoman::runtime
