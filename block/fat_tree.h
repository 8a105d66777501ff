// Files and folders of the host as a FAT volume holds them (Microsoft FAT specification 1.03), and the names
// they have there.
#pragma once

#include "base/result.h"
#include "base/types.h"

#include <array>
#include <ctime>
#include <string>
#include <string_view>
#include <vector>

namespace dragoman::block {

struct FatNode {
    std::string name;                // UTF-8; empty: the root
    std::array<u8, 11> short_name{}; // 8.3, filled up with spaces
    std::u16string long_name;        // empty: the short one says it all
    bool folder = false, read_only = false;
    u64 bytes = 0; // of a file
    timespec modified{};
    std::vector<u32> clusters; // where the contents lie
    std::vector<FatNode> children;

    // Entries of 32 bytes that describe this node in its folder.
    u32 entries() const { return 1 + u32(long_name.size() + 12) / 13; }
    // Entries that the folder needs: of its children, `.`, `..`.
    u32 folder_entries() const;
};

constexpr u32 kFatEntryBytes = 32, kFatNameUnits = 255;
constexpr u64 kFatLongestFile = 0xffffffff;

// What is in the folder `path`, with its short names; links are followed to files only. What no FAT volume
// can hold (sockets, names that are no UTF-8) is left out. The error names the file.
Result<FatNode> scan_folder(const std::string& path);

// The sum of a short name that its long name's entries carry.
u8 fat_checksum(const std::array<u8, 11>& name);
// The short name as text: lower case where `flags` (entry byte 12: bit 3 base, bit 4 extension) says so.
std::string short_name_text(const u8* name, u8 flags);
std::u16string to_utf16(std::string_view text, bool& good);
std::string to_utf8(std::u16string_view text, bool& good);

} // namespace dragoman::block
