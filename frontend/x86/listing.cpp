#include "frontend/x86/listing.h"

#include "ir/block.h"

#include <Zydis/Zydis.h>

#include <algorithm>
#include <cstdio>

namespace dragoman::x86 {

std::string list_guest(std::span<const u8> bytes, u64 rip, unsigned code_bits, unsigned limit) {
    ZydisDecoder decoder;
    ZydisDecoderInit(&decoder,
                     code_bits == 64   ? ZYDIS_MACHINE_MODE_LONG_64
                     : code_bits == 32 ? ZYDIS_MACHINE_MODE_LEGACY_32
                                       : ZYDIS_MACHINE_MODE_LEGACY_16,
                     code_bits == 64   ? ZYDIS_STACK_WIDTH_64
                     : code_bits == 32 ? ZYDIS_STACK_WIDTH_32
                                       : ZYDIS_STACK_WIDTH_16);
    ZydisFormatter formatter;
    ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);

    std::string out;
    for (std::size_t at = 0; at < bytes.size() && limit > 0; limit--) {
        ZydisDecodedInstruction insn;
        ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
        char text[160] = "(bad)";
        std::size_t length = 1;
        if (ZYAN_SUCCESS(
                ZydisDecoderDecodeFull(&decoder, bytes.data() + at, bytes.size() - at, &insn, operands))) {
            length = insn.length;
            ZydisFormatterFormatInstruction(&formatter, &insn, operands, insn.operand_count_visible, text,
                                            sizeof text, rip + at, nullptr);
        }
        char hex[40];
        char* p = hex;
        for (std::size_t i = 0; i < length; i++)
            p += std::snprintf(p, 3, "%02x", bytes[at + i]);
        char line[256];
        std::snprintf(line, sizeof line, "%0*llx  %-22s %s\n", code_bits == 64 ? 16 : 8,
                      static_cast<unsigned long long>(rip + at), hex, text);
        out += line;
        at += length;
    }
    return out;
}

std::string list_guest(const ir::Block& block, std::span<const u8> bytes) {
    return list_guest(bytes.first(std::min<std::size_t>(bytes.size(), block.guest_bytes)), block.pc,
                      block.mode_bits, block.guest_instructions);
}

} // namespace dragoman::x86
