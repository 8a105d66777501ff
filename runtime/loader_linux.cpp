// Linux bzImage by the 32-bit boot protocol (Linux: Documentation/arch/x86/boot.rst; offsets are those of its
// setup header).
#include "runtime/loader.h"

#include "base/bits.h"

#include <algorithm>
#include <cstring>

namespace dragoman::runtime {

namespace {

// Where things go; all below the kernel at 1 MiB.
constexpr u32 kGdtAt = 0x8000, kBootParamsAt = 0x10000, kCommandLineAt = 0x20000, kStackAt = 0x8f000;
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

Result<FlatEntry> load_linux(const KernelImage& image) {
    const std::vector<u8>& file = image.file;
    const std::string& name = image.option.kernel;
    const u16 version = get<u16>(file.data(), kVersion);
    if (version < 0x202 || !(file[kLoadFlags] & 1))
        return Error{name + ": a Linux kernel of boot protocol " + std::to_string(version >> 8) + "." +
                     std::to_string(version & 0xff) + ", expected a bzImage of 2.02 or later"};
    const u32 setup_sectors = file[kSetupSects] ? file[kSetupSects] : 4;
    const u64 setup_bytes = u64(setup_sectors + 1) * 512;
    if (setup_bytes >= file.size()) return Error{name + ": cut off: shorter than its own header says"};
    const u64 kernel_bytes = file.size() - setup_bytes;

    softmmu::PhysicalMap& map = image.map;
    const u64 low = map.ram_below_4g();
    u64 usable_end = 0; // of the range that holds the kernel
    for (const MemoryRange& range : image.board.memory)
        if (range.type == 1 && range.base <= kKernelAt && kKernelAt < range.base + range.bytes)
            usable_end = range.base + range.bytes;
    const u64 init_size = version >= 0x20a ? get<u32>(file.data(), kInitSize) : kernel_bytes;
    const u64 preferred = version >= 0x20a ? get<u64>(file.data(), kPrefAddress) : kKernelAt;
    // An address outside the memory ends the sum, which would overflow.
    const u64 kernel_end =
        std::max<u64>(kKernelAt + kernel_bytes, preferred > usable_end ? preferred : preferred + init_size);
    if (kKernelAt + kernel_bytes > usable_end || kernel_end > usable_end)
        return Error{name + ": needs " + std::to_string(kernel_end / MiB + 1) +
                     " MiB of memory, the machine has " + std::to_string(low / MiB) + " (-m)"};

    u8 params[kBootParamsBytes] = {};
    const u32 header_end = std::min<u32>(0x202 + file[0x201], 0x290);
    std::memcpy(params + kSetupSects, file.data() + kSetupSects, header_end - kSetupSects);
    map.write(kKernelAt, file.data() + setup_bytes, kernel_bytes);

    const u32 max_line = version >= 0x206 ? get<u32>(file.data(), kCmdlineSize) : 255;
    if (image.option.append.size() > std::min<u32>(max_line, 0xffff))
        return Error{"-append: " + std::to_string(image.option.append.size()) +
                     " characters, this kernel takes " + std::to_string(max_line)};
    map.write(kCommandLineAt, image.option.append.c_str(), image.option.append.size() + 1);
    put<u32>(params, kCmdLinePtr, kCommandLineAt);

    if (!image.option.initrd.empty()) {
        auto initrd = read_file(image.option.initrd, usable_end);
        if (!initrd) return Error{"(-initrd) " + initrd.error().message};
        const u64 highest = version >= 0x203 ? get<u32>(file.data(), kInitrdAddrMax) : 0x37ffffff;
        const u64 end = std::min<u64>(usable_end, highest + 1);
        if (end < initrd->size() || align_down(end - initrd->size(), 4096) < kernel_end)
            return Error{"(-initrd) " + image.option.initrd + ": " + std::to_string(initrd->size() / MiB) +
                         " MiB do not fit beside the kernel into " + std::to_string(low / MiB) +
                         " MiB of memory (-m)"};
        const u32 at = u32(align_down(end - initrd->size(), 4096));
        map.write(at, initrd->data(), initrd->size());
        put<u32>(params, kRamdiskImage, at);
        put<u32>(params, kRamdiskSize, u32(initrd->size()));
    }

    params[kTypeOfLoader] = 0xff; // no assigned number
    params[kLoadFlags] |= 0x80;   // CAN_USE_HEAP
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
    map.write(kBootParamsAt, params, sizeof params);
    return FlatEntry{.eip = kKernelAt, .esi = kBootParamsAt, .esp = kStackAt, .gdt = kGdtAt};
}

} // namespace dragoman::runtime
