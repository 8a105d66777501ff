// Prints which rows of the instruction table the tests have executed, in which modes, with which operands,
// and with what exceptions: coverage_report FILE... (the lists of tests/baremetal and
// tests/frontend/coverage_log.h). Called by scripts/coverage.
#include "frontend/x86/cpuid.h"
#include "frontend/x86/instruction.h"

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

namespace {

constexpr unsigned kDone = 3;

struct ModeName {
    const char* name;
    unsigned bits;
    const char* column;
};
constexpr ModeName kModes[] = {{"real", 16, "R"},     {"v86", 16, "V"},      {"pm16", 16, "16"},
                               {"compat16", 16, "C"}, {"pm32", 32, "32"},    {"paged32", 32, "32"},
                               {"pae", 32, "32"},     {"compat32", 32, "C"}, {"long64", 64, "64"}};
constexpr const char* kColumns[] = {"R", "V", "16", "32", "C", "64"};

const char* exception_name(unsigned vector) {
    static constexpr const char* names[] = {"#DE", "#DB", "NMI", "",    "#OF", "#BR", "#UD",
                                            "#NM", "#DF", "",    "#TS", "#NP", "#SS", "#GP",
                                            "#PF", "",    "#MF", "#AC", "#MC", "#XM"};
    return vector < std::size(names) ? names[vector] : "";
}

const char* kind_of(const ZydisDecodedOperand& op) {
    switch (op.type) {
    case ZYDIS_OPERAND_TYPE_MEMORY: return "m";
    case ZYDIS_OPERAND_TYPE_IMMEDIATE: return "i";
    case ZYDIS_OPERAND_TYPE_POINTER: return "far";
    default: break;
    }
    switch (ZydisRegisterGetClass(op.reg.value)) {
    case ZYDIS_REGCLASS_XMM: return "x";
    case ZYDIS_REGCLASS_YMM: return "y";
    case ZYDIS_REGCLASS_ZMM: return "z";
    case ZYDIS_REGCLASS_MASK: return "k";
    case ZYDIS_REGCLASS_MMX: return "mm";
    case ZYDIS_REGCLASS_X87: return "st";
    case ZYDIS_REGCLASS_SEGMENT: return "s";
    case ZYDIS_REGCLASS_CONTROL: return "cr";
    case ZYDIS_REGCLASS_DEBUG: return "dr";
    default: return "r";
    }
}

struct Row {
    std::set<std::string> columns, forms, exceptions;
    bool levels[4] = {};
    unsigned executions = 0;
};

class Report {
  public:
    bool read(const char* path) {
        std::ifstream file(path);
        if (!file) return false;
        for (std::string line; std::getline(file, line);)
            add(line);
        return true;
    }

    void print(const CpuModel& model) {
        std::vector<std::string> untested, one_mode;
        unsigned offered = 0;
        std::printf("    %-18s %-14s %-4s %-30s %s\n", "instruction", "modes", "CPL", "operands",
                    "exceptions");
        for (const InstructionInfo& info : instruction_table()) {
            if (info.feature != Feature::Base && !model.has(info.feature)) continue;
            ++offered;
            const std::string name = ZydisMnemonicGetString(info.mnemonic);
            const auto found = rows_.find(&info);
            if (found == rows_.end()) {
                untested.push_back(name);
                continue;
            }
            const Row& row = found->second;
            std::string columns, levels;
            for (const char* c : kColumns)
                if (row.columns.count(c)) columns += std::string(columns.empty() ? "" : " ") + c;
            for (unsigned n = 0; n < 4; ++n)
                if (row.levels[n]) levels += char('0' + n);
            std::printf("    %-18s %-14s %-4s %-30s %s\n", name.c_str(), columns.c_str(), levels.c_str(),
                        join(row.forms).c_str(), join(row.exceptions).c_str());
        }
        std::printf("\n%u rows offered by CPUID, %zu executed, %zu not.\n", offered,
                    offered - untested.size(), untested.size());
        if (untested.empty()) return;
        std::printf("\nNot executed by any of these tests:");
        for (const std::string& name : untested)
            std::printf(" %s", name.c_str());
        std::printf("\n");
    }

  private:
    static std::string join(const std::set<std::string>& parts) {
        std::string all;
        for (const std::string& part : parts)
            all += (all.empty() ? "" : " ") + part;
        return all;
    }

    // mode, CPL, bytes, vector, ...: all instructions but the last ended well; the vector is the last one's.
    void add(const std::string& line) {
        std::istringstream fields(line);
        std::string mode_name, hex;
        unsigned cpl = 0, vector = 0;
        if (!(fields >> mode_name >> cpl >> hex >> vector) || hex == "-") return;
        const auto mode = std::find_if(std::begin(kModes), std::end(kModes),
                                       [&](const ModeName& m) { return mode_name == m.name; });
        if (mode == std::end(kModes)) return;
        std::vector<u8> code;
        for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
            code.push_back(u8(std::stoul(hex.substr(i, 2), nullptr, 16)));

        ZydisDecoder decoder;
        ZydisDecoderInit(&decoder,
                         mode->bits == 64   ? ZYDIS_MACHINE_MODE_LONG_64
                         : mode->bits == 32 ? ZYDIS_MACHINE_MODE_LEGACY_32
                                            : ZYDIS_MACHINE_MODE_LEGACY_16,
                         mode->bits == 64   ? ZYDIS_STACK_WIDTH_64
                         : mode->bits == 32 ? ZYDIS_STACK_WIDTH_32
                                            : ZYDIS_STACK_WIDTH_16);
        ZydisDecodedInstruction insn;
        ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
        for (std::size_t at = 0; at < code.size(); at += insn.length) {
            if (!ZYAN_SUCCESS(
                    ZydisDecoderDecodeFull(&decoder, code.data() + at, code.size() - at, &insn, operands)))
                return;
            const InstructionInfo* info = find_instruction(insn);
            if (!info) continue;
            Row& row = rows_[info];
            ++row.executions;
            row.columns.insert(mode->column);
            if (cpl < 4) row.levels[cpl] = true;
            std::string form;
            for (unsigned i = 0; i < insn.operand_count_visible; ++i)
                form += (i ? "," : "") + std::string(kind_of(operands[i]));
            if (!form.empty()) row.forms.insert(form);
            if (at + insn.length >= code.size() && vector != kDone) {
                const std::string name = exception_name(vector);
                if (!name.empty()) row.exceptions.insert(name);
            }
        }
    }

    std::map<const InstructionInfo*, Row> rows_;
};

} // namespace

int main(int argc, char** argv) {
    Report report;
    for (int i = 1; i < argc; ++i)
        if (!report.read(argv[i])) {
            std::fprintf(stderr, "coverage_report: %s: cannot be read\n", argv[i]);
            return 1;
        }
    report.print(*make_model("max"));
    return 0;
}
