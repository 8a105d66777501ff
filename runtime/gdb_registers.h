// The processor's registers as GDB knows them: names, sizes and order of its target descriptions (GDB manual,
// "Target Descriptions", "i386 Features").
//
// "pc" (RIP, EIP) is the linear address, CS base added: so breakpoints and x/i $pc work in real mode and
// wherever else CS has a base; writing it subtracts the base. All other registers are as the guest has them.
#pragma once

#include "frontend/x86/cpu.h"

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dragoman::runtime {

enum class GdbArch : u8 { Amd64, I386, I8086 };
// How wide the vector registers are; with ZMM come the opmask registers.
enum class GdbVectors : u8 { Xmm, Ymm, Zmm };
// Which registers there are.
struct GdbLayout {
    GdbArch arch = GdbArch::Amd64;
    GdbVectors vectors = GdbVectors::Xmm;
};
GdbVectors gdb_vectors(const x86::CpuModel& model);

struct GdbRegister {
    std::string name;
    u16 bits;
    const char* type; // of the target description
    const char* feature;
    u8 index; // which of its kind
    // Registers of up to 64 bits have get and set, wider ones the bytes in the processor's state. A null
    // `set` or a false answer: not to be changed, or not to this value.
    u64 (*get)(const x86::Cpu& cpu, unsigned index);
    bool (*set)(x86::Cpu& cpu, unsigned index, u64 value);
    u8* (*bytes)(x86::Cpu& cpu, unsigned index);

    static constexpr unsigned max_size = 32;
    unsigned size() const { return bits / 8; }
    void read(x86::Cpu& cpu, u8* to) const; // size() bytes, little-endian
    bool write(x86::Cpu& cpu, const u8* from) const;
};

// In the order of the g packet.
std::span<const GdbRegister> gdb_registers(GdbLayout layout);
// The document target.xml.
std::string gdb_target_description(GdbLayout layout);

// Any register that fits 64 bits, also "sp" and the 32-bit names: for the monitor's "$name". "pc" is the
// linear address, "rip" and "eip" the offset in CS.
bool register_by_name(x86::Cpu& cpu, std::string_view name, u64& value);

} // namespace dragoman::runtime
