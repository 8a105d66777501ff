// Printer, parser and verifier.
#include "ir/vec.h"
#include "ir_test_support.h"

namespace dragoman::ir {
namespace {

TEST(Print, AListing) {
    const Block block = test::block_of(R"(
block pc=0x7c00 linear=0x7c00 bytes=64 mode=64
0000 add.4 ecx, ecx, 1   !-
0003 nop
0007 load.8 t0, [rbx + rcx*8 + 0x10]  ; a comment
     call rax = mix(t0, imm, imm=-0x20)
000a lock rmw.add.4 fs:[0x1234], eax
000f load.1 t1, [ebx - 4]/a4
     loadstate.1 t2, direction_flag
     storestate.2 [state+0x5000], t2
     segaddr.8 t3, ss:[sp + 2]/a2/l4, readwrite
     rmw.shld.4 [t3], eax, 3
     zext.1.4 eax, t1
     setflags t2, 0x41
0020 vec.paddb mm1, mm2
     vec.pshufd xmm1, [rax], 0x1b
     vec.psllw xmm3, 4
     vec.cvtsi2sd.4 xmm8, edx
     vec.emms
0030 branch.nbe 0x8000, 0xffffffffffffffff
)");
    EXPECT_EQ(print(block), R"(block pc=0x7c00 linear=0x7c00 bytes=64 instructions=7 mode=64 view=0
0000  add.4         ecx, ecx, 1                       !-
0003  nop
0007  load.8        t0, [rbx + rcx*8 + 0x10]
      call          rax = mix(t0, imm, imm=-0x20)
000a  lock rmw.add.4 fs:[0x1234], eax
000f  load.1        t1, [ebx - 4]/a4
      loadstate.1   t2, direction_flag
      storestate.2  [state+0x5000], t2
      segaddr.8     t3, ss:[sp + 2]/a2/l4, readwrite
      rmw.shld.4    [t3], eax, 3
      zext.1.4      eax, t1
      setflags      t2, 0x41
0020  vec.paddb     mm1, mm2
      vec.pshufd    xmm1, [rax], 0x1b
      vec.psllw     xmm3, 4
      vec.cvtsi2sd.4 xmm8, edx
      vec.emms
0030  branch.nbe    0x8000, 0xffffffffffffffff
)");
    const Result<Block> again = parse(print(block), test::find_helper);
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_EQ(print(again.value()), print(block));
}

TEST(Parse, ErrorsNameTheLine) {
    struct {
        const char* text;
        const char* message;
    } const cases[] = {
        {"0000 mov.4 eax, 1\n     frob.4 eax\n", "line 2: no such op: frob"},
        {"0000 mov.4 eax\n", "line 1: expected ',' at \"\""},
        {"0000 mov.4 eax, qax\n", "line 1: no such register: qax"},
        {"0000 mov.4 1, eax\n", "line 1: an immediate cannot stand here"},
        {"0000 mov.4 eax, ecx, edx\n", "line 1: left over: \", edx\""},
        {"0000 mov.x eax, 1\n", "line 1: not a size: x"},
        {"0000 load.4 eax, [rbx\n", "line 1: expected ']' at \"\""},
        {"0000 call nobody()\n", "line 1: no such helper: nobody"},
        {"0000 branch.q 1, 2\n", "line 1: no such condition: q"},
        {"0000 vec.frobps xmm0, xmm1\n", "line 1: no such vector instruction: frobps"},
        {"block mode=17\n", "line 1: not a field of a block: mode"},
        {"0000 add.4 eax, eax, 1 !q\n", "line 1: no such flag: q"},
        {"0000 loadstate.4 eax, frob\n", "line 1: no such field: frob"},
    };
    for (const auto& c : cases) {
        const Result<Block> block = parse(c.text, test::find_helper);
        ASSERT_FALSE(block) << c.text;
        EXPECT_EQ(block.error().message, c.message);
    }
}

TEST(Verify, FindsWhatIsBroken) {
    struct {
        const char* text;
        const char* problem;
    } const cases[] = {
        {"0000 mov.4 eax, t0\n0002 jump 1\n",
         "#1 mov: reads a temporary that is not defined in this instruction"},
        {"0000 mov.4 t0, eax\n0002 mov.4 eax, t0\n0004 jump 1\n",
         "#3 mov: reads a temporary that is not defined in this instruction"},
        {"0000 mov.4 eax, 1\n", "block: does not end with an op that ends a block"},
        {"0000 jump 1\n0002 jump 1\n", "#1 jump: ends the block but is not the last"},
        {"0004 nop\n0002 jump 1\n", "#1 insn: offsets must rise"},
        {"block bytes=2\n0002 jump 1\n", "#0 insn: lies behind the guest's code"},
        {"block linear=0x1010 follows=1\n-0011 jump 1\n", "#0 insn: lies in another page"},
        {"block instructions=5\n0000 jump 1\n", "block: has 1 instructions, guest_instructions says 5"},
        {"mov.4 eax, 1\n0000 jump 1\n", "block: does not begin with Insn"},
        {"0000 mov.3 eax, 1\n0002 jump 1\n", "#1 mov: size"},
        {"0000 imul.1 al, al, cl\n0002 jump 1\n", "#1 imul: size"},
        {"0000 zext.4.2 eax, ecx\n0002 jump 1\n", "#1 zext: size2 is not a size from size to 8"},
        {"0000 add.8 rax, rax, 0x80000000\n0002 jump 1\n", "#1 add: an immediate does not fit 32 bits"},
        {"0000 add.4 eax, 1, ecx\n0002 jump 1\n", "#1 add: a source is not a GPR or temporary"},
        {"0000 add.4 xmm1, eax, ecx\n0002 jump 1\n", "#1 add: d is not a GPR or temporary"},
        {"0000 vload.8 eax, [rax]\n0002 jump 1\n", "#1 vload: not a vector register"},
        {"0000 lock add.4 eax, eax, ecx\n0002 jump 1\n", "#1 add: only Rmw can be locked"},
        {"0000 rmw.cmp.4 [rax], eax\n0002 jump 1\n", "#1 rmw: not an op that Rmw can do"},
        {"0000 rmw.xadd.4 [rax], eax\n0002 jump 1\n", "#1 rmw: d is not a GPR or temporary"},
        {"0000 load.4 eax, [rax + 0x80000000]\n0002 jump 1\n", "#1 load: displacement does not fit 32 bits"},
        {"0000 load.4 eax, [rax]/a3\n0002 jump 1\n", "#1 load: address size"},
        {"0000 segaddr.4 t0, [rax], read\n0002 jump 1\n", "#1 segaddr: needs a segment"},
        {"0000 storestate.4 [state+0x8], eax\n0002 jump 1\n", "#1 storestate: not an offset of a field"},
        {"0000 storestate.4 flags, eax\n0002 jump 1\n",
         "#1 storestate: the arithmetic flags are for GetFlags and SetFlags"},
        {"0000 setflags rax, 0x200\n0002 jump 1\n", "#1 setflags: the mask has bits that are not flags"},
        {"block mode=32\n0000 jump 0x100000000\n", "#1 jump: rip is wider than the mode"},
    };
    for (const auto& c : cases) {
        const Result<Block> block = parse(c.text, test::find_helper);
        ASSERT_TRUE(block) << block.error().message << "\n" << c.text;
        const std::vector<std::string> problems = verify(block.value());
        ASSERT_EQ(problems.size(), 1u) << c.text << (problems.empty() ? "" : problems[1]);
        EXPECT_EQ(problems[0], c.problem) << c.text;
    }
}

} // namespace
} // namespace dragoman::ir
