// Fakes for PCI chips: guest memory as a bus master sees it, a memory map that only remembers, a disk in
// memory.
#pragma once

#include "base/block.h"
#include "base/io.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <vector>

namespace dragoman::hw::test {

class FakeMemory final : public DmaBus {
  public:
    explicit FakeMemory(std::size_t size) : bytes(size) {}
    bool read(u64 gpa, void* to, u64 count) override {
        if (gpa > bytes.size() || count > bytes.size() - gpa) {
            std::memset(to, 0xff, count);
            return false;
        }
        std::copy_n(bytes.data() + gpa, count, static_cast<u8*>(to));
        return true;
    }
    bool write(u64 gpa, const void* from, u64 count) override {
        if (gpa > bytes.size() || count > bytes.size() - gpa) return false;
        std::copy_n(static_cast<const u8*>(from), count, bytes.data() + gpa);
        return true;
    }
    std::vector<u8> bytes;
};

class FakeMap final : public MemoryMap {
  public:
    struct Mapping {
        u64 gpa, bytes;
        IoHandler* handler;
        u8* host;
        bool read_only;
    };
    Handle map_io(u64 gpa, u64 bytes, IoHandler& handler, int) override {
        mappings[++last] = {gpa, bytes, &handler, nullptr, false};
        return last;
    }
    Handle map_memory(u64 gpa, u64 bytes, u8* host, bool read_only, int) override {
        mappings[++last] = {gpa, bytes, nullptr, host, read_only};
        return last;
    }
    Handle map_flash(u64 gpa, u64 bytes, u8* host, IoHandler& writes, int) override {
        mappings[++last] = {gpa, bytes, &writes, host, true};
        return last;
    }
    void unmap(Handle handle) override { mappings.erase(handle); }
    bool take_dirty(Handle, u64 offset) override { return dirty.erase(offset) != 0; }

    const Mapping* at(u64 gpa) const {
        for (const auto& [handle, m] : mappings)
            if (gpa >= m.gpa && gpa - m.gpa < m.bytes) return &m;
        return nullptr;
    }
    std::map<Handle, Mapping> mappings;
    std::set<u64> dirty;
    Handle last = 0;
};

// Every sector is filled with bytes that its number decides. Faults are set per sector.
class FakeDisk final : public BlockDevice {
  public:
    explicit FakeDisk(u64 sectors) : data(sectors * sector_bytes) {
        for (u64 i = 0; i < data.size(); ++i)
            data[i] = static_cast<u8>((i / sector_bytes) * 31 + i);
    }
    u64 sectors() const override { return data.size() / sector_bytes; }
    bool read_only() const override { return protect; }
    void read(u64 sector, u32 count, u8* to, Completion done) override {
        ++reads;
        if (sector > sectors() || count > sectors() - sector) return done(BlockStatus::OutOfRange);
        if (hits(sector, count)) return done(BlockStatus::IoError);
        std::memcpy(to, data.data() + sector * sector_bytes, u64{count} * sector_bytes);
        finish(std::move(done));
    }
    void write(u64 sector, u32 count, const u8* from, Completion done) override {
        if (sector > sectors() || count > sectors() - sector) return done(BlockStatus::OutOfRange);
        if (hits(sector, count)) return done(BlockStatus::NoSpace);
        std::memcpy(data.data() + sector * sector_bytes, from, u64{count} * sector_bytes);
        finish(std::move(done));
    }
    void flush(Completion done) override {
        ++flushes;
        done(flush_fails ? BlockStatus::IoError : BlockStatus::Ok);
    }

    bool can_discard() const override { return true; }
    void discard(u64 sector, u64 count, Completion done) override {
        discarded.push_back({sector, count});
        done(BlockStatus::Ok);
    }
    bool can_write_zeroes() const override { return true; }
    void write_zeroes(u64 sector, u64 count, bool, Completion done) override {
        zeroed.push_back({sector, count});
        done(BlockStatus::Ok);
    }

    // With `later`, transfers end when this is called.
    void complete_pending() {
        std::vector<Completion> now;
        now.swap(pending);
        for (auto& done : now)
            done(BlockStatus::Ok);
    }

    std::vector<u8> data;
    std::set<u64> bad;
    bool protect = false, flush_fails = false, later = false;
    unsigned reads = 0, flushes = 0;
    std::vector<Completion> pending;
    std::vector<std::pair<u64, u64>> discarded, zeroed; // first sector, count

  private:
    bool hits(u64 sector, u32 count) const {
        const auto it = bad.lower_bound(sector);
        return it != bad.end() && *it < sector + count;
    }
    void finish(Completion done) {
        if (later)
            pending.push_back(std::move(done));
        else
            done(BlockStatus::Ok);
    }
};

} // namespace dragoman::hw::test
