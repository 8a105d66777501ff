// A memory map that records who answers where, and RAM for bus masters: for the tests of chips that need
// them.
#pragma once

#include "base/bits.h"
#include "base/io.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <map>
#include <vector>

namespace dragoman::hw::test {

// Resolves overlaps by priority, as the real map must.
class FakeMemoryMap final : public MemoryMap {
  public:
    struct Region {
        u64 gpa, bytes;
        IoHandler* io;
        u8* host;
        bool read_only;
        int priority;
    };

    Handle map_io(u64 gpa, u64 bytes, IoHandler& handler, int priority) override {
        regions[++last_] = {gpa, bytes, &handler, nullptr, false, priority};
        return last_;
    }
    Handle map_memory(u64 gpa, u64 bytes, u8* host, bool read_only, int priority) override {
        EXPECT_EQ((gpa | bytes) & 0xfff, 0u) << "memory must be mapped by pages";
        regions[++last_] = {gpa, bytes, nullptr, host, read_only, priority};
        return last_;
    }
    Handle map_flash(u64 gpa, u64 bytes, u8* host, IoHandler& writes, int priority) override {
        EXPECT_EQ((gpa | bytes) & 0xfff, 0u) << "memory must be mapped by pages";
        regions[++last_] = {gpa, bytes, &writes, host, true, priority};
        return last_;
    }
    void unmap(Handle handle) override {
        EXPECT_EQ(regions.erase(handle), 1u) << "unmapped what is not mapped";
    }
    bool take_dirty(Handle, u64) override { return true; }

    const Region* at(u64 gpa) const {
        const Region* best = nullptr;
        for (const auto& [handle, region] : regions)
            if (gpa - region.gpa < region.bytes && (!best || best->priority < region.priority))
                best = &region;
        return best;
    }
    u8 load(u64 gpa) const {
        const Region* region = at(gpa);
        if (!region) return 0xff;
        return region->host ? region->host[gpa - region->gpa] : u8(region->io->read(gpa - region->gpa, 1));
    }
    void store(u64 gpa, u8 value) {
        const Region* region = at(gpa);
        if (!region) return;
        if (region->io)
            region->io->write(gpa - region->gpa, 1, value);
        else if (!region->read_only)
            region->host[gpa - region->gpa] = value;
    }

    std::map<Handle, Region> regions;

  private:
    Handle last_ = 0;
};

class FakeDma final : public DmaBus {
  public:
    explicit FakeDma(std::size_t bytes) : ram(bytes) {}
    bool read(u64 gpa, void* to, u64 bytes) override {
        if (gpa > ram.size() || bytes > ram.size() - gpa) {
            std::memset(to, 0xff, bytes);
            return false;
        }
        std::memcpy(to, ram.data() + gpa, bytes);
        return true;
    }
    bool write(u64 gpa, const void* from, u64 bytes) override {
        if (gpa > ram.size() || bytes > ram.size() - gpa) return false;
        std::memcpy(ram.data() + gpa, from, bytes);
        return true;
    }
    std::vector<u8> ram;
};

} // namespace dragoman::hw::test
