// The translation cache: every block translated, by key, by guest page and by host address, and the ring of
// host memory that their code lives in. When the ring comes round, the oldest blocks make room for new ones;
// nothing ever stops for it.
#pragma once

#include "backend/x64/backend.h"
#include "base/zeros.h"
#include "frontend/x86/translator.h"
#include "ir/block.h"
#include "runtime/block_arena.h"
#include "runtime/block_table.h"
#include "softmmu/physical_map.h"

#include <boost/intrusive/list.hpp>
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
    u64 mode = 0; // Context::key: mode and code segment

    friend bool operator==(const BlockKey&, const BlockKey&) = default;
    friend std::size_t hash_value(const BlockKey& key) {
        u64 h = key.gpa * 0x9e3779b97f4a7c15 ^ (key.rip + (key.mode << 17)) * 0xc2b2ae3d27d4eb4f;
        return std::size_t(h ^ h >> 29);
    }
};

struct CachedBlock;

// A direct jump of `from` that can be linked: then in the list of the block that it leads to, which takes it
// back.
struct Link : bi::list_base_hook<bi::link_mode<bi::auto_unlink>> {
    Link(CachedBlock& of, const backend::LinkSite& place) : from(&of), site(place) {}
    CachedBlock* from;
    backend::LinkSite site;
};
using LinkList = bi::list<Link, bi::constant_time_size<false>>;

struct BlockHook : bi::list_base_hook<bi::link_mode<bi::auto_unlink>> {
    CachedBlock* block = nullptr;
};
using BlockList = bi::list<BlockHook, bi::constant_time_size<false>>;

// There are tens of thousands.
struct CachedBlock {
    CachedBlock() = default;
    ~CachedBlock() { drop_parts(); }
    CachedBlock(const CachedBlock&) = delete;
    CachedBlock& operator=(const CachedBlock&) = delete;

    BlockKey key;
    x86::Translator::Source source;
    u64 position = 0; // where its code starts, in bytes allocated since the beginning (a place of the ring)
    const u8* entry = nullptr;          // where its code begins; null: it has none and is interpreted
    u64 linear_pc = 0, second_page = 0; // as in ir::Block
    u32 code_pages[2] = {ir::Block::no_number, ir::Block::no_number};
    u32 guest_bytes = 0, guest_instructions = 0;
    backend::Entries code;
    bool alive = true; // false: invalidated, kept until its room is wanted because it may be running
    std::unique_ptr<ir::Block> ir; // only of blocks that are interpreted or verified
    LinkList in;
    BlockHook pages[2]; // among those made from each page; the first, of one not alive, among those with room

    // What its code came with, in one piece of the arena.
    std::span<Link> out() const { return {parts_, links_}; } // linked or not
    std::span<std::unique_ptr<ir::Inst>> kept() const {      // Compiled::kept
        return {reinterpret_cast<std::unique_ptr<ir::Inst>*>(parts_ + links_), kept_};
    }
    std::span<backend::SidePoint> points() const {
        return {reinterpret_cast<backend::SidePoint*>(kept().data() + kept_), points_};
    }
    void take_parts(backend::Compiled& made, BlockArena& arena);
    void drop_parts();

    bool crosses_page() const { return source.bytes[1] != 0; }
    // May be entered from other pages.
    bool has_numbers() const { return code_pages[0] != ir::Block::no_number; }
    bool covers(u64 gpa, u64 size) const;
    // The side point of Context::host_return; null if there is none.
    const backend::SidePoint* side_point(const u8* host_return) const;
    // The same of the jump that was left unlinked.
    const backend::LinkSite* link_site(const u8* host_return) const;

    struct Drop {
        void operator()(CachedBlock* block) const {
            block->~CachedBlock();
            BlockArena::release(block, sizeof *block);
        }
    };

  private:
    u64 parts_bytes() const {
        return links_ * sizeof(Link) + kept_ * sizeof(kept()[0]) + points_ * sizeof(backend::SidePoint);
    }

    u16 links_ = 0, kept_ = 0, points_ = 0; // each has some bytes of code
    Link* parts_ = nullptr;
};
using CachedBlockPtr = std::unique_ptr<CachedBlock, CachedBlock::Drop>;

class TranslationCache final : public softmmu::CodeWatcher, public softmmu::MapListener {
  public:
    struct Counters { // since the start, for `info jit`
        u64 blocks = 0, guest_bytes = 0, guest_instructions = 0, host_bytes = 0, host_instructions = 0;
        u64 invalidated = 0, evicted = 0, links = 0;
        u64 in_old_room = 0; // blocks whose code lies where another's did that was invalidated
        struct Kind {
            u64 guest = 0, host = 0; // instructions; those of the host in line
        };
        std::array<Kind, backend::kInstructionKinds> kinds;
        u64 cold = 0, warmed = 0; // blocks that began without code; those of them that have got some
    };

    // Everything is borrowed. `backend` may be null when blocks are only interpreted.
    TranslationCache(softmmu::PhysicalMap& map, backend::CodeBuffer* buffer, backend::Backend* backend);
    ~TranslationCache() override;

