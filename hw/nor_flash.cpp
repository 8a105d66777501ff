#include "hw/nor_flash.h"

#include "hw/core/map_priority.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace dragoman::hw {

namespace {

enum Command : u8 {
    kProgram = 0x10,
    kProgramToo = 0x40,
    kErase = 0x20,
    kClearStatus = 0x50,
    kLock = 0x60,
    kReadStatus = 0x70,
    kReadId = 0x90,
    kQuery = 0x98,
    kConfirm = 0xd0,
    kWriteBuffer = 0xe8,
    kReadArray = 0xff,
};
constexpr u8 kReady = 0x80, kEraseError = 0x20, kProgramError = 0x10, kLocked = 0x02;

} // namespace

NorFlash::NorFlash(MemoryMap& memory, u64 gpa, std::span<u8> cells, bool read_only)
    : memory_(memory), gpa_(gpa), cells_(cells), read_only_(read_only) {
    map(true);
}

NorFlash::~NorFlash() {
    memory_.unmap(handle_);
}

void NorFlash::map(bool as_memory) {
    if (handle_ && as_memory == is_memory_) return;
    if (handle_) memory_.unmap(handle_);
    handle_ = as_memory ? memory_.map_flash(gpa_, cells_.size(), cells_.data(), *this, kMapFlash)
                        : memory_.map_io(gpa_, cells_.size(), *this, kMapFlash);
    is_memory_ = as_memory;
}

void NorFlash::show(Mode mode) {
    s_.mode = mode;
    map(mode == Mode::Array);
}

void NorFlash::reset() {
    s_ = {};
    show(s_.mode);
}

void NorFlash::visit(StateVisitor& visitor) {
    visitor.field("flash", s_);
    if (!visitor.loading()) return;
    show(s_.mode);
    s_.count = std::min<u16>(s_.count, u16(s_.buffer.size()));
    s_.filled = std::min(s_.filled, s_.count);
}

u8 NorFlash::read_byte(u64 offset) const {
    const unsigned query = unsigned(offset & 0xff);
    switch (s_.mode) {
    case Mode::Array: return offset < cells_.size() ? cells_[offset] : u8(0xff);
    case Mode::Status: return s_.status;
    case Mode::Id: return 0;
    case Mode::Query: break;
    }
    // CFI 2.0, 4.3: "QRY", the command set 1 (Intel), the size and the blocks.
    const u32 blocks = u32(cells_.size() / block_bytes) - 1;
    switch (query) {
    case 0x10: return 'Q';
    case 0x11: return 'R';
    case 0x12: return 'Y';
    case 0x13: return 1;
    case 0x27: return u8(std::bit_width(cells_.size() - 1));
    case 0x2a: return u8(std::bit_width(s_.buffer.size()) - 1);
    case 0x2c: return 1;
    case 0x2d: return u8(blocks);
    case 0x2e: return u8(blocks >> 8);
    case 0x2f: return u8(block_bytes >> 8);
    case 0x30: return u8(block_bytes >> 16);
    default: return 0;
    }
}

u64 NorFlash::read(u64 offset, unsigned size) {
    u64 value = 0;
    for (unsigned n = 0; n < size; ++n)
        value |= u64{read_byte(offset + n)} << (8 * n);
    return value;
}

void NorFlash::program(u64 offset, u8 byte) {
    if (read_only_ || offset >= cells_.size())
        s_.status |= kProgramError | kLocked;
    else
        cells_[offset] &= byte; // only an erase makes ones
}

void NorFlash::command(u8 byte) {
    switch (byte) {
    case kProgram:
    case kProgramToo: s_.wait = Wait::Program; break;
    case kErase: s_.wait = Wait::Erase; break;
    case kWriteBuffer: s_.wait = Wait::Count; break;
    case kLock: s_.wait = Wait::Lock; break;
    case kClearStatus: // with the ready bit: by that UEFI firmware for virtual machines tells flash from ROM
        s_.status = 0;
        return show(Mode::Array);
    case kReadId: return show(Mode::Id);
    case kQuery: return show(Mode::Query);
    case kReadArray: return show(Mode::Array);
    case kReadStatus: break;
    default: return; // not a command
    }
    show(Mode::Status);
}

void NorFlash::write(u64 offset, unsigned size, u64 value) {
    const u8 byte = u8(value);
    if (s_.wait != Wait::Nothing) s_.status |= kReady; // everything is done at once
    switch (std::exchange(s_.wait, Wait::Nothing)) {
    case Wait::Nothing: return command(byte);
    case Wait::Program:
        for (unsigned n = 0; n < size; ++n)
            program(offset + n, u8(value >> (8 * n)));
        return;
    case Wait::Erase: {
        const u64 block = offset & ~u64{block_bytes - 1};
        if (byte != kConfirm)
            s_.status |= kEraseError | kProgramError; // a wrong sequence
        else if (read_only_ || block >= cells_.size())
            s_.status |= kEraseError | kLocked;
        else
            std::fill_n(cells_.begin() + i64(block), block_bytes, u8(0xff));
        return;
    }
    case Wait::Count:
        s_.count = u16(byte + 1);
        s_.filled = 0;
        s_.wait = Wait::Buffer;
        return;
    case Wait::Buffer:
        if (s_.filled == 0) s_.at = u32(offset);
        for (unsigned n = 0; n < size && s_.filled < s_.count; ++n)
            s_.buffer[s_.filled++] = u8(value >> (8 * n));
        s_.wait = s_.filled < s_.count ? Wait::Buffer : Wait::Confirm;
        return;
    case Wait::Confirm:
        if (byte != kConfirm) {
            s_.status |= kEraseError | kProgramError;
            return;
        }
        for (unsigned n = 0; n < s_.count; ++n)
            program(u64{s_.at} + n, s_.buffer[n]);
        return;
    case Wait::Lock: return; // blocks are not locked one by one
    }
}

} // namespace dragoman::hw
