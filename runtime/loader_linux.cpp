// Linux bzImage by the 32-bit boot protocol and by its setup code (Linux: Documentation/arch/x86/boot.rst;
// offsets are those of its setup header).
#include "runtime/loader.h"

#include "base/bits.h"

#include <algorithm>
#include <cstring>

namespace dragoman::runtime {

namespace {

// Where things go; all below the kernel at 1 MiB.
constexpr u32 kGdtAt = 0x8000, kBootParamsAt = 0x10000, kCommandLineAt = 0x20000, kStackAt = 0x8f000;
constexpr u32 kSetupAt = 0x10000, kHeapEnd = 0xe000; // where the setup code runs
constexpr u32 kKernelAt = 0x100000, kBootParamsBytes = 4096;

// Offsets in the setup header and in boot_params.
enum Offset : u32 {
    kSetupSects = 0x1f1,
    kHeaderMagic = 0x202,
    kVersion = 0x206,
    kTypeOfLoader = 0x210,
    kLoadFlags = 0x211,
    kCode32Start = 0x214,
    kRamdiskImage = 0x218,
    kRamdiskSize = 0x21c,
    kHeapEndPtr = 0x224,
    kCmdLinePtr = 0x228,
    kInitrdAddrMax = 0x22c,
    kCmdlineSize = 0x238,
    kPrefAddress = 0x258,
    kInitSize = 0x260,
    kE820Entries = 0x1e8,
    kAcpiRsdp = 0x070,
    kE820Table = 0x2d0,
};

template <class T> T get(const u8* p, u32 offset) {
    T value;
    std::memcpy(&value, p + offset, sizeof value);
    return value;
}
template <class T> void put(u8* p, u32 offset, T value) {
    std::memcpy(p + offset, &value, sizeof value);
}

// screen_info of an 80x25 colour text mode, as Vga::set_text_mode makes it.
void fill_screen_info(u8* params) {
    params[0x06] = 3;  // video mode
    params[0x07] = 80; // columns
    params[0x0e] = 25; // lines
    params[0x0f] = 1;  // VGA
    put<u16>(params, 0x10, 16);
}

} // namespace

bool is_linux(const std::vector<u8>& file) {
    return file.size() > 0x400 && std::memcmp(file.data() + kHeaderMagic, "HdrS", 4) == 0;
}

bool has_flat_entry(const std::vector<u8>& linux_file) {
    return get<u16>(linux_file.data(), kVersion) >= 0x208;
}

namespace {

// What both entries share: the parts of the file, the RAM around them, and the fields of the setup header,
// which lie at the same offsets in the setup code and in boot_params.
class BzImage {
  public:
    explicit BzImage(const KernelImage& image)
        : image_(image), version_(get<u16>(image.file.data(), kVersion)) {}
    Status measure();
    Status place(u8* header) const; // kernel, command line, initrd

    u64 setup_bytes = 0;

  private:
    Status place_initrd(u8* header) const;
    const u8* file() const { return image_.file.data(); }
    const std::string& name() const { return image_.option.kernel; }

