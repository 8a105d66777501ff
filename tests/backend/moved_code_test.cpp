// Code that is used at another pc than it was compiled for: byte by byte what would have been compiled there.
// Every form of every instruction of 64-bit code, alone and in random rows, with its memory operand off a
// register and off RIP.
#include "../frontend/form_kinds.h"
#include "backend/x64/backend.h"
#include "backend/x64/stubs.h"
#include "base/bits.h"
#include "frontend/x86/guest_memory.h"
#include "frontend/x86/listing.h"
#include "frontend/x86/mode.h"
#include "frontend/x86/system_registers.h"
#include "frontend/x86/translator.h"
#include "ir/passes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>

namespace dragoman::test {
namespace {

using Bytes = std::vector<u8>;

// The form with its memory operand at RIP + `disp`; empty: it has none that can be there.
Bytes off_rip(const Form& form, i32 disp) {
    Bytes code = form.at(Place::Data);
    if (code.empty()) return code;
    const auto& raw = form.insn.raw;
    const bool sib = form.insn.attributes & ZYDIS_ATTRIB_HAS_SIB;
    const auto after = code.begin() + raw.modrm.offset + 1;
    code[raw.modrm.offset] = u8(raw.modrm.reg << 3 | 5);
    const auto at = code.erase(after, after + (sib ? 1 : 0) + raw.disp.size / 8);
    const u8* const bytes = reinterpret_cast<const u8*>(&disp);
    code.insert(at, bytes, bytes + 4);
    Form there;
    return decode(64, code, there) ? code : Bytes{};
}

struct Move {
    u64 from, to;
};
constexpr Move kUser{0x55d0'c0de'1000, 0x7f81'a0f3'a000},
    kKernel{0xffff'ffff'8123'4000, 0xffff'ffff'9e00'1000};

class MovedCode {
  public:
    explicit MovedCode(unsigned cpl, const backend::Options& options = {}) {
        map_ = std::move(*softmmu::PhysicalMap::create(16 * MiB));
        mmu_ = std::make_unique<softmmu::Mmu>(*map_, memory_->tlb, log_);
        guest_memory_ = std::make_unique<x86::GuestMemory>(*mmu_);
        translator_ = std::make_unique<x86::Translator>(*mmu_, log_);
        model_ = *x86::make_model("max");
        buffer_ = std::move(*backend::CodeBuffer::create(16 * MiB));
        options_ = options;
        options_.tlb_offset = reinterpret_cast<const u8*>(&memory_->tlb.tables()) -
                              reinterpret_cast<const u8*>(static_cast<ir::Context*>(&memory_->cpu));
        if (options_.window) options_.window_base = 2 * MiB; // nothing is run
        backend_ = std::move(*backend::Backend::create(*buffer_, options_, log_));

        x86::Cpu& cpu = memory_->cpu;
        cpu.model = &model_;
        cpu.mmu = mmu_.get();
        cpu.memory = guest_memory_.get();
        cpu.log = &log_;
        x86::reset(cpu);
        cpu.cr0 = u64{x86::kCr0PE} | x86::kCr0PG;
        cpu.cr4 = u64{x86::kCr4PAE} | x86::kCr4OSFXSR | x86::kCr4OSXSAVE;
        cpu.efer = u64{x86::kEferLMA} | x86::kEferLME;
        cpu.cr3 = kTables;
        cpu.xcr0 = 0xe7;
        cpu.fpu.control = 0x37f;
        cpu.cpl = u8(cpl);
        const u16 common = u16(x86::kSegP | x86::kSegS | cpl << 5);
        for (ir::Segment& s : cpu.seg)
            s = {.limit = 0xffffffff, .attributes = u16(common | x86::kSegWritable | x86::kSegDB)};
        cpu.seg[1].attributes = u16(common | x86::kSegCode | x86::kSegReadable | x86::kSegL);
        for (const Move& move : {kUser, kKernel})
            for (const u64 page : {move.from, move.to})
                map(page, kCode), map(page + softmmu::kPageSize, kCode + softmmu::kPageSize);
        x86::update_paging(cpu);
        x86::update_key(cpu);
        move_ = cpl == 3 ? kUser : kKernel;
    }

    ir::PassSwitches passes;
    u64 moved = 0, pinned = 0;

