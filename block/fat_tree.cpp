#include "block/fat_tree.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <memory>
#include <set>
#include <sys/stat.h>
#include <unistd.h>

namespace dragoman::block {

namespace {

constexpr unsigned kDeepest = 32;
constexpr std::size_t kMostNodes = 65536;

// What a short name may have besides letters and digits; a long name may not have the second ones at all.
constexpr std::string_view kShortMarks = "$%'-_@~`!(){}^#&", kForbidden = "\"*/:<>?\\|";

bool short_character(char c) {
    return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || kShortMarks.find(c) != std::string_view::npos;
}

struct Parts {
    std::string base, extension;
    bool exact; // as the name is
};
Parts short_parts(const std::string& name) {
    const std::size_t dot = name.rfind('.');
    const bool split = dot != std::string::npos && dot != 0;
    const std::string base = name.substr(0, split ? dot : std::string::npos),
                      extension = split ? name.substr(dot + 1) : "";
    Parts parts{{}, {}, base.size() <= 8 && extension.size() <= 3 && !(split && extension.empty())};
    for (auto [from, to, most] : {std::tuple{&base, &parts.base, 8u}, {&extension, &parts.extension, 3u}})
        for (char c : *from) {
            if (c == ' ' || c == '.') { // is left out
                parts.exact = false;
                continue;
            }
            const char upper = c >= 'a' && c <= 'z' ? char(c - 32) : c;
            parts.exact &= upper == c && short_character(c);
            if (to->size() < most) *to += short_character(upper) ? upper : '_';
        }
    if (parts.base.empty()) parts.base = "_", parts.exact = false;
    return parts;
}

std::array<u8, 11> packed(const std::string& base, const std::string& extension) {
    std::array<u8, 11> name;
    name.fill(' ');
    std::copy(base.begin(), base.end(), name.begin());
    std::copy(extension.begin(), extension.end(), name.begin() + 8);
    return name;
}

// False: the folder has a name that no FAT volume can hold.
bool give_short_name(FatNode& node, std::set<std::array<u8, 11>>& taken) {
    const Parts parts = short_parts(node.name);
    std::array<u8, 11> name = packed(parts.base, parts.extension);
    if (!parts.exact) {
        bool good = true;
        node.long_name = to_utf16(node.name, good);
        if (!good || node.long_name.size() > kFatNameUnits || node.name.back() == '.' ||
            node.name.back() == ' ')
            return false;
    }
    for (unsigned n = 1; (!parts.exact && n == 1) || taken.count(name); ++n) {
        if (parts.exact) return false; // cannot be: two files of one name
        const std::string tail = "~" + std::to_string(n);
        name = packed(parts.base.substr(0, 8 - tail.size()) + tail, parts.extension);
        if (n > kMostNodes) return false;
        if (!taken.count(name)) break;
    }
    taken.insert(name);
    node.short_name = name;
    return true;
}

bool can_be_named(const std::string& name) {
    return std::none_of(name.begin(), name.end(), [](char c) {
        return (u8(c) < 0x20) || kForbidden.find(c) != std::string_view::npos;
    });
}

Status scan(int parent, const char* name, const std::string& path, FatNode& into, unsigned depth,
            std::size_t& count) {
    const auto bad = [&](const std::string& what) { return Error{"'" + path + "': " + what}; };
    if (depth > kDeepest) return bad("folders more than 32 deep");
    const int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return bad(std::strerror(errno));
    const std::unique_ptr<DIR, int (*)(DIR*)> folder(fdopendir(fd), closedir);
    if (!folder) return close(fd), bad(std::strerror(errno));
    while (const dirent* entry = readdir(folder.get())) {
        FatNode node;
        node.name = entry->d_name;
        if (node.name == "." || node.name == ".." || !can_be_named(node.name)) continue;
        struct stat about {};
        if (fstatat(fd, entry->d_name, &about, AT_SYMLINK_NOFOLLOW) != 0) continue; // gone meanwhile
        const bool link = S_ISLNK(about.st_mode);
        if (link && (fstatat(fd, entry->d_name, &about, 0) != 0 || !S_ISREG(about.st_mode))) continue;
        if (!S_ISREG(about.st_mode) && !S_ISDIR(about.st_mode)) continue;
        if (++count > kMostNodes) return bad("more than 65536 files");
        node.folder = S_ISDIR(about.st_mode);
        node.read_only = !(about.st_mode & S_IWUSR);
        node.modified = about.st_mtim;
        const std::string below = path + "/" + node.name;
        if (node.folder) {
            if (auto s = scan(fd, entry->d_name, below, node, depth + 1, count); !s) return s;
        } else {
            if (u64(about.st_size) > kFatLongestFile) return Error{"'" + below + "': more than 4 GiB"};
            node.bytes = u64(about.st_size);
        }
        into.children.push_back(std::move(node));
    }
    std::sort(into.children.begin(), into.children.end(),
              [](const FatNode& a, const FatNode& b) { return a.name < b.name; });
    // Those whose name is a short one keep it: they come first.
    std::stable_partition(into.children.begin(), into.children.end(),
                          [](const FatNode& node) { return short_parts(node.name).exact; });
    std::set<std::array<u8, 11>> taken;
    std::vector<FatNode> named;
    for (FatNode& node : into.children)
        if (give_short_name(node, taken)) named.push_back(std::move(node));
    into.children = std::move(named);
    return Ok{};
}

} // namespace

u32 FatNode::folder_entries() const {
    u32 all = name.empty() ? 0 : 2;
    for (const FatNode& child : children)
        all += child.entries();
    return all;
}

Result<FatNode> scan_folder(const std::string& path) {
    FatNode root;
    root.folder = true;
    std::size_t count = 0;
    if (auto s = scan(AT_FDCWD, path.c_str(), path, root, 0, count); !s) return s.error();
    return root;
}

u8 fat_checksum(const std::array<u8, 11>& name) {
    u8 sum = 0;
    for (const u8 byte : name)
        sum = u8((sum >> 1 | sum << 7) + byte);
    return sum;
}

std::string short_name_text(const u8* name, u8 flags) {
    std::string text;
    for (unsigned n = 0; n < 11; ++n) {
        u8 c = n == 0 && name[0] == 5 ? u8{0xe5} : name[n];
        if (n == 8 && name[8] != ' ') text += '.';
        if (c == ' ') continue;
        if (c >= 'A' && c <= 'Z' && (flags & (n < 8 ? 8 : 16))) c = u8(c + 32);
        text += c < 0x80 ? char(c) : '_';
    }
    return text;
}

std::u16string to_utf16(std::string_view text, bool& good) {
    std::u16string out;
    for (std::size_t n = 0; n < text.size();) {
        const u8 first = u8(text[n]);
        const unsigned more = first < 0x80             ? 0
                              : (first & 0xe0) == 0xc0 ? 1
                              : (first & 0xf0) == 0xe0 ? 2
                              : (first & 0xf8) == 0xf0 ? 3
                                                       : 4;
        if (more == 4 || n + more >= text.size() + (more == 0)) return good = false, out;
        u32 point = more == 0 ? first : first & (0x3fu >> more);
        for (unsigned i = 1; i <= more; ++i) {
            if ((u8(text[n + i]) & 0xc0) != 0x80) return good = false, out;
            point = point << 6 | (u8(text[n + i]) & 0x3f);
        }
        constexpr u32 least[] = {0, 0x80, 0x800, 0x10000};
        if (point < least[more] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000))
            return good = false, out;
        if (point >= 0x10000) {
            out += char16_t(0xd800 + ((point - 0x10000) >> 10));
            out += char16_t(0xdc00 + (point & 0x3ff));
        } else {
            out += char16_t(point);
        }
        n += more + 1;
    }
    return out;
}

std::string to_utf8(std::u16string_view text, bool& good) {
    std::string out;
    for (std::size_t n = 0; n < text.size(); ++n) {
        u32 point = text[n];
        if (point >= 0xd800 && point < 0xe000) {
            const bool pair = point < 0xdc00 && n + 1 < text.size() && (text[n + 1] & 0xfc00) == 0xdc00;
            if (!pair) return good = false, out;
            point = 0x10000 + ((point & 0x3ff) << 10) + (text[++n] & 0x3ffu);
        }
        const unsigned more = point < 0x80 ? 0 : point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
        constexpr u8 lead[] = {0, 0xc0, 0xe0, 0xf0};
        out += char(lead[more] | (point >> (6 * more)));
        for (unsigned i = more; i-- > 0;)
            out += char(0x80 | (point >> (6 * i) & 0x3f));
    }
    return out;
}

} // namespace dragoman::block
