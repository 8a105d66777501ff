// A disk image: bytes that are read and written, whatever the file that holds them looks like inside.
// Everything here waits for the host; disk.h makes an asynchronous device of it.
#pragma once

#include "base/block.h"
#include "base/result.h"
#include "base/types.h"
#include "block/ring.h"

#include <memory>
#include <optional>
#include <string>

namespace dragoman::block {

// How a request ended. Not a Result: most requests give nothing back, and the guest wants a status, the user
// a line.
struct [[nodiscard]] Outcome {
    BlockStatus status = BlockStatus::Ok;
    std::string message; // one line, when it failed: which image, what, why

    bool failed() const { return status != BlockStatus::Ok; }
};

// Requests may come from several threads at once. Those that overlap have no order among them.
class Image {
  public:
    virtual ~Image() = default;
    virtual const char* format() const = 0; // "raw", "qcow2"
    virtual u64 bytes() const = 0;          // what the guest sees
    virtual bool read_only() const = 0;

    // [at, at + count) lies inside bytes().
    virtual Outcome read(u64 at, u8* to, u64 count) = 0;
    virtual Outcome write(u64 at, const u8* from, u64 count) = 0;
    virtual Outcome flush() = 0; // what was written is on stable storage
    virtual Outcome discard(u64 at, u64 count) = 0;
    virtual Outcome write_zeroes(u64 at, u64 count, bool unmap) = 0;
    virtual Outcome resize(u64 new_bytes) = 0;
    // The last thing that happens to it: what is kept elsewhere until then goes there.
    virtual Outcome close() { return read_only() ? Outcome{} : flush(); }

    // What is known about the bytes from `at` on without reading them.
    enum class Content : u8 { Data, Zero, Backing }; // Backing: this image says nothing, the one below does
    struct Extent {
        Content content = Content::Data;
        u64 bytes = 0; // at least one, at most what was asked for
    };
    virtual Result<Extent> extent(u64 at, u64 limit) = 0;

    // Where the bytes lie as read() would give them; nothing: nowhere in one piece.
    virtual std::optional<Place> place(u64 /*at*/, u64 /*count*/) { return {}; }

    virtual Image* backing() const { return nullptr; }
    // Is the range zero or absent in this image and all below? For copying.
    Result<Extent> extent_of_chain(u64 at, u64 limit);
};

struct OpenOptions {
    bool read_only = false;
    std::string format;   // empty: found out; then a raw image refuses to be turned into another format
    bool lock = true;     // keep a second writer away
    bool backing = true;  // open the backing file, too
    std::string snapshot; // qcow2: read this internal snapshot (id or name); read-only
    std::string backing_file, backing_format; // instead of what the image names
    bool write_through = false;               // each write is on stable storage when it completes
    bool repair = true;                       // qcow2: rebuild the reference counts of an image marked dirty
};

// The error names the file and what was expected.
Result<std::unique_ptr<Image>> open_image(const std::string& path, const OpenOptions& options);
// The format of a file by its first bytes: "raw" when it is none of the others ("qcow2", and by name those
// that are not read: "qed", "vmdk", "vdi", "vhdx", "vpc", "luks").
std::string probe_format(const u8* head, std::size_t bytes);

// An overlay in a temporary file that has no name: what is written goes there and ends with the process.
Result<std::unique_ptr<Image>> make_temporary_overlay(std::shared_ptr<Image> below);

} // namespace dragoman::block
