// libFuzzer: a qcow2 image of arbitrary bytes is opened, checked, read and written. The file that the bytes
// are put over is a sound image, so that small inputs reach far.
#include "block/host_file.h"
#include "block/qcow2.h"
#include "fuzz_input.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <unistd.h>

#include <sys/mman.h>
#include <sys/stat.h>
#include <vector>

namespace {

using namespace dragoman;

constexpr u64 kDisk = 1 * MiB;

void must(bool good, const char* what) {
    if (good) return;
    std::fprintf(stderr, "qcow2_fuzz: %s\n", what);
    std::abort();
}

// A file in memory that has a name.
struct MemoryFile {
    MemoryFile() : fd(::memfd_create("qcow2", MFD_CLOEXEC)) { must(fd >= 0, "memfd_create"); }
    ~MemoryFile() { ::close(fd); }
    std::string path() const { return "/proc/self/fd/" + std::to_string(fd); }
    int fd;
};

// An image of small clusters with data, zeroes, a compressed cluster and a snapshot.
std::vector<u8> sound_image() {
    MemoryFile file;
    auto host = block::HostFile::open(file.path(), false, false, false);
    must(bool(host), "the file cannot be opened");
    block::Qcow2CreateOptions how;
    how.size = kDisk;
    how.cluster_bits = 9;
    must(bool(block::Qcow2Image::create(**host, how)), "the image cannot be made");
    auto image = block::Qcow2Image::open(std::move(*host), false, {});
    must(bool(image), "the image cannot be opened");
    std::vector<u8> data(4096, 0x5a);
    must(!(*image)->write(0, data.data(), data.size()).failed(), "write");
    must(!(*image)->write_compressed(8192, data.data(), 512).failed(), "compressed");
    must(bool((*image)->create_snapshot("s")), "snapshot");
    must(!(*image)->write(2048, data.data(), data.size()).failed(), "write");
    must(!(*image)->write_zeroes(300 * 512, 2048, false).failed(), "zeroes");
    must(!(*image)->flush().failed(), "flush");
    image->reset();
    struct stat info {};
    must(::fstat(file.fd, &info) == 0, "fstat");
    std::vector<u8> bytes(std::size_t(info.st_size));
    must(::pread(file.fd, bytes.data(), bytes.size(), 0) == ssize_t(bytes.size()), "pread");
    return bytes;
}

void use(block::Qcow2Image& image, test::FuzzInput& input) {
    static u8 buffer[64 * KiB];
    while (!input.empty()) {
        const u8 what = input.byte();
        if (image.bytes() == 0) return;
        const u64 at = (u64{input.take<u32>()} << (what >> 4)) % image.bytes();
        const u64 count = std::min<u64>({image.bytes() - at, sizeof buffer, u64{input.take<u16>()} + 1});
        switch (what & 0xf) {
        case 0:
        case 1:
        case 2: (void)image.read(at, buffer, count); break;
        case 3:
        case 4:
        case 5: (void)image.write(at, buffer, count); break;
        case 6: (void)image.flush(); break;
        case 7: (void)image.discard(at, count); break;
        case 8: (void)image.write_zeroes(at, count, what & 0x10); break;
        case 9: (void)image.extent(at, count); break;
        case 10: (void)image.check(block::Qcow2Repair(what >> 4 & 1 ? 2 : 0)); break;
        case 11: (void)image.create_snapshot("t"); break;
        case 12: (void)image.apply_snapshot("1"); break;
        case 13: (void)image.delete_snapshot("1"); break;
        case 14: (void)image.resize(at + count * 512); break;
        default: break;
        }
    }
}

} // namespace

// First patches (offset, length, bytes; an offset of ffff ends them), then uses.
extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
    static const std::vector<u8> sound = sound_image();
    test::FuzzInput input({data, size});
    std::vector<u8> bytes = sound;
    while (!input.empty()) {
        const u16 at = input.take<u16>();
        if (at == 0xffff) break;
        for (unsigned n = 1u + input.byte() % 16, i = 0; i < n; ++i)
            bytes[(at + i) % bytes.size()] = input.byte();
    }
    MemoryFile file;
    must(::pwrite(file.fd, bytes.data(), bytes.size(), 0) == ssize_t(bytes.size()), "pwrite");
    auto host = block::HostFile::open(file.path(), false, false, false);
    must(bool(host), "the file cannot be opened");
    if (auto image = block::Qcow2Image::open(std::move(*host), false, {})) use(**image, input);
    return 0;
}
