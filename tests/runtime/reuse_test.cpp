// A library that programs have at different addresses: compiled once, moved to the others, and right at each.
#include "vcpu_machine.h"

#include "runtime/tb_cache.h"

#include <vector>

namespace dragoman::test {
namespace {

constexpr u64 kLibrary = 0x80000, kEntry = 0x100, kTablesAt = 0x200000;
// Where the library is mapped, one after the other: far apart, with either half of 4 GiB, and in old places.
constexpr u64 kPlaces[] = {0x7f81'a0f3'a000, 0x55d0'c0de'1000, 0x7f81'a0f3'b000, 0x5555'8000'0000,
                           0x7f81'a0f3'a000, 0x0000'0040'1000, 0x7fff'ffff'e000};

class Library {
  public:
    explicit Library(const Way& way) : m(way) {
        m.long64();
        m.put<u64>(kTablesAt, 0);
        for (const u64 place : kPlaces)
            map(place);
        x86::Cpu& cpu = m.cpu();
        EXPECT_TRUE(x86::write_cr3(cpu, kTablesAt));
        x86::update_paging(cpu);
        cpu.exit = ir::Exit::None;
        cpu.cpl = 3;
        cpu.seg[unsigned(ir::Seg::CS)].attributes = 0xa0fb;
        cpu.system_flags |= x86::kIOPL;

        // lea rax,[rip]; mov ecx,[rip+data]; inc dword [rip+data]; call over: pop rdx; xor r8d,r8d
        u64 at = m.code(kLibrary + kEntry, {0x48, 0x8d, 0x05, 0, 0, 0, 0, 0x8b, 0x0d});
        at = data(at, 0), at = m.code(at, {0xff, 0x05}), at = data(at, 0);
        at = m.code(at, {0xe8, 2, 0, 0, 0, 0x0f, 0x0b, 0x5a, 0x45, 0x31, 0xc0});
        // loop: add r8,[rip+data+8]; lea r9,[rip+data+16]; add [r9],r8d; cmp r8d,30; jb loop
        const u64 loop = at;
        at = m.code(at, {0x4c, 0x03, 0x05}), at = data(at, 8);
        at = m.code(at, {0x4c, 0x8d, 0x0d}), at = data(at, 16);
        at = m.code(at, {0x45, 0x01, 0x01, 0x41, 0x83, 0xf8, 30, 0x72});
        at = m.code(at, {int((loop - at - 1) & 0xff)});
        m.code(at, {0xe6, 0x80, 0xff, 0xe3}); // out 0x80,al; jmp rbx
        m.put<u64>(kLibrary + kData + 8, 10);
        m.platform.on_out = [this](u16, unsigned, u32) {
            const u64 base = kPlaces[found.size()];
            x86::Cpu& c = m.cpu();
            found.push_back(
                {c.gpr[0] - base, c.gpr[1], c.gpr[2] - base, c.gpr[8], m.get<u32>(kLibrary + kData + 16)});
            if (found.size() == std::size(kPlaces)) return m.vcpu->request_stop();
            go(found.size());
        };
        go(0);
        cpu.rip = cpu.gpr[3];
        cpu.gpr[4] = kPlaces[0] + 0xff0; // the stack
    }
    void go(std::size_t n) { m.cpu().gpr[3] = kPlaces[n] + kEntry; }

    struct Found {
        u64 rax, rcx, rdx, r8, sum;
        friend bool operator==(const Found&, const Found&) = default;
    };
    VcpuMachine m;
    std::vector<Found> found;

  private:
    static constexpr u64 kData = 0x800;
    u64 data(u64 at, u64 offset) {
        m.put<u32>(at, u32(kLibrary + kData + offset - (at + 4)));
        return at + 4;
    }
    void map(u64 linear) {
        u64 table = kTablesAt;
        for (unsigned shift = 39; shift > 12; shift -= 9) {
            const u64 entry = table + 8 * (linear >> shift & 511);
            if (!m.get<u64>(entry)) m.put<u64>(entry, (last_ += 0x1000) | 7);
            table = m.get<u64>(entry) & ~u64{0xfff};
        }
        m.put<u64>(table + 8 * (linear >> 12 & 511), kLibrary | 7);
    }
    u64 last_ = kTablesAt;
};

class Reuse : public ::testing::TestWithParam<Way> {};
INSTANTIATE_TEST_SUITE_P(Ways, Reuse, ::testing::ValuesIn(kWays),
                         [](const auto& test) { return std::string(test.param.name); });

TEST_P(Reuse, ALibraryAtManyAddresses) {
    Library library(GetParam());
    library.m.run();
    ASSERT_EQ(library.found.size(), std::size(kPlaces));
    for (u64 n = 0; n < std::size(kPlaces); ++n)
        EXPECT_EQ(library.found[n], (Library::Found{kEntry + 7, n, kEntry + 24, 30, 60 * (n + 1)}))
            << "at " << std::hex << kPlaces[n];
    // How much of it another thread has made in time for the next place is not the same each time.
    if (GetParam().interpret || GetParam().compiler_thread) return;
    const auto& counters = library.m.vcpu->tb_cache()->counters();
    // At the last place, by the end of canonical addresses, all is compiled again.
    EXPECT_GE(counters.of_this_run, 2 * counters.kept) << "moved, not compiled again";
}

} // namespace
} // namespace dragoman::test
