// Compiled blocks moved to another place by way of their portable form.
#include "ir/parse.h"
#include "machine.h"

#include <gtest/gtest.h>

namespace dragoman::test {
namespace {

// Loads and stores with their ways out of line, a call of the interpreter, a poll, links and a link to
// another page.
constexpr const char* kBlock = "block pc=0x1000 linear=0x1000 bytes=24 instructions=6 mode=64 view=0\n"
                               "0000 load.8 rax, [rbx + 8]\n"
                               "0004 store.4 [rcx], rdx\n"
                               "0008 divwide.4 rsi\n"
                               "000c add.8 rax, rax, 5\n"
                               "0010 branchout.nz 0x1080, 0x1014\n"
                               "0014 jump 0x5000\n";

ir::Block block(const char* text) {
    auto parsed = ir::parse(text);
    EXPECT_TRUE(parsed) << (parsed ? "" : parsed.error().message);
    return std::move(*parsed);
}

// Where generated code names a kept instruction its address differs: not in the listing.
std::vector<u8> without_records(const Machine::Code& code) {
    return {code.entry, code.entry + code.compiled.code_bytes - code.compiled.calls * 24};
}

TEST(PortableCode, IsWhatIsCompiledAtTheOtherPlace) {
    const ir::Block b = block(kBlock);
    Machine maker, mover, compiler;
    mover.next += 4096;
    compiler.next += 4096;
    const Machine::Code moved = mover.compile_elsewhere(b, maker);
    compiler.next = u64(moved.entry - mover.buffer->executable());
    const Machine::Code compiled = compiler.compile(b);
    EXPECT_GT(moved.compiled.calls, 0u);
    EXPECT_EQ(without_records(moved), without_records(compiled))
        << mover.list(moved) << compiler.list(compiled);
    EXPECT_EQ(moved.compiled.saved_entry, compiled.compiled.saved_entry);
    EXPECT_EQ(moved.compiled.links.size(), compiled.compiled.links.size());
    EXPECT_EQ(moved.compiled.points.size(), compiled.compiled.points.size());
    EXPECT_EQ(moved.compiled.kept.size(), compiled.compiled.kept.size());
}

// Every number that says where something is, made too large: refused, never followed.
TEST(PortableCode, NothingOutsideIsReached) {
    const ir::Block b = block(kBlock);
    Machine m;
    const Machine::Code made = m.compile(b);
    backend::PortableCode good;
    ASSERT_TRUE(m.backend->portable(made.entry, made.compiled, made.compiled.kept, good));
    backend::Compiled out;
    const u8* const at = m.buffer->executable() + m.next;
    ASSERT_TRUE(m.backend->place(good, at, out));
    const auto refused = [&](const char* what, auto change) {
        backend::PortableCode bad = good;
        std::vector<backend::LinkSite> links(good.links.begin(), good.links.end());
        std::vector<backend::SidePoint> points(good.points.begin(), good.points.end());
        std::vector<u32> jumps(good.stub_jumps.begin(), good.stub_jumps.end());
        std::vector<ir::Inst> kept(good.kept.begin(), good.kept.end());
        std::vector<u8> code(good.code.begin(), good.code.end());
        bad.links = links, bad.points = points, bad.stub_jumps = jumps, bad.kept = kept, bad.code = code;
        change(bad, links, points, jumps, kept, code);
        EXPECT_FALSE(m.backend->place(bad, at, out)) << what;
    };
    constexpr u32 far = 0xfffffff0;
    refused("saved entry", [](auto& bad, auto&...) { bad.saved_entry = far; });
    refused("calls", [](auto& bad, auto&...) { bad.calls = far; });
    refused("no code", [](auto& bad, auto&...) { bad.code = {}; });
    refused("jump", [](auto&, auto& links, auto&...) { links[0].jump_offset = 0xfff0; });
    refused("stub", [](auto&, auto& links, auto&...) { links[0].stub_offset = 0xfff0; });
    refused("return", [](auto&, auto& links, auto&...) { links[0].return_offset = 3; });
    refused("point", [](auto&, auto&, auto& points, auto&...) { points.back().return_offset = 0xffff; });
    refused("order", [](auto&, auto&, auto& points, auto&...) { std::swap(points.front(), points.back()); });
    refused("stub jump", [](auto&, auto&, auto&, auto& jumps, auto&...) { jumps[0] = far; });
    refused("no stub",
            [](auto&, auto&, auto&, auto& jumps, auto&, auto& code) { code[jumps[0] + 3] = 0xff; });
    refused("form", [](auto& bad, auto&...) {
        static const backend::PcNumber number{0, backend::PcForm(99), 0};
        bad.pc_numbers = {&number, 1};
    });
    refused("number", [](auto& bad, auto&...) {
        static const backend::PcNumber number{0xffff, backend::PcForm::Low, 0};
        bad.pc_numbers = {&number, 1};
    });
    refused("place of the page", [](auto& bad, auto&...) { bad.pc = bad.made_pc + 0x10; });
    refused("not movable", [](auto& bad, auto&...) { bad.movable = false, bad.pc = bad.made_pc + 0x1000; });
    refused("not canonical", [](auto& bad, auto&...) { bad.pc = bad.made_pc + (u64{1} << 47); });
    refused("op", [](auto&, auto&, auto&, auto&, auto& kept, auto&) { kept[0].op = ir::Op(0xff); });
    refused("kept", [](auto& bad, auto&...) { bad.kept = {}; });
    refused("function",
            [](auto&, auto&, auto&, auto&, auto&, auto& code) { code[code.size() - 24 + 7] = 0x7f; });
}

} // namespace
} // namespace dragoman::test
