#include "runtime/elf.h"

#include "base/bits.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>

namespace dragoman::runtime {

namespace {

enum : u8 { kClass32 = 1, kClass64 = 2, kLittleEndian = 1 };
enum : u16 { kMachine386 = 3, kMachineX86_64 = 62 };

// Where the fields of the two classes are.
struct Layout {
    u32 header_bytes, entry, program_headers, entry_bytes, count; // ELF header
    u32 word;                                                     // bytes of addresses and offsets
    u32 segment_bytes;                                            // program header
    u32 offset, linear, physical, file_size, memory_size;
};
constexpr Layout kLayout32{52, 24, 28, 42, 44, 4, 32, 4, 8, 12, 16, 20};
constexpr Layout kLayout64{64, 24, 32, 54, 56, 8, 56, 8, 16, 24, 32, 40};

u64 get(const u8* p, u32 bytes) {
    u64 value = 0;
    std::memcpy(&value, p, bytes);
    return value;
}

constexpr u64 kPiece = 256 * KiB; // of a segment on its way to RAM: stays in the host's caches
constexpr u64 kMostNotes = MiB;

std::string hex(u64 value) {
    char text[24];
    std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
    return text;
}

} // namespace

u64 Elf::physical_entry() const {
    for (const ElfSegment& s : segments)
        if (s.type == kElfLoad && entry - s.physical < s.memory_bytes) return entry;
    for (const ElfSegment& s : segments)
        if (s.type == kElfLoad && entry - s.linear < s.memory_bytes) return entry - s.linear + s.physical;
    return entry;
}

Result<Elf> read_elf(const FileReader& file) {
    if (!file.holds(0, kLayout32.header_bytes)) return Error{"cut off inside the ELF header"};
    std::array<u8, kLayout64.header_bytes> header{};
    const auto start = std::span(header).first(std::min<u64>(file.bytes, header.size()));
    if (auto read = file.read(0, start); !read) return read.error();
    const u8 elf_class = header[4];
    if ((elf_class != kClass32 && elf_class != kClass64) || header[5] != kLittleEndian)
        return Error{"an ELF of unknown class or byte order"};
    Elf elf;
    elf.wide = elf_class == kClass64;
    const Layout& l = elf.wide ? kLayout64 : kLayout32;
    if (!file.holds(0, l.header_bytes)) return Error{"cut off inside the ELF header"};
    const u64 machine = get(&header[18], 2);
    if (machine != kMachine386 && machine != kMachineX86_64)
        return Error{"an ELF for machine " + std::to_string(machine) + ", expected i386 or x86-64"};

    elf.entry = get(&header[l.entry], l.word);
    const u64 table = get(&header[l.program_headers], l.word);
    const u64 stride = get(&header[l.entry_bytes], 2), count = get(&header[l.count], 2);
    if (count && stride < l.segment_bytes)
        return Error{"ELF program headers of " + std::to_string(stride) + " bytes, expected " +
                     std::to_string(l.segment_bytes)};
    if (!file.holds(table, stride * count)) return Error{"ELF program headers lie outside the file"};
    for (u64 n = 0; n < count; ++n) {
        u8 p[kLayout64.segment_bytes];
        if (auto read = file.read(table + n * stride, {p, l.segment_bytes}); !read) return read.error();
        ElfSegment s;
        s.type = u32(get(p, 4));
        s.offset = get(p + l.offset, l.word);
        s.linear = get(p + l.linear, l.word);
        s.physical = get(p + l.physical, l.word);
        s.file_bytes = get(p + l.file_size, l.word);
        s.memory_bytes = get(p + l.memory_size, l.word);
        if (s.type != kElfLoad && s.type != kElfNote) continue;
        const std::string name = "ELF segment " + std::to_string(n);
        if (!file.holds(s.offset, s.file_bytes)) return Error{name + " lies outside the file"};
        if (s.type == kElfLoad && s.file_bytes > s.memory_bytes)
            return Error{name + " has more bytes in the file than in memory"};
        elf.segments.push_back(s);
    }
    return elf;
}

Status place_elf(const Elf& elf, const FileReader& file, RamPlan& plan, softmmu::PhysicalMap& map) {
    u64 total = 0;
    for (const ElfSegment& s : elf.segments) {
        if (s.type != kElfLoad || s.memory_bytes == 0) continue;
        if (!plan.is_ram(s.physical, s.memory_bytes))
            return Error{"an ELF segment of " + std::to_string((s.memory_bytes + KiB - 1) / KiB) +
                         " KiB at " + hex(s.physical) + " does not fit into the machine's " +
                         std::to_string(map.ram_bytes() / MiB) + " MiB of memory (-m)"};
        total += s.memory_bytes; // at most 65535 times the RAM: no overflow
    }
    if (total == 0) return Error{"an ELF without anything to load"};
    if (total > map.ram_bytes()) return Error{"ELF segments that lie over each other"};
    std::vector<u8> piece(kPiece);
    for (const ElfSegment& s : elf.segments) {
        if (s.type != kElfLoad || s.memory_bytes == 0) continue;
        for (u64 at = 0; at < s.file_bytes; at += kPiece) {
            const std::span<u8> some(piece.data(), std::min(kPiece, s.file_bytes - at));
            if (auto read = file.read(s.offset + at, some); !read) return read.error();
            map.write(s.physical + at, some.data(), some.size());
        }
        clear_ram(map, s.physical + s.file_bytes, s.memory_bytes - s.file_bytes);
        plan.take(s.physical, s.memory_bytes);
    }
    return Ok{};
}

Result<std::vector<u8>> find_note(const Elf& elf, const FileReader& file, std::string_view owner, u32 type) {
    for (const ElfSegment& s : elf.segments) {
        if (s.type != kElfNote) continue;
        std::vector<u8> notes(std::min(s.file_bytes, kMostNotes));
        if (auto read = file.read(s.offset, notes); !read) return read.error();
        std::span<const u8> rest = notes;
        while (rest.size() >= 12) {
            const u64 name_bytes = get(&rest[0], 4), bytes = get(&rest[4], 4), note_type = get(&rest[8], 4);
            const u64 data = 12 + align_up(name_bytes, 4), next = data + align_up(bytes, 4);
            if (data > rest.size() || bytes > rest.size() - data) break;
            // The name ends with a zero byte, which counts.
            if (note_type == type && name_bytes == owner.size() + 1 &&
                std::memcmp(&rest[12], owner.data(), owner.size()) == 0 && rest[12 + owner.size()] == 0)
                return std::vector<u8>(rest.begin() + long(data), rest.begin() + long(data + bytes));
            if (next >= rest.size()) break;
            rest = rest.subspan(next);
        }
    }
    return std::vector<u8>();
}

void clear_ram(softmmu::PhysicalMap& map, u64 at, u64 bytes) {
    static constexpr u8 zeros[4096] = {};
    while (bytes) {
        const u64 n = std::min<u64>(bytes, sizeof zeros - at % sizeof zeros);
        map.write(at, zeros, n);
        at += n;
        bytes -= n;
    }
}

} // namespace dragoman::runtime
