#include "block/compression.h"

#include <zlib.h>
#include <zstd.h>

namespace dragoman::block {

namespace {

// Writers use a window of 4 KiB, whatever the size of the cluster.
constexpr int kWindowBits = -12;

bool inflate_all(const u8* from, u64 from_bytes, u8* to, u64 to_bytes) {
    z_stream stream{};
    if (inflateInit2(&stream, -15) != Z_OK) return false;
    stream.next_in = const_cast<u8*>(from);
    stream.avail_in = uInt(from_bytes);
    stream.next_out = to;
    stream.avail_out = uInt(to_bytes);
    const int result = inflate(&stream, Z_FINISH);
    inflateEnd(&stream);
    return (result == Z_STREAM_END || result == Z_BUF_ERROR) && stream.avail_out == 0;
}

bool zstd_all(const u8* from, u64 from_bytes, u8* to, u64 to_bytes) {
    ZSTD_DCtx* context = ZSTD_createDCtx();
    ZSTD_inBuffer in{from, from_bytes, 0};
    ZSTD_outBuffer out{to, to_bytes, 0};
    bool good = context != nullptr;
    while (good && out.pos < out.size) {
        const std::size_t in_before = in.pos, out_before = out.pos;
        const std::size_t result = ZSTD_decompressStream(context, &out, &in);
        good = !ZSTD_isError(result) && (in.pos != in_before || out.pos != out_before);
    }
    ZSTD_freeDCtx(context);
    return good;
}

} // namespace

bool decompress(Compression method, const u8* from, u64 from_bytes, u8* to, u64 to_bytes) {
    return method == Compression::Zstd ? zstd_all(from, from_bytes, to, to_bytes)
                                       : inflate_all(from, from_bytes, to, to_bytes);
}

std::vector<u8> compress(Compression method, const u8* from, u64 bytes) {
    std::vector<u8> out(bytes - 1);
    if (method == Compression::Zstd) {
        const std::size_t n = ZSTD_compress(out.data(), out.size(), from, bytes, ZSTD_CLEVEL_DEFAULT);
        out.resize(ZSTD_isError(n) ? 0 : n);
        return out;
    }
    z_stream stream{};
    if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, kWindowBits, 9, Z_DEFAULT_STRATEGY) != Z_OK)
        return {};
    stream.next_in = const_cast<u8*>(from);
    stream.avail_in = uInt(bytes);
    stream.next_out = out.data();
    stream.avail_out = uInt(out.size());
    const int result = deflate(&stream, Z_FINISH);
    out.resize(result == Z_STREAM_END ? out.size() - stream.avail_out : 0);
    deflateEnd(&stream);
    return out;
}

} // namespace dragoman::block
