#include "runtime/tb_cache_file.h"

#include "base/bits.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace dragoman::runtime {

namespace {

constexpr char kMagic[8] = {'D', 'r', 'a', 'g', 'o', 't', 'b', '\n'};
constexpr u32 kFormat = 5;

u32 checksum(const void* at, u64 bytes, u32 before = 0) {
    return u32(XXH3_64bits_withSeed(at, bytes, before));
}

constexpr u64 kChecked = offsetof(TbRecord, checksum) + sizeof(TbRecord::checksum); // where a record's begins

// Where each of its arrays begins, by rising need of alignment from the end to the start.
struct Places {
    u64 links, kept, pc_numbers, stub_jumps, points, guest, code, end;
    explicit Places(const TbRecord& r) {
        links = sizeof(TbRecord);
        kept = links + u64{r.links} * sizeof(backend::LinkSite);
        pc_numbers = kept + u64{r.kept} * sizeof(ir::Inst);
        stub_jumps = pc_numbers + u64{r.pc_numbers} * sizeof(backend::PcNumber);
        points = stub_jumps + u64{r.stub_jumps} * sizeof(u32);
        guest = points + u64{r.points} * sizeof(backend::SidePoint);
        code = guest + r.guest_bytes();
        end = align_up(code + r.code, 8);
    }
};
static_assert(sizeof(TbRecord) % 8 == 0 && alignof(ir::Inst) <= 8 && alignof(backend::LinkSite) <= 8);

template <class T> std::span<const T> array(const TbRecord* record, u64 place, u32 count) {
    return {reinterpret_cast<const T*>(reinterpret_cast<const u8*>(record) + place), count};
}

// A descriptor that closes itself.
struct File {
    int fd;
    ~File() {
        if (fd >= 0) ::close(fd);
    }
};

bool write_all(int fd, const void* from, u64 bytes) {
    const u8* at = static_cast<const u8*>(from);
    while (bytes) {
        const ssize_t n = ::write(fd, at, bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        at += n;
        bytes -= u64(n);
    }
    return true;
}

std::string why() {
    return std::strerror(errno);
}

} // namespace

u64 hash_value(const TbKey& key) {
    u64 h = (key.place ^ key.first * 0xc2b2ae3d27d4eb4f) * 0x9e3779b97f4a7c15;
    h = (h ^ h >> 29 ^ key.mode ^ u64{key.code_base} << 32) * 0xc2b2ae3d27d4eb4f;
    h = (h ^ h >> 31 ^ key.code_limit) * 0x9e3779b97f4a7c15;
    return h ^ h >> 32;
}

const u8* TbRecord::guest_at(unsigned part) const {
    u64 at = Places(*this).guest;
    for (unsigned n = 0; n < part; ++n)
        at += guest[n];
    return reinterpret_cast<const u8*>(this) + at;
}

backend::PortableCode TbRecord::portable(u64 now) const {
    const Places at(*this);
    return {.made_pc = pc,
            .pc = now,
            .movable = movable != 0,
            .pc_numbers = array<backend::PcNumber>(this, at.pc_numbers, pc_numbers),
            .entry = entry,
            .saved_entry = saved_entry,
            .far_entry = far_entry,
            .numbers = {numbers[0], numbers[1]},
            .host_instructions = host_instructions,
            .calls = calls,
            .kinds = kinds,
            .links = array<backend::LinkSite>(this, at.links, links),
            .points = array<backend::SidePoint>(this, at.points, points),
            .stub_jumps = array<u32>(this, at.stub_jumps, stub_jumps),
            .kept = array<ir::Inst>(this, at.kept, kept),
            .code = array<u8>(this, at.code, code)};
}

bool TbRecord::sound(u64 room) const {
    constexpr u64 page = softmmu::kPageSize;
    return room >= sizeof *this && bytes <= room && bytes % 8 == 0 && Places(*this).end == bytes &&
           branch <= u8(x86::BranchKind::Always) && guest[0] && guest[0] <= page && guest[1] < page &&
           u64{followed} + guest[2] <= page && guest_instructions &&
           guest_instructions <= x86::Translator::max_instructions;
}

bool TbRecord::intact() const {
    return checksum == runtime::checksum(reinterpret_cast<const u8*>(this) + kChecked, bytes - kChecked);
}

void make_record(std::vector<u64>& made, TbRecord header, const u8* const parts[],
                 const backend::PortableCode& code) {
    header.entry = code.entry;
    header.saved_entry = code.saved_entry;
    header.far_entry = code.far_entry;
    std::copy_n(code.numbers, 2, header.numbers);
    header.host_instructions = code.host_instructions;
    header.calls = code.calls;
    header.kinds = code.kinds;
    header.links = u32(code.links.size());
    header.kept = u32(code.kept.size());
    header.points = u32(code.points.size());
    header.movable = code.movable;
    header.pc_numbers = u32(code.pc_numbers.size());
    header.stub_jumps = u32(code.stub_jumps.size());
    header.code = u32(code.code.size());
    const Places at(header);
    header.bytes = u32(at.end);
    made.assign(at.end / 8, 0);
    u8* const to = reinterpret_cast<u8*>(made.data());
    std::memcpy(to, &header, sizeof header);
    const auto put = [&](u64 place, const auto& values) {
        if (!values.empty()) std::memcpy(to + place, values.data(), values.size_bytes());
    };
    put(at.links, code.links);
    put(at.kept, code.kept);
    put(at.points, code.points);
    put(at.pc_numbers, code.pc_numbers);
    put(at.stub_jumps, code.stub_jumps);
    put(at.code, code.code);
    u8* guest = to + at.guest;
    for (unsigned n = 0; n < x86::Translator::Source::Parts; guest += header.guest[n++])
        if (header.guest[n]) std::memcpy(guest, parts[n], header.guest[n]);
}

void seal(TbRecord& record) {
    record.checksum = checksum(reinterpret_cast<const u8*>(&record) + kChecked, record.bytes - kChecked);
}

// ---- reading

const TbRecord* TbCacheFile::record_at(u32 place) const {
    const u64 at = u64{place} * 8;
    if (at < sizeof(Header) || at > end_ || end_ - at < sizeof(TbRecord)) return nullptr;
    const auto* record = reinterpret_cast<const TbRecord*>(bytes_.data() + at);
    return record->sound(end_ - at) ? record : nullptr;
}

Status TbCacheFile::take(std::span<const u8> bytes, std::string_view identity) {
    Header h;
    if (bytes.size() < sizeof h) return Error{"is cut off"};
    std::memcpy(&h, bytes.data(), sizeof h);
    if (std::memcmp(h.magic, kMagic, sizeof kMagic)) return Error{"is not a file of translations"};
    if (h.format != kFormat) return Error{"has another format"};
    if (h.file != bytes.size()) return Error{"is cut off"};
    if (h.identity > bytes.size() - sizeof h) return Error{"is damaged"};
    if (h.checksum !=
        checksum(bytes.data(), offsetof(Header, checksum), checksum(bytes.data() + sizeof h, h.identity)))
        return Error{"is damaged"};
    if (std::string_view(reinterpret_cast<const char*>(bytes.data()) + sizeof h, h.identity) != identity)
        return Error{"was made by another build, or for another host, -cpu or other options"};
    if (h.index % 8 || h.index < sizeof h || h.index > bytes.size() || (h.slots & (h.slots - 1)) ||
        h.records > h.slots || h.slots != (bytes.size() - h.index) / sizeof(Slot) ||
        (bytes.size() - h.index) % sizeof(Slot))
        return Error{"is damaged"};
    if (h.index_checksum != checksum(bytes.data() + h.index, bytes.size() - h.index))
        return Error{"is damaged"};
    bytes_ = bytes;
    end_ = h.index;
    records_ = h.records;
    index_ = {reinterpret_cast<const Slot*>(bytes.data() + h.index), h.slots};
    return Ok{};
}

Result<std::unique_ptr<TbCacheFile>> TbCacheFile::read(std::span<const u8> bytes, std::string_view identity) {
    auto file = std::make_unique<TbCacheFile>();
    if (auto s = file->take(bytes, identity); !s) return s.error();
    return file;
}

Result<std::unique_ptr<TbCacheFile>> TbCacheFile::open(const std::string& path, std::string_view identity) {
    const File file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
    if (file.fd < 0 && errno == ENOENT) return std::make_unique<TbCacheFile>();
    struct stat facts {};
    if (file.fd < 0 || ::fstat(file.fd, &facts) != 0) return Error{"cannot be read: " + why()};
    if (!S_ISREG(facts.st_mode)) return Error{"is not a file"};
    if (facts.st_uid != ::geteuid()) return Error{"belongs to another user"};
    if (facts.st_mode & 022) return Error{"may be written by others than its owner"};
    if (facts.st_size == 0) return std::make_unique<TbCacheFile>();
    const u64 bytes = u64(facts.st_size);
    void* const at = ::mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, file.fd, 0);
    if (at == MAP_FAILED) return Error{"cannot be mapped: " + why()};
    auto opened = std::make_unique<TbCacheFile>();
    if (auto s = opened->take({static_cast<const u8*>(at), bytes}, identity); !s) {
        ::munmap(at, bytes);
        return s.error();
    }
    opened->mapped_ = true;
    return opened;
}

