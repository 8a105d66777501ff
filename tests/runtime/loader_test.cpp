// Kernels without firmware: what ends up in memory and in registers, and that no file, however broken, does
// more than give one line of error.
#include "runtime/loader.h"

#include "runtime/elf.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>

using namespace dragoman;
using namespace dragoman::runtime;

namespace {

constexpr u64 kRam = 16 * MiB;

struct Bytes : std::vector<u8> {
    template <class T> void put(std::size_t at, T value) {
        if (size() < at + sizeof value) resize(at + sizeof value);
        std::memcpy(data() + at, &value, sizeof value);
    }
    void text(std::size_t at, const std::string& s) {
        if (size() < at + s.size()) resize(at + s.size());
        std::memcpy(data() + at, s.data(), s.size());
    }
};

class Loader : public testing::Test {
  protected:
    Loader() {
        char name[] = "/tmp/loader_test.XXXXXX";
        directory_ = mkdtemp(name);
        map_ = std::move(softmmu::PhysicalMap::create(kRam).value());
        board_.memory = {{0, 0x9fc00, 1},
                         {0x9fc00, 0x400, 2},
                         {0xf0000, 0x10000, 2},
                         {MiB, kRam - MiB - 64 * KiB, 1},
                         {kRam - 64 * KiB, 64 * KiB, 4}};
        board_.rsdp = 0xf0040;
    }
    ~Loader() override { std::filesystem::remove_all(directory_); }

    std::string write(const std::string& name, const std::vector<u8>& bytes) {
        const std::string path = directory_ + "/" + name;
        std::ofstream(path, std::ios::binary)
            .write(reinterpret_cast<const char*>(bytes.data()), std::streamsize(bytes.size()));
        return path;
    }
    Result<FlatEntry> load(const std::vector<u8>& kernel, const std::string& initrd = {},
                           const std::string& append = {}) {
        path_ = write("kernel", kernel);
        return load_kernel({path_, initrd, append}, board_, *map_);
    }
    // One line that names the file.
    void expect_error(const std::vector<u8>& kernel, const std::string& part) {
        const auto entry = load(kernel);
        ASSERT_FALSE(entry) << "was taken, expected: " << part;
        const std::string& message = entry.error().message;
        EXPECT_NE(message.find(part), std::string::npos) << message;
        EXPECT_NE(message.find(path_), std::string::npos) << message;
        EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    }
    template <class T> T get(u64 at) {
        T value{};
        EXPECT_TRUE(map_->read(at, &value, sizeof value)) << at;
        return value;
    }
    std::string text(u64 at) {
        std::string s;
        for (char c; s.size() < 4096 && (c = get<char>(at)) != 0; ++at)
            s += c;
        return s;
    }
    // The flat descriptors that enter_flat's selectors need.
    void expect_gdt(const FlatEntry& entry) {
        EXPECT_EQ(get<u64>(entry.gdt + 0x10), 0x00cf9b000000ffffu);
        EXPECT_EQ(get<u64>(entry.gdt + 0x18), 0x00cf93000000ffffu);
    }

