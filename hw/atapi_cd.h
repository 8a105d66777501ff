// An ATAPI CD-ROM drive (ATA/ATAPI-6 clause 9.8 for the packet protocol; SPC-2 and MMC-3 for the commands).
#pragma once

#include "hw/ata_device.h"
#include "base/block.h"

namespace dragoman::hw {

class AtapiCd final : public AtaDevice {
  public:
    static constexpr u32 block_bytes = 2048; // user data of a CD block
    static constexpr u32 raw_bytes = 2352;   // with sync, header and error correction

    // `disc`: an image of 2048-byte blocks, borrowed; null for an empty drive.
    AtapiCd(BlockDevice* disc, std::string serial_number, Log& log);

    // The monitor's doing: replaces the disc (null: takes it out). The guest sees a medium change. False
    // while the guest holds the tray locked, unless `force`.
    bool change_disc(BlockDevice* disc, bool force = false);
    BlockDevice* disc() const { return tray_open() ? nullptr : disc_; }
    bool tray_open() const { return drive_.tray_open; }

    bool answers_for_device_1() const override { return false; }
    void visit(const std::string& prefix, StateVisitor& visitor) override;

  private:
    bool execute(u8 command) override;
    void block_done() override;
    void present_signature() override;
    void reset_settings() override;

    // One packet command: what it may be used for is data, so that every command is checked alike.
    struct Row {
        u8 code;
        bool needs_disc;     // NOT READY without a disc
        bool past_attention; // executed although UNIT ATTENTION is pending
        void (AtapiCd::*run)();
    };
    static const Row* find(u8 code);

    void identify_packet();
    void packet(); // the packet has arrived
    void test_unit_ready();
    void request_sense();
    void inquiry();
    void read_10();
    void read_12();
    void read_cd();
    void read_cd_msf();
    void read_capacity();
    void read_toc();
    void read_subchannel();
    void read_disc_information();
    void read_track_information();
    void get_event_status();
    void get_configuration();
    void mode_sense_10();
    void mode_select_10();
    void mechanism_status();
    void start_stop_unit();
    void prevent_allow();
    void seek_10();
    void accept();

    // Ends of a packet command.
    void reply(u32 bytes, u32 allocation); // sends min(bytes, allocation) bytes of the buffer
    void good();
    struct Sense {
        u8 key = 0, code = 0, qualifier = 0;
    };
    void check_condition(Sense sense);
    void read_blocks(u32 lba, u32 count, bool raw);
    void next_blocks();
    void next_piece();
    void frame_raw(u32 lba, u32 count);

    u32 blocks() const;
    u8 cdb(unsigned i) const { return job_.cdb[i]; }
    u16 cdb16(unsigned i) const { return static_cast<u16>(cdb(i) << 8 | cdb(i + 1)); }
    u32 cdb32(unsigned i) const { return u32{cdb16(i)} << 16 | cdb16(i + 2); }
    u8* clear_reply(u32 bytes);

    struct Job {
        u8 cdb[12] = {};
        bool waiting_for_packet = false, dma = false, raw = false;
        u32 lba = 0, left = 0;  // blocks not yet in the buffer
        u32 at = 0, loaded = 0; // the part of the buffer not yet announced to the host
        u32 limit = 0xfffe;     // bytes per PIO data block
    };
    struct Drive {
        Sense sense;        // for the next REQUEST SENSE
        Sense attention;    // pending UNIT ATTENTION, key 0 when none
        u8 media_event = 0; // for GET EVENT STATUS NOTIFICATION
        bool tray_open = false, locked = false;
    };
    BlockDevice* disc_;
    std::string serial_number_;
    Job job_;
    Drive drive_;
};

} // namespace dragoman::hw
