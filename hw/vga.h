// A standard VGA as a PCI function (1234:1111) with 16 MiB of memory, the registers of the IBM VGA ("PS/2
// Hardware Interface Technical Reference: Video Subsystems") and the Bochs VBE extensions (dispi) for larger
// modes.
//
// Memory holds the four planes interleaved: byte 4 * n + p is byte n of plane p. So a chain-4 or dispi
// picture is linear in it, and one 32-bit word is what the latches hold.
#pragma once

#include "base/log.h"
#include "hw/core/display.h"
#include "hw/core/io_bus.h"
#include "hw/core/pci.h"
#include "hw/core/scheduler.h"

#include <string>
#include <vector>

namespace dragoman::hw {

class Vga final : public PciFunction, public DisplaySource {
  public:
    static constexpr u32 vram_bytes = 16 * MiB;

    // `rom`: the VGA BIOS image, empty for none. `scheduler` gives retrace and blink their time; borrowed.
    Vga(Scheduler& scheduler, const std::vector<u8>& rom, Log& log);
    ~Vga() override;

    // Claims 0x3b4-0x3df and 0x1ce-0x1d0, and the window 0xa0000-0xbffff. Once, by the machine's wiring.
    void map_legacy(IoBus& ports, MemoryMap& memory);

    void reset() override;
    void visit(StateVisitor& visitor) override;

    void render(Surface& surface) override;
    bool take_changed() override;

    // What a text mode shows, in the code page of the guest, one string for each line; empty in graphics
    // modes.
    std::vector<std::string> text_screen() const;

    // Mode 3 (80x25 text, 8x16 font from the VGA BIOS, EGA colours) on a blank screen, as the VGA BIOS leaves
    // the display: for kernels that are started without firmware.
    void set_text_mode();

    u8* vram() { return vram_; }

    // Register and window accesses as the guest makes them: for the ports, the MMIO BAR and tests.
    u8 read_port(u16 port);
    void write_port(u16 port, u8 value);
    u8 read_window(u32 offset); // from 0xa0000
    void write_window(u32 offset, u8 value);
    u16 read_dispi(u16 index) const;
    void write_dispi(u16 index, u16 value);

  private:
    class Window final : public IoHandler {
      public:
        explicit Window(Vga& vga) : vga_(vga) {}
        u64 read(u64 offset, unsigned size) override;
        void write(u64 offset, unsigned size, u64 value) override;

      private:
        Vga& vga_;
    };
    class Ports final : public IoHandler {
      public:
        explicit Ports(Vga& vga) : vga_(vga) {}
        u64 read(u64 offset, unsigned size) override;
        void write(u64 offset, unsigned size, u64 value) override;
        static constexpr u16 base = 0x3b4;

      private:
        Vga& vga_;
    };
    class DispiPorts final : public IoHandler { // 0x1ce: index, 0x1cf: data; 16 bits each
      public:
        explicit DispiPorts(Vga& vga) : vga_(vga) {}
        u64 read(u64 offset, unsigned size) override;
        void write(u64 offset, unsigned size, u64 value) override;

      private:
        Vga& vga_;
    };
    class Mmio final : public IoHandler { // BAR 2
      public:
        explicit Mmio(Vga& vga) : vga_(vga) {}
        u64 read(u64 offset, unsigned size) override;
        void write(u64 offset, unsigned size, u64 value) override;

      private:
        u8 read_byte(u32 offset);
        Vga& vga_;
    };

    struct Registers {
        u8 misc = 0, feature = 0;
        u8 sequencer_index = 0, graphics_index = 0, crtc_index = 0;
        u8 sequencer[8] = {}, graphics[16] = {}, crtc[32] = {};
        u8 attribute_index = 0, attribute[32] = {};
        bool attribute_data = false; // the flip-flop: the next write to 0x3c0 is data
        u8 pel_mask = 0xff, dac_index = 0, dac_component = 0, dac_reading = 0;
        u8 dac_latch[3] = {};
        u8 palette[256][3] = {}; // as written: 6 bits, or 8 with dispi's 8-bit DAC
        u32 latch = 0;           // the four planes' latches
    };
    struct Dispi {
        u16 index = 0, id = 0xb0c5, xres = 640, yres = 480, bpp = 8, enable = 0, bank = 0;
        u16 virtual_width = 640, x_offset = 0, y_offset = 0;
    };

    // Decoded facts about the mode.
    bool dispi_on() const { return dispi_.enable & 1; }
    bool dispi_linear() const { return dispi_on() && dispi_.bpp != 4; }
    u32 dispi_line_bytes() const;
    bool text_mode() const { return !(regs_.graphics[6] & 1); }
    u32 lines_shown() const;                           // scan lines
    u32 columns() const { return regs_.crtc[1] + 1u; } // characters of 8 or 9 dots
    u32 start_address() const { return u32{regs_.crtc[0x0c]} << 8 | regs_.crtc[0x0d]; }
    bool blanked() const;
    u8 input_status_1() const;
    u32 memory_address(u32 counter, u32 row) const;

    void write_attribute(u8 value);
    void write_crtc(u8 index, u8 value);
    void enable_dispi(u16 value);
    bool dispi_valid() const; // within the limits; what a loaded state must be
    bool decode_window(u32& offset) const;
    u32 word_at(u32 plane_offset) const;
    void put_word(u32 plane_offset, u32 value, u8 plane_mask);

    using Palette = std::array<u32, 256>;
    Palette dac_colours() const;
    u8 attribute_colour(u8 index) const;
    void render_dispi(Surface& surface) const;
    void render_vga(Surface& surface) const;
    struct Line; // one scan line being drawn
    void draw_text(const Line& line) const;
    void draw_planar(const Line& line) const;
    void draw_cga(const Line& line) const;
    void draw_256(const Line& line) const;
    bool blink_on(u64 half_period) const { return scheduler_.now() / half_period % 2 == 0; }

    Scheduler& scheduler_;
    Log& log_;
    u8* vram_; // mapped anonymous memory
    u8* rom_ = nullptr;
    u64 rom_bytes_ = 0;
    Registers regs_;
    Dispi dispi_;
    bool changed_ = true;
    u64 shown_blink_ = 0; // blink phase when take_changed() was last asked

    Window window_{*this};
    Ports ports_{*this};
    DispiPorts dispi_ports_{*this};
    Mmio mmio_{*this};
};

} // namespace dragoman::hw
