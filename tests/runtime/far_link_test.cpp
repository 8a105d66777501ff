// Jumps to other pages, again and again, while what is mapped there changes between: no jump may lead to what
// was there before. Each way of making the change known, for each kind of jump, in each way blocks can be
// run.
#include "vcpu_machine.h"

#include "frontend/x86/exception.h"

#include <chrono>
#include <thread>
#include <vector>

namespace dragoman::test {
namespace {

// The page at kFar adds 1 << 8 * n to RBX, if frame n is mapped there, and jumps back.
constexpr u64 kNear = 0x7c00, kBack = 0x7d00, kFar = 0x80000, kFrames = 0x80000, kHandler = 0x9000;
constexpr u32 kRounds = 5;

enum class Jump { Direct, Conditional, Indirect, CallAndReturn };
// How the guest makes a change known; RAX is set by the test.
enum class Tell { Invlpg, MovCr3, Nothing };

class Guest {
  public:
    // Four-level paging, each space with tables of its own for the first 2 MiB, 4 KiB pages mapped to
    // themselves.
    static constexpr u64 kSpaces = 0x200000, kPerSpace = 0x10000;
    static u64 tables(unsigned space) { return kSpaces + space * kPerSpace; }
    static u64 pte(u64 linear, unsigned space = 0) { return tables(space) + 0x3000 + (linear >> 12) * 8; }

    Guest(const Way& way, Jump jump, Tell tell) : m(way), tell_(tell) {
        m.long64();
        for (unsigned space = 0; space < 2; ++space) {
            for (u64 level = 0; level < 3; ++level)
                m.put<u64>(tables(space) + level * 0x1000, (tables(space) + (level + 1) * 0x1000) | 7);
            for (u64 linear = 0; linear < 2 * MiB; linear += 4096)
                m.put<u64>(pte(linear, space), linear | 7);
        }
        m.cpu().efer |= x86::kEferNXE;
        EXPECT_TRUE(x86::write_cr4(m.cpu(), m.cpu().cr4 | x86::kCr4PGE));
        EXPECT_TRUE(x86::write_cr3(m.cpu(), tables(0)));
        x86::update_paging(m.cpu());
        m.vcpu->mmu().flush(false);
        m.cpu().exit = ir::Exit::None;

        // round: (jump); back: dec ecx; jnz round; out 0x80,al; test edx,edx; jnz end; (tell); mov
        // ecx,rounds; jmp round
        u64 at = kNear;
        const bool call = jump == Jump::CallAndReturn;
        switch (jump) {
        case Jump::Direct: at = relative(m.code(at, {0xe9}), kFar); break;
        case Jump::Conditional:
            at = relative(m.code(at, {0x85, 0xc9, 0x0f, 0x85}), kFar);
            break;           // test ecx,ecx; jnz
        case Jump::Indirect: // mov r8d,kFar; jmp r8
            at = m.code(at, {0x41, 0xb8});
            m.put<u32>(at, kFar);
            at = m.code(at + 4, {0x41, 0xff, 0xe0});
            break;
        case Jump::CallAndReturn:
            at = relative(m.code(at, {0xe8}), kFar);
            at = relative(m.code(at, {0xe9}), kBack);
            break;
        }
        at = relative(m.code(kBack, {0xff, 0xc9, 0x0f, 0x85}), kNear);
        at = m.code(at, {0xe6, 0x80, 0x85, 0xd2, 0x75, 13});
        switch (tell) {
        case Tell::Invlpg: at = m.code(at, {0x0f, 0x01, 0x38}); break; // invlpg [rax]
        case Tell::MovCr3: at = m.code(at, {0x0f, 0x22, 0xd8}); break; // mov cr3,rax
        case Tell::Nothing: at = m.code(at, {0x0f, 0x1f, 0x00}); break;
        }
        m.code(at, {0xb9, kRounds, 0, 0, 0});
        at = relative(m.code(at + 5, {0xe9}), kNear);
        m.code(at, {0xf4});
        for (unsigned frame = 0; frame < 4; ++frame) {
            at = m.code(kFrames + frame * 0x1000, {0x81, 0xc3}); // add ebx,imm32
            m.put<u32>(at, 1u << 8 * frame);
            at = m.code(at + 4, {u8(call ? 0xc3 : 0xe9)});
            if (!call) m.put<u32>(at, u32(kBack - (kFar + 11)));
        }
        // #PF: pop rsi; mov rdi,cr2; mov rbp,[rsp]; out 0x81,al; iretq
        m.put<u64>(VcpuMachine::kIdt + 14 * 16, (kHandler & 0xffff) | 8 << 16 | u64{0x8e00} << 32);
        m.code(kHandler, {0x5e, 0x0f, 0x20, 0xd7, 0x48, 0x8b, 0x2c, 0x24, 0xe6, 0x81, 0x48, 0xcf});
        m.reg(rcx) = kRounds;
        m.platform.on_out = [this](u16 port, unsigned, u32) {
            if (port == 0x81) return on_fault();
            m.reg(rax) = tell_ == Tell::MovCr3 ? cr3 : kFar;
            if (next_ < changes.size())
                changes[next_++]();
            else
                m.reg(rdx) = 1;
        };
    }
    u64 relative(u64 at, u64 target) {
        m.put<u32>(at, u32(target - (at + 4)));
        return at + 4;
    }
    void map_frame(u64 n, u64 flags = 7, unsigned space = 0) {
        m.put<u64>(pte(kFar, space), (kFrames + n * 0x1000) | flags);
    }
    u64 run() {
        m.run();
        EXPECT_EQ(m.reg(rdx), 1u) << "it stopped early at " << std::hex << m.vcpu->linear_pc();
        return m.reg(rbx);
    }

