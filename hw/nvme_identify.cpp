// What the controller says of itself: Identify (NVMe 1.4, 5.15) and Get Log Page (5.14).
#include "base/bits.h"
#include "hw/nvme.h"

#include <algorithm>
#include <cstring>

namespace dragoman::hw {

using namespace nvme;

namespace {

constexpr u32 kIdentifyBytes = 4096;
constexpr u16 kTemperature = 310; // Kelvin

template <class T> void put(u8* out, unsigned at, T value) {
    std::memcpy(out + at, &value, sizeof value);
}

void put_text(u8* out, unsigned at, unsigned bytes, const std::string& text) {
    std::memset(out + at, ' ', bytes);
    std::memcpy(out + at, text.data(), std::min<std::size_t>(bytes, text.size()));
}

} // namespace

Nvme::Reply Nvme::identify(const Command& command) {
    u8 page[kIdentifyBytes] = {};
    const u32 nsid = command.nsid;
    switch (command.cdw10 & 0xff) {
    case 0x00:
        if (nsid == 0 || nsid > 1) return {kInvalidNamespace, 0};
        identify_namespace(page);
        break;
    case 0x01: identify_controller(page); break;
    case 0x02: // the namespaces with a greater number
        if (nsid >= 0xfffffffe) return {kInvalidNamespace, 0};
        if (nsid == 0) put<u32>(page, 0, 1);
        break;
    case 0x03:
        if (nsid != 1) return {kInvalidNamespace, 0};
        identify_descriptors(page);
        break;
    default: return {kInvalidField, 0};
    }
    return give(command, page, sizeof page);
}

// Figure 247.
void Nvme::identify_controller(u8* out) const {
    put<u16>(out, 0, 0x1b36);
    put<u16>(out, 2, 0x1af4);
    put_text(out, 4, 20, options_.serial_number);
    put_text(out, 24, 40, "DRAGOMAN NVME");
    put_text(out, 64, 8, "0.1");
    out[72] = 6;                   // recommended burst: 64 commands
    out[77] = 7;                   // largest transfer: 2^7 pages of 4 KiB
    put<u32>(out, 80, 0x00010400); // version
    put<u32>(out, 92, 1u << 8);    // events: namespace attributes
    out[111] = 1;                  // an I/O controller
    out[258] = 3;                  // Abort: 4 at a time
    out[259] = kEventCommands - 1; // events: 4 commands
    out[260] = 0x03;               // firmware: one slot, read-only
    out[262] = kErrors - 1;        // error log entries
    put<u16>(out, 266, 343);       // warning and critical temperatures
    put<u16>(out, 268, 373);
    out[512] = 0x66; // queue entries: 64 and 16 bytes
    out[513] = 0x44;
    put<u32>(out, 516, 1); // namespaces
    put<u16>(out, 520,
             u16(1u << 2 | (image_.can_write_zeroes() ? 1u << 3 : 0))); // dataset management, write zeroes
    out[525] = 0x07; // a volatile write cache; flush takes all namespaces
    char nqn[224];
    const auto id = uuid();
    int at = std::snprintf(nqn, sizeof nqn, "nqn.2014-08.org.nvmexpress:uuid:");
    for (unsigned i = 0; i < id.size(); ++i)
        at += std::snprintf(nqn + at, sizeof nqn - std::size_t(at), "%s%02x",
                            i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", id[i]);
    std::memcpy(out + 768, nqn, std::size_t(at));
    put<u16>(out, 2048, 2500); // power state 0: 25 W
}

// Figure 245.
void Nvme::identify_namespace(u8* out) const {
    for (unsigned at : {0u, 8u, 16u}) // size, capacity, use
        put<u64>(out, at, image_.sectors());
    out[99] = image_.read_only(); // write protected
    put<u32>(out, 128, 9u << 16); // format 0: sectors of 2^9 bytes, no metadata
}

void Nvme::identify_descriptors(u8* out) const {
    const auto id = uuid();
    out[0] = 3; // a UUID
    out[1] = 16;
    std::memcpy(out + 4, id.data(), id.size());
}

// A name for the namespace that stays the same as long as the serial number and its place do (RFC 4122,
// version 4 in form).
std::array<u8, 16> Nvme::uuid() const {
    std::array<u8, 16> id{};
    u64 hash = 0xcbf29ce484222325 ^ options_.number;
    for (unsigned half = 0; half < 2; ++half) {
        for (const char c : options_.serial_number)
            hash = (hash ^ u8(c)) * 0x100000001b3;
        hash = (hash ^ half ^ hash >> 29) * 0x9e3779b97f4a7c15;
        std::memcpy(id.data() + 8 * half, &hash, 8);
    }
    id[6] = u8((id[6] & 0x0f) | 0x40);
    id[8] = u8((id[8] & 0x3f) | 0x80);
    return id;
}

Nvme::Reply Nvme::get_log_page(const Command& command) {
    u8 page[4096] = {};
    const u8 number = u8(command.cdw10);
    const u64 dwords = (command.cdw10 >> 16 | u64{command.cdw11 & 0xffff} << 16) + 1;
    const u64 offset = u64{command.cdw13} << 32 | command.cdw12;
    State& s = state_;
    u32 bytes = 512;
    switch (number) {
    case 0x01: // errors, the newest first
        bytes = kErrors * 64;
        for (u64 i = 0; i < std::min<u64>(kErrors, s.error_count); ++i) {
            const Error& e = s.errors[(s.error_count - 1 - i) % kErrors];
            std::memcpy(page + 64 * i, &e, 28);
        }
        break;
    case 0x02: smart_log(page); break;
    case 0x03: // firmware: slot 1 is active
        page[0] = 1;
        put_text(page, 8, 8, "0.1");
        break;
    case 0x04: // namespaces that changed
        bytes = 4096;
        if (s.namespace_changed) put<u32>(page, 0, 1);
        s.namespace_changed = false;
        break;
    default: return {kInvalidLogPage, 0};
    }
    // Reading the page of an event makes way for the next one (5.2), unless the command says to keep it.
    if (!bit(command.cdw10, 15)) {
        for (Event& e : s.events)
            if (e.masked && e.log_page == number) e.masked = false;
        send_events();
    }
    if (offset % 4 || offset > bytes) return {kInvalidField, 0};
    // Beyond its end a page reads as zeroes; no more than one is ever given.
    const u32 wanted = u32(std::min<u64>(dwords * 4, sizeof page));
    u8 part[4096] = {};
    std::memcpy(part, page + offset, std::min<std::size_t>(wanted, sizeof page - offset));
    return give(command, part, wanted);
}

bool Nvme::smart_warning() const {
    return kTemperature >= state_.features.temperature_over ||
           kTemperature <= state_.features.temperature_under;
}

// Figure 194.
void Nvme::smart_log(u8* out) const {
    const Statistics& s = statistics_;
    out[0] = u8(smart_warning() ? 2 : 0) | u8(image_.read_only() ? 8 : 0);
    put<u16>(out, 1, kTemperature);
    out[3] = 100; // spare, and its threshold
    out[4] = 10;
    put<u64>(out, 32, (s.sectors_read + 999) / 1000);
    put<u64>(out, 48, (s.sectors_written + 999) / 1000);
    put<u64>(out, 64, s.reads);
    put<u64>(out, 80, s.writes);
    put<u64>(out, 112, 1); // power cycles
    put<u64>(out, 128, scheduler_.now() / 3'600'000'000'000);
    put<u64>(out, 160, s.media_errors);
    put<u64>(out, 176, state_.error_count);
}

} // namespace dragoman::hw