    const KernelImage& image_;
    const u16 version_;
    u64 kernel_bytes_ = 0, kernel_end_ = 0;
    u64 usable_end_ = 0; // of the RAM that holds the kernel
};

Status BzImage::measure() {
    if (version_ < 0x202 || !(file()[kLoadFlags] & 1))
        return Error{name() + ": a Linux kernel of boot protocol " + std::to_string(version_ >> 8) + "." +
                     std::to_string(version_ & 0xff) + ", expected a bzImage of 2.02 or later"};
    const u32 setup_sectors = file()[kSetupSects] ? file()[kSetupSects] : 4;
    setup_bytes = u64(setup_sectors + 1) * 512;
    if (setup_bytes >= image_.file.size())
        return Error{name() + ": cut off: shorter than its own header says"};
    kernel_bytes_ = image_.file.size() - setup_bytes;

    for (const MemoryRange& range : image_.board.memory)
        if (range.type == 1 && range.base <= kKernelAt && kKernelAt < range.base + range.bytes)
            usable_end_ = range.base + range.bytes;
    const u64 init_size = version_ >= 0x20a ? get<u32>(file(), kInitSize) : kernel_bytes_;
    const u64 preferred = version_ >= 0x20a ? get<u64>(file(), kPrefAddress) : kKernelAt;
    // An address outside the memory ends the sum, which would overflow.
    kernel_end_ =
        std::max<u64>(kKernelAt + kernel_bytes_, preferred > usable_end_ ? preferred : preferred + init_size);
    if (kKernelAt + kernel_bytes_ > usable_end_ || kernel_end_ > usable_end_)
        return Error{name() + ": needs " + std::to_string(kernel_end_ / MiB + 1) +
                     " MiB of memory, the machine has " + std::to_string(image_.map.ram_below_4g() / MiB) +
                     " (-m)"};
    return Ok{};
}

Status BzImage::place(u8* header) const {
    const std::string& line = image_.option.append;
    const u32 max_line = version_ >= 0x206 ? get<u32>(file(), kCmdlineSize) : 255;
    if (line.size() > std::min<u32>(max_line, 0xffff))
        return Error{"-append: " + std::to_string(line.size()) + " characters, this kernel takes " +
                     std::to_string(max_line)};
    if (auto placed = place_initrd(header); !placed) return placed;
    image_.map.write(kKernelAt, file() + setup_bytes, kernel_bytes_);
    image_.map.write(kCommandLineAt, line.c_str(), line.size() + 1);
    put<u32>(header, kCmdLinePtr, kCommandLineAt);
    header[kTypeOfLoader] = 0xff; // no assigned number
    header[kLoadFlags] |= 0x80;   // CAN_USE_HEAP
    return Ok{};
}

Status BzImage::place_initrd(u8* header) const {
    if (image_.option.initrd.empty()) return Ok{};
    const auto initrd = read_file(image_.option.initrd, usable_end_);
    if (!initrd) return Error{"(-initrd) " + initrd.error().message};
    const u64 bytes = initrd.value().size();
    const u64 highest = version_ >= 0x203 ? get<u32>(file(), kInitrdAddrMax) : 0x37ffffff;
    const u64 end = std::min<u64>(usable_end_, highest + 1);
    if (end < bytes || align_down(end - bytes, 4096) < kernel_end_)
        return Error{"(-initrd) " + image_.option.initrd + ": " + std::to_string(bytes / MiB) +
                     " MiB do not fit beside the kernel into " +
                     std::to_string(image_.map.ram_below_4g() / MiB) + " MiB of memory (-m)"};
    const u32 at = u32(align_down(end - bytes, 4096));
    image_.map.write(at, initrd.value().data(), bytes);
    put<u32>(header, kRamdiskImage, at);
    put<u32>(header, kRamdiskSize, u32(bytes));
    return Ok{};
}

} // namespace

Result<FlatEntry> load_linux(const KernelImage& image) {
    BzImage bz(image);
    if (auto measured = bz.measure(); !measured) return measured.error();
    u8 params[kBootParamsBytes] = {};
    const u32 header_end = std::min<u32>(0x202 + image.file[0x201], 0x290);
    std::memcpy(params + kSetupSects, image.file.data() + kSetupSects, header_end - kSetupSects);
    if (auto placed = bz.place(params); !placed) return placed.error();

    put<u16>(params, kHeapEndPtr, 0xfe00);
    put<u32>(params, kCode32Start, kKernelAt);
    put<u64>(params, kAcpiRsdp, image.board.rsdp);
    if (image.board.text_screen) fill_screen_info(params);
    const std::size_t ranges = std::min<std::size_t>(image.board.memory.size(), 128);
    params[kE820Entries] = u8(ranges);
    for (std::size_t i = 0; i < ranges; ++i) {
        const u32 at = kE820Table + u32(i) * 20;
        put<u64>(params, at, image.board.memory[i].base);
        put<u64>(params, at + 8, image.board.memory[i].bytes);
        put<u32>(params, at + 16, image.board.memory[i].type);
    }
    image.map.write(kBootParamsAt, params, sizeof params);
    return FlatEntry{.eip = kKernelAt, .esi = kBootParamsAt, .esp = kStackAt, .gdt = kGdtAt};
}

// The setup code has 64 KiB for itself, heap and stack, as boot.rst lays it out; the command line follows.
Result<RealEntry> load_linux_setup(const KernelImage& image) {
    BzImage bz(image);
    if (auto measured = bz.measure(); !measured) return measured.error();
    if (bz.setup_bytes > kHeapEnd)
        return Error{image.option.kernel + ": setup code of " + std::to_string(bz.setup_bytes / KiB) +
                     " KiB, expected at most " + std::to_string(kHeapEnd / KiB)};
    std::vector<u8> setup(image.file.begin(), image.file.begin() + long(bz.setup_bytes));
    if (auto placed = bz.place(setup.data()); !placed) return placed.error();
    put<u16>(setup.data(), kHeapEndPtr, kHeapEnd - 0x200);
    image.map.write(kSetupAt, setup.data(), setup.size());
    constexpr u16 segment = kSetupAt >> 4;
    return RealEntry{.cs = segment + 0x20, .ip = 0, .ss = segment, .sp = kHeapEnd};
}

} // namespace dragoman::runtime
