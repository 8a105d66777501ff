// Segmentation against the host's processor: random instructions in random segments of the LDT, run natively,
// by the interpreter and as generated code. DRAGOMAN_SEED gives the first seed, DRAGOMAN_CASES the number of
// cases.
#include "../frontend/host_processor.h"
#include "segment_cases.h"
#include "segment_fpu.h"
#include "segment_guest.h"

#include <cstdio>
#include <cstdlib>
#include <map>

namespace dragoman::test {
namespace {

u64 from_environment(const char* name, u64 otherwise) {
    const char* text = std::getenv(name);
    return text ? std::strtoull(text, nullptr, 0) : otherwise;
}

std::string describe(const LdtEntry& e) {
    char text[120];
    std::snprintf(text, sizeof text, "base %08x limit %05x%s %s%s%s %s%s", e.base, e.limit,
                  e.in_pages ? " pages" : "", e.code ? "code" : "data",
                  e.expand_down ? (e.code ? ", conforming" : ", expand-down") : "",
                  e.second ? (e.code ? ", readable" : ", writable") : "", e.big ? "32" : "16",
                  e.present ? "" : ", absent");
    return text;
}

class Comparison {
  public:
    Comparison() : interpreted_(kWays[1]), generated_(kWays[0]) {}

    // Empty: they agree.
    std::string differences(NativeSegments& native, u64 seed) {
        if (group_seed_ != seed / kGroup + 1) begin_group(native, seed / kGroup + 1);
        std::mt19937_64 random(seed);
        const SegmentCase c = cases_.next(random, group_);
        mnemonic_ = c.mnemonic;

        place(native, c, true);
        u8* const native_data = native.alias() + 2 * NativeSegments::part_bytes;
        std::memcpy(native_data, c.data.data(), c.data.size());
        SegmentState host = c.before;
        const SegmentResult expected = native.run(host);

        std::string out;
        const std::pair<const char*, SegmentGuest*> guests[] = {{"interpreter", &interpreted_},
                                                                {"generated code", &generated_}};
        for (const auto& [name, guest] : guests) {
            std::memcpy(guest->data(), c.data.data(), c.data.size());
            std::memcpy(guest->entry_page(), native.alias() + 4 * NativeSegments::part_bytes,
                        NativeSegments::entry_bytes);
            SegmentState ours = c.before;
            const SegmentResult result = guest->run(ours);
            std::string lines = differ(c, host, expected, ours, result);
            if (no_verdict(c, expected, result)) lines.clear();
            const bool same = no_verdict(c, expected, result) || !memory_counts(c, host) ||
                              std::memcmp(native_data, guest->data(), c.data.size()) == 0;
            for (std::size_t i = 0;
                 !same && i < c.data.size() && std::memcmp(native_data, guest->data(), c.data.size()); ++i)
                if (native_data[i] != guest->data()[i])
                    line(lines, "data byte", u32(i), c.data[i], native_data[i], guest->data()[i]);
            if (!lines.empty()) out += std::string(name) + ":\n" + lines;
        }
        place(native, c, false);
        if (out.empty()) return out;
        return describe(c, seed) + out;
    }

    // Of the last case.
    const std::string& mnemonic() const { return mnemonic_; }

  private:
    static constexpr u64 kGroup = 16;

    void begin_group(NativeSegments& native, u64 group_seed) {
        group_seed_ = group_seed;
        std::mt19937_64 random(~group_seed);
        group_ = random_group(random);
        native.set_ldt(group_.ldt);
        const std::vector<u64> ldt = native.ldt(group_.ldt.size());
        for (SegmentGuest* guest : {&interpreted_, &generated_})
            guest->set_ldt(ldt);
        if (group_seed == 1 || !filled_) std::memset(native.alias(), 0xcc, 2 * NativeSegments::part_bytes);
        filled_ = true;
    }

    // Puts the instruction into every code area, or INT3 back.
    void place(NativeSegments& native, const SegmentCase& c, bool in) {
        u32 at = c.code_linear;
        for (const u8 byte : c.code) {
            const u8 value = in ? byte : 0xcc;
            const u32 near = at - NativeSegments::code_area, far = near - NativeSegments::far_part;
            if (near < NativeSegments::part_bytes) native.alias()[near] = value;
            if (far < NativeSegments::part_bytes) native.alias()[NativeSegments::part_bytes + far] = value;
            interpreted_.put_code(at, value);
            generated_.put_code(at, value);
            ++at;
        }
    }

    static void line(std::string& out, const char* what, u32 number, u64 before, u64 host, u64 ours) {
        char text[160];
        std::snprintf(text, sizeof text, "  %s %x: before %llx  host %llx  ours %llx\n", what, number,
                      (unsigned long long)before, (unsigned long long)host, (unsigned long long)ours);
        out += text;
    }

    // On its way to the signal handler, by IRET to an outer level, a null selector loses its RPL.
    static u16 visible(u16 selector) { return x86::is_null(selector) ? 0 : selector; }

