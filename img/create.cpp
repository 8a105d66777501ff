// dragoman-img create, and the options of new images.
#include "img/command.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

namespace dragoman::img {

namespace {

constexpr std::string_view preallocations[] = {"off", "metadata", "falloc", "full"};

bool on_off(const std::string& value, bool& to) {
    if (value != "on" && value != "off" && value != "true" && value != "false") return false;
    to = value == "on" || value == "true";
    return true;
}

// Empty: taken.
std::string set_option(CreateOptions& o, const std::string& key, const std::string& value) {
    block::Qcow2CreateOptions& q = o.qcow2;
    if (key == "size") {
        const auto bytes = parse_size(value);
        if (!bytes) return "a size such as 512M or 10G";
        q.size = *bytes;
        o.size_given = true;
    } else if (key == "preallocation") {
        const auto kind = std::find(std::begin(preallocations), std::end(preallocations), value);
        if (kind == std::end(preallocations) || (o.format == "raw" && value == "metadata"))
            return o.format == "raw" ? "preallocation=off, falloc or full"
                                     : "preallocation=off, metadata, falloc or full";
        o.preallocation = value;
    } else if (o.format == "raw") {
        return "size= or preallocation= for a raw image";
    } else if (key == "cluster_size") {
        const auto bytes = parse_size(value);
        if (!bytes || !std::has_single_bit(*bytes) || *bytes < 512 || *bytes > 2 * MiB)
            return "cluster_size= a power of two from 512 to 2M";
        q.cluster_bits = u32(std::countr_zero(*bytes));
    } else if (key == "compat") {
        if (value != "1.1" && value != "v3" && value != "0.10" && value != "v2") return "compat=1.1 or 0.10";
        o.compat = value;
        q.version = value == "1.1" || value == "v3" ? 3 : 2;
    } else if (key == "backing_file") {
        q.backing_file = value;
    } else if (key == "backing_fmt") {
        q.backing_format = value;
    } else if (key == "lazy_refcounts") {
        if (!on_off(value, q.lazy_refcounts)) return "lazy_refcounts=on or off";
    } else if (key == "refcount_bits") {
        const auto bits = parse_size(value);
        if (!bits || !std::has_single_bit(*bits) || *bits > 64)
            return "refcount_bits= a power of two up to 64";
        q.refcount_order = u32(std::countr_zero(*bits));
    } else if (key == "compression_type") {
        if (value != "zlib" && value != "zstd") return "compression_type=zlib or zstd";
        q.compression = value == "zstd" ? block::Compression::Zstd : block::Compression::Zlib;
    } else if (key == "extended_l2" || key == "data_file_raw") {
        if (value != "off") return key + "=off (on is not built)";
    } else {
        return "size, cluster_size, compat, backing_file, backing_fmt, lazy_refcounts, refcount_bits, "
               "compression_type, preallocation; '" +
               key + "' is none of them";
    }
    return "";
}

} // namespace

bool parse_create_options(const std::vector<std::string>& lists, CreateOptions& options) {
    for (const std::string& list : lists) {
        for (std::size_t at = 0; at <= list.size();) {
            std::string part;
            for (; at < list.size(); ++at) { // two commas stand for one
                if (list[at] == ',' && (at + 1 >= list.size() || list[at + 1] != ',')) break;
                if (list[at] == ',') ++at;
                part += list[at];
            }
            ++at;
            const std::size_t equals = part.find('=');
            const std::string value = equals == std::string::npos ? "on" : part.substr(equals + 1);
            const std::string bad = set_option(options, part.substr(0, equals), value);
            if (!bad.empty()) {
                complain("-o " + part + ": expected " + bad);
                return false;
            }
        }
    }
    return true;
}

namespace {

// So that the guest's writes need no new storage: the host's, or at least the clusters and their tables.
Status preallocate(const std::string& file, const CreateOptions& options) {
    const u64 size = (options.qcow2.size + 511) & ~u64{511};
    if (options.format == "raw" && options.preallocation == "falloc") {
        const int fd = ::open(file.c_str(), O_WRONLY | O_CLOEXEC);
        const int error = fd < 0 ? errno : size ? posix_fallocate(fd, 0, off_t(size)) : 0;
        if (fd >= 0) ::close(fd);
        if (error) return Error{std::string("preallocation: ") + std::strerror(error)};
        return Ok{};
    }
    auto image = block::open_image(file, {.format = options.format});
    if (!image) return image.error();
    const u64 step = options.format == "raw" ? MiB : u64{1} << options.qcow2.cluster_bits;
    // A cluster is there with its first sector; what lies behind that, with "metadata", may be a hole.
    const std::vector<u8> zeroes(options.preallocation == "metadata" ? 512 : step);
    for (u64 at = 0; at < size; at += step)
        if (const auto o = (*image)->write(at, zeroes.data(), std::min<u64>(zeroes.size(), size - at));
            o.failed())
            return Error{o.message};
    if (const auto o = (*image)->close(); o.failed()) return Error{o.message};
    return Ok{};
}

Status make_empty_image(const std::string& file, const CreateOptions& options) {
    auto host = block::HostFile::create(file);
    if (!host) return host.error();
    if (options.format == "qcow2") return block::Qcow2Image::create(**host, options.qcow2);
    if (block::Outcome o = (*host)->resize((options.qcow2.size + 511) & ~u64{511}); o.failed())
        return Error{o.message};
    return Ok{};
}

} // namespace

Status make_image(const std::string& file, const CreateOptions& options) {
    if (auto made = make_empty_image(file, options); !made) return made;
    return options.preallocation == "off" ? Ok{} : preallocate(file, options);
}

int create(const std::vector<std::string>& words) {
    const auto a = Arguments::parse(words, "qf:b:F:uo:");
    if (!a) return 1;
    if (a->operands().empty() || a->operands().size() > 2)
        return complain("expected create [options] FILE [SIZE]");
    const std::string& file = a->operands()[0];
    CreateOptions options;
    if (a->has("f")) options.format = a->value("f");
    if (options.format != "raw" && options.format != "qcow2")
        return complain("Unknown file format '" + options.format + "'");
    if (!parse_create_options(a->given("o"), options)) return 1;
    block::Qcow2CreateOptions& q = options.qcow2;
    if (a->has("b")) q.backing_file = a->value("b");
    if (a->has("F")) q.backing_format = a->value("F");
    if (a->operands().size() == 2) {
        const auto size = parse_size(a->operands()[1]);
        if (!size)
            return complain("Invalid image size '" + a->operands()[1] +
                            "': expected a number with k, M, G or T");
        q.size = *size;
        options.size_given = true;
    }
    if (options.format == "raw" && !q.backing_file.empty())
        return complain("Backing file not supported for file format 'raw'");
    if (!q.backing_file.empty() && q.backing_format.empty())
        return complain(file + ": Backing file specified without backing format");
    if (!q.backing_file.empty() && !a->has("u")) {
        std::string below = q.backing_file;
        if (below[0] != '/' && file.find('/') != std::string::npos)
            below = file.substr(0, file.rfind('/') + 1) + below;
        const auto image = open(below, q.backing_format, true);
        if (!image) return 1;
        if (!options.size_given) q.size = image->bytes();
        options.size_given = true;
    }
    if (!q.backing_file.empty() && options.preallocation != "off")
        return complain(file + ": Backing file and preallocation cannot be used at the same time");
    if (!options.size_given) return complain(file + ": Image creation needs a size parameter");
    q.size = (q.size + 511) & ~u64{511};
    if (!a->has("q")) {
        std::printf("Formatting '%s', fmt=%s", file.c_str(), options.format.c_str());
        const std::string prealloc =
            options.preallocation == "off" ? "" : " preallocation=" + options.preallocation;
        if (options.format == "qcow2")
            std::printf(" cluster_size=%u extended_l2=off%s compression_type=%s", 1u << q.cluster_bits,
                        prealloc.c_str(), q.compression == block::Compression::Zstd ? "zstd" : "zlib");
        std::printf(" size=%llu", static_cast<unsigned long long>(q.size));
        if (options.format == "raw") std::printf("%s", prealloc.c_str());
        if (!options.compat.empty()) std::printf(" compat=%s", options.compat.c_str());
        if (!q.backing_file.empty())
            std::printf(" backing_file=%s backing_fmt=%s", q.backing_file.c_str(), q.backing_format.c_str());
        if (options.format == "qcow2")
            std::printf(" lazy_refcounts=%s refcount_bits=%u", q.lazy_refcounts ? "on" : "off",
                        1u << q.refcount_order);
        std::printf("\n");
        std::fflush(stdout);
    }
    if (const auto made = make_image(file, options); !made)
        return complain(file + ": " + made.error().message);
    return 0;
}

} // namespace dragoman::img
