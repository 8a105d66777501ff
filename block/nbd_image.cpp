#include "block/nbd_image.h"

#include "base/late_library.h"

#include <algorithm>
#include <cerrno>
#include <libnbd.h>
#include <vector>

namespace dragoman::block {

// What is called of libnbd.
struct NbdImage::Library {
    LateLibrary library{"libnbd.so.0"};
#define OF_NBD(name) decltype(&nbd_##name) name = library.function("nbd_" #name)
    OF_NBD(can_flush);
    OF_NBD(can_trim);
    OF_NBD(can_zero);
    OF_NBD(close);
    OF_NBD(connect_tcp);
    OF_NBD(connect_unix);
    OF_NBD(connect_uri);
    OF_NBD(create);
    OF_NBD(flush);
    OF_NBD(get_errno);
    OF_NBD(get_error);
    OF_NBD(get_size);
    OF_NBD(is_read_only);
    OF_NBD(pread);
    OF_NBD(pwrite);
    OF_NBD(set_export_name);
    OF_NBD(shutdown);
    OF_NBD(trim);
    OF_NBD(zero);
#undef OF_NBD
};

namespace {

// Every server takes so much of data (the protocol's section "Size constraints"); other requests have lengths
// of 32 bits.
constexpr u64 kMostData = 1 * MiB, kMostBytes = 1 * GiB;

bool starts(const std::string& text, const char* with) {
    return text.rfind(with, 0) == 0;
}

} // namespace

std::optional<NbdExport> parse_nbd(const std::string& name) {
    NbdExport to;
    for (const char* scheme : {"nbd://", "nbds://", "nbd+unix://", "nbds+unix://"})
        if (starts(name, scheme)) {
            to.uri = name;
            return to;
        }
    if (!starts(name, "nbd:")) return {};
    std::string rest = name.substr(4);
    constexpr const char* key = ":exportname=";
    if (const std::size_t at = rest.find(key); at != std::string::npos) {
        to.name = rest.substr(at + std::string(key).size());
        rest.resize(at);
    }
    if (starts(rest, "unix:")) {
        to.socket = rest.substr(5);
        return to;
    }
    const std::size_t colon = rest.rfind(':');
    if (colon == std::string::npos) return to; // without a port: open() says so
    to.host = rest.substr(0, colon);
    to.port = rest.substr(colon + 1);
    if (to.host.size() > 1 && to.host.front() == '[' && to.host.back() == ']') // IPv6
        to.host = to.host.substr(1, to.host.size() - 2);
    return to;
}

Result<std::unique_ptr<Image>> NbdImage::open(const std::string& name, bool read_only) {
    const auto bad = [&](const std::string& what) { return Error{"disk image '" + name + "': " + what}; };
    static const Library nbd;
    const auto failed = [&] {
        const std::string why = nbd.get_error() ? nbd.get_error() : "libnbd does not say why";
        return bad(why);
    };
    const auto where = parse_nbd(name);
    if (!where ||
        (where->uri.empty() && where->socket.empty() && (where->host.empty() || where->port.empty())))
        return bad("expected nbd:HOST:PORT, nbd:unix:PATH or nbd://HOST[:PORT]/EXPORT");
    if (!nbd.library.missing().empty()) return bad(nbd.library.missing());
    nbd_handle* handle = nbd.create();
    if (!handle) return failed();
    std::unique_ptr<NbdImage> image(new NbdImage(name, nbd, handle));
    if (!where->name.empty() && nbd.set_export_name(handle, where->name.c_str()) != 0) return failed();
    const int connected = !where->uri.empty() ? nbd.connect_uri(handle, where->uri.c_str())
                          : !where->socket.empty()
                              ? nbd.connect_unix(handle, where->socket.c_str())
                              : nbd.connect_tcp(handle, where->host.c_str(), where->port.c_str());
    if (connected != 0) return failed();
    const i64 bytes = nbd.get_size(handle);
    if (bytes < 0) return failed();
    image->bytes_ = u64(bytes);
    image->read_only_ = read_only || nbd.is_read_only(handle) == 1;
    image->can_flush_ = nbd.can_flush(handle) == 1;
    image->can_trim_ = nbd.can_trim(handle) == 1;
    image->can_zero_ = nbd.can_zero(handle) == 1;
    if (!read_only && image->read_only_)
        return bad("the server lends it for reading only; expected readonly=on");
    return std::unique_ptr<Image>(std::move(image));
}

NbdImage::~NbdImage() {
    nbd_.shutdown(handle_, 0);
    nbd_.close(handle_);
}

Outcome NbdImage::outcome(const char* doing, int result) const {
    if (result == 0) return {};
    return {nbd_.get_errno() == ENOSPC ? BlockStatus::NoSpace : BlockStatus::IoError,
            "disk image '" + name_ + "': " + doing + ": " + (nbd_.get_error() ? nbd_.get_error() : "failed")};
}

// `piece(done, bytes)` for each part of at most `most` bytes.
template <class Piece> Outcome NbdImage::in_pieces(const char* doing, u64 count, u64 most, Piece piece) {
    for (u64 done = 0; done < count;) {
        const u64 now = std::min(count - done, most);
        if (Outcome o = outcome(doing, piece(done, now)); o.failed()) return o;
        done += now;
    }
    return {};
}

Outcome NbdImage::read(u64 at, u8* to, u64 count) {
    const u64 held = at < bytes_ ? std::min(count, bytes_ - at) : 0; // the last sector may be a part of one
    std::fill(to + held, to + count, u8{0});
    return in_pieces("read", held, kMostData,
                     [&](u64 done, u64 n) { return nbd_.pread(handle_, to + done, n, at + done, 0); });
}

Outcome NbdImage::write(u64 at, const u8* from, u64 count) {
    const u64 held = at < bytes_ ? std::min(count, bytes_ - at) : 0;
    return in_pieces("write", held, kMostData,
                     [&](u64 done, u64 n) { return nbd_.pwrite(handle_, from + done, n, at + done, 0); });
}

Outcome NbdImage::flush() {
    if (read_only_ || !can_flush_) return {};
    return outcome("flush", nbd_.flush(handle_, 0));
}

Outcome NbdImage::discard(u64 at, u64 count) {
    if (!can_trim_) return {};
    return in_pieces("discard", count, kMostBytes,
                     [&](u64 done, u64 n) { return nbd_.trim(handle_, n, at + done, 0); });
}

Outcome NbdImage::write_zeroes(u64 at, u64 count, bool unmap) {
    if (can_zero_)
        return in_pieces("zero", count, kMostBytes, [&](u64 done, u64 n) {
            return nbd_.zero(handle_, n, at + done, unmap ? 0 : LIBNBD_CMD_FLAG_NO_HOLE);
        });
    const std::vector<u8> zeroes(std::min(count, kMostData));
    return in_pieces("zero", count, kMostData,
                     [&](u64 done, u64 n) { return nbd_.pwrite(handle_, zeroes.data(), n, at + done, 0); });
}

Outcome NbdImage::resize(u64) {
    return {BlockStatus::IoError, "disk image '" + name_ + "': the server decides how large it is"};
}

} // namespace dragoman::block
