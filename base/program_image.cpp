#include "base/program_image.h"

#include <cstdio>
#include <cstring>
#include <link.h>

namespace dragoman {

namespace {

// The build-id among the notes of an object: ELF gABI, "Note Section"; the type NT_GNU_BUILD_ID. Empty: none.
std::string build_id(const dl_phdr_info& object) {
    for (unsigned n = 0; n < object.dlpi_phnum; ++n) {
        const ElfW(Phdr)& segment = object.dlpi_phdr[n];
        if (segment.p_type != PT_NOTE) continue;
        const u64 align = segment.p_align == 8 ? 8 : 4;
        const char* at = reinterpret_cast<const char*>(object.dlpi_addr + segment.p_vaddr);
        const char* const end = at + segment.p_memsz;
        while (u64(end - at) >= sizeof(ElfW(Nhdr))) {
            ElfW(Nhdr) note;
            std::memcpy(&note, at, sizeof note);
            const u64 name = sizeof note, bytes = name + ((note.n_namesz + align - 1) & ~(align - 1));
            const u64 next = (bytes + note.n_descsz + align - 1) & ~(align - 1);
            if (next > u64(end - at)) break;
            if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && !std::memcmp(at + name, "GNU", 4)) {
                std::string text;
                char hex[3];
                for (u64 i = 0; i < note.n_descsz; ++i) {
                    std::snprintf(hex, sizeof hex, "%02x", u8(at[bytes + i]));
                    text += hex;
                }
                return text;
            }
            at += next;
        }
    }
    return {};
}

} // namespace

ProgramImage::ProgramImage() {
    struct Found {
        ProgramImage& image;
        bool first = true; // the program comes before its libraries
    } found{*this};
    dl_iterate_phdr(
        [](dl_phdr_info* object, std::size_t, void* to) {
            auto& [image, first] = *static_cast<Found*>(to);
            const std::string id = build_id(*object);
            if (first) {
                if (id.empty()) return 1;
                image.base_ = object->dlpi_addr;
                for (unsigned n = 0; n < object->dlpi_phnum; ++n) {
                    const ElfW(Phdr)& segment = object->dlpi_phdr[n];
                    if (segment.p_type == PT_LOAD)
                        image.segments_.push_back(
                            {segment.p_vaddr, segment.p_memsz, bool(segment.p_flags & PF_X)});
                }
            }
            first = false;
            image.build_ += (image.build_.empty() ? "" : " ") + id;
            return 0;
        },
        &found);
}

std::optional<u64> ProgramImage::position_of(const void* at, u64 bytes, bool code) const {
    const u64 position = reinterpret_cast<u64>(at) - base_;
    for (const Segment& s : segments_)
        if (s.code == code && position >= s.position && position - s.position < s.bytes &&
            bytes <= s.bytes - (position - s.position))
            return position;
    return {};
}

const void* ProgramImage::at(u64 position, u64 bytes, bool code) const {
    const void* const address = reinterpret_cast<const void*>(base_ + position);
    return position_of(address, bytes, code) ? address : nullptr;
}

} // namespace dragoman
