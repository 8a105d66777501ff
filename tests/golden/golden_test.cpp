// Golden listings: what becomes of chosen guest code, from its bytes to host code, kept under review. Each
// *.txt beside this file begins with what it is about, its mode and its bytes, and goes on with the listing
// that -d in_asm,op,op_opt,out_asm gives, in which addresses of the host are replaced by names.
// scripts/update-golden writes the listings anew; a new file needs only the three lines at the top.
#include "backend/x64/backend.h"
#include "backend/x64/host_features.h"
#include "backend/x64/stubs.h"
#include "frontend/x86/cpuid.h"
#include "frontend/x86/guest_memory.h"
#include "frontend/x86/listing.h"
#include "frontend/x86/system_registers.h"
#include "frontend/x86/translator.h"
#include "ir/interpreter.h"
#include "ir/passes.h"
#include "ir/state_names.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <sstream>

namespace dragoman::test {
namespace {

constexpr u64 kCodeAt = 0x401000; // 32- and 64-bit code; real-mode code is at 0:0x7c00
constexpr u64 kRealCodeAt = 0x7c00;

struct Golden {
    std::string what, mode, listing;
    std::vector<u8> code;
};

// The three lines at the top: "# what", "# mode: BITS ring CPL [avx|avx512]", "# code: HEX HEX ...".
Golden parse(const std::string& text) {
    Golden g;
    std::istringstream in(text);
    std::string line;
    while (in.peek() == '#' && std::getline(in, line)) {
        if (line.rfind("# mode: ", 0) == 0) {
            g.mode = line.substr(8);
        } else if (line.rfind("# code: ", 0) == 0) {
            std::istringstream hex(line.substr(8));
            for (unsigned byte; hex >> std::hex >> byte;)
                g.code.push_back(u8(byte));
        } else {
            g.what += line + "\n";
        }
    }
    std::ostringstream rest;
    rest << in.rdbuf();
    g.listing = rest.str();
    return g;
}

std::string header(const Golden& g) {
    std::string text = g.what + "# mode: " + g.mode + "\n# code:";
    char hex[4];
    for (const u8 b : g.code) {
        std::snprintf(hex, sizeof hex, " %02x", b);
        text += hex;
    }
    return text + "\n";
}

class Lister {
  public:
    Lister() {
        map_ = std::move(*softmmu::PhysicalMap::create(16 * MiB));
        mmu_ = std::make_unique<softmmu::Mmu>(*map_, memory_->tlb, log_);
        model_ = *x86::make_model("max");
        buffer_ = std::move(*backend::CodeBuffer::create(16 * MiB));
        options_.tlb_offset = reinterpret_cast<const u8*>(&memory_->tlb.tables()) -
                              reinterpret_cast<const u8*>(static_cast<ir::Context*>(&memory_->cpu));
        options_.uncounted = true; // as users have it
        options_.window_base = 0;  // the code is only listed
        backend_ = std::move(*backend::Backend::create(*buffer_, options_, log_));
        stubs_ =
            *backend::make_stubs(buffer_->writable(), buffer_->executable(), buffer_->bytes(), 64, options_);
        for (const backend::Stubs& set : stubs_.sets)
            name_stubs(set);
    }

    std::string list(const Golden& g) {
        x86::Cpu& cpu = memory_->cpu;
        x86::Translator translator(*mmu_, log_);
        const u64 start = set_mode(g.mode);
        std::copy(g.code.begin(), g.code.end(), map_->ram() + start);
        std::string text;
        for (u64 at = 0; at < g.code.size();) {
            cpu.rip = start + at;
            ir::Block block;
            x86::Translator::Source source;
            if (!translator.translate(cpu, block, source)) return text + "does not translate\n";
            // What lies outside of the code is not part of it, even if a call leads there.
            unsigned fit = 0;
            for (const ir::Inst& inst : block.insts) {
                if (inst.op != ir::Op::Insn) continue;
                if (inst.imm >= i64(g.code.size() - at) || inst.imm < -i64(at)) break;
                ++fit;
            }
            if (fit < block.guest_instructions && !translator.translate(cpu, block, source, fit))
                return text + "does not translate\n";
            text += "\nIN:\n" + x86::list_guest(block, {map_->ram() + start + at, block.guest_bytes});
            text += "\nOP:\n" + ir::print(block);
            ir::run_passes(block);
            text += "\nOP after passes:\n" + ir::print(block);
            text += "\nOUT:\n" + host_code(block);
            at += block.guest_bytes;
        }
        return text;
    }

  private:
    struct Memory {
        x86::Cpu cpu;
        softmmu::Tlb tlb;
    };

