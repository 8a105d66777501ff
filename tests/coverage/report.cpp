// Prints which rows of the instruction table the tests have executed, in which modes, with which operands,
// and with what exceptions, and what of all that the manual lets happen they have not: coverage_report
// FILE... (the lists of tests/baremetal and tests/frontend/coverage_log.h). Called by scripts/coverage.
#include "../frontend/form_kinds.h"

#include "frontend/x86/cpu.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

using namespace dragoman;
using namespace dragoman::x86;
using namespace dragoman::test;

namespace {

constexpr unsigned kEndedWell = 3; // the vector that the lists give then
constexpr unsigned kVectors = 20;
constexpr const char* kNames[kVectors] = {"#DE", "#DB", "NMI", "ends well", "#OF", "#BR", "#UD",
                                          "#NM", "#DF", "",    "#TS",       "#NP", "#SS", "#GP",
                                          "#PF", "",    "#MF", "#AC",       "#MC", "#XM"};
using Vectors = u32; // one bit for each
constexpr Vectors bit(unsigned vector) {
    return 1u << vector;
}

constexpr const char* kColumns[std::size(kFormModes)] = {"R", "V", "16", "32", "C", "C", "64"};

// Modes as the lists name them; paged and pae are as pm32.
int mode_number(const std::string& name) {
    const std::string plain = name == "paged32" || name == "pae" ? "pm32" : name;
    for (unsigned n = 0; n < std::size(kFormModes); ++n)
        if (plain == kFormModes[n].name) return int(n);
    return -1;
}

// What the manual lets such a form end with in this mode, as far as it is the same for all of its kind: what
// only single instructions raise (#TS, #NP, #BR ...) is left to the tests of those.
Vectors possible(const Form& f, const FormMode& mode) {
    if (f.insn.meta.isa_set == ZYDIS_ISA_SET_AVX_VNNI) return 0; // a feature of its own, that no model has
    if (!exists(f, mode)) return bit(kUD);
    Vectors all = bit(kEndedWell);
    const bool vectors = mmx(f) || sse(f) || avx(f) || avx512(f);
    if (f.row->feature != Feature::Base && f.row->feature != Feature::LongMode) all |= bit(kUD);
    if (vectors || x87(f) || fwait(f) || saves_fpu(f) || saves_extended(f)) all |= bit(kNM);
    if ((x87(f) && !non_waiting(f)) || fwait(f) || mmx(f)) all |= bit(kMF);
    if (divides(f)) all |= bit(kDE);
    if (is_one_of(f, {ZYDIS_MNEMONIC_INT, ZYDIS_MNEMONIC_INT1, ZYDIS_MNEMONIC_INT3}))
        return all & bit(kUD);                                    // they are one
    if (f.insn.mnemonic == ZYDIS_MNEMONIC_RDPMC) return bit(kGP); // no counter is offered
    if (is_one_of(f, {ZYDIS_MNEMONIC_SYSCALL, ZYDIS_MNEMONIC_SYSRET}) && !mode.code64()) return bit(kUD);
    if (f.insn.mnemonic == ZYDIS_MNEMONIC_SYSEXIT && !mode.is_protected) return bit(kGP);
    if (f.insn.mnemonic == ZYDIS_MNEMONIC_SYSENTER && mode.real()) return bit(kGP);
    if (privileged(f) && mode.v86()) return (all & bit(kUD)) | bit(kGP);
    if (hidden(f) && mode.v86()) return bit(kUD);
    if (privileged(f) && mode.is_protected) all |= bit(kGP);
    if (simd_numeric(f) && !suppresses_exceptions(f)) all |= bit(kXM);
    if (!accesses_memory(f, mode)) return all;
    all |= bit(kGP);
    if (!f.at(Place::Stack).empty()) all |= bit(x86::kSS);
    if (mode.paged) all |= bit(x86::kPF);
    const unsigned size = f.memory()->size;
    if (!mode.real() && !transfers(f) && !aligned(f) && f.memory()->mem.type != ZYDIS_MEMOP_TYPE_VSIB &&
        !privileged(f) && (size == 16 || size == 32 || size == 64))
        all |= bit(kVectorAC);
    return all;
}

struct Row {
    std::set<std::string> columns, kinds;
    Vectors seen = 0;
    bool levels[4] = {};
    std::map<std::string, Vectors> forms[std::size(kFormModes)]; // by Form::name(), of each mode
};

std::string join(const std::set<std::string>& parts) {
    std::string all;
    for (const std::string& part : parts)
        all += (all.empty() ? "" : " ") + part;
    return all;
}

class Report {
  public:
    explicit Report(const CpuModel& model) : model_(model) {}

    bool read(const char* path) {
        std::ifstream file(path);
        if (!file) return false;
        for (std::string line; std::getline(file, line);)
            add(line);
        return true;
    }

