// The monitor's x, xp and print.
#include "runtime/monitor_commands.h"

#include "base/bits.h"
#include "frontend/x86/listing.h"
#include "runtime/debug_memory.h"
#include "runtime/expression.h"
#include "runtime/gdb_registers.h"
#include "runtime/text.h"

#include <cctype>
#include <cstring>
#include <optional>

namespace dragoman::runtime {

namespace {

using ull = unsigned long long;

constexpr u64 kMaxCount = 65536;

struct Format {
    u64 count = 1;
    char letter = 'x';
    unsigned size = 0; // bytes; 0: not given
};

// "COUNT FORMAT SIZE" without spaces, every part optional; nothing: it is none.
std::optional<Format> parse_format(const std::string& text) {
    Format f;
    std::size_t at = 0;
    if (!text.empty() && std::isdigit(u8(text[0]))) {
        f.count = 0;
        for (; at < text.size() && std::isdigit(u8(text[at])); ++at)
            f.count = std::min<u64>(f.count * 10 + u64(text[at] - '0'), kMaxCount + 1);
    }
    for (; at < text.size(); ++at) {
        static constexpr std::string_view letters = "xduoci", sizes = "bhwg";
        if (letters.find(text[at]) != letters.npos)
            f.letter = text[at];
        else if (const std::size_t n = sizes.find(text[at]); n != sizes.npos)
            f.size = 1u << n;
        else
            return std::nullopt;
    }
    return f.count <= kMaxCount ? std::optional(f) : std::nullopt;
}

constexpr const char* kFormatHelp =
    "expected /FMT: a count up to 65536, a format of x d u o c i, a size of b h w g; for example x/4xw\n";

std::string value_text(u64 value, char letter, unsigned size) {
    const u64 bits = value & size_mask(size);
    const int digits = int(size) * 2;
    switch (letter) {
    case 'd': return format("%lld", static_cast<long long>(i64(bits << (64 - 8 * size)) >> (64 - 8 * size)));
    case 'u': return format("%llu", ull(bits));
    case 'o': return format("0%llo", ull(bits));
    case 'c':
        return bits >= ' ' && bits < 127 ? format("'%c'", char(bits))
                                         : format("'\\x%02x'", unsigned(bits & 0xff));
    default: return format("0x%0*llx", digits, ull(bits));
    }
}

Result<u64> value_of(const MonitorCall& call, const std::string& text) {
    return evaluate(text, [&](std::string_view name, u64& value) {
        return register_by_name(call.emulator.vcpu().cpu(), name, value);
    });
}

unsigned code_bits(const x86::Cpu& cpu) {
    return cpu.code64() ? 64 : cpu.seg[unsigned(ir::Seg::CS)].attributes & x86::kSegDB ? 32 : 16;
}

// Reads `count` bytes at `address`: the access that x and xp differ in.
using Reader = bool (*)(Emulator& emulator, u64 address, u8* to, u64 count, unsigned unit);

std::string disassemble(Emulator& emulator, u64 address, u64 count, Reader read) {
    const unsigned bits = code_bits(emulator.vcpu().cpu());
    std::string text;
    while (count) {
        u8 bytes[512];
        constexpr u64 longest = 15;
        u64 have = 0; // as far as it can be read, byte by byte near the end of what is mapped
        if (read(emulator, address, bytes, sizeof bytes, 1))
            have = sizeof bytes;
        else
            while (have < longest && read(emulator, address + have, bytes + have, 1, 1))
                ++have;
        if (!have) return text + format("no memory at 0x%llx\n", ull(address));
        // Whole instructions only, one at a time where they may be cut off.
        const u64 at_once = have == sizeof bytes ? std::min<u64>(count, sizeof bytes / longest) : 1;
        const std::string lines = x86::list_guest({bytes, have}, address, bits, unsigned(at_once));
        text += lines;
        // The length of what was listed: the hexadecimal bytes in the second column.
        for (std::size_t start = 0; start < lines.size(); start = lines.find('\n', start) + 1) {
            const std::size_t hex = lines.find("  ", start) + 2;
            address += (lines.find(' ', hex) - hex) / 2;
            --count;
        }
    }
    return text;
}

std::string examine(const MonitorCall& call, Reader read) {
    auto f = parse_format(call.format);
    if (!f) return kFormatHelp;
    auto address = value_of(call, call.rest);
    if (!address) return address.error().message + "\n";
    if (f->letter == 'i') return disassemble(call.emulator, *address, f->count, read);
    const unsigned size = f->size ? f->size : f->letter == 'c' ? 1 : 4;
    const unsigned per_line = f->letter == 'c' ? 8 : 16 / size;
    std::string text;
    for (u64 i = 0; i < f->count; ++i) {
        const u64 at = *address + i * size;
        u64 value = 0;
        if (!read(call.emulator, at, reinterpret_cast<u8*>(&value), size, size)) {
            if (!text.empty() && text.back() != '\n') text += '\n';
            return text + format("no memory at 0x%llx\n", ull(at));
        }
        if (i % per_line == 0) text += format("%016llx:", ull(at));
        text += ' ' + value_text(value, f->letter, size);
        if (i % per_line == per_line - 1 || i == f->count - 1) text += '\n';
    }
    return text;
}

} // namespace

std::string monitor_examine_linear(const MonitorCall& call) {
    return examine(call, [](Emulator& emulator, u64 address, u8* to, u64 count, unsigned unit) {
        return read_linear(emulator.vcpu(), address, to, count, unit);
    });
}

std::string monitor_examine_physical(const MonitorCall& call) {
    return examine(call, [](Emulator& emulator, u64 address, u8* to, u64 count, unsigned unit) {
        return read_physical(emulator.memory(), address, to, count, unit);
    });
}

std::string monitor_print(const MonitorCall& call) {
    const auto f = parse_format(call.format);
    if (!f || f->letter == 'i') return kFormatHelp;
    const auto value = value_of(call, call.rest);
    if (!value) return value.error().message + "\n";
    if (f->letter == 'x' && !f->size) return format("0x%llx\n", ull(value.value()));
    return value_text(value.value(), f->letter, f->size ? f->size : f->letter == 'c' ? 1 : 8) + "\n";
}

} // namespace dragoman::runtime
