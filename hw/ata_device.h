// What an ATA disk and an ATAPI CD-ROM share: the command block registers, the data phases and the interrupt
// request (ATA/ATAPI-6, clauses 5 to 7 and 9). On an IDE cable a channel (ide_channel.h) selects between two
// of them; on a serial link an AHCI port (ahci_port.h) writes the registers from frames.
#pragma once

#include "base/log.h"
#include "hw/core/state.h"

#include <functional>
#include <memory>
#include <string>

namespace dragoman::hw {

// Status register (ATA/ATAPI-6, 7.15).
inline constexpr u8 kAtaBsy = 0x80, kAtaDrdy = 0x40, kAtaDf = 0x20, kAtaDsc = 0x10, kAtaDrq = 0x08,
                    kAtaErr = 0x01;
// Error register (7.9).
inline constexpr u8 kAtaUnc = 0x40, kAtaIdnf = 0x10, kAtaAbrt = 0x04;

// Registers of the command block by their offset from 0x1f0 or 0x170.
enum class AtaReg : u8 { Data, ErrorFeatures, Count, LbaLow, LbaMid, LbaHigh, Device, StatusCommand };

class AtaDevice {
  public:
    // Largest piece moved between the image and the host in one request.
    static constexpr u32 buffer_bytes = 128 * 1024;

    explicit AtaDevice(Log& log);
    virtual ~AtaDevice() = default;
    AtaDevice(const AtaDevice&) = delete;
    AtaDevice& operator=(const AtaDevice&) = delete;

    // Called once by the channel or port: which device this is on the cable, whether another one is there, is
    // it a serial link at all, and whom to tell when INTRQ, DMARQ or BSY changed.
    struct Link {
        unsigned index = 0;
        bool alone = true, serial = false;
    };
    void attach(Link link, std::function<void()> changed);

    // Command block registers (not Data, not Status/Command). Every device on the cable latches what is
    // written.
    u8 read_register(AtaReg reg) const;
    void write_register(AtaReg reg, u8 value);
    void set_high_order_byte(bool hob) { regs_.hob = hob; } // Device Control bit 7
    u8 status() const { return regs_.status; }
    void write_command(u8 command);

    // The data register: 2 or 4 bytes.
    u32 read_data(unsigned size);
    void write_data(unsigned size, u32 value);

    // What this device, alone as device 0, lets the host read while device 1 is selected (9.16.1): an ATA
    // device shows its own registers, a packet device zeros. Status is 0 either way.
    virtual bool answers_for_device_1() const = 0;

    bool intrq() const { return regs_.intrq; }
    void acknowledge() { regs_.intrq = false; } // a read of Status by the host

    // A data phase: what can be moved now. A bus master moves some bytes, then says how many.
    struct DataWindow {
        u8* data = nullptr;
        u32 bytes = 0; // 0: the device asks for nothing
        bool to_memory = false, dma = false;
    };
    DataWindow data_window();
    void advance(u32 bytes);

    void power_on();       // RESET- or power: everything back to defaults
    void software_reset(); // SRST: settings kept, signature presented
    void run_diagnostic(); // EXECUTE DEVICE DIAGNOSTIC, sent to both devices
    virtual void visit(const std::string& prefix, StateVisitor& visitor);

  protected:
    enum class Phase : u8 { None, PioIn, PioOut, DmaIn, DmaOut };

    // Runs a command: BSY is clear, ERR is clear, no data phase. Returns false for what is not implemented.
    virtual bool execute(u8 command) = 0;
    // The block announced by begin_data has been moved.
    virtual void block_done() = 0;
    virtual void present_signature() = 0; // 9.12
    virtual void reset_settings() = 0;    // power-on defaults of the derived device

    // Asks the host to move buffer[from, to). An empty range is a mistake of ours.
    void begin_data(Phase phase, u32 from, u32 to, bool interrupt);
    void succeed();          // ends the command with an interrupt
    void succeed_silently(); // ends the command; its last data block carried the interrupt
    void fail(u8 error);     // ends it with ERR and an interrupt
    void set_busy();         // while the image works
    // Wraps a completion so that it is ignored once the command it belongs to was reset.
    template <class F> auto guarded(F&& f) {
        ++under_way_;
        return [this, f = std::forward<F>(f), serial = serial_](auto status) {
            --under_way_;
            if (serial == serial_)
                f(status);
            else if (under_way_ == 0)
                finish_reset();
        };
    }

    // SET FEATURES 0x03: selects a transfer mode (8.46.10). False for a mode that is not there.
    bool set_transfer_mode(u8 mode);
    // The words of IDENTIFY (PACKET) DEVICE that the chosen modes decide: 63 and 88.
    u16 multiword_dma_word() const { return static_cast<u16>(0x07 | ((0x100u << modes_.mwdma) & 0x700)); }
    u16 ultra_dma_word() const { return static_cast<u16>(0x3f | ((0x100u << modes_.udma) & 0x3f00)); }
    u16 hardware_reset_word() const; // 93
    // ASCII as IDENTIFY wants it: two characters a word, first one high, padded with spaces (8.15.8).
    static void put_text(u16* words, unsigned count, const char* text);

    struct Registers {
        u8 error = 1, features = 0, count = 0, lba[3] = {0, 0, 0}, device = 0, status = 0;
        u8 features_before = 0, count_before = 0,
           lba_before[3] = {0, 0, 0}; // the "previous content" of 48-bit commands
        u8 command = 0;
        bool hob = false, intrq = false;
    };
    Registers regs_;
    u8* buffer() { return buffer_->bytes; }
    bool serial() const { return link_.serial; }
    Log& log_;
    const char* kind_ = "ATA device"; // for the log

  private:
    struct Buffer {
        u8 bytes[buffer_bytes + 4]; // room for the last word of an odd transfer
    };
    static constexpr u8 no_mode = 15;
    struct Modes {
        u8 mwdma = no_mode, udma = no_mode;
    };
    struct Data {
        Phase phase = Phase::None;
        u32 at = 0, end = 0;
    };
    void data_moved();
    void finish_reset();
    void changed() {
        if (changed_) changed_();
    }

    Modes modes_;
    Data data_;
    std::unique_ptr<Buffer> buffer_;
    u64 serial_ = 0;          // counts commands and resets, for guarded()
    unsigned under_way_ = 0;  // requests to the image: the buffer is theirs
    bool diagnostic_ = false; // the reset under way is EXECUTE DEVICE DIAGNOSTIC
    Link link_;
    std::function<void()> changed_;
};

} // namespace dragoman::hw
