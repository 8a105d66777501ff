#include "block/image.h"

#include "block/host_file.h"
#include "block/nbd_image.h"
#include "block/qcow2.h"
#include "block/raw_image.h"

#include <algorithm>
#include <cstring>
#include <string_view>

namespace dragoman::block {

namespace {

constexpr unsigned kDeepest = 64; // backing files below one another

std::string directory_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    return slash == std::string::npos ? "" : path.substr(0, slash + 1);
}

Result<std::unique_ptr<Image>> open_at(const std::string& path, const OpenOptions& options, unsigned depth);

Result<std::shared_ptr<Image>> open_backing(const std::string& above, const std::string& name,
                                            const std::string& format, const OpenOptions& options,
                                            unsigned depth) {
    const auto bad = [&](const std::string& what) {
        return Error{"disk image '" + above + "': backing file: " + what};
    };
    if (depth >= kDeepest) return bad("more than 64 below one another");
    if (name.rfind("json:", 0) == 0) return bad("'" + name + "': expected the name of a file");
    const std::size_t colon = name.find(':');
    std::string file = name;
    if (colon != std::string::npos && name.find('/') > colon) {
        if (name.substr(0, colon) != "file") return bad("'" + name + "': expected the name of a file");
        file = name.substr(colon + 1);
    }
    if (!file.empty() && file[0] != '/') file = directory_of(above) + file;
    OpenOptions below;
    below.read_only = true;
    below.format = format;
    below.lock = options.lock;
    auto image = open_at(file, below, depth + 1);
    if (!image) return bad(image.error().message);
    return std::shared_ptr<Image>(std::move(*image));
}

Result<std::unique_ptr<Image>> open_at(const std::string& path, const OpenOptions& options, unsigned depth) {
    auto file = HostFile::open(path, options.read_only, options.lock, options.write_through);
    if (!file) return file.error();
    std::string format = options.format;
    const bool guessed = format.empty();
    if (guessed) {
        u8 head[512];
        if (Outcome o = (*file)->read(0, head, sizeof head); o.failed()) return Error{o.message};
        format = probe_format(head, sizeof head);
    }
    if (format == "raw") {
        if (!options.snapshot.empty())
            return Error{"disk image '" + path + "': a raw image holds no snapshots"};
        return std::unique_ptr<Image>(new RawImage(std::move(*file), options.read_only, guessed));
    }
    if (format != "qcow2")
        return Error{"disk image '" + path + "': format " + format + " is not built (expected raw or qcow2)"};
    auto image = Qcow2Image::open(std::move(*file), options.read_only, options);
    if (!image) return image.error();
    const Qcow2Header& header = (*image)->header();
    const bool other = !options.backing_file.empty();
    const std::string& backing = other ? options.backing_file : header.backing_file;
    if (options.backing && !backing.empty()) {
        auto below = open_backing(path, backing, other ? options.backing_format : header.backing_format,
                                  options, depth);
        if (!below) return below.error();
        (*image)->set_backing(std::move(*below));
    }
    return std::unique_ptr<Image>(std::move(*image));
}

} // namespace

std::string probe_format(const u8* head, std::size_t bytes) {
    static constexpr struct {
        const char* format;
        std::string_view magic;
        std::size_t at;
    } formats[] = {{"qcow2", {"QFI\xfb", 4}, 0},     {"qed", {"QED\0", 4}, 0},
                   {"vmdk", {"KDMV", 4}, 0},         {"vmdk", {"COWD", 4}, 0},
                   {"vhdx", {"vhdxfile", 8}, 0},     {"vpc", {"conectix", 8}, 0},
                   {"luks", {"LUKS\xba\xbe", 6}, 0}, {"vdi", {"\x7f\x10\xda\xbe", 4}, 64}};
    for (const auto& f : formats)
        if (bytes >= f.at + f.magic.size() && std::memcmp(head + f.at, f.magic.data(), f.magic.size()) == 0)
            return f.format;
    return "raw";
}

Result<std::unique_ptr<Image>> open_image(const std::string& path, const OpenOptions& options) {
    if (!parse_nbd(path)) return open_at(path, options, 0); // only the user names a server, no image does
    if (!options.format.empty() && options.format != "raw")
        return Error{"disk image '" + path + "': format " + options.format +
                     " on a server is not built (expected raw)"};
    return NbdImage::open(path, options.read_only);
}

Result<Image::Extent> Image::extent_of_chain(u64 at, u64 limit) {
    auto here = extent(at, limit);
    if (!here || here->content != Content::Backing) return here;
    Image* below = backing();
    if (!below || at >= below->bytes()) return Extent{Content::Zero, here->bytes};
    return below->extent_of_chain(at, std::min(here->bytes, below->bytes() - at));
}

Result<std::unique_ptr<Image>> make_temporary_overlay(std::shared_ptr<Image> below) {
    auto file = HostFile::create_temporary();
    if (!file) return file.error();
    Qcow2CreateOptions options;
    options.size = below->bytes();
    if (auto s = Qcow2Image::create(**file, options); !s) return s.error();
    auto overlay = Qcow2Image::open(std::move(*file), false, {});
    if (!overlay) return overlay.error();
    (*overlay)->set_backing(std::move(below));
    return std::unique_ptr<Image>(std::move(*overlay));
}

} // namespace dragoman::block
