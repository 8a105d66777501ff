// An ATA hard disk on a block device (ATA/ATAPI-6, parts of ACS-2): CHS, 28-bit and 48-bit addressing, PIO,
// multiple and DMA, TRIM, logs. Queued commands are the port's (ahci_queue.h).
#pragma once

#include "base/block.h"
#include "hw/ata_device.h"

namespace dragoman::hw {

class AtaDisk final : public AtaDevice {
  public:
    // `image` and `log` are borrowed. `serial_number` at most 20 ASCII characters.
    AtaDisk(BlockDevice& image, std::string serial_number, Log& log);

    BlockDevice& image() { return image_; }
    // Why a queued command failed, for the log that the host reads (SATA: log 10h). The next read clears it.
    struct QueueError {
        bool valid = false;
        u8 tag = 0, status = 0, error = 0;
        u64 lba = 0;
    };
    void set_queue_error(const QueueError& error) { queue_error_ = error; }
    bool write_cache() const { return settings_.write_cache; }

    bool answers_for_device_1() const override { return true; }
    void visit(const std::string& prefix, StateVisitor& visitor) override;

  private:
    bool execute(u8 command) override;
    void block_done() override;
    void present_signature() override;
    void reset_settings() override;

    // What the rows of the command table name.
    struct Row;
    enum class Action : u8;
    static const Row* find(u8 command);
    void identify();
    void set_features();
    void set_multiple();
    void initialize_parameters();
    void native_max(bool ext);
    void start_transfer(const Row& row);
    void next_block();
    void read_single();
    void offer_block();
    void write_piece();
    void transfer_failed(BlockStatus status, bool writing);
    void finish_flush();
    void start_trim();
    void next_trim();
    void read_log(bool dma);

    struct Geometry {
        u16 cylinders = 0;
        u8 heads = 16, sectors = 63;
    };
    Geometry default_geometry() const;

    // The address and count registers, decoded and encoded for one addressing scheme.
    bool decode_address(bool ext, u64& lba) const; // false: no such CHS address
    void encode_address(bool ext, u64 lba);
    u32 decode_count(bool ext) const;

    struct Transfer {
        u64 lba = 0;
        u32 left = 0;  // sectors still to move, the current block included
        u32 block = 1; // sectors in a full block
        u32 now = 0;   // sectors in the current block
        // PIO moves blocks between host and buffer, larger pieces between buffer and image.
        u32 at = 0, buffered = 0; // sectors of the piece: moved before this block, in the buffer (reading)
        bool ext = false, writing = false, dma = false, data = false;
        bool through = false; // ends only when it is on stable storage
        bool first = true;    // no block has been moved yet
    };
    struct Settings {
        Geometry geometry;
        u8 multiple = 16; // sectors per block of the MULTIPLE commands; 0: not enabled
        bool write_cache = true, read_look_ahead = true;
        u8 power = 0xff; // what CHECK POWER MODE reports
    };

    BlockDevice& image_;
    std::string serial_number_;
    static constexpr u16 kTrimBlocks = 8;

    QueueError queue_error_;
    Transfer transfer_;
    Settings settings_;
};

} // namespace dragoman::hw
