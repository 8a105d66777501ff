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
};

std::unique_ptr<Executor> make_generated_executor(backend::Backend& backend);
std::unique_ptr<Executor> make_interpreting_executor();
// Runs each block by the interpreter, takes its effects back, runs it as generated code, and compares. A
// difference is reported with all that is needed to reproduce it, and ends the process with exit status 1.
std::unique_ptr<Executor> make_verifying_executor(backend::Backend& backend, softmmu::PhysicalMap& map,
                                                  Log& log);

} // namespace dragoman::runtime