    VcpuMachine m;
    static constexpr unsigned rax = 0, rcx = 1, rdx = 2, rbx = 3, rbp = 5, rsi = 6, rdi = 7;
    std::vector<std::function<void()>> changes; // one before each but the first turn of kRounds rounds
    std::function<void()> on_fault;
    u64 cr3 = tables(0); // what Tell::MovCr3 loads

  private:
    std::size_t next_ = 0;
    const Tell tell_;
};

class FarLinks : public ::testing::TestWithParam<Way> {};
INSTANTIATE_TEST_SUITE_P(Ways, FarLinks, ::testing::ValuesIn(kWays),
                         [](const auto& test) { return std::string(test.param.name); });

constexpr Jump kJumps[] = {Jump::Direct, Jump::Conditional, Jump::Indirect, Jump::CallAndReturn};

TEST_P(FarLinks, FollowARemappedPage) {
    for (const Jump jump : kJumps)
        for (const Tell tell : {Tell::Invlpg, Tell::MovCr3}) {
            Guest g(GetParam(), jump, tell);
            g.changes = {[&] { g.map_frame(1); }, [&] { g.map_frame(3); }, [&] { g.map_frame(0); }, [] {}};
            EXPECT_EQ(g.run(), kRounds * 0x0100'0103u) << int(jump) << int(tell);
        }
}

// SDM vol. 3, 4.7: the fetch faults, at the jump's target, and nothing of it has run.
TEST_P(FarLinks, FaultWhereThePageIsGone) {
    const struct {
        u64 flags;
        u32 error;
    } gone[] = {{6, 0x10}, {7 | u64{1} << 63, 0x11}}; // not present; no-execute. I/D, and P
    for (const Jump jump : kJumps)
        for (const Tell tell : {Tell::Invlpg, Tell::MovCr3})
            for (const auto& how : gone) {
                Guest g(GetParam(), jump, tell);
                unsigned faults = 0;
                g.changes = {[&] { g.map_frame(0, how.flags); }, [] {}};
                g.on_fault = [&] {
                    ++faults;
                    EXPECT_EQ(g.m.reg(g.rsi), how.error);
                    EXPECT_EQ(g.m.reg(g.rdi), kFar) << "CR2";
                    EXPECT_EQ(g.m.reg(g.rbp), kFar) << "RIP";
                    EXPECT_EQ(g.m.reg(g.rbx), kRounds);
                    EXPECT_EQ(g.m.reg(g.rcx), kRounds);
                    g.map_frame(2);
                };
                EXPECT_EQ(g.run(), kRounds * 0x2'0001u) << int(jump) << int(tell);
                EXPECT_EQ(faults, 1u);
            }
}

TEST_P(FarLinks, GoWithTheAddressSpace) {
    for (const bool kept : {false, true}) // with PCIDs, each space keeping its translations
        for (const Jump jump : kJumps) {
            Guest g(GetParam(), jump, Tell::MovCr3);
            g.map_frame(1, 7, 1);
            if (kept) {
                ASSERT_TRUE(x86::write_cr4(g.m.cpu(), g.m.cpu().cr4 | x86::kCr4PCIDE));
            }
            const auto load = [&](unsigned space) {
                g.cr3 = g.tables(space) | (kept ? space | u64{1} << 63 : 0);
            };
            for (unsigned turn = 0; turn < 6; ++turn)
                g.changes.push_back([&load, turn] { load(~turn & 1); });
            EXPECT_EQ(g.run(), kRounds * 0x0304u) << int(jump);
        }
}

// A global page stays where it is over MOV to CR3, until somebody names it (SDM vol. 3, 4.10.4.1).
TEST_P(FarLinks, StayWithAGlobalPage) {
    for (const Jump jump : kJumps) {
        Guest g(GetParam(), jump, Tell::MovCr3);
        g.map_frame(0, 0x107);
        g.changes = {[&] { g.map_frame(1, 0x107); }, [&] { g.m.vcpu->mmu().invlpg(kFar + 0xfff); }};
        EXPECT_EQ(g.run(), kRounds * 0x0102u) << int(jump);
    }
}

TEST_P(FarLinks, SeeChangedCode) {
    for (const Jump jump : kJumps)
        for (const bool by_device : {false, true}) {
            Guest g(GetParam(), jump, Tell::Nothing);
            g.changes = {[&] {
                const u8 three = 3;
                if (by_device)
                    EXPECT_TRUE(g.m.map->write(kFar + 2, &three, 1));
                else
                    g.m.map->store(kFar + 2, 1, three);
            }};
            EXPECT_EQ(g.run(), kRounds * 4) << int(jump);
        }
}

// One instruction lies in two pages, of which the second is remapped.
TEST_P(FarLinks, LeadToInstructionsInTwoPages) {
    for (const Tell tell : {Tell::Invlpg, Tell::MovCr3}) {
        Guest g(GetParam(), Jump::Direct, tell);
        g.m.code(kFar, {0xe9}); // jmp to the instruction; that is add ebx,imm32, of which 4 bytes are behind
        g.relative(kFar + 1, kFar + 0xffe);
        g.m.code(kFar + 0xffe, {0x81, 0xc3});
        for (const u64 frame : {kFar + 0x1000, kFar + 0x2000}) {
            g.m.put<u32>(frame, frame == kFar + 0x1000 ? 1 : 0x100);
            g.m.code(frame + 4, {0xe9});
            g.m.put<u32>(frame + 5, u32(kBack - (kFar + 0x1009)));
        }
        g.changes = {[&] { g.m.put<u64>(g.pte(kFar + 0x1000), (kFar + 0x2000) | 7); }, [] {}};
        g.m.platform.on_out = [&g, out = g.m.platform.on_out](u16 port, unsigned size, u32 value) {
            out(port, size, value);
            if (g.m.reg(g.rax) == kFar) g.m.reg(g.rax) = kFar + 0x1000; // what INVLPG names
        };
        EXPECT_EQ(g.run(), kRounds * 0x201u);
    }
}

// When all numbers of code pages are given away everything begins again.
TEST_P(FarLinks, OutliveTheNumbers) {
    for (const Jump jump : kJumps) {
        Guest g(GetParam(), jump, Tell::Invlpg);
        g.changes = {[&] { g.m.vcpu->tlb().code().give_out_from(softmmu::CodePages::kNoNumber - 1); },
                     [&] { g.map_frame(1); }, [&] { g.map_frame(2); }, [&] { g.map_frame(0); }};
        EXPECT_EQ(g.run(), kRounds * 0x1'0103u) << int(jump);
        EXPECT_LT(g.m.vcpu->mmu().fetch(kNear, softmmu::View::Supervisor).number, 1000u);
    }
}

// Every loop over blocks meets a poll, whichever of its jumps are linked: another thread can stop each of
// them.
TEST_P(FarLinks, LoopsCanBeStopped) {
    struct Piece {
        u64 at;
        std::initializer_list<int> bytes;
    };
    const struct {
        const char* what;
        std::initializer_list<Piece> pieces;
    } loops[] = {
        {"jmp there; jmp back",
         {{0x7c00, {0xe9, 0xfb, 0x13, 0, 0}}, {0x9000, {0xe9, 0xfb, 0xeb, 0xff, 0xff}}}},
        // test eax,eax (0); jz there; there: jz back
        {"jz there; jz back",
         {{0x7c00, {0x85, 0xc0, 0x0f, 0x84, 0xf8, 0x13, 0, 0}},
          {0x9000, {0x85, 0xc0, 0x0f, 0x84, 0xf8, 0xeb, 0xff, 0xff}}}},
        // inc ecx; jns there (left out of the loop when it overflows); jrcxz next; jmp back
        {"past a side exit",
         {{0x7c00, {0xff, 0xc1, 0x0f, 0x89, 0xf8, 0x13, 0, 0}},
          {0x9000, {0xe3, 0x00, 0xe9, 0xf9, 0xeb, 0xff, 0xff}}}},
        // L: lea rax,[L]; jmp rax
        {"jmp rax", {{0x7c00, {0x48, 0x8d, 0x05, 0xf9, 0xff, 0xff, 0xff, 0xff, 0xe0}}}},
        // L: call below; jmp L; below: ret. Below lies in another page, then in the same one
        {"call below", {{0x7c00, {0xe8, 0xfb, 0xf3, 0xff, 0xff, 0xeb, 0xf9}}, {0x7000, {0xc3}}}},
        {"call another page below", {{0x7c00, {0xe8, 0xfb, 0xe3, 0xff, 0xff, 0xeb, 0xf9}}, {0x6000, {0xc3}}}},
        // L: call below; below: test eax,eax; jz out; ret; out: pop rdx; jmp L, which lies above
        {"out of a called function, up to its call",
         {{0x7c00, {0xe8, 0xfb, 0xfe, 0xff, 0xff}},
          {0x7b00, {0x85, 0xc0, 0x74, 0x01, 0xc3, 0x5a, 0xe9, 0xf5, 0, 0, 0}}}},
        {"the same in other pages",
         {{0x7c00, {0xe8, 0xfb, 0xee, 0xff, 0xff}},
          {0x6b00, {0x85, 0xc0, 0x74, 0x01, 0xc3, 0x5a, 0xe9, 0xf5, 0x10, 0, 0}}}},
        // add ebx,imm32 over the end of a page; jmp back
        {"an instruction in two pages",
         {{0x8ffd, {0x81, 0xc3, 1, 0, 0, 0, 0xeb, 0xf8}}, {0x7c00, {0xe9, 0xf8, 0x13, 0, 0}}}},
        // a jump at the end of one page to the start of the next, which jumps to the former
        {"from page to page", {{0x7c00, {0xe9, 0xf9, 0x13, 0, 0}}, {0x8ffe, {0xff, 0xc1, 0xeb, 0xfc}}}},
    };
    for (const auto& loop : loops) {
        VcpuMachine m(GetParam());
        m.long64();
        for (const Piece& piece : loop.pieces)
            m.code(piece.at, piece.bytes);
        std::thread other([&] {
            std::this_thread::sleep_for(std::chrono::milliseconds(3)); // for the links
            m.vcpu->request_stop();
        });
        EXPECT_EQ(m.run(), runtime::StopReason::Requested) << loop.what;
        other.join();
    }
}

} // namespace
} // namespace dragoman::test
