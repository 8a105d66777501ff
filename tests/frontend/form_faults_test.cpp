// What each form of each instruction may end with, in each mode and under each condition that the manual
// gives for all instructions of its kind (SDM vol. 2, 2.4 to 2.7, table 3-x of each instruction; vol.
// 3, 2.5, 6.15, 13.1).
#include "form_kinds.h"
#include "form_machine.h"

#include <map>
#include <set>

namespace dragoman::test {
namespace {

constexpr int kNone = -1;

class FormFaults : public ::testing::TestWithParam<FormMode> {
  protected:
    FormFaults() : machine(GetParam()), mode(GetParam()), cpu(machine.cpu) {}

    // Runs it after begin() and `change`; expects this vector.
    template <class Change>
    void expect(const Form& f, const char* condition, unsigned cpl, const std::vector<u8>& code, int vector,
                const Change& change) {
        begin(f, cpl, code, change);
        const int was = machine.run(text);
        ++cases_;
        if (was == vector) return;
        report(f, condition, cpl) << "vector " << was << ", not " << vector;
    }
    template <class Change>
    void begin(const Form& f, unsigned cpl, const std::vector<u8>& code, const Change& change) {
        machine.begin(f, cpl);
        text = code.empty() ? machine.code : code;
        change();
        if (code.empty()) text = machine.code;
    }
    // One of each mnemonic and condition is enough to read.
    class Message {
      public:
        Message(bool wanted, std::string head) : wanted_(wanted), head_(std::move(head)) {}
        template <class T> Message& operator<<(const T& part) {
            text_ << part;
            return *this;
        }
        ~Message() {
            if (wanted_) ADD_FAILURE() << head_ << text_.GetString();
        }

      private:
        bool wanted_;
        std::string head_;
        testing::Message text_;
    };
    Message report(const Form& f, const char* condition, unsigned cpl) {
        std::string head = std::string(mode.name) + " cpl " + char('0' + cpl) + ", " + f.name() + " (";
        for (const u8 byte : text) {
            char hex[3];
            std::snprintf(hex, sizeof hex, "%02x", byte);
            head += hex;
        }
        return {shown_.insert(ZydisMnemonicGetString(f.insn.mnemonic) + std::string(condition)).second &&
                    shown_.size() < 60,
                head + "), " + condition + ": "};
    }
    // What the host lacks is not offered, and its forms with it.
    bool offered(const Form& f) const {
        if (f.row->feature != Feature::Base && !machine.m.model.has(f.row->feature)) return false;
        if (evex(f) && !machine.m.model.has(Feature::Avx512vl)) return false;
        return f.insn.meta.isa_set !=
               ZYDIS_ISA_SET_AVX_VNNI; // VEX-encoded, a feature of its own that no model has
    }
    template <class Fn> void each(const Fn& fn) {
        for (const Form& f : all_forms(mode.bits))
            if (offered(f)) fn(f);
    }
    // Where it can be run without a privilege, and is.
    unsigned level(const Form& f) const { return mode.real() || privileged(f) || hidden(f) ? 0 : 3; }
    // Forms whose memory operand is accessed, before anything else of theirs is looked at.
    template <class Fn> void accesses(const Fn& fn) {
        each([&](const Form& f) {
            if (accesses_memory(f, mode)) fn(f);
        });
    }
    // What the first access is that faults: some read another operand first, or write only what changes.
    static bool writes_first(const Form& f) {
        const bool moves = f.insn.meta.category == ZYDIS_CATEGORY_STRINGOP &&
                           is_one_of(f, {ZYDIS_MNEMONIC_MOVSB, ZYDIS_MNEMONIC_MOVSW, ZYDIS_MNEMONIC_MOVSD,
                                         ZYDIS_MNEMONIC_MOVSQ});
        return writes_memory(f) && !moves && f.insn.mnemonic != ZYDIS_MNEMONIC_MOVDIR64B &&
               f.insn.mnemonic != ZYDIS_MNEMONIC_ARPL;
    }
    void expect_code(const Form& f, const char* condition, u32 error) {
        if (cpu.fault.error != error)
            report(f, condition, cpu.cpl) << "error code " << cpu.fault.error << ", not " << error;
    }

    void where_it_exists_it_runs();
    void lock();
    void without_its_feature();
    void control_registers();
    void an_x87_exception_waits();
    void numbers();
    void absent_page();
    void beyond_the_limit_or_not_canonical();
    void segment_that_forbids_it();
    void alignment();

    FormMachine machine;
    const FormMode& mode;
    Cpu& cpu;
    std::vector<u8> text;

    unsigned cases_ = 0;

