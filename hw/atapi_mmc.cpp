// The packet commands that describe the drive and the disc (SPC-2, MMC-3). Multi-byte values are big-endian.
#include "hw/atapi_cd.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

namespace dragoman::hw {

namespace {

void put16(u8* at, u32 value) {
    at[0] = static_cast<u8>(value >> 8);
    at[1] = static_cast<u8>(value);
}

void put32(u8* at, u32 value) {
    put16(at, value >> 16);
    put16(at + 2, value);
}

// An address in a TOC or sub-channel: a block number, or minute, second, frame (MMC-3, table 362).
void put_address(u8* at, u32 lba, bool msf) {
    if (!msf) return put32(at, lba);
    const u32 frame = lba + 150;
    at[0] = 0;
    at[1] = static_cast<u8>(frame / (75 * 60));
    at[2] = static_cast<u8>(frame / 75 % 60);
    at[3] = static_cast<u8>(frame % 75);
}

// SCSI text: left-aligned, padded with spaces.
void put_text8(u8* at, unsigned bytes, const char* text) {
    for (unsigned i = 0; i < bytes; ++i)
        at[i] = static_cast<u8>(*text != 0 ? *text++ : ' ');
}

constexpr u8 kDataTrack = 0x14; // ADR 1, CONTROL: data track
constexpr u8 kLeadOut = 0xaa;

} // namespace

const AtapiCd::Row* AtapiCd::find(u8 code) {
    // clang-format off
    static constexpr Row rows[] = {
        // code disc  past UA
        {0x00, true,  false, &AtapiCd::test_unit_ready},
        {0x03, false, true,  &AtapiCd::request_sense},
        {0x12, false, true,  &AtapiCd::inquiry},
        {0x1b, false, false, &AtapiCd::start_stop_unit},
        {0x1e, false, false, &AtapiCd::prevent_allow},
        {0x25, true,  false, &AtapiCd::read_capacity},
        {0x28, true,  false, &AtapiCd::read_10},
        {0x2b, true,  false, &AtapiCd::seek_10},
        {0x42, true,  false, &AtapiCd::read_subchannel},
        {0x43, true,  false, &AtapiCd::read_toc},
        {0x46, false, true,  &AtapiCd::get_configuration},
        {0x4a, false, true,  &AtapiCd::get_event_status},
        {0x4e, false, false, &AtapiCd::accept}, // STOP PLAY/SCAN: nothing plays
        {0x51, true,  false, &AtapiCd::read_disc_information},
        {0x52, true,  false, &AtapiCd::read_track_information},
        {0x55, false, false, &AtapiCd::mode_select_10},
        {0x5a, false, false, &AtapiCd::mode_sense_10},
        {0xa8, true,  false, &AtapiCd::read_12},
        {0xb9, true,  false, &AtapiCd::read_cd_msf},
        {0xbb, false, false, &AtapiCd::accept}, // SET CD SPEED
        {0xbd, false, false, &AtapiCd::mechanism_status},
        {0xbe, true,  false, &AtapiCd::read_cd},
    };
    // clang-format on
    for (const Row& row : rows)
        if (row.code == code) return &row;
    return nullptr;
}

u32 AtapiCd::blocks() const {
    return disc_ == nullptr ? 0 : static_cast<u32>(std::min<u64>(disc_->sectors() / 4, 0xffffffff));
}

void AtapiCd::accept() {
    good();
}
void AtapiCd::test_unit_ready() {
    good();
}

void AtapiCd::request_sense() {
    u8* r = clear_reply(18);
    Sense sense = std::exchange(drive_.sense, Sense{});
    if (sense.key == 0) sense = std::exchange(drive_.attention, Sense{});
    r[0] = 0x70; // current error, fixed format
    r[2] = sense.key;
    r[7] = 10;
    r[12] = sense.code;
    r[13] = sense.qualifier;
    reply(18, cdb(4));
}

void AtapiCd::inquiry() {
    if (cdb(1) & 1) return check_condition({5, 0x24, 0}); // no vital product data
    u8* r = clear_reply(36);
    r[0] = 0x05; // CD/DVD device
    r[1] = 0x80; // removable
    r[3] = 0x21; // ATAPI, response format
    r[4] = 31;
    put_text8(r + 8, 8, "DRAGOMAN");
    put_text8(r + 16, 16, "CD-ROM");
    put_text8(r + 32, 4, "0.1");
    reply(36, cdb16(3));
}

void AtapiCd::start_stop_unit() {
    const bool load_eject = cdb(4) & 2, start = cdb(4) & 1;
    if (load_eject && !start) {
        if (drive_.locked) return check_condition({5, 0x53, 2}); // MEDIUM REMOVAL PREVENTED
        if (!drive_.tray_open) drive_.media_event = 3;
        drive_.tray_open = true;
    } else if (load_eject) {
        if (drive_.tray_open && disc_ != nullptr) {
            drive_.media_event = 2;
            drive_.attention = {6, 0x28, 0};
        }
        drive_.tray_open = false;
    }
    good();
}

void AtapiCd::prevent_allow() {
    drive_.locked = cdb(4) & 1;
    good();
}

void AtapiCd::read_capacity() {
    u8* r = clear_reply(8);
    put32(r, std::max(blocks(), 1u) - 1);
    put32(r + 4, block_bytes);
    reply(8, 8);
}

void AtapiCd::read_toc() {
    const bool msf = cdb(1) & 2;
    // SFF-8020i drives take the format from the control byte; MMC from byte 2.
    const u8 format = (cdb(2) & 0xf) != 0 ? cdb(2) & 0xf : cdb(9) >> 6, first = cdb(6);
    u8* r = clear_reply(64);
    u32 bytes = 4;
    switch (format) {
    case 0: // the TOC: one data track and the lead-out
        if (first > 1 && first != kLeadOut) return check_condition({5, 0x24, 0});
        if (first <= 1) {
            r[bytes + 1] = kDataTrack;
            r[bytes + 2] = 1;
            put_address(r + bytes + 4, 0, msf);
            bytes += 8;
        }
        r[bytes + 1] = kDataTrack;
        r[bytes + 2] = kLeadOut;
        put_address(r + bytes + 4, blocks(), msf);
        bytes += 8;
        break;
    case 1: // multi-session: the first track of the last session
        r[5] = kDataTrack;
        r[6] = 1;
        put_address(r + 8, 0, msf);
        bytes = 12;
        break;
    case 2: { // the raw TOC: points A0, A1, A2 and the track (MMC-3, 6.25.3.4)
        const u8 points[] = {0xa0, 0xa1, 0xa2, 1};
        for (const u8 point : points) {
            u8* e = r + bytes;
            e[0] = 1; // session
            e[1] = kDataTrack;
            e[3] = point;
            if (point == 0xa0 || point == 0xa1)
                e[8] = 1; // first and last track
            else {
                u8 address[4];
                put_address(address, point == 0xa2 ? blocks() : 0, true);
                std::memcpy(e + 8, address + 1, 3);
            }
            bytes += 11;
        }
        break;
    }
    default: return check_condition({5, 0x24, 0});
    }
    put16(r, bytes - 2);
    r[2] = r[3] = 1; // first and last track or session
    reply(bytes, cdb16(7));
}

void AtapiCd::read_subchannel() {
    u8* r = clear_reply(24);
    r[1] = 0x15; // no audio status
    if (!(cdb(2) & 0x40)) return reply(4, cdb16(7));
    u32 data = 0;
    switch (cdb(3)) {
    case 1: // current position
        data = 12;
        r[5] = kDataTrack;
        r[6] = r[7] = 1;
        put_address(r + 8, 0, cdb(1) & 2);
        put_address(r + 12, 0, cdb(1) & 2);
        break;
    case 2: // media catalog number, ISRC: not there
    case 3:
        data = 20;
        r[5] = cdb(3) == 3 ? kDataTrack : 0;
        break;
    default: return check_condition({5, 0x24, 0});
    }
    r[3] = static_cast<u8>(data);
    r[4] = cdb(3);
    reply(4 + data, cdb16(7));
}

void AtapiCd::read_disc_information() {
    u8* r = clear_reply(34);
    put16(r, 32);
    r[2] = 0x0e; // complete disc, last session complete
    r[3] = r[4] = r[5] = r[6] = 1;
    r[7] = 0x20;                  // unrestricted use
    std::memset(r + 16, 0xff, 8); // no lead-in or lead-out to record
    reply(34, cdb16(7));
}

void AtapiCd::read_track_information() {
    const u8 kind = cdb(1) & 3;
    const u32 number = cdb32(2);
    const bool known = kind == 0 ? number < blocks() : number == 1;
    if (kind == 3 || !known) return check_condition({5, 0x24, 0});
    u8* r = clear_reply(36);
    put16(r, 34);
    r[2] = r[3] = 1;
    r[5] = 4; // data track
    r[6] = 1; // mode 1
    put32(r + 24, blocks());
    reply(36, cdb16(7));
}

void AtapiCd::get_event_status() {
    if (!(cdb(1) & 1)) return check_condition({5, 0x24, 0}); // only polled operation
    u8* r = clear_reply(8);
    r[3] = 0x10; // classes supported: media
    if (!(cdb(4) & 0x10)) {
        put16(r, 2);
        r[2] = 0x80; // no event available
        return reply(4, cdb16(7));
    }
    put16(r, 6);
    r[2] = 4; // media class
    r[4] = std::exchange(drive_.media_event, u8{0});
    r[5] = static_cast<u8>((drive_.tray_open ? 1 : 0) | (disc() != nullptr ? 2 : 0));
    reply(8, cdb16(7));
}

void AtapiCd::get_configuration() {
    constexpr u16 kCdRomProfile = 0x0008;
    struct Feature {
        u16 code;
        u8 flags; // version << 2 | persistent << 1 | current
        std::array<u8, 8> data;
        u8 bytes;
    };
    const u8 here = disc() != nullptr ? 1 : 0;
    const Feature features[] = {
        {0x0000, 3, {0x00, 0x08, here, 0}, 4},          // profile list: CD-ROM
        {0x0001, 3, {0, 0, 0, 2}, 4},                   // core: ATAPI
        {0x0003, 3, {0x29, 0, 0, 0}, 4},                // removable: tray, eject, lock
        {0x0010, here, {0, 0, 0x08, 0, 0, 1, 0, 0}, 8}, // random readable, 2048-byte blocks
        {0x001e, here, {0, 0, 0, 0}, 4},                // CD read
    };
    const u8 wanted = cdb(1) & 3;
    const u16 from = cdb16(2);
    u8* r = clear_reply(128);
    u32 bytes = 8;
    for (const Feature& f : features) {
        if (wanted == 2 ? f.code != from : f.code < from) continue;
        if (wanted == 1 && !(f.flags & 1)) continue;
        put16(r + bytes, f.code);
        r[bytes + 2] = f.flags;
        r[bytes + 3] = f.bytes;
        std::memcpy(r + bytes + 4, f.data.data(), f.bytes);
        bytes += 4u + f.bytes;
    }
    put32(r, bytes - 4);
    put16(r + 6, here ? kCdRomProfile : 0);
    reply(bytes, cdb16(7));
}

void AtapiCd::mode_sense_10() {
    const u8 page = cdb(2) & 0x3f, control = cdb(2) >> 6;
    if (control == 3) return check_condition({5, 0x39, 0}); // SAVING PARAMETERS NOT SUPPORTED
    u8* r = clear_reply(128);
    u32 bytes = 8;
    const bool all = page == 0x3f, values = control != 1; // 1: which bits may be changed; none
    if (all || page == 0x01) {                            // read error recovery
        r[bytes] = 0x01;
        r[bytes + 1] = 6;
        if (values) r[bytes + 3] = 5; // retries
        bytes += 8;
    }
    if (all || page == 0x0e) { // CD audio control
        r[bytes] = 0x0e;
        r[bytes + 1] = 14;
        if (values) {
            r[bytes + 2] = 4;
            r[bytes + 8] = 1;
            r[bytes + 9] = 0xff;
            r[bytes + 10] = 2;
            r[bytes + 11] = 0xff;
        }
        bytes += 16;
    }
    if (all || page == 0x2a) { // capabilities and mechanical status (MMC-3, 5.5.10)
        u8* p = r + bytes;
        p[0] = 0x2a;
        p[1] = 20;
        if (values) {
            p[2] = 0x03;                                            // reads CD-R, CD-RW
            p[4] = 0x70;                                            // mode 2 forms 1 and 2, multi-session
            p[6] = static_cast<u8>(0x29 | (drive_.locked ? 2 : 0)); // tray, eject, lock
            put16(p + 8, 706);                                      // kB/s
            put16(p + 10, 2);
            put16(p + 12, 512); // KiB of buffer
            put16(p + 14, 706);
        }
        bytes += 22;
    }
    if (bytes == 8) return check_condition({5, 0x24, 0});
    put16(r, bytes - 2);
    r[2] = drive_.tray_open ? 0x71 : disc_ != nullptr ? 0x01 : 0x70; // door open, data disc, no disc
    reply(bytes, cdb16(7));
}

// Nothing can be changed, and taking a parameter list to ignore it would be worse than saying so.
void AtapiCd::mode_select_10() {
    if (cdb16(7) == 0) return good();
    check_condition({5, 0x24, 0});
}

void AtapiCd::mechanism_status() {
    u8* r = clear_reply(8);
    r[1] = drive_.tray_open ? 0x10 : 0;
    reply(8, cdb16(8));
}

} // namespace dragoman::hw
