// The VGA as a PCI function, and its registers at 0x3b4 to 0x3df.
#include "hw/vga.h"

#include "base/bits.h"
#include "hw/core/map_priority.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>
#include <sys/mman.h>

namespace dragoman::hw {

namespace {

constexpr PciIdentity kIdentity{.vendor = 0x1234, .device = 0x1111, .revision = 2, .class_code = 0x030000};

// Page-aligned zeroes that cost nothing until they are touched.
u8* map_zeroes(u64 bytes) {
    void* p = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) throw std::bad_alloc();
    return static_cast<u8*>(p);
}

} // namespace

Vga::Vga(Scheduler& scheduler, const std::vector<u8>& rom, Log& log)
    : PciFunction("vga", kIdentity), scheduler_(scheduler), log_(log), vram_(map_zeroes(vram_bytes)) {
    set_bar(0, BarKind::MemoryRam, vram_bytes, nullptr, vram_);
    set_bar(2, BarKind::Memory, 4096, &mmio_);
    if (!rom.empty()) {
        rom_bytes_ = std::bit_ceil(std::max<u64>(rom.size(), 4096));
        rom_ = map_zeroes(rom_bytes_);
        std::memcpy(rom_, rom.data(), rom.size());
        set_rom(rom_, rom_bytes_);
    }
}

Vga::~Vga() {
    ::munmap(vram_, vram_bytes);
    if (rom_ != nullptr) ::munmap(rom_, rom_bytes_);
}

void Vga::map_legacy(IoBus& ports, MemoryMap& memory) {
    ports.map(Ports::base, 0x3e0 - Ports::base, ports_, {1, 1});
    ports.map(0x1ce, 3, dispi_ports_, {1, 2});
    memory.map_io(0xa0000, 0x20000, window_, kMapLegacyVga);
}

void Vga::reset() {
    PciFunction::reset();
    regs_ = {};
    dispi_ = {};
    changed_ = true;
}

void Vga::visit(StateVisitor& visitor) {
    struct Vram {
        u8 bytes[vram_bytes];
    };
    PciFunction::visit(visitor);
    visitor.field("registers", regs_);
    visitor.field("dispi", dispi_);
    visitor.field("vram", *reinterpret_cast<Vram*>(vram_));
    if (!visitor.loading()) return;
    regs_.dac_component %= 3;
    if (!dispi_valid()) dispi_ = {};
    changed_ = true;
}

// --- ports

u64 Vga::Ports::read(u64 offset, unsigned size) {
    u64 value = 0;
    for (unsigned i = 0; i < size; ++i)
        value |= u64{vga_.read_port(static_cast<u16>(base + offset + i))} << (8 * i);
    return value;
}

void Vga::Ports::write(u64 offset, unsigned size, u64 value) {
    for (unsigned i = 0; i < size; ++i)
        vga_.write_port(static_cast<u16>(base + offset + i), static_cast<u8>(value >> (8 * i)));
}

u8 Vga::read_port(u16 port) {
    Registers& r = regs_;
    // CRTC and status answer at 0x3bx or 0x3dx, as Miscellaneous Output bit 0 says.
    if (port < 0x3c0 || port >= 0x3d0) {
        if ((port < 0x3c0) == ((r.misc & 1) != 0)) return 0xff;
        switch (port & 0xf) {
        case 4: return r.crtc_index;
        case 5: return r.crtc_index < 0x19 ? r.crtc[r.crtc_index] : 0xff;
        case 0xa: r.attribute_data = false; return input_status_1();
        default: return 0xff;
        }
    }
    switch (port) {
    case 0x3c0: return r.attribute_index;
    case 0x3c1: return r.attribute[r.attribute_index & 0x1f];
    case 0x3c2: return 0x10; // switch sense: a colour monitor
    case 0x3c3: return 1;    // enabled
    case 0x3c4: return r.sequencer_index;
    case 0x3c5: return r.sequencer[r.sequencer_index & 7];
    case 0x3c6: return r.pel_mask;
    case 0x3c7: return r.dac_reading;
    case 0x3c8: return r.dac_index;
    case 0x3c9: {
        const u8 value = r.palette[r.dac_index][r.dac_component];
        if (++r.dac_component == 3) {
            r.dac_component = 0;
            ++r.dac_index;
        }
        return value;
    }
    case 0x3ca: return r.feature;
    case 0x3cc: return r.misc;
    case 0x3ce: return r.graphics_index;
    case 0x3cf: return r.graphics[r.graphics_index & 0xf];
    default: return 0xff;
    }
}