    std::string directory_, path_;
    std::unique_ptr<softmmu::PhysicalMap> map_;
    BoardFacts board_;
};

// An ELF with one segment at 1 MiB (file offset 0x1000) and, for a PVH kernel, its note.
constexpr u64 kAt = MiB, kFileBytes = 0x800, kMemoryBytes = 0x3000;
Bytes make_elf(bool wide, bool note) {
    Bytes f;
    f.text(0, std::string("\177ELF", 4));
    f.put<u8>(4, wide ? 2 : 1);
    f.put<u8>(5, 1);
    f.put<u8>(6, 1);
    f.put<u16>(16, 2);
    f.put<u16>(18, wide ? 62 : 3);
    f.put<u32>(20, 1);
    const u16 segments = note ? 2 : 1;
    const auto segment = [&f, wide](unsigned n, u32 type, u64 offset, u64 linear, u64 physical, u64 file,
                                    u64 memory) {
        if (wide) {
            const std::size_t at = 64 + 56 * n;
            f.put<u32>(at, type);
            f.put<u64>(at + 8, offset);
            f.put<u64>(at + 16, linear);
            f.put<u64>(at + 24, physical);
            f.put<u64>(at + 32, file);
            f.put<u64>(at + 40, memory);
            f.put<u64>(at + 48, 4096);
        } else {
            const std::size_t at = 52 + 32 * n;
            f.put<u32>(at, type);
            f.put<u32>(at + 4, u32(offset));
            f.put<u32>(at + 8, u32(linear));
            f.put<u32>(at + 12, u32(physical));
            f.put<u32>(at + 16, u32(file));
            f.put<u32>(at + 20, u32(memory));
            f.put<u64>(at + 24, 4096ull << 32);
        }
    };
    const u64 linear = wide ? 0xffffffff80100000 : 0xc0100000;
    if (wide) {
        f.put<u64>(24, linear + 0x10);
        f.put<u64>(32, 64);
        f.put<u16>(54, 56);
        f.put<u16>(56, segments);
    } else {
        f.put<u32>(24, u32(linear + 0x10));
        f.put<u32>(28, 52);
        f.put<u16>(42, 32);
        f.put<u16>(44, segments);
    }
    segment(0, 1, 0x1000, linear, kAt, kFileBytes, kMemoryBytes);
    if (note) {
        segment(1, 4, 0x400, 0, 0, 48, 48);
        f.put<u32>(0x400, 4); // one to pass over
        f.put<u32>(0x404, 5);
        f.put<u32>(0x408, 18);
        f.text(0x40c, "GNU");
        f.put<u32>(0x418, 4);
        f.put<u32>(0x41c, 4);
        f.put<u32>(0x420, 18);
        f.text(0x424, std::string("Xen\0", 4));
        f.put<u32>(0x428, u32(kAt + 0x20));
    }
    for (u64 i = 0; i < kFileBytes; ++i)
        f.put<u8>(0x1000 + i, u8(i * 7 + 1));
    return f;
}

void put_multiboot(Bytes& f, std::size_t at, u32 flags) {
    f.put<u32>(at, 0x1badb002);
    f.put<u32>(at + 4, flags);
    f.put<u32>(at + 8, u32(-(0x1badb002 + flags)));
}

TEST_F(Loader, PvhKernelGetsStartInfo) {
    for (const bool wide : {false, true}) {
        SCOPED_TRACE(wide);
        const u8 dirt = 0xcc;
        map_->write(kAt + kFileBytes + 5, &dirt, 1);
        const std::string initrd = write("initrd", std::vector<u8>(10000, 0x5a));
        const auto entry = load(make_elf(wide, true), initrd, "console=ttyS0 quiet");
        ASSERT_TRUE(entry) << entry.error().message;
        const FlatEntry e = entry.value();
        EXPECT_EQ(e.eip, kAt + 0x20);
        EXPECT_EQ(get<u8>(kAt + 3), 22);
        EXPECT_EQ(get<u8>(kAt + kFileBytes + 5), 0) << "memory behind the file's part is not cleared";
        expect_gdt(e);
        EXPECT_EQ(get<u32>(e.ebx), 0x336ec578u);
        EXPECT_EQ(get<u32>(e.ebx + 4), 1u);
        ASSERT_EQ(get<u32>(e.ebx + 12), 1u);
        EXPECT_EQ(text(get<u64>(e.ebx + 24)), "console=ttyS0 quiet");
        EXPECT_EQ(get<u64>(e.ebx + 32), 0xf0040u);
        const u64 module = get<u64>(e.ebx + 16);
        const u64 at = get<u64>(module);
        EXPECT_EQ(get<u64>(module + 8), 10000u);
        EXPECT_EQ(at % 4096, 0u);
        EXPECT_LE(at + 10000, kRam - 64 * KiB) << "over the ACPI tables";
        EXPECT_EQ(get<u8>(at + 9999), 0x5a);
        ASSERT_EQ(get<u32>(e.ebx + 48), board_.memory.size());
        const u64 ranges = get<u64>(e.ebx + 40);
        for (std::size_t i = 0; i < board_.memory.size(); ++i) {
            EXPECT_EQ(get<u64>(ranges + 24 * i), board_.memory[i].base);
            EXPECT_EQ(get<u64>(ranges + 24 * i + 8), board_.memory[i].bytes);
            EXPECT_EQ(get<u32>(ranges + 24 * i + 16), board_.memory[i].type);
        }
    }
}

// Larger than what is read of the file at first and at a time, with its program headers at the end.
TEST_F(Loader, PvhKernelIsReadByPieces) {
    Bytes f = make_elf(true, true);
    constexpr u64 bytes = 700'001;
    const auto pattern = [](u64 at) { return u8(at * 7 + (at >> 8) + 1); };
    for (u64 at = 0; at < bytes; ++at)
        f.put<u8>(0x1000 + at, pattern(at));
    const std::vector<u8> headers(f.begin() + 64, f.begin() + 64 + 2 * 56);
    const u64 table = f.size();
    f.insert(f.end(), headers.begin(), headers.end());
    f.put<u64>(32, table);
    f.put<u64>(table + 32, bytes);
    f.put<u64>(table + 40, bytes + 10);
    std::fill_n(f.begin() + 64, headers.size(), u8(0));
    auto entry = load(f);
    ASSERT_TRUE(entry) << entry.error().message;
    EXPECT_EQ(entry->eip, kAt + 0x20);
    for (u64 at = 0; at < bytes; ++at)
        ASSERT_EQ(get<u8>(kAt + at), pattern(at)) << at;
}

TEST_F(Loader, ElfMultibootKernelGetsItsInformation) {
    for (const bool wide : {false, true}) {
        SCOPED_TRACE(wide);
        Bytes f = make_elf(wide, false);
        put_multiboot(f, 0x1004, 3);
        board_.text_screen = true;
        const std::string one = write("one", {1, 2, 3}), two = write("t,wo", std::vector<u8>(5000, 9));
        std::string two_escaped = two;
        two_escaped.replace(two_escaped.find(','), 1, ",,");
        const auto entry = load(f, one + " a b," + two_escaped, "-v");
        ASSERT_TRUE(entry) << entry.error().message;
        const FlatEntry e = entry.value();
        EXPECT_EQ(e.eax, 0x2badb002u);
        EXPECT_EQ(e.eip, kAt + 0x10) << "a linear entry is made physical";
        expect_gdt(e);
        const u32 flags = get<u32>(e.ebx);
        EXPECT_EQ(flags & 0x124d, 0x124du & flags);
        EXPECT_TRUE(flags & 1 && flags & 4 && flags & 8 && flags & 0x40 && flags & 0x200 && flags & 0x1000);
        EXPECT_EQ(get<u32>(e.ebx + 4), 0x9fc00u / 1024);
        EXPECT_EQ(get<u32>(e.ebx + 8), (kRam - MiB - 64 * KiB) / 1024);
        EXPECT_EQ(text(get<u32>(e.ebx + 16)), path_ + " -v");
        ASSERT_EQ(get<u32>(e.ebx + 20), 2u);
        const u32 modules = get<u32>(e.ebx + 24);
        EXPECT_EQ(get<u32>(modules + 4) - get<u32>(modules), 3u);
        EXPECT_EQ(get<u8>(get<u32>(modules) + 2), 3);
        EXPECT_EQ(text(get<u32>(modules + 8)), one + " a b");
        EXPECT_EQ(get<u32>(modules + 16) % 4096, 0u);
        EXPECT_EQ(get<u32>(modules + 20) - get<u32>(modules + 16), 5000u);
        EXPECT_EQ(text(get<u32>(modules + 24)), two);
        EXPECT_EQ(text(get<u32>(e.ebx + 64)), "Dragoman");
        const u32 map = get<u32>(e.ebx + 48);
        ASSERT_EQ(get<u32>(e.ebx + 44), 24 * board_.memory.size());
        for (std::size_t i = 0; i < board_.memory.size(); ++i) {
            EXPECT_EQ(get<u32>(map + 24 * i), 20u);
            EXPECT_EQ(get<u64>(map + 24 * i + 4), board_.memory[i].base);
            EXPECT_EQ(get<u64>(map + 24 * i + 12), board_.memory[i].bytes);
            EXPECT_EQ(get<u32>(map + 24 * i + 20), board_.memory[i].type);
        }
        EXPECT_EQ(get<u64>(e.ebx + 88), 0xb8000u);
        EXPECT_EQ(get<u8>(e.ebx + 109), 2);
    }
}

Bytes make_flat(u32 header, u32 load, u32 load_end, u32 bss_end, u32 entry) {
    Bytes f;
    f.resize(0x2000, 0x11);
    put_multiboot(f, 0x100, 1 << 16);
    const u32 fields[] = {header, load, load_end, bss_end, entry};
    for (unsigned i = 0; i < 5; ++i)
        f.put<u32>(0x10c + 4 * i, fields[i]);
    return f;
}

TEST_F(Loader, MultibootByAddresses) {
    const auto entry = load(make_flat(0x200100, 0x200080, 0x201080, 0x203000, 0x200200));
    ASSERT_TRUE(entry) << entry.error().message;
    EXPECT_EQ(entry.value().eip, 0x200200u);
    EXPECT_EQ(get<u32>(0x200100), 0x1badb002u);
    EXPECT_EQ(get<u8>(0x20107f), 0x11);
    EXPECT_EQ(get<u8>(0x201080), 0);
    const auto whole = load(make_flat(0x300100, 0x300000, 0, 0, 0x300000));
    ASSERT_TRUE(whole) << whole.error().message;
    EXPECT_EQ(get<u8>(0x301fff), 0x11);
}

TEST_F(Loader, MultibootHeadersThatLie) {
    expect_error(make_flat(0x200000, 0x200100, 0, 0, 0x200000), "before the file");
    expect_error(make_flat(0x201000, 0x200000, 0, 0, 0x200000), "before the file");
    expect_error(make_flat(0x200100, 0x200000, 0x100000, 0, 0x200000), "load end");
    expect_error(make_flat(0x200100, 0x200000, 0x300000, 0, 0x200000), "cut off");
    expect_error(make_flat(0x200100, 0x200000, 0x201000, 0x200800, 0x200000), "bss end");
    expect_error(make_flat(0x200100, 0x200000, 0x201000, 0xfffff000, 0x200000), "(-m)");
    expect_error(make_flat(0xfffff100, 0xfffff000, 0, 0, 0xfffff000), "(-m)");
    expect_error(make_flat(0x200100, 0x200000, 0, 0, 0xf0000000), "entry");
    Bytes features = make_flat(0x200100, 0x200000, 0, 0, 0x200000);
    put_multiboot(features, 0x100, 1 << 16 | 1 << 5);
    expect_error(features, "requires features");
    Bytes no_elf;
    put_multiboot(no_elf, 0, 0);
    expect_error(no_elf, "no ELF");
    Bytes cut;
    put_multiboot(cut, 0, 1 << 16);
    expect_error(cut, "cut off");
}

TEST_F(Loader, ElfsThatLie) {
    const auto with = [](std::size_t at, auto value) {
        Bytes f = make_elf(true, true);
        f.put(at, value);
        return f;
    };
    constexpr std::size_t kSegment = 64, kNote = 64 + 56;
    expect_error(with(4, u8{7}), "class");
    expect_error(with(18, u16{183}), "machine 183");
    expect_error(with(32, ~u64{0} - 8), "outside the file");
    expect_error(with(54, u16{8}), "program headers of 8 bytes");
    expect_error(with(56, u16{0xffff}), "outside the file");
    expect_error(with(kSegment + 8, ~u64{0} - 0x100), "outside the file");
    expect_error(with(kSegment + 32, ~u64{0}), "outside the file");
    expect_error(with(kSegment + 40, u64{0x10}), "more bytes in the file");
    expect_error(with(kSegment + 40, ~u64{0}), "(-m)");
    expect_error(with(kSegment + 24, ~u64{0} - 0x100), "(-m)");
    expect_error(with(kSegment + 24, u64{kRam - 0x1000}), "(-m)");
    expect_error(with(kSegment + 24, u64{0xf0000}), "(-m)");
    expect_error(with(kSegment, u32{5}), "without anything to load");
    expect_error(with(kNote + 32, u64{1} << 40), "outside the file");
    expect_error(with(0x418, u32{0xffffffff}), "PVH note");
    expect_error(with(0x41c, u32{0xffffffff}), "PVH note");
    expect_error(with(0x428, u32{0xfffffff0}), "entry");
    expect_error(make_elf(true, false), "PVH note");
    Bytes cut = make_elf(true, true);
    cut.resize(40);
    expect_error(cut, "cut off");
}

TEST_F(Loader, ManyHugeSegmentsAreRefusedSoon) {
    Bytes f = make_elf(true, false);
    f.put<u64>(32, 0x2000);
    f.put<u16>(56, 20000);
    for (u64 n = 0; n < 20000; ++n) {
        f.put<u32>(0x2000 + 56 * n, 1);
        f.put<u64>(0x2000 + 56 * n + 24, MiB);
        f.put<u64>(0x2000 + 56 * n + 40, 14 * MiB);
        f.put<u64>(0x2000 + 56 * n + 48, 0);
    }
    put_multiboot(f, 0x200, 0);
    expect_error(f, "over each other");
}

TEST_F(Loader, ModulesThatDoNotFitAreNamed) {
    const std::string big = write("big", std::vector<u8>(kRam - MiB - 64 * KiB));
    for (const bool multiboot : {false, true}) {
        Bytes f = make_elf(false, true);
        if (multiboot) put_multiboot(f, 0x200, 0);
        const auto entry = load(f, big);
        ASSERT_FALSE(entry);
        EXPECT_NE(entry.error().message.find(big), std::string::npos) << entry.error().message;
        EXPECT_NE(entry.error().message.find("-m"), std::string::npos) << entry.error().message;
        const auto missing = load(f, directory_ + "/nothing");
        ASSERT_FALSE(missing);
        EXPECT_NE(missing.error().message.find("No such file"), std::string::npos) << missing.error().message;
    }
}

TEST_F(Loader, OtherFilesAreNoKernels) {
    expect_error({}, "not a kernel");
    expect_error(std::vector<u8>(5000, 0), "not a kernel");
    expect_error({0x7f, 'E', 'L', 'F'}, "cut off");
}

// Random damage to good kernels: never more than an error. The sanitizers see the rest.
TEST_F(Loader, DamagedKernels) {
    const u64 seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    std::vector<Bytes> good = {make_elf(false, true), make_elf(true, true),
                               make_flat(0x200100, 0x200080, 0x201080, 0x203000, 0x200200)};
    good.push_back(make_elf(false, false));
    put_multiboot(good.back(), 0x200, 0);
    for (unsigned round = 0; round < 500; ++round) {
        Bytes f = good[random() % good.size()];
        for (u64 n = random() % 6; n-- > 0;) {
            static constexpr u8 likely[] = {0, 1, 0x7f, 0x80, 0xff};
            const std::size_t at = random() % 0x440 % f.size();
            f[at] = random() % 2 ? likely[random() % 5] : u8(random());
        }
        if (random() % 4 == 0) f.resize(random() % f.size());
        const auto entry = load(f);
        if (!entry) {
            EXPECT_EQ(entry.error().message.find('\n'), std::string::npos);
        }
    }
}

// A bzImage with two setup sectors and a small kernel, boot protocol 2.15.
Bytes make_linux() {
    Bytes f;
    f.resize(3 * 512 + 0x900, 0x22);
    std::fill(f.begin(), f.begin() + 3 * 512, u8{0});
    f.put<u8>(0x1f1, 2);
    f.put<u8>(0x201, 0x6a);
    f.text(0x202, "HdrS");
    f.put<u16>(0x206, 0x20f);
    f.put<u8>(0x211, 1);
    f.put<u32>(0x22c, 0x7fffffff);
    f.put<u32>(0x238, 100);
    f.put<u64>(0x258, MiB);
    f.put<u32>(0x260, 0x10000);
    return f;
}

TEST_F(Loader, LinuxKernelGetsBootParams) {
    const std::string initrd = write("initrd", std::vector<u8>(10000, 0x5a));
    const auto entry = load(make_linux(), initrd, "quiet");
    ASSERT_TRUE(entry) << entry.error().message;
    const FlatEntry e = entry.value();
    EXPECT_EQ(e.eip, MiB);
    EXPECT_EQ(get<u8>(MiB), 0x22);
    expect_gdt(e);
    EXPECT_EQ(text(get<u32>(e.esi + 0x228)), "quiet");
    EXPECT_EQ(get<u64>(e.esi + 0x70), 0xf0040u);
    EXPECT_EQ(get<u8>(e.esi + 0x0f), 0) << "no display: no text mode";
    ASSERT_EQ(get<u8>(e.esi + 0x1e8), board_.memory.size());
    EXPECT_EQ(get<u64>(e.esi + 0x2d0 + 3 * 20), MiB);
    const u32 at = get<u32>(e.esi + 0x218);
    EXPECT_EQ(get<u32>(e.esi + 0x21c), 10000u);
    EXPECT_LE(at + 10000, kRam - 64 * KiB);
    EXPECT_EQ(get<u8>(at + 9999), 0x5a);
}

TEST_F(Loader, SetupCodeIsEnteredInRealMode) {
    Bytes f = make_linux();
    f.put<u16>(0x206, 0x203);
    EXPECT_FALSE(has_flat_entry(f));
    EXPECT_TRUE(has_flat_entry(make_linux()));
    const KernelOption option{write("kernel", f), write("initrd", std::vector<u8>(10000, 0x5a)), "quiet"};
    const auto loaded = load_linux_setup({option, f, board_, *map_});
    ASSERT_TRUE(loaded);
    EXPECT_EQ(get<u8>(MiB), 0x22);
    const u64 setup = 0x10000;
    EXPECT_EQ(get<u32>(setup + 0x202), 0x53726448u) << "\"HdrS\"";
    EXPECT_EQ(text(get<u32>(setup + 0x228)), "quiet");
    EXPECT_EQ(get<u8>(setup + 0x211), 0x81) << "the heap may be used";
    EXPECT_EQ(get<u32>(setup + 0x21c), 10000u);
    EXPECT_EQ(get<u8>(get<u32>(setup + 0x218) + 9999), 0x5a);
}

TEST_F(Loader, LinuxHeadersThatLie) {
    const auto with = [](std::size_t at, auto value) {
        Bytes f = make_linux();
        f.put(at, value);
        return f;
    };
    expect_error(with(0x206, u16{0x201}), "boot protocol");
    expect_error(with(0x211, u8{0}), "bzImage");
    expect_error(with(0x1f1, u8{0xff}), "cut off");
    expect_error(with(0x260, u32{0xffffffff}), "(-m)");
    expect_error(with(0x258, u64{1} << 40), "(-m)");
    expect_error(with(0x258, ~u64{0}), "(-m)");
    const auto entry = load(make_linux(), {}, std::string(101, 'x'));
    ASSERT_FALSE(entry);
    EXPECT_NE(entry.error().message.find("-append"), std::string::npos) << entry.error().message;
}

TEST(RamPlan, GivesOnlyFreeRam) {
    BoardFacts board;
    board.memory = {{0, 0x9fc00, 1}, {MiB, MiB, 1}, {4 * GiB, GiB, 1}};
    RamPlan plan(board);
    EXPECT_TRUE(plan.is_ram(0, 0x9fc00));
    EXPECT_FALSE(plan.is_ram(0, 0x9fc01));
    EXPECT_FALSE(plan.is_ram(0x9f000, ~u64{0}));
    EXPECT_TRUE(plan.is_ram(4 * GiB, GiB));
    EXPECT_EQ(plan.lowest(16, 16, 0, 4 * GiB), 0x1000u) << "page 0 is not given away";
    EXPECT_EQ(plan.lowest(16, 0x1000, 0, 4 * GiB), 0x2000u);
    EXPECT_EQ(plan.lowest(16, 16, 0, 4 * GiB), 0x1010u);
    EXPECT_EQ(plan.highest(0x1800, 0x1000, 0, 8 * GiB), 2 * MiB - 0x2000);
    plan.take(MiB, 0x80000);
    EXPECT_EQ(plan.highest(0x7e000, 0x1000, MiB, 4 * GiB), MiB + 0x80000);
    EXPECT_FALSE(plan.highest(0x10000, 0x1000, MiB, 4 * GiB));
    EXPECT_FALSE(plan.lowest(2 * MiB, 1, 0, 8 * GiB));
}

} // namespace
