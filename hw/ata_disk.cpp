#include "hw/ata_disk.h"

#include "base/bits.h"

#include <algorithm>
#include <cstring>

namespace dragoman::hw {

enum class AtaDisk::Action : u8 {
    Transfer,
    Identify,
    Nop,
    Succeed, // nothing to do here beyond saying so
    Seek,
    Flush,
    SetFeatures,
    SetMultiple,
    InitializeParameters,
    NativeMax,
    CheckPower,
    Standby,
    Idle,
    Trim,
    ReadLog,
};

struct AtaDisk::Row {
    u8 command;
    Action action;
    bool ext = false, writing = false, dma = false, multiple = false, data = true, through = false;
};

const AtaDisk::Row* AtaDisk::find(u8 command) {
    using A = Action;
    // clang-format off
    static constexpr Row rows[] = {
        {0x00, A::Nop},
        // READ and WRITE:      ext    writing dma    multiple data through
        {0x20, A::Transfer}, // READ SECTOR(S), 21h without retries
        {0x21, A::Transfer},
        {0x24, A::Transfer,     true},
        {0x25, A::Transfer,     true,  false,  true},
        {0x29, A::Transfer,     true,  false,  false, true},
        {0x30, A::Transfer,     false, true},
        {0x31, A::Transfer,     false, true},
        {0x34, A::Transfer,     true,  true},
        {0x35, A::Transfer,     true,  true,   true},
        {0x39, A::Transfer,     true,  true,   false, true},
        {0x3c, A::Transfer,     false, true}, // WRITE VERIFY
        {0x3d, A::Transfer,     true,  true,   true,  false,   true, true}, // the FUA ones: on storage when they end
        {0xce, A::Transfer,     true,  true,   false, true,    true, true},
        {0x40, A::Transfer,     false, false,  false, false,   false}, // READ VERIFY
        {0x41, A::Transfer,     false, false,  false, false,   false},
        {0x42, A::Transfer,     true,  false,  false, false,   false},
        {0xc4, A::Transfer,     false, false,  false, true},
        {0xc5, A::Transfer,     false, true,   false, true},
        {0xc8, A::Transfer,     false, false,  true},
        {0xc9, A::Transfer,     false, false,  true},
        {0xca, A::Transfer,     false, true,   true},
        {0xcb, A::Transfer,     false, true,   true},
        {0x06, A::Trim,         true,  true,   true},
        {0x2f, A::ReadLog},
        {0x47, A::ReadLog,      true,  false,  true},
        {0x91, A::InitializeParameters},
        {0xc6, A::SetMultiple},
        {0xec, A::Identify},
        {0xef, A::SetFeatures},
        {0xe7, A::Flush},
        {0xea, A::Flush,        true},
        {0xf8, A::NativeMax},
        {0x27, A::NativeMax,    true},
        // Power management: both the present and the obsolete codes.
        {0xe0, A::Standby}, {0x94, A::Standby}, {0xe2, A::Standby}, {0x96, A::Standby},
        {0xe1, A::Idle},    {0x95, A::Idle},    {0xe3, A::Idle},    {0x97, A::Idle},
        {0xe5, A::CheckPower}, {0x98, A::CheckPower},
        {0xe6, A::Standby}, {0x99, A::Standby}, // SLEEP; a command, not only a reset, wakes this disk
    };
    // clang-format on
    for (const Row& row : rows)
        if (row.command == command) return &row;
    static constexpr Row recalibrate{0x10, A::Succeed}, seek{0x70, A::Seek}; // sixteen codes each
    if ((command & 0xf0) == 0x10) return &recalibrate;
    if ((command & 0xf0) == 0x70) return &seek;
    return nullptr;
}

AtaDisk::AtaDisk(BlockDevice& image, std::string serial_number, Log& log)
    : AtaDevice(log), image_(image), serial_number_(std::move(serial_number)) {
    kind_ = "ATA disk";
    reset_settings();
}

void AtaDisk::present_signature() {
    regs_.count = regs_.lba[0] = 1;
    regs_.error = 1;
    regs_.status = kAtaDrdy | kAtaDsc;
    transfer_ = {};
}

void AtaDisk::reset_settings() {
    settings_ = {};
    settings_.geometry = default_geometry();
}

AtaDisk::Geometry AtaDisk::default_geometry() const {
    const u64 cylinders = image_.sectors() / (16 * 63);
    return {static_cast<u16>(std::clamp<u64>(cylinders, 1, 16383)), 16, 63};
}

bool AtaDisk::execute(u8 command) {
    const Row* row = find(command);
    if (row == nullptr) return false;
    switch (row->action) {
    case Action::Transfer: start_transfer(*row); break;
    case Action::Identify: identify(); break;
    case Action::Nop: fail(kAtaAbrt); break; // NOP always ends so (8.27)
    case Action::Succeed: succeed(); break;
    case Action::Seek: {
        u64 lba = 0;
        if (decode_address(false, lba) && lba < image_.sectors())
            succeed();
        else
            fail(kAtaIdnf);
        break;
    }
    case Action::Flush: finish_flush(); break;
    case Action::SetFeatures: set_features(); break;
    case Action::SetMultiple: set_multiple(); break;
    case Action::InitializeParameters: initialize_parameters(); break;
    case Action::NativeMax: native_max(row->ext); break;
    case Action::Trim: start_trim(); break;
    case Action::ReadLog: read_log(row->dma); break;
    case Action::CheckPower:
        regs_.count = settings_.power;
        succeed();
        break;
    case Action::Standby:
    case Action::Idle:
        settings_.power = row->action == Action::Standby ? 0x00 : 0xff;
        succeed();
        break;
    }
    return true;
}

// --- addressing

bool AtaDisk::decode_address(bool ext, u64& lba) const {
    const u8* l = regs_.lba;
    const u64 low = l[0] | u64{l[1]} << 8 | u64{l[2]} << 16;
    if (ext) {
        const u8* h = regs_.lba_before;
        lba = low | u64{h[0]} << 24 | u64{h[1]} << 32 | u64{h[2]} << 40;
        return true;
    }
    if (regs_.device & 0x40) {
        lba = low | u64(regs_.device & 0xf) << 24;
        return true;
    }
    const Geometry& g = settings_.geometry;
    const u32 head = regs_.device & 0xf, cylinder = l[1] | u32{l[2]} << 8, sector = l[0];
    if (head >= g.heads || sector == 0 || sector > g.sectors || cylinder >= g.cylinders) return false;
    lba = (u64{cylinder} * g.heads + head) * g.sectors + sector - 1;
    return true;
}

void AtaDisk::encode_address(bool ext, u64 lba) {
    u8* l = regs_.lba;
    if (!ext && !(regs_.device & 0x40)) {
        const Geometry& g = settings_.geometry;
        const u64 track = lba / g.sectors, cylinder = track / g.heads;
        l[0] = static_cast<u8>(lba % g.sectors + 1);
        l[1] = static_cast<u8>(cylinder);
        l[2] = static_cast<u8>(cylinder >> 8);
        regs_.device = static_cast<u8>((regs_.device & 0xf0) | (track % g.heads));
        return;
    }
    for (unsigned i = 0; i < 3; ++i) {
        l[i] = static_cast<u8>(lba >> (8 * i));
        if (ext) regs_.lba_before[i] = static_cast<u8>(lba >> (24 + 8 * i));
    }
    if (!ext) regs_.device = static_cast<u8>((regs_.device & 0xf0) | (lba >> 24 & 0xf));
}

u32 AtaDisk::decode_count(bool ext) const {
    if (!ext) return regs_.count != 0 ? regs_.count : 256;
    const u32 count = regs_.count | u32{regs_.count_before} << 8;
    return count != 0 ? count : 65536;
}

// --- reading and writing

void AtaDisk::start_transfer(const Row& row) {
    settings_.power = 0xff;
    transfer_ = {};
    Transfer& t = transfer_;
    t.ext = row.ext;
    t.writing = row.writing;
    t.dma = row.dma;
    t.data = row.data;
    t.through = row.through || !settings_.write_cache;
    if (row.multiple && settings_.multiple == 0) return fail(kAtaAbrt);
    const u32 largest = buffer_bytes / BlockDevice::sector_bytes;
    t.block = row.dma || !row.data ? largest : row.multiple ? settings_.multiple : 1;
    t.left = decode_count(t.ext);
    if (!decode_address(t.ext, t.lba)) return fail(kAtaIdnf);
    if (t.lba >= image_.sectors() || t.left > image_.sectors() - t.lba) {
        encode_address(t.ext, std::max(t.lba, image_.sectors())); // the first sector that is not there
        return fail(kAtaIdnf);
    }
    if (t.writing && image_.read_only()) return fail(kAtaAbrt);
    next_block();
}

void AtaDisk::next_block() {
    Transfer& t = transfer_;
    t.now = std::min(t.left, t.block);
    if (t.writing) {
        // The first block of a PIO write is asked for by DRQ alone (9.6).
        const bool interrupt = !t.dma && !t.first;
        t.first = false;
        const u32 from = t.at * BlockDevice::sector_bytes;
        begin_data(t.dma ? Phase::DmaOut : Phase::PioOut, from, from + t.now * BlockDevice::sector_bytes,
                   interrupt);
        return;
    }
    if (t.at < t.buffered) return offer_block();
    t.at = 0;
    t.buffered = std::min(t.left, buffer_bytes / BlockDevice::sector_bytes / t.block * t.block);
    set_busy();
    image_.read(t.lba, t.buffered, buffer(), guarded([this](BlockStatus status) {
                    if (status == BlockStatus::Ok) return offer_block();
                    if (transfer_.buffered == transfer_.now) return transfer_failed(status, false);
                    // The blocks before the bad one are good: one by one from here.
                    transfer_.buffered = 0;
                    read_single();
                }));
}

void AtaDisk::read_single() {
    Transfer& t = transfer_;
    set_busy();
    image_.read(t.lba, t.now, buffer(), guarded([this](BlockStatus status) {
                    if (status != BlockStatus::Ok) return transfer_failed(status, false);
                    transfer_.buffered = transfer_.now;
                    offer_block();
                }));
}

void AtaDisk::offer_block() {
    const Transfer& t = transfer_;
    if (!t.data) return block_done();
    const u32 from = t.at * BlockDevice::sector_bytes;
    begin_data(t.dma ? Phase::DmaIn : Phase::PioIn, from, from + t.now * BlockDevice::sector_bytes, !t.dma);
}

void AtaDisk::block_done() {
    Transfer& t = transfer_;
    if (regs_.command == 0xec || regs_.command == 0x2f)
        return succeed_silently(); // IDENTIFY DEVICE, READ LOG EXT
    if (regs_.command == 0x47) return succeed();
    if (regs_.command == 0x06) return next_trim();
    t.at += t.now;
    t.left -= t.now;
    if (t.writing) {
        const u32 room = buffer_bytes / BlockDevice::sector_bytes - t.at;
        if (t.left == 0 || room < t.block) return write_piece();
        return next_block();
    }
    t.lba += t.now;
    if (t.left != 0) return next_block();
    encode_address(t.ext, t.lba - 1);
    if (t.data && !t.dma)
        succeed_silently();
    else
        succeed();
}

void AtaDisk::write_piece() {
    set_busy();
    image_.write(transfer_.lba, transfer_.at, buffer(), guarded([this](BlockStatus status) {
                     if (status != BlockStatus::Ok) return transfer_failed(status, true);
                     Transfer& t = transfer_;
                     t.lba += t.at;
                     t.at = 0;
                     if (t.left == 0) {
                         encode_address(t.ext, t.lba - 1);
                         return t.through ? finish_flush() : succeed();
                     }
                     next_block();
                 }));
}

void AtaDisk::transfer_failed(BlockStatus status, bool writing) {
    encode_address(transfer_.ext, transfer_.lba);
    if (status == BlockStatus::OutOfRange) return fail(kAtaIdnf);
    // An unreadable sector is UNC. WRITE has no such bit: a write that the disk cannot carry out is aborted.
    fail(writing ? kAtaAbrt : kAtaUnc);
}

void AtaDisk::finish_flush() {
    set_busy();
    image_.flush(guarded([this](BlockStatus status) {
        if (status == BlockStatus::Ok)
            succeed();
        else
            fail(kAtaAbrt);
    }));
}

// --- DATA SET MANAGEMENT, TRIM (ACS-2, 7.10): each 8 bytes a first sector (47:0) and a count (63:48)

void AtaDisk::start_trim() {
    transfer_ = {};
    transfer_.left = decode_count(true);
    // A block of ranges is 512 bytes; IDENTIFY word 105 says how many there may be.
    if ((regs_.features & 1) == 0 || transfer_.left > kTrimBlocks || image_.read_only())
        return fail(kAtaAbrt);
    transfer_.buffered = transfer_.left * BlockDevice::sector_bytes;
    begin_data(Phase::DmaOut, 0, transfer_.buffered, false);
}

void AtaDisk::next_trim() {
    Transfer& t = transfer_;
    while (t.at + 8 <= t.buffered) {
        u64 range;
        std::memcpy(&range, buffer() + t.at, sizeof range);
        t.at += 8;
        const u64 first = range & low_mask(48), count = range >> 48;
        if (count == 0) continue;
        if (first >= image_.sectors() || count > image_.sectors() - first) return fail(kAtaIdnf | kAtaAbrt);
        set_busy();
        return image_.discard(first, count, guarded([this](BlockStatus status) {
                                  if (status != BlockStatus::Ok) return fail(kAtaAbrt);
                                  next_trim();
                              }));
    }
    succeed();
}

void AtaDisk::visit(const std::string& prefix, StateVisitor& visitor) {
    AtaDevice::visit(prefix, visitor);
    visitor.field((prefix + "transfer").c_str(), transfer_);
    visitor.field((prefix + "settings").c_str(), settings_);
    visitor.field((prefix + "queue_error").c_str(), queue_error_);
    if (!visitor.loading()) return;
    const u32 largest = buffer_bytes / BlockDevice::sector_bytes;
    transfer_.block = std::clamp(transfer_.block, 1u, largest);
    transfer_.left = std::min(transfer_.left, 65536u);
    transfer_.now = std::clamp(transfer_.now, 1u, std::max(1u, std::min(transfer_.left, largest)));
    transfer_.at = std::min(transfer_.at, largest - transfer_.now);
    transfer_.buffered = std::min(transfer_.buffered, largest); // no TRIM is under way when a state is saved
    if (settings_.multiple > 16) settings_.multiple = 0;
    Geometry& g = settings_.geometry;
    if (g.heads == 0 || g.sectors == 0 || g.heads > 16) g = default_geometry();
}

} // namespace dragoman::hw