    CachedBlock* find(const BlockKey& key) { return table_.find(key); }
    // Takes over a translated block: compiles it (unless interpreted), keeps it, marks its guest bytes. Null:
    // its code does not fit the largest room there is; translate fewer instructions. `code`: its code, made
    // before; null then: that is no use, and nothing has happened.
    CachedBlock* insert(const BlockKey& key, const x86::Translator::Source& source, ir::Block&& block,
                        bool keep_ir, const backend::PortableCode* code = nullptr);
    // The same for a block that is not to be compiled yet. Takes what `block` holds and leaves it the room of
    // another. Only the last so many are kept: they stay in the host's caches.
    static constexpr u32 kColdBlocks = 128;
    CachedBlock& insert_cold(const BlockKey& key, const x86::Translator::Source& source, ir::Block& block);
    // The block without code at this position; null: it is gone, or has some.
    CachedBlock* cold(u64 position) const {
        CachedBlock* const block = cold_.empty() ? nullptr : cold_[position % kColdBlocks].get();
        return block && block->position == position && block->alive ? block : nullptr;
    }
    // Compiles it, after passes were run over its IR. Null as from insert(): it is gone then; with `code` it
    // stays as it was.
    CachedBlock* warm(CachedBlock& cold, const backend::PortableCode* code = nullptr);
    // The block, alive or not, whose host code made the call that returns to this address; null if none.
    CachedBlock* by_host(const u8* host_return);

    // Patches the jump of `from` that was left at `host_return` to lead to `to`, if such a jump is allowed:
    // both alive and of one mode. To another page it leads to the entry that asks whether that page is still
    // the same. False: nothing was linked.
    bool try_link(CachedBlock& from, const u8* host_return, CachedBlock& to);

    // The cache of indirect jumps that generated code looks into.
    ir::JumpCache& jump_cache() { return jump_cache_[0]; }
    void remember_jump(const CachedBlock& block);
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
    Entered entered(unsigned part) override;
    void written(u64 gpa, u64 size) override;
    // MapListener
    void mappings_changed() override {}
    void contents_changed(u64 gpa, u64 bytes) override;

    const Counters& counters() const { return counters_; }
    // Of the block that was compiled last; but for what the block itself has taken.
    const backend::Compiled& made() const { return made_; }
    u64 blocks_alive() const { return alive_; }
    u64 bytes_used() const;
    u64 bytes_total() const { return ring_bytes_; }

  private:
    static constexpr u64 kMaxBlockBytes = 32 * KiB;
    static constexpr u64 kMaxInterpretedBlocks = 200'000;

    u8 const* reserve(u64& position); // kMaxBlockBytes of ring
    // A block that is not alive and has room for so many bytes of code, which its own do not fill much less
    // well; null: none. It is no longer among those with room.
    CachedBlock* take_room(u64 bytes);
    void evict_oldest();
    static void describe(CachedBlock& cached, const BlockKey& key, const x86::Translator::Source& source,
                         const ir::Block& block);
    void enter(CachedBlock& block); // into every index but the ring
    bool compile(CachedBlock& cached, const ir::Block& block, const backend::PortableCode* code);
    CachedBlock* into_ring(CachedBlockPtr cached);
    CachedBlockPtr make_block();
    void drop_cold(CachedBlockPtr& place);
    template <class F> void for_each(F f);  // block, of the ring and cold
    void note_place(u64 position, u64 end); // of the block at the back of the ring
    std::size_t index_at(u64 position); // in the ring, of the last that begins at or before it; else its size
    CachedBlock* at_position(u64 position); // the same block; null: there is none
    void detach(CachedBlock& block);        // out of every index but the ring

    softmmu::PhysicalMap& map_;
    backend::CodeBuffer* buffer_;
    backend::Backend* backend_;
    const ir::Context* ctx_ = nullptr;
    const CachedBlock* interpreted_ = nullptr;

    BlockArena arena_; // before all that lies in it
    backend::Compiled made_;
    BlockTable<CachedBlock> table_;            // those alive
    std::unordered_map<u64, BlockList> pages_; // gpa >> 12: what was made from there, if anything is left
    struct Place {
        u64 position; // the block's, here too: a search looks at no block but the one it finds
        CachedBlockPtr block;
    };
    std::deque<Place> ring_; // by rising position, the oldest first but for those in old room
    // Those that are not alive, by their room in steps of kRoomStep; the last one first, as the host's caches
    // know it best. Between blocks none of them is running.
    static constexpr u64 kRoomStep = 16;
    std::array<BlockList, 4 * KiB / kRoomStep> rooms_;
    // Those without code, beside others that have code; the oldest is the next to go.
    std::vector<CachedBlockPtr> cold_;                   // by position; null: it has got code since
    std::vector<std::unique_ptr<ir::Block>> cold_rooms_; // for the next ones
    u64 next_cold_ = 0;
    u64 ring_start_ = 0, ring_bytes_ = 0; // in the buffer
    u64 head_ = 0;                        // position of the next block
    u64 alive_ = 0;
    // by_host: for each so many bytes of the ring, the number (counted from the start) of the last block
    // that begins at or before them.
    static constexpr u64 kGranule = 256;
    Zeros<u32> granules_;
    u32 popped_ = 0;                      // the number of ring_.front()
    CachedBlock* last_by_host_ = nullptr; // asked for again where the jump that left it is linked
    Zeros<ir::JumpCache> jump_cache_;     // one
    Counters counters_;
};

} // namespace dragoman::runtime
