// The translation cache with real host code: finding, invalidating, links, the ring, the jump cache.
#include "runtime/translation_cache.h"

#include "ir/parse.h"

#include <gtest/gtest.h>

#include <cstring>

namespace dragoman::runtime {
namespace {

class Cache : public ::testing::Test {
  protected:
    void SetUp() override { make(4 * MiB); }
    void make(u64 bytes) {
        cache.reset();
        buffer = std::move(*backend::CodeBuffer::create(bytes));
        backend = std::move(*backend::Backend::create(*buffer, {}, log));
        cache = std::make_unique<TranslationCache>(*map, buffer.get(), backend.get());
        cache->set_context(&ctx);
    }

    // A block of `instructions` one-byte instructions at gpa = rip = linear address, that jumps to `target`.
    CachedBlock* add(u64 rip, u64 target, u32 instructions = 2, u64 mode = 1) {
        ir::Block block = jump_block(rip, target, instructions);
        if (numbered) block.code_pages[0] = u32(rip >> 12);
        return cache->insert({rip, rip, mode}, {{rip, 0}, {instructions, 0}}, std::move(block), false);
    }
    // The same from code that was made before, as by another thread.
    CachedBlock* add_made(u64 rip, u64 target, u32 instructions = 2) {
        ir::Block block = jump_block(rip, target, instructions);
        block.code_pages[0] = u32(rip >> 12);
        const u8* const aside = buffer->executable() + buffer->bytes() - 64 * KiB;
        backend::Compiled made;
        backend::PortableCode code;
        EXPECT_TRUE(backend->compile(block, aside, 64 * KiB, made));
        EXPECT_TRUE(backend->portable(aside, made, made.kept, code));
        code.made_pc = code.pc = rip;
        return cache->insert({rip, rip, 1}, {{rip, 0}, {instructions, 0}}, std::move(block), false, &code);
    }
    // One instruction of 4 bytes, half of it in the next page.
    CachedBlock* add_crossing(u64 rip, u64 second_gpa, u64 target) {
        ir::Block block = jump_block(rip, target, 1);
        block.guest_bytes = 4;
        block.code_pages[0] = u32(rip >> 12), block.code_pages[1] = u32(second_gpa >> 12);
        return cache->insert({rip, rip, 1}, {{rip, second_gpa}, {2, 2}}, std::move(block), false);
    }
    static ir::Block jump_block(u64 rip, u64 target, u32 instructions) {
        char line[80];
        std::snprintf(line, sizeof line,
                      "block pc=%#llx linear=%#llx bytes=%u instructions=%u mode=64 view=0\n",
                      (unsigned long long)rip, (unsigned long long)rip, instructions, instructions);
        std::string text = line;
        for (u32 i = 0; i < instructions; ++i) {
            std::snprintf(line, sizeof line, "%04x lea.8 rcx, [rcx + 1]\n", i);
            text += line;
        }
        std::snprintf(line, sizeof line, "jump %#llx\n", (unsigned long long)target);
        auto block = ir::parse(text + line);
        EXPECT_TRUE(block) << (block ? "" : block.error().message);
        return std::move(*block);
    }

    static const u8* site_return(const CachedBlock& b, u32 site = 0) {
        return b.entry + b.out()[site].site.return_offset;
    }
    // The entry of `to` that a linked jump of `from` takes.
    static const u8* entry_for(const CachedBlock& from, const CachedBlock& to) {
        const backend::LinkSite& site = from.out()[0].site;
        return to.entry + (site.far           ? to.code.far_entry
                           : site.saved_flags ? to.code.saved_entry
                                              : to.code.entry);
    }
    // Where the patchable jump leads.
    static const u8* leads_to(const CachedBlock& b, u32 site = 0) {
        const u8* jump = b.entry + b.out()[site].site.jump_offset;
        const u8* displacement = jump + (*jump == 0x0f ? 2 : 1);
        i32 relative;
        std::memcpy(&relative, displacement, 4);
        return displacement + 4 + relative;
    }
    static const u8* stub(const CachedBlock& b, u32 site = 0) {
        return b.entry + b.out()[site].site.stub_offset;
    }

