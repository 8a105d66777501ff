// dragoman-img convert, compare, commit and resize: what moves data.
#include "img/command.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

namespace dragoman::img {

namespace {

constexpr u64 kPiece = 2 * MiB;

bool all_zero(const u8* p, u64 bytes) {
    return bytes == 0 || (p[0] == 0 && std::memcmp(p, p + 1, bytes - 1) == 0);
}

// Writes `bytes` bytes, without those runs of `grain` that are zero.
block::Outcome write_sparse(block::Image& to, u64 at, const u8* data, u64 bytes, u64 grain) {
    for (u64 from = 0; from < bytes;) {
        const u64 first = from;
        const auto piece = [&](u64 n) { return std::min(grain, bytes - n); };
        while (from < bytes && !all_zero(data + from, piece(from)))
            from += piece(from);
        if (from > first)
            if (block::Outcome o = to.write(at + first, data + first, from - first); o.failed()) return o;
        while (from < bytes && all_zero(data + from, piece(from)))
            from += piece(from);
    }
    return {};
}

} // namespace

int convert(const std::vector<std::string>& words) {
    const auto a = Arguments::parse(words, "hf:O:o:B:F:cpqnS:l:m:WT:t:U");
    if (!a) return 1;
    if (a->operands().size() != 2) return complain("expected convert [options] FILE OUTPUT");
    const std::string &from = a->operands()[0], &to = a->operands()[1];
    CreateOptions options;
    if (a->has("O")) options.format = a->value("O");
    if (options.format != "raw" && options.format != "qcow2")
        return complain("Unknown file format '" + options.format + "'");
    if (!parse_create_options(a->given("o"), options)) return 1;
    block::Qcow2CreateOptions& q = options.qcow2;
    if (a->has("B")) q.backing_file = a->value("B");
    if (a->has("F")) q.backing_format = a->value("F");
    if (!q.backing_file.empty())
        return complain(
            "convert to an image with a backing file is not built (expected create -b and a copy)");
    if (a->has("c") && options.format != "qcow2")
        return complain("Compression not supported for this file format");

    block::OpenOptions how;
    how.format = a->value("f");
    how.read_only = true;
    how.lock = !a->has("U");
    if (a->has("l"))
        how.snapshot = a->value("l").rfind("snapshot.", 0) == 0
                           ? a->value("l").substr(a->value("l").find('=') + 1)
                           : a->value("l");
    auto source = block::open_image(from, how);
    if (!source) return complain("Could not open '" + from + "': " + source.error().message);
    q.size = ((*source)->bytes() + 511) & ~u64{511};
    if (!a->has("n"))
        if (const auto made = make_image(to, options); !made)
            return complain(to + ": error while converting: " + made.error().message);
    const auto target = open(to, options.format, false);
    if (!target) return 1;
    if (target->bytes() < (*source)->bytes()) return complain("'" + to + "' is smaller than '" + from + "'");

    block::Qcow2Image* packed = a->has("c") ? as_qcow2(*target) : nullptr;
    block::Qcow2Image* qcow2 = as_qcow2(*target);
    const u64 cluster = qcow2 ? qcow2->header().cluster() : 4096, size = (*source)->bytes();
    std::vector<u8> data(kPiece);
    Progress progress(a->has("p"), size);
    for (u64 at = 0; at < size;) {
        auto extent = (*source)->extent_of_chain(at, std::min(size - at, u64{1} << 40));
        if (!extent) return complain(extent.error().message);
        if (extent->content == block::Image::Content::Zero) {
            // A new image reads as zeroes; one that was there may not.
            if (a->has("n"))
                if (block::Outcome o = target->write_zeroes(at, extent->bytes, true); o.failed())
                    return complain(o.message);
            // Compressed clusters are written whole, so go on at the start of one.
            u64 next = at + extent->bytes;
            if (packed && next < size) next = std::max(at & ~(cluster - 1), next & ~(cluster - 1));
            if (next > at) {
                at = next;
                continue;
            }
        }
        const u64 bytes =
            packed ? std::min(cluster, size - at) : std::min(extent->bytes, std::min(kPiece, size - at));
        if (block::Outcome o = (*source)->read(at, data.data(), bytes); o.failed())
            return complain("error while reading at byte " + std::to_string(at) + ": " + o.message);
        block::Outcome written;
        if (packed)
            written = all_zero(data.data(), bytes) ? block::Outcome{}
                                                   : packed->write_compressed(at, data.data(), bytes);
        else if (a->has("n"))
            written = target->write(at, data.data(), bytes);
        else
            written = write_sparse(*target, at, data.data(), bytes, std::min<u64>(cluster, 4096));
        if (written.failed())
            return complain("error while writing at byte " + std::to_string(at) + ": " + written.message);
        at += bytes;
        progress.show(at);
    }
    progress.show(size);
    if (block::Outcome o = target->flush(); o.failed()) return complain(o.message);
    return 0;
}

int compare(const std::vector<std::string>& words) {
    const auto a = Arguments::parse(words, "f:F:pqsUT:");
    if (!a) return 2;
    if (a->operands().size() != 2) return complain("expected compare [options] FILE1 FILE2"), 2;
    const auto first = open(a->operands()[0], a->value("f"), true, a->has("U"));
    const auto second = first ? open(a->operands()[1], a->value("F"), true, a->has("U")) : nullptr;
    if (!second) return 2;
    const u64 common = std::min(first->bytes(), second->bytes()),
              all = std::max(first->bytes(), second->bytes());
    if (a->has("s") && first->bytes() != second->bytes()) {
        if (!a->has("q")) std::printf("Strict mode: Image size mismatch!\n");
        return 1;
    }
    std::vector<u8> x(kPiece), y(kPiece);
    Progress progress(a->has("p"), all);
    for (u64 at = 0; at < all;) {
        const u64 bytes = std::min(kPiece, (at < common ? common : all) - at);
        const auto read = [&](block::Image& image, std::vector<u8>& to) -> block::Outcome {
            if (at < image.bytes()) return image.read(at, to.data(), bytes);
            std::fill(to.begin(), to.end(), u8{0});
            return {};
        };
        for (const block::Outcome& o : {read(*first, x), read(*second, y)})
            if (o.failed()) return complain(o.message), 4;
        const auto [i, j] = std::mismatch(x.begin(), x.begin() + std::ptrdiff_t(bytes), y.begin());
        if (i != x.begin() + std::ptrdiff_t(bytes)) {
            if (!a->has("q"))
                std::printf("Content mismatch at offset %llu!\n",
                            static_cast<unsigned long long>(at + u64(i - x.begin())));
            return 1;
        }
        at += bytes;
        progress.show(at);
    }
    if (!a->has("q")) {
        if (first->bytes() != second->bytes()) std::printf("Warning: Image size mismatch!\n");
        std::printf("Images are identical.\n");
    }
    return 0;
}

int commit(const std::vector<std::string>& words) {
    const auto a = Arguments::parse(words, "qf:b:dpt:r:");
    if (!a) return 1;
    if (a->operands().size() != 1) return complain("expected commit [options] FILE");
    if (a->has("b")) return complain("-b is not built (expected a commit into the file right below)");
    const std::string& file = a->operands()[0];
    const auto image = open(file, a->value("f"), false);
    if (!image) return 1;
    block::Qcow2Image* q = as_qcow2(*image);
    if (!q || !q->backing()) return complain("Image does not have a backing file");
    const std::string name = q->header().backing_file, format = q->backing()->format();
    q->set_backing(nullptr); // it is opened for writing now
    const std::string below = name[0] == '/' || file.find('/') == std::string::npos
                                  ? name
                                  : file.substr(0, file.rfind('/') + 1) + name;
    const auto target = open(below, format, false);
    if (!target) return 1;
    if (target->bytes() < q->bytes())
        if (block::Outcome o = target->resize(q->bytes()); o.failed()) return complain(o.message);
    std::vector<u8> data(kPiece);
    {
        Progress progress(a->has("p"), q->bytes());
        for (u64 at = 0; at < q->bytes();) {
            auto extent = q->extent(at, std::min(kPiece, q->bytes() - at));
            if (!extent) return complain(extent.error().message);
            block::Outcome o;
            if (extent->content == block::Image::Content::Zero) {
                o = target->write_zeroes(at, extent->bytes, true);
            } else if (extent->content == block::Image::Content::Data) {
                o = q->read(at, data.data(), extent->bytes);
                if (!o.failed()) o = target->write(at, data.data(), extent->bytes);
            }
            if (o.failed()) return complain(o.message);
            at += extent->bytes;
            progress.show(at);
        }
    }
    if (block::Outcome o = target->flush(); o.failed()) return complain(o.message);
    if (!a->has("d"))
        if (const auto done = q->make_empty(); !done) return complain(done.error().message);
    if (!a->has("q")) std::printf("Image committed.\n");
    return 0;
}

int resize(const std::vector<std::string>& words) {
    std::vector<std::string> rest = words; // "-5M" as size is no option
    std::string size;
    if (!rest.empty() && rest.size() >= 2 && rest.back()[0] != '\0' &&
        std::strchr("+-0123456789", rest.back()[0])) {
        size = rest.back();
        rest.pop_back();
    }
    const auto a = Arguments::parse(rest, "qf:", {"shrink", "preallocation="});
    if (!a) return 1;
    if (a->operands().size() != 1 || size.empty())
        return complain("expected resize [-f FORMAT] [--shrink] FILE [+|-]SIZE");
    if (a->has("preallocation") && a->value("preallocation") != "off")
        return complain("--preallocation: expected off (others are not built)");
    const char sign = size[0] == '+' || size[0] == '-' ? size[0] : '\0';
    const auto number = parse_size(sign ? size.substr(1) : size);
    if (!number) return complain("Invalid image size '" + size + "'");
    const auto image = open(a->operands()[0], a->value("f"), false);
    if (!image) return 1;
    const u64 old = image->bytes();
    if (sign == '-' && *number >= old) return complain("New image size must be positive");
    u64 fresh = sign == '+' ? old + *number : sign == '-' ? old - *number : *number;
    fresh = (fresh + 511) & ~u64{511};
    if (fresh == 0) return complain("New image size must be positive");
    if (fresh < old && !a->has("shrink"))
        return complain(
            "Use the --shrink option to perform a shrink operation: all data behind the new end are lost");
    if (block::Outcome o = image->resize(fresh); o.failed()) return complain(o.message);
    if (block::Outcome o = image->flush(); o.failed()) return complain(o.message);
    if (!a->has("q")) std::printf("Image resized.\n");
    return 0;
}

} // namespace dragoman::img
