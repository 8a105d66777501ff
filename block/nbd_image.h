// A disk that a server lends over the network (Network Block Device; libnbd speaks the protocol).
#pragma once

#include "block/image.h"

#include <optional>

struct nbd_handle;

namespace dragoman::block {

struct NbdExport {
    std::string uri;                // "nbd://...", "nbd+unix://..."; empty: the parts
    std::string host, port, socket; // of TCP, or the name of a local socket
    std::string name;               // of the export; empty: the server's default
};
// "nbd:HOST:PORT[:exportname=NAME]", "nbd:unix:PATH[:exportname=NAME]" or a URI with nbd, nbds or either with
// "+unix"; nothing: the name is of another form.
std::optional<NbdExport> parse_nbd(const std::string& name);

class NbdImage final : public Image {
  public:
    // Connects; the error names the server and what is wrong.
    static Result<std::unique_ptr<Image>> open(const std::string& name, bool read_only);
    ~NbdImage() override;

    const char* format() const override { return "raw"; }
    u64 bytes() const override { return bytes_; }
    bool read_only() const override { return read_only_; }
    Outcome read(u64 at, u8* to, u64 count) override;
    Outcome write(u64 at, const u8* from, u64 count) override;
    Outcome flush() override;
    Outcome discard(u64 at, u64 count) override;
    Outcome write_zeroes(u64 at, u64 count, bool unmap) override;
    Outcome resize(u64 new_bytes) override;
    Result<Extent> extent(u64, u64 limit) override { return Extent{Content::Data, limit}; }

  private:
    struct Library; // its functions
    NbdImage(std::string name, const Library& nbd, nbd_handle* handle)
        : name_(std::move(name)), nbd_(nbd), handle_(handle) {}
    Outcome outcome(const char* doing, int result) const;
    template <class Piece> Outcome in_pieces(const char* doing, u64 count, u64 most, Piece piece);

    std::string name_;
    const Library& nbd_;
    nbd_handle* handle_; // libnbd lets one thread in at a time
    u64 bytes_ = 0;
    bool read_only_ = false, can_flush_ = false, can_trim_ = false, can_zero_ = false;
};

} // namespace dragoman::block
