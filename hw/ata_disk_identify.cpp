// What an ATA disk says of itself, and its settings.
#include "hw/ata_disk.h"

#include <algorithm>
#include <cstring>

namespace dragoman::hw {

void AtaDisk::set_multiple() {
    const u8 count = regs_.count;
    if (count > 16 || (count & (count - 1)) != 0) return fail(kAtaAbrt);
    settings_.multiple = count;
    succeed();
}

void AtaDisk::initialize_parameters() {
    const u8 heads = static_cast<u8>((regs_.device & 0xf) + 1), sectors = regs_.count;
    if (sectors == 0) return fail(kAtaAbrt);
    const u64 cylinders = image_.sectors() / (u64{heads} * sectors);
    settings_.geometry = {static_cast<u16>(std::clamp<u64>(cylinders, 1, 65535)), heads, sectors};
    succeed();
}

void AtaDisk::native_max(bool ext) {
    if (!ext && !(regs_.device & 0x40)) return fail(kAtaAbrt);
    const u64 last = image_.sectors() - 1;
    encode_address(ext, ext ? last : std::min<u64>(last, 0x0fffffff));
    succeed();
}

void AtaDisk::set_features() {
    switch (regs_.features) {
    case 0x02: settings_.write_cache = true; break;
    case 0x82: settings_.write_cache = false; break;
    case 0x55: settings_.read_look_ahead = false; break;
    case 0xaa: settings_.read_look_ahead = true; break;
    case 0x03:
        if (!set_transfer_mode(regs_.count)) return fail(kAtaAbrt);
        break;
    case 0x66: // keep or forget settings over SRST: they are always kept
    case 0xcc:
    case 0x05: // power and noise management: accepted, without effect on an image
    case 0x85:
    case 0x42:
    case 0xc2: break;
    default: return fail(kAtaAbrt);
    }
    succeed();
}

void AtaDisk::identify() {
    u16 w[256] = {};
    const Geometry native = default_geometry();
    const Geometry& g = settings_.geometry;
    const u64 all = image_.sectors();
    const u32 lba28 = static_cast<u32>(std::min<u64>(all, 0x0fffffff));
    const u32 chs = u32{g.cylinders} * g.heads * g.sectors;
    w[0] = 0x0040; // ATA device, not removable
    w[1] = native.cylinders;
    w[3] = native.heads;
    w[6] = native.sectors;
    put_text(w + 10, 10, serial_number_.c_str());
    put_text(w + 23, 4, "0.1");
    put_text(w + 27, 20, "DRAGOMAN DISK");
    w[47] = 0x8010; // READ/WRITE MULTIPLE: up to 16 sectors
    w[48] = 1;      // 32-bit data register accesses
    w[49] = 0x0b00; // IORDY, LBA, DMA
    w[50] = 0x4000;
    w[51] = w[52] = 0x0200; // PIO and DMA timing, obsolete
    w[53] = 7;              // words 54-58, 64-70 and 88 are valid
    w[54] = g.cylinders;
    w[55] = g.heads;
    w[56] = g.sectors;
    w[57] = static_cast<u16>(chs);
    w[58] = static_cast<u16>(chs >> 16);
    w[59] = settings_.multiple != 0 ? static_cast<u16>(0x100 | settings_.multiple) : 0;
    w[60] = static_cast<u16>(lba28);
    w[61] = static_cast<u16>(lba28 >> 16);
    w[63] = multiword_dma_word();
    w[64] = 3;                           // PIO modes 3 and 4
    w[65] = w[66] = w[67] = w[68] = 120; // cycle times in ns
    if (image_.can_discard()) {
        w[69] = 0x4000; // trimmed sectors read the same each time
        w[105] = kTrimBlocks;
        w[169] = 1; // TRIM
    }
    if (serial()) {
        w[75] = 31;     // queue depth, less one
        w[76] = 0x0106; // native command queuing, 1.5 and 3 Gb/s
    }
    w[80] = 0x01f0; // ATA/ATAPI-4 to ACS
    w[82] = 0x4068; // NOP, look-ahead, write cache, power management
    w[83] = 0x7400; // FLUSH CACHE (EXT), 48-bit addresses
    w[84] = 0x4060; // WRITE FUA EXT, logs
    w[85] = static_cast<u16>(0x4008 | (settings_.read_look_ahead ? 0x40 : 0) |
                             (settings_.write_cache ? 0x20 : 0));
    w[86] = 0x3400;
    w[87] = 0x4060;
    w[88] = ultra_dma_word();
    w[93] = hardware_reset_word();
    for (unsigned i = 0; i < 4; ++i)
        w[100 + i] = static_cast<u16>(all >> (16 * i));
    for (unsigned i = 0; i < 256; ++i) {
        buffer()[2 * i] = static_cast<u8>(w[i]);
        buffer()[2 * i + 1] = static_cast<u8>(w[i] >> 8);
    }
    begin_data(Phase::PioIn, 0, 512, true);
}

// READ LOG (DMA) EXT (ACS-2, 7.36): the directory, and which queued command failed.
void AtaDisk::read_log(bool dma) {
    const u8 page = regs_.lba[0];
    const u32 first = regs_.lba[1] | u32{regs_.lba_before[1]} << 8;
    if ((page != 0x00 && page != 0x10) || first != 0 || decode_count(true) != 1) return fail(kAtaAbrt);
    u8* log = buffer();
    std::memset(log, 0, BlockDevice::sector_bytes);
    if (page == 0) {
        log[0] = 1;        // version 1
        log[2 * 0x10] = 1; // one page of log 10h
    } else {
        // A.7: without an error bit 7 says that the tag means nothing.
        const QueueError& e = queue_error_;
        log[0] = e.valid ? e.tag & 0x1f : 0x80;
        log[2] = e.status;
        log[3] = e.error;
        for (unsigned i = 0; i < 3; ++i) {
            log[4 + i] = static_cast<u8>(e.lba >> (8 * i));
            log[8 + i] = static_cast<u8>(e.lba >> (24 + 8 * i));
        }
        log[7] = 0x40;
        u8 sum = 0;
        for (unsigned i = 0; i < 511; ++i)
            sum = static_cast<u8>(sum + log[i]);
        log[511] = static_cast<u8>(-sum);
        queue_error_ = {};
    }
    begin_data(dma ? Phase::DmaIn : Phase::PioIn, 0, BlockDevice::sector_bytes, !dma);
}

} // namespace dragoman::hw
