#include "hw/fw_cfg.h"

#include "base/bits.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

namespace dragoman::hw {

namespace {

enum : u32 { kDmaError = 1, kDmaRead = 2, kDmaSkip = 4, kDmaSelect = 8, kDmaWrite = 16 };
constexpr u64 kDmaSignature = 0x51454d5520434647; // "QEMU CFG"
constexpr u16 kLastFile = 0x3fff; // bits 15 and 14 mean architecture-specific and write channel
constexpr std::size_t kChunk = 4096;

// The DMA interface and the directory are big-endian.
template <class T> T big_endian(const u8* p) {
    T value = 0;
    for (unsigned i = 0; i < sizeof(T); i++)
        value = T(value << 8 | p[i]);
    return value;
}
template <class T> void put_big_endian(std::vector<u8>& out, T value) {
    for (unsigned i = sizeof(T); i-- > 0;)
        out.push_back(u8(value >> (8 * i)));
}
template <class T> std::vector<u8> little_endian(T value) {
    std::vector<u8> out;
    for (unsigned i = 0; i < sizeof(T); i++)
        out.push_back(u8(u64{value} >> (8 * i)));
    return out;
}

} // namespace

FwCfg::FwCfg(DmaBus& dma, Log& log) : dma_(dma), log_(log) {
    add(kFwCfgSignature, {'Q', 'E', 'M', 'U'});
    add_u32(kFwCfgId, 3);
    rebuild_directory();
}

void FwCfg::add(u16 key, std::vector<u8> data) {
    items_[key] = {std::move(data)};
}
void FwCfg::add_made(u16 key, std::function<std::vector<u8>()> make) {
    items_[key] = {.make = std::move(make)};
}
void FwCfg::add_u16(u16 key, u16 value) {
    add(key, little_endian(value));
}
void FwCfg::add_u32(u16 key, u32 value) {
    add(key, little_endian(value));
}
void FwCfg::add_u64(u16 key, u64 value) {
    add(key, little_endian(value));
}

Status FwCfg::add_file(std::string_view file_name, std::vector<u8> data, bool writable) {
    if (file_name.empty() || file_name.size() > longest_name)
        return Error{"fw_cfg: file name '" + std::string(file_name) + "' must have 1 to 55 characters"};
    if (data.size() > std::numeric_limits<u32>::max())
        return Error{"fw_cfg: file '" + std::string(file_name) + "' is larger than 4 GiB"};
    auto it = files_.find(file_name);
    if (it == files_.end()) {
        if (next_file_key_ > kLastFile) return Error{"fw_cfg: too many files"};
        it = files_.emplace(std::string(file_name), next_file_key_++).first;
    }
    items_[it->second] = {std::move(data), writable};
    rebuild_directory();
    return Ok{};
}

std::span<const u8> FwCfg::file(std::string_view file_name) const {
    const auto it = files_.find(file_name);
    if (it == files_.end()) return {};
    return items_.at(it->second).data;
}

// Count, then for each file, in the order of names: size, key, reserved, name with zeros to 56 characters.
void FwCfg::rebuild_directory() {
    std::vector<u8> out;
    put_big_endian<u32>(out, u32(files_.size()));
    for (const auto& [file_name, key] : files_) {
        put_big_endian<u32>(out, u32(items_.at(key).data.size()));
        put_big_endian<u16>(out, key);
        put_big_endian<u16>(out, 0);
        out.insert(out.end(), file_name.begin(), file_name.end());
        out.insert(out.end(), longest_name + 1 - file_name.size(), 0);
    }
    add(kFwCfgFileDirectory, std::move(out));
}

void FwCfg::reset() {
    key_ = 0;
    position_ = 0;
    dma_address_ = 0;
}

void FwCfg::visit(StateVisitor& visitor) {
    visitor.field("key", key_);
    visitor.field("position", position_);
    visitor.field("dma_address", dma_address_);
}

FwCfg::Item* FwCfg::selected() {
    const auto it = items_.find(key_);
    return it == items_.end() ? nullptr : &it->second;
}

void FwCfg::select(u16 key) {
    key_ = key;
    position_ = 0;
    Item* item = selected();
    if (item && item->make) item->data = item->make();
    if (!item) log_.print(LogItem::GuestError, "fw_cfg: item 0x%04x does not exist\n", key);
}

u8 FwCfg::next_byte() {
    const Item* item = selected();
    if (!item || position_ >= item->data.size()) return 0;
    return item->data[position_++];
}

u64 FwCfg::read(u64 offset, unsigned size) {
    if (offset == 1) { // the data port; a wider access reads several bytes, the first one lowest
        u64 value = 0;
        for (unsigned i = 0; i < size; i++)
            value |= u64{next_byte()} << (8 * i);
        return value;
    }
    if (offset >= 4) { // the DMA address register, big-endian, reads as the signature
        u64 value = 0;
        for (unsigned i = 0; i < size && offset - 4 + i < 8; i++)
            value |= ((kDmaSignature >> (56 - 8 * (offset - 4 + i))) & 0xff) << (8 * i);
        return value;
    }
    return 0;
}

void FwCfg::write(u64 offset, unsigned size, u64 value) {
    if (offset == 0 && size >= 2) {
        select(u16(value));
    } else if (offset == 0 || offset == 1) {
        // The data port has been read-only since the DMA interface exists.
        log_.print(LogItem::GuestError, "fw_cfg: write of %u bytes to port 0x%x is ignored\n", size,
                   unsigned(base + offset));
    } else if (offset == 4 && size == 4) {
        dma_address_ = u64{__builtin_bswap32(u32(value))} << 32;
    } else if (offset == 8 && size == 4) {
        dma_address_ |= __builtin_bswap32(u32(value));
        run_dma();
    } else if (offset == 4 && size == 8) {
        dma_address_ = __builtin_bswap64(value);
        run_dma();
    }
}

// The control structure: u32 control (31:16 key), u32 length, u64 address. Control becomes 0, or the error
// bit.
void FwCfg::run_dma() {
    const u64 at = dma_address_;
    dma_address_ = 0;
    std::array<u8, 16> raw{};
    if (!dma_.read(at, raw.data(), raw.size())) {
        log_.print(LogItem::GuestError, "fw_cfg: DMA structure at 0x%llx is not in memory\n",
                   static_cast<unsigned long long>(at));
        return;
    }
    const u32 control = big_endian<u32>(&raw[0]), length = big_endian<u32>(&raw[4]);
    const u64 address = big_endian<u64>(&raw[8]);
    if (control & kDmaSelect) select(u16(control >> 16));
    bool good = true;
    if (control & kDmaRead)
        good = transfer_read(address, length);
    else if (control & kDmaWrite)
        good = transfer_write(address, length);
    else if (control & kDmaSkip) {
        const Item* item = selected();
        const u64 end = item ? item->data.size() : 0;
        position_ = u32(std::min<u64>(end, u64{position_} + length));
    }
    const std::array<u8, 4> answer{0, 0, 0, good ? u8{0} : u8{kDmaError}};
    dma_.write(at, answer.data(), answer.size());
}

// Beyond its end an item reads as zeros. In pieces, and only while there is memory: `length` is the guest's.
bool FwCfg::transfer_read(u64 address, u32 length) {
    std::array<u8, kChunk> piece;
    const Item* item = selected();
    while (length) {
        const u32 n = u32(std::min<std::size_t>(length, piece.size()));
        const std::size_t left = item && position_ < item->data.size() ? item->data.size() - position_ : 0;
        const std::size_t have = std::min<std::size_t>(n, left);
        if (have) std::memcpy(piece.data(), item->data.data() + position_, have);
        std::memset(piece.data() + have, 0, n - have);
        if (!dma_.write(address, piece.data(), n)) return false;
        position_ += u32(have);
        address += n;
        length -= n;
    }
    return true;
}

bool FwCfg::transfer_write(u64 address, u32 length) {
    Item* item = selected();
    if (!item || !item->writable || position_ > item->data.size() || length > item->data.size() - position_)
        return false;
    if (!dma_.read(address, item->data.data() + position_, length)) return false;
    position_ += length;
    return true;
}

} // namespace dragoman::hw