    // "": it is the same, or must not be moved and says so.
    std::string check(const Bytes& code, unsigned instructions) {
        u8* const page = map_->ram() + kCode;
        std::memset(page, 0x90, 2 * softmmu::kPageSize);
        std::copy(code.begin(), code.end(), page + kInPage);
        ir::Block here, there;
        if (!translate(move_.from, instructions, here) || !translate(move_.to, instructions, there))
            return "";
        const u8* const at = buffer_->executable() + align_up(backend_->stub_bytes(), 64);
        const u8* const other = at + 256 * KiB;
        backend::Compiled made, placed, wanted;
        if (!backend_->compile(here, at, 64 * KiB, made)) return "";
        backend::PortableCode portable;
        if (!backend_->portable(at, made, made.kept, portable)) return "not portable";
        if (!made.movable) {
            ++pinned;
            return here.pinned || std::ranges::any_of(here.insts, short_address) ? "" : "is not movable";
        }
        portable.made_pc = here.pc;
        portable.pc = there.pc;
        std::copy_n(there.code_pages, 2, portable.code_pages);
        if (!backend_->place(portable, other, placed)) return "is refused at the other pc";
        const Bytes bytes(other, other + placed.code_bytes);
        if (!backend_->compile(there, other, 64 * KiB, wanted)) return "does not compile at the other pc";
        ++moved;
        const std::string difference = compare(placed, bytes, wanted, other);
        if (difference.empty()) return "";
        return difference + "\n" + ir::print(here) + ir::print(there) + "moved:\n" +
               backend_->list(bytes.data(), bytes.size()) + "compiled there:\n" +
               backend_->list(other, wanted.code_bytes);
    }

  private:
    static constexpr u64 kTables = 0x10000, kCode = 0x200000, kInPage = 0x123;

    static bool short_address(const ir::Inst& inst) { return inst.mem.from_pc && inst.mem.size < 8; }

    u64 entry(u64 table, u64 index) {
        u64 value;
        std::memcpy(&value, map_->ram() + table + 8 * index, 8);
        if (!value) {
            value = (last_table_ += softmmu::kPageSize) | 7;
            std::memcpy(map_->ram() + table + 8 * index, &value, 8);
        }
        return value & ~u64{0xfff};
    }
    void map(u64 linear, u64 physical) {
        u64 table = kTables;
        for (unsigned shift = 39; shift > 12; shift -= 9)
            table = entry(table, linear >> shift & 511);
        physical |= 7;
        std::memcpy(map_->ram() + table + 8 * (linear >> 12 & 511), &physical, 8);
    }

    bool translate(u64 page, unsigned instructions, ir::Block& block) {
        memory_->cpu.rip = page + kInPage;
        memory_->cpu.exit = ir::Exit::None;
        x86::Translator::Source source;
        if (!translator_->translate(memory_->cpu, block, source, instructions)) return false;
        ir::run_passes(block, passes);
        return true;
    }

    std::string compare(const backend::Compiled& moved_code, const Bytes& bytes,
                        const backend::Compiled& wanted, const u8* at) const {
        if (moved_code.code_bytes != wanted.code_bytes) return "other length";
        const u64 code = wanted.code_bytes - wanted.calls * sizeof(backend::CallRecord);
        for (u64 n = 0; n < code; ++n)
            if (bytes[n] != at[n]) return "other byte at " + std::to_string(n);
        for (u64 n = code; n < bytes.size(); n += sizeof(backend::CallRecord)) {
            backend::CallRecord a, b;
            std::memcpy(&a, &bytes[n], sizeof a);
            std::memcpy(&b, at + n, sizeof b);
            const bool by_interpreter = b.fn == reinterpret_cast<const void*>(backend::run_interpreter);
            if (a.fn != b.fn || a.rip != b.rip || (!by_interpreter && a.imm != b.imm)) return "other call";
        }
        for (std::size_t n = 0; n < wanted.kept.size(); ++n)
            if (ir::print(*moved_code.kept[n]) != ir::print(*wanted.kept[n])) return "other instruction kept";
        for (std::size_t n = 0; n < wanted.links.size(); ++n)
            if (moved_code.links[n].target != wanted.links[n].target) return "link to another target";
        return "";
    }

