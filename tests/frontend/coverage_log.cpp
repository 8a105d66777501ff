#include "coverage_log.h"

#include <Zydis/Zydis.h>

#include <cstdio>
#include <cstdlib>

namespace dragoman::test {

namespace {

const char* kind_of(const ZydisDecodedOperand& op) {
    if (op.type == ZYDIS_OPERAND_TYPE_MEMORY) return "m";
    if (op.type == ZYDIS_OPERAND_TYPE_IMMEDIATE) return "i";
    if (op.type == ZYDIS_OPERAND_TYPE_POINTER) return "far";
    switch (ZydisRegisterGetClass(op.reg.value)) {
    case ZYDIS_REGCLASS_XMM: return "xmm";
    case ZYDIS_REGCLASS_YMM: return "ymm";
    case ZYDIS_REGCLASS_ZMM: return "zmm";
    case ZYDIS_REGCLASS_MASK: return "k";
    case ZYDIS_REGCLASS_MMX: return "mm";
    case ZYDIS_REGCLASS_X87: return "st";
    case ZYDIS_REGCLASS_SEGMENT: return "sreg";
    case ZYDIS_REGCLASS_CONTROL: return "cr";
    case ZYDIS_REGCLASS_DEBUG: return "dr";
    default: return "r";
    }
}

} // namespace

std::string instruction_form(unsigned bits, std::span<const u8> code, unsigned& length) {
    ZydisDecoder decoder;
    const ZydisMachineMode mode = bits == 64   ? ZYDIS_MACHINE_MODE_LONG_64
                                  : bits == 32 ? ZYDIS_MACHINE_MODE_LEGACY_32
                                               : ZYDIS_MACHINE_MODE_LEGACY_16;
    ZydisDecoderInit(&decoder, mode,
                     bits == 64   ? ZYDIS_STACK_WIDTH_64
                     : bits == 32 ? ZYDIS_STACK_WIDTH_32
                                  : ZYDIS_STACK_WIDTH_16);
    ZydisDecodedInstruction insn;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, code.data(), code.size(), &insn, operands))) return {};
    length = insn.length;
    std::string form = ZydisMnemonicGetString(insn.mnemonic);
    for (unsigned i = 0; i < insn.operand_count_visible; ++i)
        form += std::string(i ? "," : " ") + kind_of(operands[i]);
    return form;
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