TbCacheFile::~TbCacheFile() {
    if (mapped_) ::munmap(const_cast<u8*>(bytes_.data()), bytes_.size());
}

// ---- writing

Status TbCacheFile::write(ReplacedFile& to, std::string_view identity,
                          std::span<const TbRecord* const> records) {
    const u64 first = align_up(sizeof(Header) + identity.size(), 8);
    u64 count = 0, end = first;
    while (count < records.size() && end + records[count]->bytes <= most_bytes)
        end += records[count++]->bytes;
    u64 slots = 1;
    while (slots < count * 2)
        slots *= 2;
    std::vector<Slot> index(slots);
    u64 place = first;
    for (const TbRecord* record : records.first(count)) {
        const u64 hash = hash_value(record->key);
        u64 at = hash;
        while (index[at & (slots - 1)].place)
            ++at;
        index[at & (slots - 1)] = {u32(hash >> 32), u32(place / 8)};
        place += record->bytes;
    }
    Header h{.format = kFormat,
             .identity = u32(identity.size()),
             .file = end + slots * sizeof(Slot),
             .index = end,
             .slots = slots,
             .records = count,
             .index_checksum = checksum(index.data(), slots * sizeof(Slot))};
    std::memcpy(h.magic, kMagic, sizeof kMagic);
    h.checksum = checksum(&h, offsetof(Header, checksum), checksum(identity.data(), identity.size()));
    std::string head(reinterpret_cast<const char*>(&h), sizeof h);
    head.append(identity).resize(first);

    bool good = write_all(to.fd(), head.data(), head.size());
    std::vector<u8> row; // of records, so that not each is a system call
    for (const TbRecord* record : records.first(count)) {
        const u8* const at = reinterpret_cast<const u8*>(record);
        row.insert(row.end(), at, at + record->bytes);
        if (row.size() < MiB) continue;
        good = good && write_all(to.fd(), row.data(), row.size());
        row.clear();
    }
    good = good && write_all(to.fd(), row.data(), row.size()) &&
           write_all(to.fd(), index.data(), slots * sizeof(Slot));
    if (!good) return Error{"cannot be written: " + why()};
    return to.commit();
}

} // namespace dragoman::runtime
