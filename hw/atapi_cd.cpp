// The packet protocol and the data path of the drive; the commands that only describe it are in
// atapi_mmc.cpp.
#include "hw/atapi_cd.h"

#include <algorithm>
#include <cstring>

namespace dragoman::hw {

namespace {

// Interrupt reason, in the Count register of packet commands (ATA/ATAPI-6, 7.12).
constexpr u8 kCommand = 1, kToHost = 2;

} // namespace

AtapiCd::AtapiCd(BlockDevice* disc, std::string serial_number, Log& log)
    : AtaDevice(log), disc_(disc), serial_number_(std::move(serial_number)) {
    kind_ = "ATAPI CD-ROM";
}

void AtapiCd::present_signature() {
    regs_.count = regs_.lba[0] = 1;
    regs_.lba[1] = 0x14;
    regs_.lba[2] = 0xeb;
    regs_.error = 1;
    regs_.status = 0; // a packet device sets DRDY with its first command
    job_ = {};
}

void AtapiCd::reset_settings() {
    drive_ = {};
    drive_.attention = {6, 0x29, 0}; // POWER ON, RESET OR BUS DEVICE RESET OCCURRED
}

bool AtapiCd::change_disc(BlockDevice* disc, bool force) {
    if (drive_.locked && !force) {
        drive_.media_event = 1; // EjectRequest: the guest may let go
        return false;
    }
    disc_ = disc;
    drive_.tray_open = false;
    drive_.locked = false;
    drive_.media_event = disc != nullptr ? 2 : 3; // NewMedia, MediaRemoval
    drive_.attention = {6, 0x28, 0};              // NOT READY TO READY CHANGE, MEDIUM MAY HAVE CHANGED
    return true;
}

bool AtapiCd::execute(u8 command) {
    switch (command) {
    case 0x08: { // DEVICE RESET leaves the selection as it is
        const u8 device = regs_.device;
        software_reset();
        regs_.device = device;
        return true;
    }
    case 0xa0: // PACKET
        job_ = {};
        job_.dma = regs_.features & 1;
        job_.limit = regs_.lba[1] | u32{regs_.lba[2]} << 8;
        if (job_.limit == 0 || job_.limit == 0xffff) job_.limit = 0xfffe;
        if (job_.limit > 1) job_.limit &= ~1u;
        job_.waiting_for_packet = true;
        regs_.count = kCommand;
        begin_data(Phase::PioOut, 0, sizeof job_.cdb, false);
        return true;
    case 0xa1: identify_packet(); return true;
    case 0x20: // READ SECTOR(S) and IDENTIFY DEVICE show a packet device's signature and abort (9.12)
    case 0xec:
        present_signature();
        regs_.status = kAtaDrdy | kAtaDsc;
        fail(kAtaAbrt);
        return true;
    case 0xef:
        if (regs_.features == 0x03 && !set_transfer_mode(regs_.count))
            fail(kAtaAbrt);
        else if (regs_.features == 0x03 || regs_.features == 0x66 || regs_.features == 0xcc)
            succeed();
        else
            fail(kAtaAbrt);
        return true;
    case 0xe5: // CHECK POWER MODE
        regs_.count = 0xff;
        succeed();
        return true;
    case 0xe0:
    case 0xe1:
    case 0xe2:
    case 0xe3:
    case 0xe6: // power management
        succeed();
        return true;
    case 0x00: fail(kAtaAbrt); return true;
    default: return false;
    }
}

void AtapiCd::identify_packet() {
    u16 w[256] = {};
    w[0] = 0x85c0; // ATAPI, CD-ROM, removable, DRQ within 50 us, 12-byte packets
    put_text(w + 10, 10, serial_number_.c_str());
    put_text(w + 23, 4, "0.1");
    put_text(w + 27, 20, "DRAGOMAN CD-ROM");
    w[48] = 1;
    w[49] = 0x0b00; // IORDY, LBA, DMA
    w[53] = 7;
    w[63] = multiword_dma_word();
    w[64] = 3;
    w[65] = w[66] = w[67] = w[68] = 120;
    if (serial()) w[76] = 0x0006; // 1.5 and 3 Gb/s
    w[80] = 0x0070;
    w[82] = 0x4210; // NOP, DEVICE RESET, packet
    w[83] = w[84] = w[87] = 0x4000;
    w[85] = 0x4210;
    w[88] = ultra_dma_word();
    w[93] = hardware_reset_word();
    for (unsigned i = 0; i < 256; ++i) {
        buffer()[2 * i] = static_cast<u8>(w[i]);
        buffer()[2 * i + 1] = static_cast<u8>(w[i] >> 8);
    }
    job_ = {};
    regs_.count = kToHost;
    begin_data(Phase::PioIn, 0, 512, true);
}

void AtapiCd::block_done() {
    if (job_.waiting_for_packet) {
        job_.waiting_for_packet = false;
        std::memcpy(job_.cdb, buffer(), sizeof job_.cdb);
        return packet();
    }
    if (job_.at < job_.loaded) return next_piece();
    if (job_.left != 0) return next_blocks();
    if (regs_.command == 0xa1) return succeed_silently();
    good();
}

void AtapiCd::packet() {
    const Row* row = find(cdb(0));
    if (row == nullptr) {
        log_.print(LogItem::Unimp, "%s: packet command %02x is not implemented\n", kind_, cdb(0));
        return check_condition({5, 0x20, 0}); // INVALID COMMAND OPERATION CODE
    }
    if (!row->past_attention && drive_.attention.key != 0) {
        const Sense attention = drive_.attention;
        drive_.attention = {};
        return check_condition(attention);
    }
    if (row->needs_disc && disc() == nullptr)
        return check_condition({2, 0x3a, static_cast<u8>(drive_.tray_open ? 2 : 1)}); // MEDIUM NOT PRESENT
    if (cdb(0) != 0x03) drive_.sense = {};
    (this->*row->run)();
}

u8* AtapiCd::clear_reply(u32 bytes) {
    std::memset(buffer(), 0, bytes);
    return buffer();
}

void AtapiCd::reply(u32 bytes, u32 allocation) {
    job_.at = 0;
    job_.loaded = std::min(bytes, allocation);
    if (job_.loaded == 0) return good();
    next_piece();
}

// Announces the next piece of the buffer: all of it to DMA, at most the byte count limit to PIO.
void AtapiCd::next_piece() {
    const u32 from = job_.at, bytes = job_.loaded - job_.at;
    regs_.count = kToHost;
    if (job_.dma) {
        job_.at = job_.loaded;
        return begin_data(Phase::DmaIn, from, from + bytes, false);
    }
    const u32 now = std::min(bytes, job_.limit);
    job_.at += now;
    regs_.lba[1] = static_cast<u8>(now);
    regs_.lba[2] = static_cast<u8>(now >> 8);
    begin_data(Phase::PioIn, from, from + now, true);
}

void AtapiCd::good() {
    regs_.count = kCommand | kToHost;
    regs_.error = 0;
    succeed();
}

void AtapiCd::check_condition(Sense sense) {
    drive_.sense = sense;
    regs_.count = kCommand | kToHost;
    job_.left = job_.loaded = job_.at = 0;
    fail(static_cast<u8>(sense.key << 4 | (sense.key == 5 ? kAtaAbrt : 0)));
}

// --- reading

void AtapiCd::read_blocks(u32 lba, u32 count, bool raw) {
    if (lba > blocks() || count > blocks() - lba) return check_condition({5, 0x21, 0}); // LBA OUT OF RANGE
    if (count == 0) return good();
    job_.lba = lba;
    job_.left = count;
    job_.raw = raw;
    next_blocks();
}

void AtapiCd::next_blocks() {
    const u32 size = job_.raw ? raw_bytes : block_bytes;
    const u32 now = std::min(job_.left, buffer_bytes / raw_bytes);
    if (disc() == nullptr) return check_condition({2, 0x3a, 1}); // taken out in the middle
    set_busy();
    disc_->read(u64{job_.lba} * 4, now * 4, buffer(), guarded([this, now, size](BlockStatus status) {
                    if (status != BlockStatus::Ok)
                        return check_condition({3, 0x11, 0}); // UNRECOVERED READ ERROR
                    if (job_.raw) frame_raw(job_.lba, now);
                    job_.lba += now;
                    job_.left -= now;
                    reply(now * size, now * size);
                }));
}

// Spreads `count` blocks of user data in the buffer into raw mode 1 blocks (ECMA-130, 14), the last one
// first, so that none is overwritten before it was moved. EDC and ECC stay zero.
void AtapiCd::frame_raw(u32 lba, u32 count) {
    if (count != 0) log_.once("ATAPI CD-ROM: raw reads carry no error correction bytes");
    const auto bcd = [](u32 v) { return static_cast<u8>((v / 10 % 10) << 4 | v % 10); };
    for (u32 i = count; i-- > 0;) {
        u8* at = buffer() + i * raw_bytes;
        std::memmove(at + 16, buffer() + i * block_bytes, block_bytes);
        std::memset(at + 16 + block_bytes, 0, raw_bytes - 16 - block_bytes);
        std::memset(at, 0xff, 12);
        at[0] = at[11] = 0;
        const u32 frame = lba + i + 150;
        at[12] = bcd(frame / (75 * 60));
        at[13] = bcd(frame / 75 % 60);
        at[14] = bcd(frame % 75);
        at[15] = 1;
    }
}

void AtapiCd::read_10() {
    read_blocks(cdb32(2), cdb16(7), false);
}
void AtapiCd::read_12() {
    read_blocks(cdb32(2), cdb32(6), false);
}

void AtapiCd::read_cd() {
    const u32 count = u32{cdb(6)} << 16 | cdb16(7);
    switch (cdb(9) & 0xf8) {
    case 0x00: return good(); // no part of the block is asked for
    case 0x10: return read_blocks(cdb32(2), count, false);
    case 0xf8: return read_blocks(cdb32(2), count, true);
    default: return check_condition({5, 0x24, 0}); // INVALID FIELD IN CDB
    }
}

void AtapiCd::read_cd_msf() {
    const auto frame = [this](unsigned i) { return (cdb(i) * 60u + cdb(i + 1)) * 75u + cdb(i + 2); };
    const u32 from = frame(3), to = frame(6);
    if (from < 150 || to < from) return check_condition({5, 0x21, 0});
    const u8 parts = cdb(9) & 0xf8;
    if (parts != 0x10 && parts != 0xf8) return check_condition({5, 0x24, 0});
    read_blocks(from - 150, to - from, parts == 0xf8);
}

void AtapiCd::seek_10() {
    if (cdb32(2) >= blocks()) return check_condition({5, 0x21, 0});
    good();
}

void AtapiCd::visit(const std::string& prefix, StateVisitor& visitor) {
    AtaDevice::visit(prefix, visitor);
    visitor.field((prefix + "job").c_str(), job_);
    visitor.field((prefix + "drive").c_str(), drive_);
    if (!visitor.loading()) return;
    if (job_.loaded > buffer_bytes || job_.at > job_.loaded) job_.at = job_.loaded = 0;
    if (job_.limit == 0) job_.limit = 0xfffe;
}

} // namespace dragoman::hw