    u64 set_mode(const std::string& mode) {
        unsigned bits = 0, ring = 0;
        if (std::sscanf(mode.c_str(), "%u ring %u", &bits, &ring) != 2) ADD_FAILURE() << "mode: " << mode;
        x86::Cpu& cpu = memory_->cpu;
        cpu.model = &model_;
        cpu.mmu = mmu_.get();
        cpu.log = &log_;
        x86::reset(cpu);
        cpu.cr4 = x86::kCr4OSFXSR;
        if (mode.find("avx") != std::string::npos) {
            cpu.cr4 |= x86::kCr4OSXSAVE;
            cpu.xcr0 = mode.find("avx512") == std::string::npos ? 0x07 : 0xe7;
        }
        cpu.fpu.control = 0x37f;
        cpu.cr0 = bits == 16 ? 0 : u64{x86::kCr0PE};
        cpu.efer = bits == 64 ? u64{x86::kEferLMA} | x86::kEferLME : 0;
        cpu.cpl = u8(ring);
        const u16 common = u16(x86::kSegP | x86::kSegS | ring << 5);
        for (ir::Segment& s : cpu.seg)
            s = bits == 16 ? ir::Segment{.limit = 0xffff, .attributes = u16(common | x86::kSegWritable)}
                           : ir::Segment{.limit = 0xffffffff,
                                         .attributes = u16(common | x86::kSegWritable | x86::kSegDB)};
        const u16 size = bits == 64 ? u16(x86::kSegL) : bits == 32 ? u16(x86::kSegDB) : u16{0};
        if (bits != 16) cpu.seg[1].attributes = u16(common | x86::kSegCode | x86::kSegReadable | size);
        x86::update_key(cpu);
        return bits == 16 ? kRealCodeAt : kCodeAt;
    }

    std::string host_code(const ir::Block& block) {
        backend::Compiled out;
        const u8* entry = buffer_->executable() + ((stubs_.bytes + 63) & ~u64{63});
        if (!backend_->compile(block, entry, 64 * KiB, out)) return "does not compile\n";
        helpers_.clear();
        for (const ir::Inst& inst : block.insts)
            if (inst.op == ir::Op::Call)
                helpers_[reinterpret_cast<const void*>(inst.helper->fn)] = inst.helper->name;

        struct Line {
            u64 at, length;
            std::string text;
        };
        std::vector<Line> lines;
        std::istringstream listing(backend_->list(entry, out.code_bytes));
        const u64 base = reinterpret_cast<u64>(entry);
        u64 end = out.code_bytes; // where the call records begin
        static const std::regex shape("^([0-9a-f]{16})  ([0-9a-f]+) +(.*)$");
        static const std::regex relative("\\[rip \\+ (0x[0-9a-f]+|[0-9]+)\\]");
        for (std::string line; std::getline(listing, line);) {
            std::smatch m;
            if (!std::regex_match(line, m, shape)) continue;
            Line l{std::stoull(m[1], nullptr, 16) - base, u64(m[2].length()) / 2, m[3]};
            if (l.at + l.length > end) break;
            while (!l.text.empty() && l.text.back() == ' ')
                l.text.pop_back();
            if (std::regex_search(l.text, m, relative)) {
                const u64 target = l.at + l.length + std::stoull(m[1], nullptr, 0);
                if (l.text.rfind("lea", 0) == 0) end = std::min(end, target);
                l.text = m.prefix().str() + "[" + record(entry + target) + "]" + m.suffix().str();
            }
            static const std::regex backward("\\[rip - (0x[0-9a-f]+|[0-9]+)\\]"); // into the far entry
            l.text = name_state(std::regex_replace(l.text, backward, "[code number]"));
            lines.push_back(std::move(l));
        }

        // The records are aligned: what is skipped before them are zero bytes.
        while (!lines.empty() && lines.back().text == "add byte ptr [rax], al")
            lines.pop_back();

        // Jumps: within the block to labels, out of it to stubs.
        static const std::regex absolute("^(j[a-z]+|call) (0x[0-9a-f]+)$");
        std::map<u64, std::string> labels;
        for (const Line& l : lines)
            if (std::smatch m; std::regex_match(l.text, m, absolute))
                if (const u64 to = std::stoull(m[2], nullptr, 16) - base; to < out.code_bytes)
                    labels[to] = "";
        unsigned n = 0;
        for (auto& [at, name] : labels)
            name = "L" + std::to_string(++n);
        std::string text;
        for (const Line& l : lines) {
            if (const auto label = labels.find(l.at); label != labels.end()) text += label->second + ":\n";
            std::string line = l.text;
            if (std::smatch m; std::regex_match(line, m, absolute)) {
                const u64 to = std::stoull(m[2], nullptr, 16);
                line = m[1].str() + " " + (labels.count(to - base) ? labels[to - base] : stub(to));
            }
            text += "    " + line + "\n";
        }
        return text;
    }