    struct Memory {
        x86::Cpu cpu;
        softmmu::Tlb tlb;
    };
    std::unique_ptr<Memory> memory_ = std::make_unique<Memory>();
    std::FILE* out_ = std::tmpfile();
    Log log_{out_};
    std::unique_ptr<softmmu::PhysicalMap> map_;
    std::unique_ptr<softmmu::Mmu> mmu_;
    std::unique_ptr<x86::GuestMemory> guest_memory_;
    std::unique_ptr<x86::Translator> translator_;
    x86::CpuModel model_;
    std::unique_ptr<backend::CodeBuffer> buffer_;
    backend::Options options_;
    std::unique_ptr<backend::Backend> backend_;
    u64 last_table_ = kTables;
    Move move_{};
};

std::string text_of(const Bytes& code) {
    std::string text;
    char hex[4];
    for (const u8 b : code) {
        std::snprintf(hex, sizeof hex, "%02x ", b);
        text += hex;
    }
    return text;
}

void every_form(MovedCode& machine) {
    unsigned failures = 0;
    for (const Form& form : all_forms(64)) {
        Bytes variants[] = {form.code, off_rip(form, 0x1234), off_rip(form, -0x77889)};
        for (const Bytes& code : variants) {
            if (code.empty()) continue;
            const std::string difference = machine.check(code, 2);
            EXPECT_EQ(difference, "") << form.name() << ": " << text_of(code);
            if (!difference.empty() && ++failures == 5) return;
        }
    }
    EXPECT_GT(machine.moved, 10'000u);
    EXPECT_LT(machine.pinned, machine.moved / 20);
}

TEST(MovedCode, EveryFormOfUserCode) {
    MovedCode machine(3);
    every_form(machine);
}
TEST(MovedCode, EveryFormOfAKernel) {
    MovedCode machine(0);
    every_form(machine);
}
TEST(MovedCode, EveryFormWithoutWindowAndPasses) {
    MovedCode machine(3, {.window = false});
    machine.passes = ir::PassSwitches::none();
    every_form(machine);
}

// What passes and shared checks make of several instructions. RIP-relative operands lie close together, some
// beside absolute ones.
TEST(MovedCode, RowsAtRandom) {
    const char* const given = std::getenv("DRAGOMAN_SEED");
    const u64 seed = given ? std::strtoull(given, nullptr, 0) : std::random_device()();
    RecordProperty("seed", std::to_string(seed));
    std::mt19937_64 random(seed);
    const auto& forms = all_forms(64);
    MovedCode user(3), kernel(0);
    // What compilers write most: mov, lea, add, cmp, call, jcc ...
    const std::vector<Bytes> usual = {{0x48, 0x8d, 0x05}, {0x48, 0x8d, 0x3d},
                                      {0x48, 0x8b, 0x05}, {0x48, 0x89, 0x0d},
                                      {0x8b, 0x15},       {0x48, 0x39, 0x35},
                                      {0x48, 0x03, 0x3d}, {0xff, 0x25},
                                      {0xff, 0x15},       {0xe8},
                                      {0x0f, 0x84},       {0xe9}};
    const std::vector<Bytes> plain = {{0x48, 0x01, 0xc7},
                                      {0x48, 0x83, 0xc0, 0x10},
                                      {0x48, 0x89, 0xc1},
                                      {0x8b, 0x04, 0x08},
                                      {0x48, 0x63, 0x04, 0x87},
                                      {0x48, 0x8d, 0x48, 0x08},
                                      {0x89, 0xc2},
                                      {0x48, 0x29, 0xf8},
                                      {0x48, 0xc1, 0xe8, 0x20},
                                      {0x50},
                                      {0xff, 0xe0},
                                      {0x48, 0x0f, 0xc8},
                                      {0x66, 0x89, 0xc7},
                                      {0x48, 0x8b, 0x38},
                                      {0x48, 0x89, 0x07},
                                      {0x48, 0x31, 0xc7}};
    for (unsigned n = 0; n < 20000; ++n) {
        Bytes code;
        for (unsigned left = 2 + unsigned(random() % 8); left--;) {
            Bytes part;
            const i32 near = i32(random() % 64) * 4 + 0x2000;
            switch (random() % 4) {
            case 0: part = forms[random() % forms.size()].code; break;
            case 1: part = off_rip(forms[random() % forms.size()], near); break;
            case 2:
                part = usual[random() % usual.size()];
                part.insert(part.end(), reinterpret_cast<const u8*>(&near),
                            reinterpret_cast<const u8*>(&near) + 4);
                break;
            default: part = plain[random() % plain.size()];
            }
            code.insert(code.end(), part.begin(), part.end());
        }
        MovedCode& machine = n % 2 ? kernel : user;
        const std::string difference = machine.check(code, x86::Translator::max_instructions);
        ASSERT_EQ(difference, "") << "DRAGOMAN_SEED=" << seed << ", row " << n << ": " << text_of(code);
    }
    EXPECT_GT(user.moved + kernel.moved, 10000u);
}

// A form of the number that does not reach the other pc, another place of the page, what must not move.
TEST(MovedCode, IsRefusedWhereItWouldNotBeRight) {
    MovedCode machine(3);
    EXPECT_EQ(machine.check({0x67, 0x8b, 0x05, 0, 0, 0, 0}, 1), "") << "off EIP: says that it is pinned";
    EXPECT_EQ(machine.pinned, 1u);
    EXPECT_EQ(machine.moved, 0u);
}

} // namespace
} // namespace dragoman::test
