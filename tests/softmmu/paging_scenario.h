// Random page tables and random accesses: the MMU, with its TLB, against a walk of the tables written for
// this test alone from SDM vol. 3, 4.3 to 4.8. The bytes decide everything, so that a fuzzer can steer.
#pragma once

#include "softmmu/mmu.h"

#include <array>
#include <memory>
#include <span>
#include <string>

namespace dragoman::test {

class PagingScenario {
  public:
    static constexpr unsigned pages = 40; // of RAM
    PagingScenario();
    // Plays the scenario that the bytes say. Empty: all went as the manual says; otherwise what did not.
    std::string play(std::span<const u8> bytes);

  private:
    struct Reference;

    struct Watcher final : softmmu::CodeWatcher {
        bool may_write(u64, u64) override { return true; }
        void written(u64, u64) override { notified = true; }
        bool notified = false;
    };

    Log log_;
    Watcher watcher_;
    std::array<bool, pages> translated_{};
    std::unique_ptr<softmmu::PhysicalMap> map_;
    std::unique_ptr<softmmu::Tlb> tlb_;
    std::unique_ptr<softmmu::Mmu> mmu_;
};

} // namespace dragoman::test