    void print() {
        expect();
        std::vector<std::string> untested, gaps;
        unsigned offered = 0;
        std::size_t all = 0, tested = 0;
        std::printf("    %-18s %-14s %-4s %-11s %-30s %s\n", "instruction", "modes", "CPL", "cells",
                    "operands", "exceptions");
        for (const InstructionInfo& info : instruction_table()) {
            if (info.feature != Feature::Base && !model_.has(info.feature)) continue;
            ++offered;
            const std::string name = ZydisMnemonicGetString(info.mnemonic);
            const Row& row = rows_[&info];
            if (row.columns.empty()) {
                untested.push_back(name);
                continue;
            }
            const auto [row_tested, row_all] = count(info, gaps);
            tested += row_tested;
            all += row_all;
            print_row(name, row, std::to_string(row_tested) + "/" + std::to_string(row_all));
        }
        std::printf("\n%u rows offered by CPUID, %zu executed, %zu not.\n%zu cells, %zu tested, %zu not.\n",
                    offered, offered - untested.size(), untested.size(), all, tested, all - tested);
        if (!untested.empty()) std::printf("\nNot executed by any of these tests:");
        for (const std::string& name : untested)
            std::printf(" %s", name.c_str());
        if (!gaps.empty()) std::printf("\n## Cells not tested\n\n");
        for (const std::string& gap : gaps)
            std::printf("    %s\n", gap.c_str());
    }

  private:
    static void print_row(const std::string& name, const Row& row, const std::string& cells) {
        std::string columns, levels, exceptions;
        for (const char* c : {"R", "V", "16", "32", "C", "64"})
            if (row.columns.count(c)) columns += std::string(columns.empty() ? "" : " ") + c;
        for (unsigned n = 0; n < 4; ++n)
            if (row.levels[n]) levels += char('0' + n);
        std::set<std::string> names;
        for (unsigned v = 0; v < kVectors; ++v)
            if (v != kEndedWell && (row.seen & bit(v))) names.insert(kNames[v]);
        std::printf("    %-18s %-14s %-4s %-11s %-30s %s\n", name.c_str(), columns.c_str(), levels.c_str(),
                    cells.c_str(), join(row.kinds).c_str(), join(names).c_str());
    }

    // All that may happen, form by form.
    void expect() {
        for (unsigned mode = 0; mode < std::size(kFormModes); ++mode)
            for (const Form& f : all_forms(kFormModes[mode].bits))
                possible_[f.row].forms[mode][f.name()] |= possible(f, kFormModes[mode]);
    }
    // Cells of this row that are tested, and all; what is missing goes to `gaps`, a line for each exception.
    std::pair<std::size_t, std::size_t> count(const InstructionInfo& info, std::vector<std::string>& gaps) {
        std::size_t tested = 0, all = 0;
        std::map<unsigned, std::map<std::string, std::set<std::string>>> missing; // vector, form, modes
        for (unsigned mode = 0; mode < std::size(kFormModes); ++mode)
            for (const auto& [form, wanted] : possible_[&info].forms[mode]) {
                const Vectors seen = rows_[&info].forms[mode][form];
                for (unsigned v = 0; v < kVectors; ++v) {
                    if (!(wanted & bit(v))) continue;
                    ++all;
                    if (seen & bit(v))
                        ++tested;
                    else
                        missing[v][form].insert(kColumns[mode]);
                }
            }
        for (const auto& [v, forms] : missing) {
            std::map<std::string, std::string> by_modes;
            for (const auto& [form, modes] : forms)
                by_modes[join(modes)] += (by_modes[join(modes)].empty() ? "" : "; ") + form;
            for (const auto& [modes, names] : by_modes)
                gaps.push_back(std::string(kNames[v]) + " in " + modes + ": " + names);
        }
        return {tested, all};
    }

    // mode, CPL, bytes, vector, ...: all instructions but the last ended well; the vector is the last one's.
    void add(const std::string& line) {
        std::istringstream fields(line);
        std::string mode_name, hex;
        unsigned cpl = 0, vector = 0;
        if (!(fields >> mode_name >> cpl >> hex >> vector) || hex == "-") return;
        const int mode = mode_number(mode_name);
        if (mode < 0) return;
        std::vector<u8> code;
        for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
            code.push_back(u8(std::stoul(hex.substr(i, 2), nullptr, 16)));
        Form form;
        while (!code.empty()) {
            if (!decode(kFormModes[mode].bits, code, form)) return;
            code.erase(code.begin(), code.begin() + form.insn.length);
            Row& row = rows_[form.row];
            row.columns.insert(kColumns[mode]);
            if (cpl < 4) row.levels[cpl] = true;
            std::string kinds;
            for (unsigned i = 0; i < form.insn.operand_count_visible; ++i)
                kinds += (i ? "," : "") + std::string(operand_kind(form.operands[i]));
            if (!kinds.empty()) row.kinds.insert(kinds);
            const unsigned end = code.empty() ? vector : kEndedWell;
            if (end >= kVectors) continue;
            row.seen |= bit(end);
            row.forms[mode][form.name()] |= bit(end);
        }
    }

    const CpuModel& model_;
    std::map<const InstructionInfo*, Row> rows_, possible_;
};

} // namespace

int main(int argc, char** argv) {
    const CpuModel model = *make_model("max");
    Report report(model);
    for (int i = 1; i < argc; ++i)
        if (!report.read(argv[i])) {
            std::fprintf(stderr, "coverage_report: %s: cannot be read\n", argv[i]);
            return 1;
        }
    report.print();
    return 0;
}
