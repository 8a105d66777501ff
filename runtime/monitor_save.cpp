// The monitor's words that take memory and ports out of the machine.
#include "runtime/monitor_commands.h"

#include "runtime/debug_memory.h"
#include "runtime/expression.h"
#include "runtime/gdb_registers.h"
#include "runtime/text.h"

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

namespace dragoman::runtime {

namespace {

using ull = unsigned long long;

constexpr u64 kPiece = 64 * KiB;

Result<u64> value_of(const MonitorCall& call, const std::string& text) {
    return evaluate(text, [&](std::string_view name, u64& value) {
        return register_by_name(call.emulator.vcpu().cpu(), name, value);
    });
}

std::string save(const MonitorCall& call, bool linear) {
    auto address = value_of(call, call.arguments[0]), bytes = value_of(call, call.arguments[1]);
    if (!address) return address.error().message + "\n";
    if (!bytes) return bytes.error().message + "\n";
    const Status done = save_guest_memory(call.emulator, linear, *address, *bytes, call.arguments[2]);
    return done ? "" : done.error().message + "\n";
}

// Of "i/w PORT": bytes, and the port; nothing: it is said what was expected.
struct PortAccess {
    unsigned size = 1;
    u16 port = 0;
};
std::optional<PortAccess> port_access(const MonitorCall& call) {
    static constexpr std::string_view sizes = "bhw";
    PortAccess access;
    for (const char c : call.format) {
        if (c == 'x' || c == '1') continue;
        if (sizes.find(c) == sizes.npos) return std::nullopt;
        access.size = 1u << sizes.find(c);
    }
    auto port = value_of(call, call.arguments[0]);
    if (!port || *port > 0xffff) return std::nullopt;
    access.port = u16(*port);
    return access;
}
constexpr const char* kPortHelp =
    "expected /FMT PORT: a size of b h w, a port up to 0xffff; for example i/b 0x64\n";

} // namespace

Status save_guest_memory(Emulator& emulator, bool linear, u64 address, u64 bytes, const std::string& file) {
    const auto failed = [&](const std::string& why) { return Error{"'" + file + "': " + why}; };
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> out(std::fopen(file.c_str(), "wb"), std::fclose);
    if (!out) return failed(std::string("cannot be created: ") + std::strerror(errno));
    std::vector<u8> piece(std::min(bytes, kPiece));
    for (u64 done = 0; done < bytes; done += piece.size()) {
        piece.resize(std::min(bytes - done, kPiece));
        const bool read = linear
                              ? read_linear(emulator.vcpu(), address + done, piece.data(), piece.size())
                              : read_physical(emulator.memory(), address + done, piece.data(), piece.size());
        if (!read) return failed(format("no memory at 0x%llx and behind it", ull(address + done)));
        if (std::fwrite(piece.data(), 1, piece.size(), out.get()) != piece.size())
            return failed(std::string("write failed: ") + std::strerror(errno));
    }
    if (std::fflush(out.get()) != 0) return failed(std::string("write failed: ") + std::strerror(errno));
    return Ok{};
}

std::string monitor_memsave(const MonitorCall& call) {
    return save(call, true);
}
std::string monitor_pmemsave(const MonitorCall& call) {
    return save(call, false);
}

std::string monitor_sum(const MonitorCall& call) {
    auto address = value_of(call, call.arguments[0]), bytes = value_of(call, call.arguments[1]);
    if (!address) return address.error().message + "\n";
    if (!bytes || *bytes > call.emulator.options().memory_bytes) return "expected ADDRESS BYTES\n";
    u16 sum = 0;
    for (u64 n = 0; n < *bytes; ++n) {
        u8 byte = 0;
        if (!read_physical(call.emulator.memory(), *address + n, &byte, 1))
            return format("no memory at 0x%llx\n", ull(*address + n));
        sum = u16((sum >> 1 | sum << 15) + byte);
    }
    return format("%05u\n", sum);
}

std::string monitor_gva2gpa(const MonitorCall& call) {
    auto address = value_of(call, call.arguments[0]);
    if (!address) return address.error().message + "\n";
    u64 gpa = 0;
    if (!to_physical(call.emulator.vcpu(), *address, gpa)) return "Unmapped\n";
    return format("gpa: %#llx\n", ull(gpa));
}

std::string monitor_port_in(const MonitorCall& call) {
    const auto access = port_access(call);
    if (!access) return kPortHelp;
    return format("portl[0x%04x] = 0x%0*x\n", access->port, int(access->size * 2),
                  call.emulator.pc().port_in(access->port, access->size));
}

std::string monitor_port_out(const MonitorCall& call) {
    const auto access = port_access(call);
    auto value = value_of(call, call.arguments[1]);
    if (!access || !value) return kPortHelp;
    call.emulator.pc().port_out(access->port, access->size, u32(*value));
    return {};
}

} // namespace dragoman::runtime