    // Where the manual says what this processor does not do: ARPL writes only what it changes, and checks
    // only then whether it may. Which of several faults of one access comes first the manual leaves open
    // where the access is of more than 8 bytes: processors make several of it, or look at its alignment at
    // another time.
    static bool no_verdict(const SegmentCase& c, const SegmentResult& expected, const SegmentResult& result) {
        const bool refused = result.vector == x86::kGP || result.vector == x86::kSS;
        const auto of_access = [](unsigned vector) {
            return vector == x86::kGP || vector == x86::kSS || vector == x86::kPF || vector == x86::kVectorAC;
        };
        // An access across 4 GiB may or may not violate a limit of 4 GiB - 1 (SDM vol. 3, 5.3).
        const bool across = expected.vector == x86::kPF && expected.cr2 > 0xffffffc0 && refused;
        // Whether bytes that the mask leaves out are looked at (SDM vol. 2, MASKMOVQ).
        const bool masked_page = c.mnemonic.rfind("maskmov", 0) == 0 && expected.vector == x86::kPF;
        return (c.mnemonic == "arpl" && refused) || across || masked_page ||
               (c.access_bytes > 8 && of_access(expected.vector) && of_access(result.vector));
    }
    // CALL and ENTER that fault have written below the stack pointer already, and those that save the FPU's
    // state a part of it, in an order of the processor's own.
    static bool memory_counts(const SegmentCase& c, const SegmentState& host) {
        return (c.mnemonic != "call" && c.mnemonic != "enter" && c.access_bytes <= 8) ||
               host.eip != c.before.eip;
    }

    static std::string differ(const SegmentCase& c, const SegmentState& host, const SegmentResult& expected,
                              const SegmentState& ours, const SegmentResult& result) {
        std::string out;
        const auto compare = [&](const char* what, u32 number, u64 before, u64 a, u64 b) {
            if (a != b) line(out, what, number, before, a, b);
        };
        compare("vector", 0, 0, expected.vector, result.vector);
        compare("error code", 0, 0, expected.error, result.error);
        if (expected.vector == x86::kPF) compare("CR2", 0, 0, expected.cr2, result.cr2);
        compare("EIP", 0, c.before.eip, host.eip, ours.eip);
        // The flags that the manual leaves undefined, unless the instruction did nothing.
        const bool ended = expected.vector == x86::kBP || host.eip != c.before.eip;
        const u32 flags = ended ? c.compare_flags : ~u32{0};
        compare("EFLAGS", 0, c.before.eflags, host.eflags & flags, ours.eflags & flags);
        for (unsigned i = 0; i < 8; ++i) // a POPA that faults has written some on some processors
            if (c.mnemonic.rfind("popa", 0) != 0 || expected.vector == x86::kBP)
                compare("general register", i, c.before.gpr[i], host.gpr[i], ours.gpr[i]);
        for (unsigned i = 0; i < 6; ++i)
            compare("segment register", i, c.before.selector[i], visible(host.selector[i]),
                    visible(ours.selector[i]));
        // A store of an MMX register that faults has made the x87 registers MMX registers on some processors.
        if (host.eip == c.before.eip && c.stores_mmx) return out;
        compare_fpu(c.before.fx, host.fx, ours.fx,
                    [&](const char* what, u32 number, u64 before, u64 a, u64 b) {
                        line(out, what, number, before, a, b);
                    });
        return out;
    }

    std::string describe(const SegmentCase& c, u64 seed) const {
        std::string out = "DRAGOMAN_SEED=" + std::to_string(seed) + " DRAGOMAN_CASES=1\n" + c.text;
        static constexpr const char* names[6] = {"ES", "CS", "SS", "DS", "FS", "GS"};
        char text[200];
        for (unsigned i = 0; i < 6; ++i) {
            const u16 s = c.before.selector[i];
            std::snprintf(text, sizeof text, "  %s %04x %s\n", names[i], s,
                          s & 4 ? test::describe(group_.ldt[s >> 3]).c_str() : "null");
            out += text;
        }
        std::snprintf(text, sizeof text,
                      "  eax %08x ecx %08x edx %08x ebx %08x esp %08x ebp %08x esi %08x edi %08x eflags %x\n",
                      c.before.gpr[0], c.before.gpr[1], c.before.gpr[2], c.before.gpr[3], c.before.gpr[4],
                      c.before.gpr[5], c.before.gpr[6], c.before.gpr[7], c.before.eflags);
        return out + text;
    }

    SegmentCases cases_;
    std::string mnemonic_;
    SegmentGroup group_;
    u64 group_seed_ = 0;
    bool filled_ = false;
    SegmentGuest interpreted_, generated_;
};

TEST(NativeSegmentsTest, SingleInstructionsAsOnTheHost) {
    NativeSegments native;
    if (!native.available()) GTEST_SKIP() << native.why_not();
    if (host_is_amd())
        GTEST_SKIP()
            << "AMD's processors have ways of their own at the ends of segments and of the address space";
    const u64 first = from_environment("DRAGOMAN_SEED", std::random_device{}() & 0xfffffff);
    const u64 cases = from_environment("DRAGOMAN_CASES", 5000);
    std::printf("seed %llu, %llu cases\n", (unsigned long long)first, (unsigned long long)cases);
    Comparison comparison;
    std::map<std::string, unsigned> different; // by mnemonic: one report of each
    for (u64 seed = first; seed < first + cases && different.size() < 20; ++seed) {
        std::string text = comparison.differences(native, seed);
        // An interrupt of the host, at a place where only the next instruction can fault, may change what the
        // fault looks like: a difference has to come back.
        if (!text.empty()) text = comparison.differences(native, seed);
        if (text.empty()) continue;
        const std::string mnemonic = comparison.mnemonic();
        if (!different[mnemonic]++) ADD_FAILURE() << text;
    }
    for (const auto& [mnemonic, times] : different)
        std::printf("%s: %u\n", mnemonic.c_str(), times);
}

} // namespace
} // namespace dragoman::test
