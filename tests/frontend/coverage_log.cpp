#include "coverage_log.h"

#include "forms.h"

#include <cstdio>
#include <cstdlib>

namespace dragoman::test {

std::string instruction_form(unsigned bits, std::span<const u8> code, unsigned& length) {
    Form form;
    if (!decode(bits, std::vector<u8>(code.begin(), code.end()), form)) return {};
    length = form.insn.length;
    return form.name();
}

std::unique_ptr<CoverageLog> CoverageLog::open(const char* name) {
    const char* folder = std::getenv("DRAGOMAN_COVERAGE");
    if (!folder) return nullptr;
    return std::unique_ptr<CoverageLog>(new CoverageLog(std::string(folder) + "/" + name, name));
}

CoverageLog::~CoverageLog() {
    std::FILE* file = lines_.empty() ? nullptr : std::fopen(path_.c_str(), "a");
    if (!file) return;
    std::fputs(lines_.c_str(), file);
    std::fclose(file);
}

void CoverageLog::add(const char* mode, unsigned bits, unsigned cpl, std::span<const u8> code,
                      unsigned vector) {
    unsigned length = 0;
    const std::string form = instruction_form(bits, code, length);
    if (form.empty()) return;
    const std::string rest = ' ' + std::to_string(vector);
    if (!seen_.insert(std::string(mode) + std::to_string(cpl) + form + rest).second) return;
    lines_ += std::string(mode) + ' ' + std::to_string(cpl) + ' ';
    for (unsigned i = 0; i < length; ++i) {
        char hex[3];
        std::snprintf(hex, sizeof hex, "%02x", code[i]);
        lines_ += hex;
    }
    lines_ += rest + ' ' + name_ + '\n';
}

} // namespace dragoman::test
