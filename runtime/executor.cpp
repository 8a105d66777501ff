#include "runtime/executor.h"

#include "ir/interpreter.h"

namespace dragoman::runtime {

namespace {

class GeneratedExecutor final : public Executor {
  public:
    explicit GeneratedExecutor(backend::Backend& backend) : backend_(backend) {}
    void run(x86::Cpu& cpu, CachedBlock& block) override {
        if (block.entry)
            backend_.run(cpu, block.entry + block.code.entry);
        else
            ir::interpret(cpu, *block.ir);
    }
    bool may_link() const override { return true; }

  private:
    backend::Backend& backend_;
};

class InterpretingExecutor final : public Executor {
  public:
    void run(x86::Cpu& cpu, CachedBlock& block) override { ir::interpret(cpu, *block.ir); }
    bool needs_ir() const override { return true; }
};

} // namespace

std::unique_ptr<Executor> make_generated_executor(backend::Backend& backend) {
    return std::make_unique<GeneratedExecutor>(backend);
}

std::unique_ptr<Executor> make_interpreting_executor() {
    return std::make_unique<InterpretingExecutor>();
}

} // namespace dragoman::runtime