    std::string record(const u8* at) const {
        backend::CallRecord r;
        std::memcpy(&r, at, sizeof r);
        const auto it = helpers_.find(r.fn);
        return it != helpers_.end() ? "call " + it->second : "call C++"; // the interpreter
    }

    std::string stub(u64 address) const {
        const auto it = stub_names_.find(address);
        return it != stub_names_.end() ? it->second : "elsewhere";
    }

    void name_stubs(const backend::Stubs& set) {
        const auto name = [&](const u8* at, std::string text) {
            if (at) stub_names_.emplace(reinterpret_cast<u64>(at), std::move(text));
        };
        static constexpr const char* kinds[] = {"read", "write", "both"};
        for (unsigned view = 0; view < softmmu::kViews; ++view) {
            for (unsigned access = 0; access < 3; ++access) {
                const std::string kind = kinds[access];
                name(set.find[view][access], "find_" + kind);
                name(set.find_only[view][access], "find_only_" + kind);
                for (unsigned n = 0; n < backend::Stubs::sizes; ++n) {
                    const std::string of = kind + "_" + std::to_string(1u << n);
                    name(set.find_size[view][access][n], "find_" + of);
                    name(set.find_beyond_tag[view][access][n], "find_beyond_tag_" + of);
                    name(set.reach[view][access][n], "reach_" + of);
                }
            }
            name(set.reach_push[view], "reach_push");
            name(set.reach_pop[view], "reach_pop");
            for (const bool wide : {false, true})
                for (unsigned size = 0; size < 4; ++size) {
                    const std::string bytes = std::to_string(1u << size);
                    name(set.bulk[view][wide][ir::Bulk::Move][size], "bulk_move_" + bytes);
                    name(set.bulk[view][wide][ir::Bulk::Fill][size], "bulk_fill_" + bytes);
                }
        }
        name(set.acquire[0], "acquire_read");
        name(set.acquire[1], "acquire_write");
        name(set.acquire[2], "acquire_both");
        name(set.commit, "commit");
        name(set.commit_if_needed, "commit_if_needed");
        name(set.commit_push, "commit_push");
        name(set.call, "call");
        name(set.look_up, "look_up");
        name(set.may_enter[0], "may_enter");
        name(set.may_enter[1], "may_enter_second");
        name(set.exit_link, "exit_link");
        name(set.exit_link_saved, "exit_link_saved");
        name(set.jump_missed, "jump_missed");
        name(set.exit_event, "exit_event");
        name(set.exit_jump, "exit_jump");
        name(set.exit_side, "exit_side");
        name(set.take_x87, "take_x87");
        name(set.load_x87, "load_x87");
        name(set.exit_here, "exit_here");
    }

