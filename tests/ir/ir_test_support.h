// What the tests of ir/ share: a memory that can bounce and fault, helpers, blocks from text.
#pragma once

#include "ir/interpreter.h"
#include "ir/memory.h"
#include "ir/parse.h"
#include "ir/verify.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <functional>

namespace dragoman::ir::test {

// 4 KiB of RAM repeated through the whole linear address space. Addresses for which `bounces` holds are
// reached through a buffer, those for which `faults` holds raise #PF.
class FakeMemory : public Memory {
  public:
    std::array<u8, 4096 + 64> ram{};
    std::function<bool(u64 linear)> bounces = [](u64) { return false; };
    std::function<bool(u64 linear, Access access)> faults = [](u64, Access) { return false; };
    int open = 0;         // acquires for writing without commit
    int acquired[3] = {}; // by kind

    u8* acquire(Context& ctx, u64 linear, u32 size, Access access) override {
        EXPECT_EQ(open, 0) << "acquire while one for writing is open";
        EXPECT_GE(size, 1u);
        EXPECT_LE(size, 64u);
        ++acquired[u8(access)];
        if (faults(linear, access)) {
            ctx.fault = {.vector = 14,
                         .has_error = true,
                         .error = access == Access::Read ? 0u : 2u,
                         .address = linear};
            ctx.exit = Exit::Fault;
            return nullptr;
        }
        u8* host = &ram[linear & 4095];
        if (access != Access::Read) open = 1;
        bounced_ = nullptr;
        if (!bounces(linear)) return host;
        std::memset(buffer_, 0xcc, sizeof buffer_);
        if (access != Access::Write) std::memcpy(buffer_, host, size);
        bounced_ = host;
        bounced_size_ = size;
        return buffer_;
    }
    void commit(Context&) override {
        EXPECT_EQ(open, 1) << "commit without acquire";
        open = 0;
        if (bounced_) std::memcpy(bounced_, buffer_, bounced_size_);
    }
    u64 get(u64 at, unsigned size) const {
        u64 v = 0;
        std::memcpy(&v, &ram[at], size);
        return v;
    }
    void put(u64 at, unsigned size, u64 v) { std::memcpy(&ram[at], &v, size); }

  private:
    u8 buffer_[64];
    u8* bounced_ = nullptr;
    u32 bounced_size_ = 0;
};

// Changes RBX by everything it can see.
inline u64 mix_fn(Context& ctx, u64 a, u64 b, u64 imm) {
    u64 h = a * 3 + b * 5 + imm;
    for (const u64 r : ctx.gpr)
        h = (h ^ r) * 0x9e3779b97f4a7c15;
    h ^= ctx.flags;
    ctx.gpr[3] = h;
    return h >> 7;
}
inline u64 halt_fn(Context& ctx, u64, u64, u64 imm) {
    ctx.exit = Exit::Halt;
    ctx.rip = imm;
    return 0;
}
inline const Helper mix{"mix", mix_fn, 0, kAllFlags};
inline const Helper halt{"halt", halt_fn, 0, 0};

inline const Helper* find_helper(std::string_view name) {
    if (name == "mix") return &mix;
    if (name == "halt") return &halt;
    return nullptr;
}

inline Block block_of(std::string_view text) {
    Result<Block> block = parse(text, find_helper);
    if (!block) {
        ADD_FAILURE() << block.error().message << "\nin\n" << text;
        return {};
    }
    for (const std::string& p : verify(*block))
        ADD_FAILURE() << p << "\nin\n" << text;
    return *block;
}

// Runs a block of text and gives the state afterwards.
struct Machine {
    FakeMemory memory;
    Context ctx;
    Machine() {
        ctx.memory = &memory;
        ctx.budget = 1000;
        memory.ram.fill(0);
    }
    void run(std::string_view text) { interpret(ctx, block_of(text)); }
};

} // namespace dragoman::ir::test