  private:
    std::set<std::string> shown_;
};

INSTANTIATE_TEST_SUITE_P(Modes, FormFaults, ::testing::ValuesIn(kFormModes),
                         [](const auto& test) { return std::string(test.param.name); });

constexpr auto nothing = [] {};

void FormFaults::where_it_exists_it_runs() {
    each([&](const Form& f) {
        for (const unsigned cpl : {0u, 3u}) {
            const bool refused = privileged(f) && !mode.real() && (cpl == 3 || mode.v86());
            const bool unseen = hidden(f) && !mode.real() && (cpl == 3 || mode.v86());
            if (!exists(f, mode) || unseen)
                expect(f, "does not exist", cpl, {}, kUD, nothing);
            else if (refused || runs_plainly(f, mode, cpl))
                expect(f, "nothing special", cpl, {}, refused ? kGP : kNone, nothing);
        }
    });
}

void FormFaults::lock() {
    each([&](const Form& f) {
        std::vector<u8> locked = f.code;
        locked.insert(locked.begin(), 0xf0);
        const int vector = lockable(f) && exists(f, mode) ? kNone : kUD;
        expect(f, "LOCK", level(f), locked, vector, nothing);
    });
}

void FormFaults::without_its_feature() {
    std::map<Feature, CpuModel> models;
    each([&](const Form& f) {
        const Feature feature = f.row->feature;
        if (feature == Feature::Base || feature == Feature::LongMode) return;
        if (!models.count(feature)) {
            CpuModel without = machine.m.model;
            without.features.reset(std::size_t(feature));
            models.emplace(feature, without);
        }
        expect(f, "its feature is missing", level(f), {}, kUD, [&] { cpu.model = &models.at(feature); });
    });
}

// SDM vol. 3, table 2-2, 13.1; vol. 2, 2.4.
void FormFaults::control_registers() {
    each([&](const Form& f) {
        if (!exists(f, mode) || (mode.v86() && privileged(f))) return;
        const unsigned cpl = level(f);
        const bool fpu = x87(f) || fwait(f), vectors = mmx(f) || sse(f) || avx(f) || avx512(f),
                   saves = saves_fpu(f) || saves_extended(f);
        if (fpu || vectors || saves || extended_state(f)) {
            if (!extended_state(f) || saves) expect(f, "CR0.TS", cpl, {}, kNM, [&] { cpu.cr0 |= kCr0TS; });
            if (f.insn.mnemonic != ZYDIS_MNEMONIC_XSETBV)
                expect(f, "CR0.EM", cpl, {},
                       x87(f) || saves_fpu(f)           ? kNM
                       : mmx(f) || sse(f)               ? kUD
                       : privileged(f) || !transfers(f) ? kNone
                                                        : kNone,
                       [&] { cpu.cr0 |= kCr0EM; });
            if (f.insn.mnemonic != ZYDIS_MNEMONIC_XSETBV) {
                expect(f, "no CR4.OSFXSR", cpl, {}, sse(f) ? kUD : kNone,
                       [&] { cpu.cr4 &= ~u64{kCr4OSFXSR}; });
                const bool needs = avx(f) || avx512(f) || extended_state(f);
                expect(f, "no CR4.OSXSAVE", cpl, {}, needs ? kUD : kNone,
                       [&] { cpu.cr4 &= ~u64{kCr4OSXSAVE}; });
            }
        }
        if (avx(f) || avx512(f)) {
            expect(f, "XCR0 without AVX", cpl, {}, kUD, [&] { cpu.xcr0 = kX87State | kSseState; });
            expect(f, "XCR0 without AVX-512", cpl, {}, avx512(f) ? kUD : kNone,
                   [&] { cpu.xcr0 = kX87State | kSseState | kAvxState; });
        }
        if (fwait(f))
            expect(f, "CR0.TS without MP", cpl, {}, kNone,
                   [&] { cpu.cr0 = (cpu.cr0 | kCr0TS) & ~u64{kCr0MP}; });
    });
}

// SDM vol. 1, 8.7; vol. 3, 6.15 (#MF), 12.2.
void FormFaults::an_x87_exception_waits() {
    each([&](const Form& f) {
        const bool looks = (x87(f) && !non_waiting(f)) || fwait(f) || mmx(f) ||
                           (sse(f) && any_register(f, {ZYDIS_REGCLASS_MMX}));
        if (!looks && !x87(f) && !sse(f) && !saves_fpu(f)) return;
        expect(f, "an x87 exception waits", level(f), {}, looks ? kMF : kNone, [&] {
            cpu.fpu.control &= u16(~1);
            cpu.fpu.status |= 0x8081;
        });
    });
}

// SDM vol. 1, 11.5.2; vol. 2, DIV, and the tables of SIMD exceptions.
void FormFaults::numbers() {
    const u64 data = FormMachine::kBase + FormMachine::kDataOffset;
    // Denormals of 32 and of 64 bits; a signalling NaN of 64 bits, and as an integer more than fits; of 32
    // bits; of 16 bits.
    constexpr u64 odd[] = {0x0000000100000001, 0x7ff4000100000001, 0x7fa000017fa00001, 0x7d017d017d017d01};
    each([&](const Form& f) {
        if (!exists(f, mode)) return;
        if (divides(f))
            expect(f, "division by 0", level(f), {}, kDE, [&] {
                cpu.gpr[3] = 0;
                machine.m.put<u64>(data, 0);
            });
        if (!simd_numeric(f)) return;
        bool raised = false;
        for (const u64 number : odd) {
            begin(f, level(f), {}, [&] {
                // Which exceptions and elements count.
                if (is_one_of(f, {ZYDIS_MNEMONIC_VFIXUPIMMPS, ZYDIS_MNEMONIC_VFIXUPIMMPD,
                                  ZYDIS_MNEMONIC_VFIXUPIMMSS, ZYDIS_MNEMONIC_VFIXUPIMMSD, ZYDIS_MNEMONIC_DPPS,
                                  ZYDIS_MNEMONIC_DPPD, ZYDIS_MNEMONIC_VDPPS, ZYDIS_MNEMONIC_VDPPD}))
                    machine.code.back() = 0xff;
                cpu.mxcsr = 0;
                cpu.gpr[3] = number;
                for (unsigned n = 0; n < 8; ++n) {
                    std::memcpy(&cpu.fpu.st[n], &number, 8);
                    for (unsigned at = 0; at < 64; at += 8) {
                        std::memcpy(cpu.vec[n] + at, &number, 8);
                        machine.m.put(data + at, number);
                    }
                }
            });
            const int vector = machine.run(text);
            raised |= vector == kXM;
            if (vector != kNone && (vector != kXM || suppresses_exceptions(f)))
                report(f, "an odd number", cpu.cpl) << "vector " << vector;
            ++cases_;
        }
        if (!raised && !suppresses_exceptions(f)) report(f, "odd numbers", cpu.cpl) << "no #XM";
    });
}

void FormFaults::absent_page() {
    if (mode.real()) return;
    accesses([&](const Form& f) {
        const unsigned cpl = level(f);
        expect(f, "absent page", cpl, {}, kPF, [&] { machine.point(f, FormMachine::kAbsentOffset); });
        if (cpu.fault.vector != kPF) return;
        if (!saves_extended(f)) // they read the header of what they write
            expect_code(f, "absent page", (writes_first(f) ? 2 : 0) | (cpl == 3 ? 4 : 0));
        const u64 wanted = FormMachine::kBase + FormMachine::kAbsentOffset;
        if (cpu.fault.address != wanted && !saves_extended(f))
            report(f, "absent page", cpl) << std::hex << "CR2 " << cpu.fault.address;
    });
}

void FormFaults::beyond_the_limit_or_not_canonical() {
    accesses([&](const Form& f) {
        for (const Place place : {Place::Data, Place::Stack}) {
            const std::vector<u8> code = f.at(place);
            if (place == Place::Stack && code.empty()) continue;
            const bool stack = place == Place::Stack;
            const char* what = stack ? "outside of the stack" : "outside of the segment";
            expect(f, what, level(f), stack ? code : std::vector<u8>{}, stack ? kSS : kGP, [&] {
                if (mode.code64()) return machine.point(f, FormMachine::kNonCanonical);
                for (const unsigned s : {0u, 2u, 3u})
                    if ((s == 2) == stack) cpu.seg[s].limit = FormMachine::kDataOffset - 1;
            });
            expect_code(f, what, 0);
        }
    });
}

void FormFaults::segment_that_forbids_it() {
    if (!mode.is_protected || mode.code64()) return;
    accesses([&](const Form& f) {
        expect(f, "null segment", level(f), {}, kGP, [&] {
            for (const unsigned s : {0u, 3u})
                cpu.seg[s] = null_segment(0);
        });
        const bool write = writes_memory(f);
        if (!transfers(f)) {
            expect(f, "read-only segment", level(f), {}, write ? kGP : kNone, [&] {
                for (const unsigned s : {0u, 3u})
                    cpu.seg[s].attributes &= u16(~kSegWritable);
            });
        }
    });
}

void FormFaults::alignment() {
    accesses([&](const Form& f) {
        if (transfers(f)) return;
        const unsigned bytes = f.memory()->size / 8;
        const auto off_by_one = [&] { machine.point(f, FormMachine::kDataOffset + 1); };
        if (aligned(f))
            expect(f, "not aligned", level(f), {}, kGP, off_by_one);
        else if (bytes == 2 || bytes == 4 || bytes == 8) {
            if (!divides(f))
                expect(f, "not aligned", level(f), {}, kNone, off_by_one);     // by the 0 that is there
            if (!mode.real() && f.memory()->mem.type != ZYDIS_MEMOP_TYPE_VSIB) // SDM vol. 2, VGATHERDPS
                expect(f, "not aligned, #AC on", 3, {}, privileged(f) ? kGP : kVectorAC, [&] {
                    off_by_one();
                    cpu.cr0 |= kCr0AM;
                    cpu.set_eflags(cpu.eflags() | kAC);
                });
        }
    });
}

// In one test for each mode: to find the forms takes a while.
TEST_P(FormFaults, EveryFormEndsAsTheManualSays) {
    where_it_exists_it_runs();
    lock();
    without_its_feature();
    control_registers();
    an_x87_exception_waits();
    numbers();
    absent_page();
    beyond_the_limit_or_not_canonical();
    segment_that_forbids_it();
    alignment();
    std::printf("%u cases of %zu forms\n", cases_, all_forms(mode.bits).size());
}

} // namespace
} // namespace dragoman::test