    bool numbered = true; // blocks that are added know the number of their page
    Log log;
    ir::Context ctx;
    std::unique_ptr<softmmu::PhysicalMap> map = std::move(*softmmu::PhysicalMap::create(16 * MiB));
    std::unique_ptr<backend::CodeBuffer> buffer;
    std::unique_ptr<backend::Backend> backend;
    std::unique_ptr<TranslationCache> cache;
};

TEST_F(Cache, FindsByTheWholeKey) {
    CachedBlock* a = add(0x1000, 0x1010);
    CachedBlock* other_mode = add(0x1000, 0x1010, 2, 2);
    EXPECT_EQ(cache->find({0x1000, 0x1000, 1}), a);
    EXPECT_EQ(cache->find({0x1000, 0x1000, 2}), other_mode);
    EXPECT_EQ(cache->find({0x1000, 0x1001, 1}), nullptr);
    EXPECT_EQ(cache->find({0x2000, 0x1000, 1}), nullptr);
    EXPECT_EQ(cache->blocks_alive(), 2u);
    EXPECT_EQ(cache->counters().guest_bytes, 4u);
}

TEST_F(Cache, WritesTakeAwayOnlyWhatTheyHit) {
    CachedBlock* a = add(0x1000, 0x1100, 8);
    CachedBlock* b = add(0x1080, 0x1100, 8);
    EXPECT_TRUE(map->hits_code(0x1000, 1));
    map->store(0x1008, 4, 0); // the same line of the bitmap, but behind the block
    EXPECT_TRUE(a->alive);
    map->store(0x1007, 1, 0);
    EXPECT_FALSE(a->alive);
    EXPECT_TRUE(b->alive);
    EXPECT_EQ(cache->find({0x1000, 0x1000, 1}), nullptr);
    EXPECT_TRUE(map->lookup(0x1000).has_code);
    const u8 zero[0x200] = {};
    EXPECT_TRUE(map->write(0xf00, zero, sizeof zero)); // DMA that ends in the page, before b
    EXPECT_TRUE(map->write(0x1040, zero, sizeof zero));
    EXPECT_FALSE(b->alive);
    EXPECT_FALSE(map->lookup(0x1000).has_code) << "the page is free of code again";
    EXPECT_EQ(cache->counters().invalidated, 2u);
    EXPECT_EQ(cache->blocks_alive(), 0u);
}

TEST_F(Cache, LinksAreMadeAndTakenBack) {
    CachedBlock* a = add(0x1000, 0x1010);
    CachedBlock* b = add(0x1010, 0x1000);
    ASSERT_EQ(a->out().size(), 1u);
    EXPECT_EQ(leads_to(*a), stub(*a));
    cache->try_link(*a, site_return(*a), *b);
    cache->try_link(*b, site_return(*b), *a);
    EXPECT_EQ(leads_to(*a), entry_for(*a, *b));
    EXPECT_EQ(leads_to(*b), entry_for(*b, *a));
    EXPECT_EQ(cache->counters().links, 2u);
    cache->try_link(*a, site_return(*a), *b);
    EXPECT_EQ(cache->counters().links, 2u) << "once is enough";

    cache->invalidate(*b);
    EXPECT_EQ(leads_to(*a), stub(*a)) << "nothing leads to a dead block";
    EXPECT_EQ(leads_to(*b), entry_for(*b, *a)) << "it may be running, and goes on where code is alive";
    CachedBlock* again = add(0x1010, 0x1000);
    cache->try_link(*a, site_return(*a), *again);
    EXPECT_EQ(leads_to(*a), entry_for(*a, *again));
    cache->invalidate(*a);
    EXPECT_EQ(leads_to(*b), stub(*b)) << "nothing leads to a dead block, nor do the dead";
    cache->try_link(*b, site_return(*b), *again);
    EXPECT_EQ(leads_to(*b), stub(*b)) << "the dead are not linked";
    cache->invalidate_all();
    EXPECT_EQ(leads_to(*a), stub(*a)) << "nor does what was dead before";
}

TEST_F(Cache, ABlockMayLinkToItself) {
    CachedBlock* a = add(0x1000, 0x1000);
    cache->try_link(*a, site_return(*a), *a);
    EXPECT_EQ(leads_to(*a), entry_for(*a, *a));
    cache->invalidate(*a);
    EXPECT_EQ(leads_to(*a), stub(*a));
}

TEST_F(Cache, LinksStayInAMode) {
    CachedBlock* b = add(0x1100, 0x1200);
    CachedBlock* other_mode = add(0x1200, 0x1100, 2, 2);
    CachedBlock* not_the_target = add(0x1300, 0x1100);
    cache->try_link(*b, site_return(*b), *other_mode);
    cache->try_link(*b, site_return(*b), *not_the_target);
    cache->try_link(*b, site_return(*b) + 1, *b);
    EXPECT_EQ(leads_to(*b), stub(*b));
    EXPECT_EQ(cache->counters().links, 0u);
}

TEST_F(Cache, LinksToOtherPagesLeadToTheFarEntry) {
    CachedBlock* a = add(0x1000, 0x2000);
    CachedBlock* far = add(0x2000, 0x1000);
    EXPECT_NE(far->code.far_entry, far->code.saved_entry);
    cache->try_link(*a, site_return(*a), *far);
    EXPECT_EQ(leads_to(*a), far->entry + far->code.far_entry);
    cache->invalidate(*far);
    EXPECT_EQ(leads_to(*a), stub(*a));
    numbered = false;
    cache->try_link(*a, site_return(*a), *add(0x2000, 0x1000));
    EXPECT_EQ(leads_to(*a), stub(*a)) << "nobody could say whether its page is still there";
}

TEST_F(Cache, CrossingBlocksBelongToBothPages) {
    CachedBlock* crossing = add_crossing(0x1ffe, 0x5000, 0x1000);
    EXPECT_TRUE(crossing->crosses_page());
    EXPECT_TRUE(map->hits_code(0x1ffe, 1));
    EXPECT_TRUE(map->hits_code(0x5001, 1));
    CachedBlock* a = add(0x1000, 0x1ffe);
    cache->try_link(*a, site_return(*a), *crossing);
    EXPECT_EQ(leads_to(*a), entry_for(*a, *crossing));
    EXPECT_EQ(crossing->code.saved_entry, crossing->code.far_entry) << "the second page must be asked for";
    CachedBlock* b = add(0x3000, 0x1ffe);
    cache->try_link(*b, site_return(*b), *crossing);
    EXPECT_EQ(leads_to(*b), crossing->entry + crossing->code.far_entry);
    cache->try_link(*crossing, site_return(*crossing), *a);
    EXPECT_EQ(leads_to(*crossing), a->entry + a->code.far_entry);
    EXPECT_EQ(cache->counters().links, 3u);
    map->store(0x5002, 1, 0);
    EXPECT_TRUE(crossing->alive);
    map->store(0x5001, 1, 0);
    EXPECT_FALSE(crossing->alive);
    EXPECT_FALSE(map->lookup(0x5000).has_code);
    EXPECT_TRUE(map->lookup(0x1000).has_code) << "a is still there";
}

TEST_F(Cache, FindsTheBlockOfAReturnAddress) {
    CachedBlock* a = add(0x1000, 0x1010);
    CachedBlock* b = add(0x1010, 0x1000);
    EXPECT_EQ(cache->by_host(a->entry), nullptr) << "no call ends at the very beginning";
    EXPECT_EQ(cache->by_host(a->entry + 1), a);
    EXPECT_EQ(cache->by_host(a->entry + a->code.code_bytes), a) << "a call may be the last of a block";
    EXPECT_EQ(cache->by_host(b->entry + 1), b);
    EXPECT_EQ(cache->by_host(b->entry + b->code.code_bytes), b);
    EXPECT_EQ(cache->by_host(b->entry + b->code.code_bytes + 1), nullptr);
    EXPECT_EQ(cache->by_host(buffer->executable() + 1), nullptr) << "a stub";
    EXPECT_EQ(cache->by_host(reinterpret_cast<const u8*>(this)), nullptr);
    cache->invalidate(*a);
    EXPECT_EQ(cache->by_host(a->entry + 1), a) << "dead blocks may be running";
}

TEST_F(Cache, TheRingTakesTheOldestAway) {
    make(1 * MiB);
    CachedBlock* first = add(0x1000, 0x1010);
    const u8* const first_entry = first->entry;
    CachedBlock* user = add(0x1010, 0x1000); // linked to the first
    cache->try_link(*user, site_return(*user), *first);
    cache->remember_jump(*first);
    u64 rip = 0x2000;
    std::vector<const u8*> entries;
    while (cache->counters().evicted < 2) {
        CachedBlock* b = add(rip, rip + 0x20, 16);
        ASSERT_NE(b, nullptr);
        entries.push_back(b->entry);
        ASSERT_LE(b->entry + b->code.code_bytes, buffer->executable() + buffer->bytes());
        ASSERT_LE(cache->bytes_used(), cache->bytes_total());
        rip += 0x20;
        ASSERT_LT(rip, 15 * MiB) << "the ring never came round";
    }
    EXPECT_EQ(cache->find({0x1000, 0x1000, 1}), nullptr);
    EXPECT_EQ(cache->find({0x1010, 0x1010, 1}), nullptr);
    EXPECT_EQ(cache->jump_cache().table_of(1)[ir::JumpCache::index(0x1000)].host, nullptr);
    EXPECT_FALSE(map->lookup(0x1000).has_code);
    EXPECT_EQ(entries.back(), first_entry) << "the room at the start is used again";
    CachedBlock* newest = cache->find({rip - 0x20, rip - 0x20, 1});
    ASSERT_NE(newest, nullptr);
    EXPECT_EQ(cache->by_host(newest->entry + 1), newest);
    CachedBlock* old = cache->find({rip - 0x40, rip - 0x40, 1}); // the last before the end of the ring
    ASSERT_NE(old, nullptr);
    EXPECT_EQ(cache->by_host(old->entry + 1), old) << "positions of the round before are found too";
    for (u64 at = rip - 0x20; at > 0x3000 && cache->find({at, at, 1}); at -= 0x20) {
        CachedBlock* b = cache->find({at, at, 1});
        ASSERT_EQ(cache->by_host(b->entry + 1), b);
        ASSERT_EQ(cache->by_host(b->entry + b->code.code_bytes), b);
    }
    for (unsigned i = 0; i < 20000; ++i) // and several times around
        ASSERT_NE(add(0x800000 + (i % 0x1000) * 16, 0x800000, 4, 3 + i / 0x1000), nullptr);
    EXPECT_LE(cache->bytes_used(), cache->bytes_total());
}

TEST_F(Cache, InvalidatedBlocksLeaveTheirRoom) {
    CachedBlock* a = add_made(0x1000, 0x1020, 4);
    CachedBlock* b = add_made(0x1010, 0x1000, 4);
    CachedBlock* c = add_made(0x1020, 0x1000, 4);
    cache->try_link(*a, site_return(*a), *c);
    cache->try_link(*b, site_return(*b), *c);
    const u8* const entry = a->entry;
    const u64 used = cache->bytes_used();
    EXPECT_EQ(cache->by_host(entry + 1), a);
    cache->invalidate(*a);
    CachedBlock* d = add_made(0x1008, 0x1010, 4);
    EXPECT_EQ(d->entry, entry);
    EXPECT_EQ(cache->bytes_used(), used);
    EXPECT_EQ(cache->counters().in_old_room, 1u);
    EXPECT_EQ(cache->by_host(entry + 1), d);
    EXPECT_EQ(cache->by_host(entry + d->code.code_bytes), d) << "a return address behind its last call";
    EXPECT_EQ(cache->by_host(b->entry + 1), b);
    EXPECT_TRUE(cache->try_link(*d, site_return(*d), *b));
    cache->invalidate(*c);
    EXPECT_EQ(leads_to(*d), entry_for(*d, *b)) << "what a's jump was is nobody's any more";
    EXPECT_EQ(leads_to(*b), stub(*b));

    EXPECT_NE(add_made(0x1100, 0x1000, 40)->entry, c->entry) << "too long for it";
    CachedBlock* e = add_made(0x1040, 0x1000, 3);
    EXPECT_EQ(e->entry, c->entry);
    EXPECT_EQ(cache->by_host(e->entry + 1), e);
    EXPECT_NE(add_made(0x1050, 0x1000, 4)->entry, e->entry) << "only once";
}

// Blocks come and go, in old room and in new, several times around the ring.
TEST_F(Cache, OldRoomAndTheRing) {
    make(1 * MiB);
    std::vector<CachedBlock*> alive;
    u64 random = 1;
    const auto next = [&](u64 below) {
        random = random * 6364136223846793005 + 1442695040888963407;
        return (random >> 33) % below;
    };
    u64 rip = 0x2000;
    for (unsigned round = 0; round < 30'000; ++round) {
        if (rip >= 15 * MiB) rip = 0x2000;
        if (CachedBlock* before = cache->find({rip, rip, 1})) cache->invalidate(*before);
        const u32 instructions = u32(1 + next(30));
        CachedBlock* block = next(4) ? add_made(rip, rip, instructions) : add(rip, rip, instructions);
        ASSERT_NE(block, nullptr);
        ASSERT_EQ(cache->find({rip, rip, 1}), block);
        ASSERT_EQ(cache->by_host(block->entry + 1), block) << "round " << round;
        ASSERT_EQ(cache->by_host(block->entry + block->code.code_bytes), block) << "round " << round;
        ASSERT_LE(cache->bytes_used(), cache->bytes_total());
        cache->try_link(*block, site_return(*block), *block);
        // One of the last hundred: it is still there.
        const u64 old = rip - 0x20 * (1 + next(100));
        if (CachedBlock* other = cache->find({old, old, 1})) {
            ASSERT_EQ(cache->by_host(other->entry + 1), other) << "round " << round;
            if (next(2)) cache->invalidate(*other);
        }
        rip += 0x20;
    }
    EXPECT_GT(cache->counters().in_old_room, 1000u);
    EXPECT_GT(cache->counters().evicted, 1000u);
}

TEST_F(Cache, TheJumpCacheForgetsInvalidatedBlocks) {
    CachedBlock* a = add(0x1000, 0x1010);
    cache->remember_jump(*a);
    const auto& first = cache->jump_cache().table_of(1)[ir::JumpCache::index(0x1000)];
    const auto& second = cache->jump_cache().second[ir::JumpCache::second_index(0x1000)];
    EXPECT_EQ(first.pc, 0x1000u);
    EXPECT_EQ(second.key, 1u);
    EXPECT_EQ(first.host, a->entry + a->code.far_entry);
    EXPECT_EQ(second.host, first.host);
    cache->invalidate(*a);
    EXPECT_EQ(first.host, nullptr);
    EXPECT_EQ(second.host, nullptr);
    CachedBlock* b = add(0x1000, 0x1010);
    cache->remember_jump(*b);
    cache->clear_jump_cache();
    EXPECT_EQ(first.host, nullptr);
    EXPECT_EQ(second.host, nullptr);
    numbered = false;
    cache->remember_jump(*add(0x2000, 0x2010));
    EXPECT_EQ(cache->jump_cache().second[ir::JumpCache::second_index(0x2000)].host, nullptr)
        << "it may not be entered so";
}

TEST_F(Cache, TheRunningBlockMayNotBeWritten) {
    CachedBlock* a = add(0x1000, 0x1100, 8);
    CachedBlock* single = add(0x1100, 0x1000, 1);
    EXPECT_TRUE(cache->may_write(0x1000, 8)) << "nothing runs";
    ctx.host_return = reinterpret_cast<u64>(a->entry + 4);
    EXPECT_FALSE(cache->may_write(0x1000, 1));
    EXPECT_FALSE(cache->may_write(0x1007, 4));
    EXPECT_TRUE(cache->may_write(0x1008, 4));
    EXPECT_TRUE(cache->may_write(0x0ff0, 16));
    EXPECT_TRUE(cache->may_write(0x1100, 1));
    ctx.host_return = reinterpret_cast<u64>(single->entry + 4);
    EXPECT_TRUE(cache->may_write(0x1100, 1)) << "an instruction alone has nothing behind it";
    ctx.host_return = 0;
    cache->set_interpreted(a);
    EXPECT_FALSE(cache->may_write(0x1000, 1));
    cache->set_interpreted(nullptr);
}

TEST_F(Cache, OtherMemoryInThePlaceOfCode) {
    CachedBlock* a = add(0xc0000, 0xc0010);
    CachedBlock* b = add(0xd0000, 0xd0010);
    alignas(4096) static u8 rom[4096];
    map->map_memory(0xc0000, 4096, rom, true, 10);
    EXPECT_FALSE(a->alive);
    EXPECT_TRUE(b->alive);
}

TEST_F(Cache, BreakpointsInvalidateByLinearAddress) {
    CachedBlock* a = add(0x1000, 0x1100, 8);
    CachedBlock* b = add(0x1008, 0x1100, 8);
    cache->invalidate_linear(0x1007);
    EXPECT_FALSE(a->alive);
    EXPECT_TRUE(b->alive);
}

TEST_F(Cache, WithoutABackendTheIrIsKept) {
    cache.reset();
    TranslationCache plain(*map, nullptr, nullptr);
    CachedBlock* a =
        plain.insert({0x1000, 0x1000, 1}, {{0x1000, 0}, {2, 0}}, jump_block(0x1000, 0x1010, 2), false);
    ASSERT_NE(a->ir, nullptr);
    EXPECT_EQ(a->entry, nullptr);
    const u8 elsewhere[2] = {};
    EXPECT_EQ(plain.by_host(elsewhere + 1), nullptr);
    map->store(0x1000, 1, 0);
    EXPECT_FALSE(a->alive);
}

} // namespace
} // namespace dragoman::runtime
