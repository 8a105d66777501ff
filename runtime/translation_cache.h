// The translation cache: every block translated, by key, by guest page and by host address, and the ring of
// host memory that their code lives in. When the ring comes round, the oldest blocks make room for new ones;
// nothing ever stops for it.
#pragma once

#include "backend/x64/backend.h"
#include "frontend/x86/translator.h"
#include "ir/block.h"
#include "softmmu/physical_map.h"

#include <boost/intrusive/list.hpp>
#include <boost/intrusive/unordered_set.hpp>
#include <cstdlib>
#include <deque>
#include <memory>
#include <unordered_map>
#include <vector>

namespace dragoman::runtime {

namespace bi = boost::intrusive;

// All that a translation depends on (design: block key).
struct BlockKey {
    u64 gpa = 0; // guest-physical address of the first byte
    u64 rip = 0;
    u64 mode = 0; // Context::key without the epoch: mode and code segment

    friend bool operator==(const BlockKey&, const BlockKey&) = default;
    friend std::size_t hash_value(const BlockKey& key) {
        u64 h = key.gpa * 0x9e3779b97f4a7c15 ^ (key.rip + (key.mode << 17)) * 0xc2b2ae3d27d4eb4f;
        return std::size_t(h ^ h >> 29);
    }
};

struct CachedBlock;

// A direct jump of `from` that leads to `to`: listed with both, so that either can take it back.
struct Link : bi::list_base_hook<bi::link_mode<bi::auto_unlink>> {
    CachedBlock* from = nullptr;
    u32 site = 0;
};
using LinkList = bi::list<Link, bi::constant_time_size<false>>;

struct PageHook : bi::list_base_hook<bi::link_mode<bi::auto_unlink>> {
    CachedBlock* block = nullptr;
};
using PageList = bi::list<PageHook, bi::constant_time_size<false>>;

struct CachedBlock : bi::unordered_set_base_hook<bi::link_mode<bi::auto_unlink>, bi::store_hash<true>> {
    BlockKey key;
    x86::Translator::Source source;
    u64 position = 0; // where its code starts, in bytes allocated since the beginning (a place of the ring)
    const u8* entry = nullptr;
    u64 linear_pc = 0;
    u32 guest_bytes = 0, guest_instructions = 0;
    bool alive = true; // false: invalidated, kept until the ring comes round because it may be running
    backend::Compiled code;
    std::unique_ptr<ir::Block> ir; // only when blocks are interpreted or verified
    std::vector<Link> out;         // one per link site, linked or not
    LinkList in;
    PageHook pages[2];

    bool crosses_page() const { return source.bytes[1] != 0; }
    bool covers(u64 gpa, u64 size) const;
    // The side point of Context::host_return; null if there is none.
    const backend::SidePoint* side_point(const u8* host_return) const;

    friend bool operator==(const CachedBlock& a, const CachedBlock& b) { return a.key == b.key; }
    friend std::size_t hash_value(const CachedBlock& block) { return hash_value(block.key); }
};

class TranslationCache final : public softmmu::CodeWatcher, public softmmu::MapListener {
  public:
    struct Counters { // since the start, for `info jit`
        u64 blocks = 0, guest_bytes = 0, guest_instructions = 0, host_bytes = 0, host_instructions = 0;
        u64 invalidated = 0, evicted = 0, links = 0;
    };

    // Everything is borrowed. `backend` may be null when blocks are only interpreted.
    TranslationCache(softmmu::PhysicalMap& map, backend::CodeBuffer* buffer, backend::Backend* backend);
    ~TranslationCache() override;

    CachedBlock* find(const BlockKey& key);
    // Takes over a translated block: compiles it (unless interpreted), keeps it, marks its guest bytes. Null:
    // its code does not fit the largest room there is; translate fewer instructions. `code`: its code, made
    // before; null then: that is no use, and nothing has happened.
    CachedBlock* insert(const BlockKey& key, const x86::Translator::Source& source, ir::Block&& block,
                        bool keep_ir, const backend::PortableCode* code = nullptr);
    // The block, alive or not, whose host code made the call that returns to this address; null if none.
    CachedBlock* by_host(const u8* host_return);

    // Patches the jump of `from` that was left at `host_return` to lead to `to`, if such a jump is allowed:
    // both alive, the target in the page of the jump and not crossing it (design: direct linking within a
    // page).
    void try_link(CachedBlock& from, const u8* host_return, CachedBlock& to);

    // The cache of indirect jumps that generated code looks into.
    ir::Context::JumpCacheEntry* jump_cache() { return jump_cache_.get(); }
    void remember_jump(u64 rip, u64 key, const CachedBlock& block);
    void clear_jump_cache();

    void invalidate(CachedBlock& block);
    void invalidate_all();
    // What was translated from code that holds this linear address.
    void invalidate_linear(u64 linear);

    // The block that is running (null: none): a store into it must be refused. Kept by the run loop while it
    // interprets; for generated code Context::host_return tells.
    void set_context(const ir::Context* ctx) { ctx_ = ctx; }
    void set_interpreted(const CachedBlock* block) { interpreted_ = block; }

    // CodeWatcher
    bool may_write(u64 gpa, u64 size) override;
    void written(u64 gpa, u64 size) override;
    // MapListener
    void mappings_changed() override {}
    void contents_changed(u64 gpa, u64 bytes) override;

    const Counters& counters() const { return counters_; }
    u64 blocks_alive() const { return alive_; }
    u64 bytes_used() const;
    u64 bytes_total() const { return ring_bytes_; }

  private:
    static constexpr u64 kMaxBlockBytes = 32 * KiB;
    static constexpr u64 kBuckets = 1 << 17;
    static constexpr u64 kMaxInterpretedBlocks = 200'000;

    u8 const* reserve(u64& position); // kMaxBlockBytes of ring
    void evict_oldest();
    void note_place(u64 position, u64 end); // of the block at the back of the ring
    CachedBlock* at_position(u64 position); // the last that begins at or before it
    void detach(CachedBlock& block);        // out of every index but the ring
    void drop_page(u64 page);

    softmmu::PhysicalMap& map_;
    backend::CodeBuffer* buffer_;
    backend::Backend* backend_;
    const ir::Context* ctx_ = nullptr;
    const CachedBlock* interpreted_ = nullptr;

    using Set = bi::unordered_set<CachedBlock, bi::constant_time_size<false>, bi::power_2_buckets<true>>;
    std::vector<Set::bucket_type> buckets_;
    Set set_;
    std::unordered_map<u64, PageList> pages_;       // gpa >> 12
    std::deque<std::unique_ptr<CachedBlock>> ring_; // oldest first, by rising position
    u64 ring_start_ = 0, ring_bytes_ = 0;           // in the buffer
    u64 head_ = 0;                                  // position of the next block
    u64 alive_ = 0;
    // by_host: for each so many bytes of the ring, the number (counted from the start) of the last block
    // that begins at or before them.
    static constexpr u64 kGranule = 256;
    std::vector<u32> granules_;
    u32 popped_ = 0;                      // the number of ring_.front()
    CachedBlock* last_by_host_ = nullptr; // asked for again where the jump that left it is linked
    struct Free {
        void operator()(void* memory) const { std::free(memory); }
    };
    std::unique_ptr<ir::Context::JumpCacheEntry[], Free> jump_cache_;
    Counters counters_;
};

} // namespace dragoman::runtime