    // [rsp + 0x68] -> [rsp + r13], gs:[0x10c] -> gs:[poll], gs:[rcx*8 + 0x...] -> gs:[rcx*8 +
    // window_read_tag].
    std::string name_state(std::string text) const {
        static const std::regex field("gs:\\[(rcx(?:\\*8)? \\+ )?(0x[0-9a-f]+|[0-9]+)\\]");
        static const std::regex guest("\\[rsp \\+ (0x[0-9a-f]+)\\]");
        std::smatch m;
        if (std::regex_search(text, m, guest)) {
            const int at = std::stoi(m[1], nullptr, 0) - backend::frame::guest;
            if (at < 0 || at >= 8 * backend::frame::guests) return text;
            const std::string part = at % 8 ? "+" + std::to_string(at % 8) : "";
            return m.prefix().str() + "[rsp + r" + std::to_string(backend::frame::first_guest + at / 8) +
                   part + "]" + m.suffix().str();
        }
        if (!std::regex_search(text, m, field)) return text;
        const u64 offset = std::stoull(m[2], nullptr, 0);
        const u64 code_numbers = u64(options_.tlb_offset) + softmmu::TlbTables::code_number_of(0, false);
        std::string name;
        if (m[1].matched) {
            static constexpr const char* tags[] = {"read_tag", "write_tag", "unused", "addend"};
            const u64 in_tlb = offset - u64(options_.tlb_offset);
            if (in_tlb < sizeof softmmu::TlbTables::entries) {
                if (in_tlb % softmmu::TlbTables::entries_of(1) < 32) name = tags[in_tlb % 32 / 8];
            } else {
                for (unsigned view = 0; view < softmmu::kViews; ++view)
                    for (const bool write : {false, true})
                        if (in_tlb == softmmu::TlbTables::window_tags_of(view, write))
                            name = write ? "window_write_tag" : "window_read_tag";
            }
        } else if (offset >= code_numbers && offset < code_numbers + sizeof(softmmu::CodePages::Numbers)) {
            name = "code_number";
        } else if (offset < offsetof(ir::Context, rip)) {
            static constexpr const char* gprs[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"};
            const u64 n = offset / 8;
            name = n < 8 ? gprs[n] : n < 16 ? "r" + std::to_string(n) : "t" + std::to_string(n - 16);
            if (offset % 8) name += "+" + std::to_string(offset % 8);
        } else if (offset == offsetof(ir::Context, jump_table)) {
            name = "jump_table";
        } else {
            name = ir::state_name(u32(offset));
        }
        if (name.empty()) return text;
        return m.prefix().str() + "gs:[" + m[1].str() + name + "]" + m.suffix().str();
    }

    Log log_;
    std::unique_ptr<Memory> memory_ = std::make_unique<Memory>();
    std::unique_ptr<softmmu::PhysicalMap> map_;
    std::unique_ptr<softmmu::Mmu> mmu_;
    x86::CpuModel model_;
    std::unique_ptr<backend::CodeBuffer> buffer_;
    backend::Options options_;
    std::unique_ptr<backend::Backend> backend_;
    backend::StubSets stubs_;
    std::map<const void*, std::string> helpers_;
    std::map<u64, std::string> stub_names_; // by address
};

std::vector<std::filesystem::path> files() {
    std::vector<std::filesystem::path> found;
    for (const auto& entry : std::filesystem::directory_iterator(DRAGOMAN_GOLDEN_DIR))
        if (entry.path().extension() == ".txt") found.push_back(entry.path());
    std::sort(found.begin(), found.end());
    return found;
}

std::string read(const std::filesystem::path& path) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
}

class GoldenListing : public ::testing::TestWithParam<std::filesystem::path> {};

TEST_P(GoldenListing, IsAsKept) {
    // The listings show what most hosts run; on a host without BMI2, or with a slow PEXT, other code is right
    // too.
    if (!backend::HostFeatures::detect().has(backend::HostFeature::FastPext))
        GTEST_SKIP() << "needs BMI2 with a fast PEXT";
    const Golden golden = parse(read(GetParam()));
    ASSERT_FALSE(golden.code.empty()) << GetParam() << " has no line \"# code: HEX ...\"";
    const std::string now = Lister().list(golden);
    if (std::getenv("DRAGOMAN_UPDATE_GOLDEN")) {
        std::ofstream(GetParam()) << header(golden) << now;
        return;
    }
    if (now == golden.listing) return;
    std::istringstream was(golden.listing), is(now);
    std::string a, b, section;
    for (unsigned line = 1;; ++line) {
        const bool more_a = bool(std::getline(was, a)), more_b = bool(std::getline(is, b));
        if (!more_b) b = "(end)";
        if (!more_a) a = "(end)";
        if (a != b) {
            ADD_FAILURE() << GetParam().filename() << ": the listing changed, first under \"" << section
                          << "\" at its line " << line << ":\n  was " << a << "\n  is  " << b
                          << "\nIf that is meant: scripts/update-golden, and look at the difference.\n"
                          << "The whole listing now:\n"
                          << now;
            break;
        }
        if (a.size() > 1 && a.back() == ':' && a[0] != ' ' && a[0] != 'L') section = a;
    }
}

INSTANTIATE_TEST_SUITE_P(Files, GoldenListing, ::testing::ValuesIn(files()), [](const auto& test) {
    std::string name = test.param.stem().string();
    std::replace(name.begin(), name.end(), '-', '_');
    return name;
});

// What the listings of sensitive instructions are about, whatever else they show.
void expect_in_order(const char* file, std::initializer_list<const char*> parts) {
    const Golden golden = parse(read(std::filesystem::path(DRAGOMAN_GOLDEN_DIR) / file));
    const std::string text = Lister().list(golden);
    std::size_t at = 0;
    for (const char* part : parts) {
        const std::size_t found = text.find(part, at);
        ASSERT_NE(found, std::string::npos) << "missing or too early: " << part << "\nin:\n" << text;
        at = found;
    }
}

TEST(SensitiveInstructions, AreRewritten) {
    expect_in_order("cli-and-cr3-sti-ret.txt",
                    {"storestate.1  interrupt_flag, 0", "and.4         ebx, ebx, -0x1000",
                     "t1 = write_cr(t0, imm=0x303)", "jumpind       t1",
                     "OUT:", "mov byte ptr gs:[interrupt_flag], 0", "and ebx, 0xfffff000", "[call write_cr]",
                     "gs:[jump_table]", "storestate.1  interrupt_flag, 1", "exithere",
                     "OUT:", "mov byte ptr gs:[interrupt_flag], 1", "jmp exit_here"});
}

TEST(SensitiveInstructions, InterruptsAreLookedAtAfterTheShadowOfSti) {
    expect_in_order("sti-shadow.txt", {"storestate.1  interrupt_flag, 1", "mov.4", "pollintr",
                                       "OUT:", "mov byte ptr gs:[interrupt_flag], 1", "gs:[poll]"});
}

} // namespace
} // namespace dragoman::test
