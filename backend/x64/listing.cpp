// Host code as text, for -d out_asm and the tests.
#include "base/types.h"

#include <capstone/capstone.h>
#include <cstdio>
#include <string>

namespace dragoman::backend {

std::string list_host_code(const u8* code, u64 bytes, u64 address) {
    csh handle;
    if (cs_open(CS_ARCH_X86, CS_MODE_64, &handle) != CS_ERR_OK) return "capstone does not start\n";
    cs_option(handle, CS_OPT_SKIPDATA, CS_OPT_ON);
    std::string text;
    cs_insn* insn = cs_malloc(handle);
    size_t left = bytes;
    char line[320];
    while (left && cs_disasm_iter(handle, &code, &left, &address, insn)) {
        char hex[3 * 16 + 1] = "";
        for (unsigned i = 0; i < insn->size && i < 15; ++i)
            std::snprintf(hex + 2 * i, 3, "%02x", insn->bytes[i]);
        std::snprintf(line, sizeof line, "%016llx  %-22s  %s %s\n",
                      static_cast<unsigned long long>(insn->address), hex, insn->mnemonic, insn->op_str);
        text += line;
    }
    cs_free(insn, 1);
    cs_close(&handle);
    return text;
}

} // namespace dragoman::backend