void Vga::write_port(u16 port, u8 value) {
    // Bits that exist in the sequencer and graphics controller registers.
    static constexpr u8 sequencer_bits[8] = {0x03, 0x3d, 0x0f, 0x3f, 0x0e, 0, 0, 0};
    static constexpr u8 graphics_bits[16] = {0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff};
    Registers& r = regs_;
    changed_ = true;
    if (port < 0x3c0 || port >= 0x3d0) {
        if ((port < 0x3c0) == ((r.misc & 1) != 0)) return;
        switch (port & 0xf) {
        case 4: r.crtc_index = value; break;
        case 5: write_crtc(r.crtc_index, value); break;
        case 0xa: r.feature = value; break;
        default: break;
        }
        return;
    }
    switch (port) {
    case 0x3c0: write_attribute(value); break;
    case 0x3c2: r.misc = value & 0xef; break;
    case 0x3c4: r.sequencer_index = value & 7; break;
    case 0x3c5: r.sequencer[r.sequencer_index & 7] = value & sequencer_bits[r.sequencer_index & 7]; break;
    case 0x3c6: r.pel_mask = value; break;
    case 0x3c7:
        r.dac_index = value;
        r.dac_component = 0;
        r.dac_reading = 3;
        break;
    case 0x3c8:
        r.dac_index = value;
        r.dac_component = 0;
        r.dac_reading = 0;
        break;
    case 0x3c9:
        r.dac_latch[r.dac_component] = dispi_.enable & 0x20 ? value : value & 0x3f;
        if (++r.dac_component == 3) { // a colour changes as a whole
            std::memcpy(r.palette[r.dac_index], r.dac_latch, 3);
            r.dac_component = 0;
            ++r.dac_index;
        }
        break;
    case 0x3ce: r.graphics_index = value & 0xf; break;
    case 0x3cf: r.graphics[r.graphics_index & 0xf] = value & graphics_bits[r.graphics_index & 0xf]; break;
    default: break;
    }
}

void Vga::write_attribute(u8 value) {
    Registers& r = regs_;
    r.attribute_data = !r.attribute_data;
    if (r.attribute_data) {
        r.attribute_index = value & 0x3f;
        return;
    }
    const unsigned index = r.attribute_index & 0x1f;
    if (index < 0x10) {
        if (!(r.attribute_index & 0x20))
            r.attribute[index] = value & 0x3f; // the palette is open only while not shown
    } else if (index <= 0x14) {
        static constexpr u8 implemented[5] = {0xef, 0xff, 0x3f, 0x0f, 0x0f};
        r.attribute[index] = value & implemented[index - 0x10];
    }
}

void Vga::write_crtc(u8 index, u8 value) {
    if (index >= 0x19) return;
    if (index <= 7 && (regs_.crtc[0x11] & 0x80)) { // protected, except for the line compare bit
        if (index == 7) regs_.crtc[7] = static_cast<u8>((regs_.crtc[7] & ~0x10) | (value & 0x10));
        return;
    }
    regs_.crtc[index] = value;
}

u8 Vga::input_status_1() const {
    // Where the beam is follows from the time: dots per line and lines per frame by the CRTC, dots per second
    // by the clock select bits.
    const u8* c = regs_.crtc;
    const u64 dots = (u64{c[0]} + 5) * (regs_.sequencer[1] & 1 ? 8 : 9) * (regs_.sequencer[1] & 8 ? 2 : 1);
    const u64 hz = (regs_.misc & 0x0c) == 4 ? 28'322'000 : 25'175'000;
    const u64 line_ns = std::max<u64>(dots * 1'000'000'000 / hz, 100);
    u64 lines = (c[6] | u64(c[7] & 1) << 8 | u64(c[7] >> 5 & 1) << 9) + 2;
    u64 shown = lines_shown(), retrace = c[0x10] | u64(c[7] >> 2 & 1) << 8 | u64(c[7] >> 7 & 1) << 9;
    u64 retrace_lines = (c[0x11] - retrace) & 0xf;
    if (lines < 16 || retrace >= lines || shown >= lines ||
        retrace_lines == 0) { // not set up: a frame of 640x400
        lines = 449;
        shown = 400;
        retrace = 412;
        retrace_lines = 2;
    }
    const u64 in_frame = scheduler_.now() % (lines * line_ns);
    const u64 line = in_frame / line_ns, in_line = in_frame % line_ns;
    const bool vertical = line >= retrace && line < retrace + retrace_lines;
    const bool hidden = line >= shown || in_line * (u64{c[0]} + 5) >= line_ns * columns();
    return static_cast<u8>((vertical ? 8 : 0) | (hidden || vertical ? 1 : 0));
}

} // namespace dragoman::hw
