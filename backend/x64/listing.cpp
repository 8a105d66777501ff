#include "backend/x64/listing.h"

#include "base/late_library.h"

#include <capstone/capstone.h>
#include <cstdio>

namespace dragoman::backend {

namespace {

// What is called of it, in the version of its header.
struct Capstone {
    LateLibrary library{("libcapstone.so." + std::to_string(CS_API_MAJOR)).c_str()};
#define OF_CAPSTONE(name) decltype(&cs_##name) name = library.function("cs_" #name)
    OF_CAPSTONE(close);
    OF_CAPSTONE(disasm_iter);
    OF_CAPSTONE(free);
    OF_CAPSTONE(malloc);
    OF_CAPSTONE(open);
    OF_CAPSTONE(option);
#undef OF_CAPSTONE
};

} // namespace

std::string list_host_code(const u8* code, u64 bytes, u64 address) {
    static const Capstone capstone;
    if (!capstone.library.missing().empty()) return capstone.library.missing() + "\n";
    csh handle;
    if (capstone.open(CS_ARCH_X86, CS_MODE_64, &handle) != CS_ERR_OK) return "capstone does not start\n";
    capstone.option(handle, CS_OPT_SKIPDATA, CS_OPT_ON);
    std::string text;
    cs_insn* insn = capstone.malloc(handle);
    size_t left = bytes;
    char line[320];
    while (left && capstone.disasm_iter(handle, &code, &left, &address, insn)) {
        char hex[3 * 16 + 1] = "";
        for (unsigned i = 0; i < insn->size && i < 15; ++i)
            std::snprintf(hex + 2 * i, 3, "%02x", insn->bytes[i]);
        std::snprintf(line, sizeof line, "%016llx  %-22s  %s %s\n",
                      static_cast<unsigned long long>(insn->address), hex, insn->mnemonic, insn->op_str);
        text += line;
    }
    capstone.free(insn, 1);
    capstone.close(&handle);
    return text;
}

} // namespace dragoman::backend
