#include "runtime/translation_cache.h"

#include "base/huge_page.h"

#include <algorithm>
#include <memory>
#include <new>

namespace dragoman::runtime {

namespace {

// Looked into at random by nearly every jump to another page.
Zeros<ir::JumpCache> make_jump_cache() {
    Zeros<ir::JumpCache> cache(1, Zeros<ir::JumpCache>::Memory::WhereTouched, kHugePage);
    // The second level and the first four tables; for the last two as well it would be 2 MiB more.
    ask_for_huge_pages(cache.data(), align_down(offsetof(ir::JumpCache, none), kHugePage));
    cache[0].begin();
    return cache;
}

} // namespace

bool CachedBlock::covers(u64 gpa, u64 size) const {
    for (unsigned part = 0; part < x86::Translator::Source::Parts; ++part)
        if (source.bytes[part] && gpa < source.gpa[part] + source.bytes[part] &&
            source.gpa[part] < gpa + size)
            return true;
    return false;
}

const backend::SidePoint* CachedBlock::side_point(const u8* host_return) const {
    const u32 offset = u32(host_return - entry);
    const std::span<backend::SidePoint> all = points();
    const auto it = std::ranges::lower_bound(all, offset, {}, &backend::SidePoint::return_offset);
    return it != all.end() && it->return_offset == offset ? &*it : nullptr;
}

const backend::LinkSite* CachedBlock::link_site(const u8* host_return) const {
    const u32 offset = u32(host_return - entry);
    for (const Link& link : out())
        if (link.site.return_offset == offset) return &link.site;
    return nullptr;
}

void CachedBlock::take_parts(backend::Compiled& made, BlockArena& arena) {
    static_cast<backend::Entries&>(code) = made;
    links_ = u16(made.links.size());
    kept_ = u16(made.kept.size());
    points_ = u16(made.points.size());
    if (!parts_bytes()) return;
    parts_ = static_cast<Link*>(arena.allocate(parts_bytes()));
    for (u64 n = 0; n < links_; ++n)
        new (&out()[n]) Link(*this, made.links[n]);
    std::uninitialized_move(made.kept.begin(), made.kept.end(), kept().begin());
    std::uninitialized_copy(made.points.begin(), made.points.end(), points().begin());
    made.kept.clear();
}

void CachedBlock::drop_parts() {
    if (!parts_) return;
    std::ranges::destroy(out());
    std::ranges::destroy(kept());
    BlockArena::release(parts_, parts_bytes());
    parts_ = nullptr;
    links_ = kept_ = points_ = 0;
}

CachedBlockPtr TranslationCache::make_block() {
    return CachedBlockPtr(new (arena_.allocate(sizeof(CachedBlock))) CachedBlock);
}

TranslationCache::TranslationCache(softmmu::PhysicalMap& map, backend::CodeBuffer* buffer,
                                   backend::Backend* backend)
    : map_(map), buffer_(buffer), backend_(backend), jump_cache_(make_jump_cache()) {
    if (backend_) {
        ring_start_ = align_up(backend_->stub_bytes(), 64);
        ring_bytes_ = buffer_->bytes() - ring_start_;
        granules_ = Zeros<u32>(ring_bytes_ / kGranule + 1);
    }
    map_.set_watcher(this);
    map_.add_listener(*this);
}

TranslationCache::~TranslationCache() {
    map_.set_watcher(nullptr);
    map_.remove_listener(*this);
    for (const auto& [number, page] : pages_) // nobody runs the code any more: links stay as they are
        map_.clear_code(number << 12);
}

const u8* TranslationCache::reserve(u64& position) {
    // A block is never split at the end of the ring: what is left there is skipped.
    if (ring_bytes_ - head_ % ring_bytes_ < kMaxBlockBytes) head_ += ring_bytes_ - head_ % ring_bytes_;
    while (!ring_.empty() && ring_.front().position + ring_bytes_ < head_ + kMaxBlockBytes)
        evict_oldest();
    position = head_;
    return buffer_->executable() + ring_start_ + head_ % ring_bytes_;
}

CachedBlock* TranslationCache::take_room(u64 bytes) {
    constexpr u64 kMostSteps = 4; // more than the code takes
    const u64 least = align_up(bytes, kRoomStep) / kRoomStep;
    for (u64 n = least; n <= least + kMostSteps && n < rooms_.size(); ++n) {
        if (rooms_[n].empty()) continue;
        CachedBlock* const block = rooms_[n].front().block;
        rooms_[n].pop_front();
        return block;
    }
    return nullptr;
}

void TranslationCache::evict_oldest() {
    CachedBlock& oldest = *ring_.front().block;
    if (oldest.alive) {
        ++counters_.evicted;
        detach(oldest);
    }
    if (last_by_host_ == &oldest) last_by_host_ = nullptr;
    ring_.pop_front();
    ++popped_;
}

void TranslationCache::note_place(u64 position, u64 end) {
    const u32 number = popped_ + u32(ring_.size()) - 1;
    const u64 first = position % ring_bytes_;
    for (u64 g = (first + kGranule - 1) / kGranule; g * kGranule < first + (end - position); ++g)
        granules_[g] = number;
}

std::size_t TranslationCache::index_at(u64 position) {
    std::size_t n = granules_[position % ring_bytes_ / kGranule] - popped_;
    if (n >= ring_.size() || ring_[n].position > position) { // the granule is partly of another round
        const auto it = std::upper_bound(ring_.begin(), ring_.end(), position,
                                         [](u64 at, const Place& place) { return at < place.position; });
        return it == ring_.begin() ? ring_.size() : std::size_t(it - ring_.begin()) - 1;
    }
    while (n + 1 < ring_.size() && ring_[n + 1].position <= position)
        ++n;
    return n;
}

CachedBlock* TranslationCache::at_position(u64 position) {
    const std::size_t n = index_at(position);
    return n < ring_.size() ? ring_[n].block.get() : nullptr;
}

void TranslationCache::describe(CachedBlock& cached, const BlockKey& key,
                                const x86::Translator::Source& source, const ir::Block& block) {
    cached.key = key;
    cached.source = source;
    cached.linear_pc = block.linear_pc;
    cached.second_page = block.second_page();
    std::copy_n(block.code_pages, 2, cached.code_pages);
    cached.guest_bytes = block.guest_bytes;
    cached.guest_instructions = block.guest_instructions;
}

void TranslationCache::enter(CachedBlock& block) {
    const x86::Translator::Source& source = block.source;
    table_.insert(block);
    for (unsigned part = 0; part < 2; ++part) {
        if (!source.bytes[part]) continue;
        block.pages[part].block = &block;
        pages_[source.gpa[part] >> 12].push_back(block.pages[part]);
        map_.mark_code(source.gpa[part], source.bytes[part]);
    }
    constexpr unsigned followed = x86::Translator::Source::Followed; // in the first page
    if (source.bytes[followed]) map_.mark_code(source.gpa[followed], source.bytes[followed]);
    ++alive_;
}

bool TranslationCache::compile(CachedBlock& cached, const ir::Block& block,
                               const backend::PortableCode* code) {
    CachedBlock* const old = code ? take_room(code->code.size()) : nullptr;
    if (old) {
        old->drop_parts(); // its jumps will not be there
        cached.position = old->position;
        cached.entry = old->entry;
    } else {
        cached.entry = reserve(cached.position);
    }
    backend::PortableCode here = code ? *code : backend::PortableCode{};
    std::copy_n(block.code_pages, 2, here.code_pages);
    const bool made = code ? code->code.size() <= kMaxBlockBytes && backend_->place(here, cached.entry, made_)
                           : backend_->compile(block, cached.entry, kMaxBlockBytes, made_);
    if (!made) return false;
    if (old) {
        ++counters_.in_old_room;
    } else {
        head_ += align_up(made_.code_bytes, kRoomStep);
        buffer_->written(cached.entry + made_.code_bytes);
    }
    cached.take_parts(made_, arena_);
    counters_.host_bytes += made_.code_bytes;
    counters_.host_instructions += made_.host_instructions;
    for (unsigned kind = 0; kind < backend::kInstructionKinds; ++kind) {
        counters_.kinds[kind].guest += made_.kinds[kind].guest;
        counters_.kinds[kind].host += made_.kinds[kind].host;
    }
    return true;
}

CachedBlock* TranslationCache::into_ring(CachedBlockPtr cached) {
    ++counters_.blocks;
    counters_.guest_bytes += cached->guest_bytes;
    counters_.guest_instructions += cached->guest_instructions;
    if (!ring_.empty() && cached->position <= ring_.back().position) { // in old room
        CachedBlockPtr& place = ring_[index_at(cached->position)].block;
        if (last_by_host_ == place.get()) last_by_host_ = nullptr;
        place = std::move(cached);
        return place.get();
    }
    ring_.push_back({cached->position, std::move(cached)});
    if (backend_) note_place(ring_.back().position, head_);
    return ring_.back().block.get();
}

CachedBlock* TranslationCache::insert(const BlockKey& key, const x86::Translator::Source& source,
                                      ir::Block&& block, bool keep_ir, const backend::PortableCode* code) {
    CachedBlockPtr cached = make_block();
    if (backend_) {
        if (!compile(*cached, block, code)) return nullptr;
    } else {
        if (ring_.size() >= kMaxInterpretedBlocks) evict_oldest();
        cached->position = head_++;
    }
    describe(*cached, key, source, block);
    if (keep_ir || !backend_) cached->ir = std::make_unique<ir::Block>(std::move(block));
    enter(*cached);
    return into_ring(std::move(cached));
}

CachedBlock& TranslationCache::insert_cold(const BlockKey& key, const x86::Translator::Source& source,
                                           ir::Block& block) {
    if (cold_.empty()) cold_.resize(kColdBlocks);
    CachedBlockPtr& place = cold_[next_cold_ % kColdBlocks];
    if (place) drop_cold(place);
    place = make_block();
    place->position = next_cold_++;
    describe(*place, key, source, block);
    if (cold_rooms_.empty()) cold_rooms_.push_back(std::make_unique<ir::Block>());
    place->ir = std::move(cold_rooms_.back());
    cold_rooms_.pop_back();
    std::swap(*place->ir, block);
    enter(*place);
    ++counters_.cold;
    return *place;
}

void TranslationCache::drop_cold(CachedBlockPtr& place) {
    if (place->alive) detach(*place);
    cold_rooms_.push_back(std::move(place->ir));
    place.reset();
}

CachedBlock* TranslationCache::warm(CachedBlock& cold, const backend::PortableCode* code) {
    const u64 position = cold.position;
    CachedBlockPtr& place = cold_[position % kColdBlocks];
    if (!compile(cold, *cold.ir, code)) {
        cold.entry = nullptr;
        cold.position = position;
        if (!code) drop_cold(place);
        return nullptr;
    }
    ++counters_.warmed;
    cold_rooms_.push_back(std::move(cold.ir));
    return into_ring(std::move(place));
}

CachedBlock* TranslationCache::by_host(const u8* host_return) {
    // A return address may be the first byte after its block, and so the next block's entry: look for the
    // call itself.
    const u8* const host = host_return - 1;
    if (!buffer_ || !buffer_->contains(host) || ring_.empty()) return nullptr;
    const u64 offset = u64(host - buffer_->executable()) - ring_start_;
    if (offset >= ring_bytes_) return nullptr; // one of the stubs
    // The last position with this offset that has been handed out.
    u64 position = head_ - head_ % ring_bytes_ + offset;
    if (position >= head_) {
        if (position < ring_bytes_) return nullptr;
        position -= ring_bytes_;
    }
    if (last_by_host_ && position - last_by_host_->position < last_by_host_->code.code_bytes)
        return last_by_host_;
    CachedBlock* const block = last_by_host_ = at_position(position);
    return block && position - block->position < block->code.code_bytes ? block : nullptr;
}

bool TranslationCache::try_link(CachedBlock& from, const u8* host_return, CachedBlock& to) {
    if (!from.alive || !to.alive || from.key.mode != to.key.mode) return false;
    bool linked = false;
    const u32 offset = u32(host_return - from.entry);
    for (Link& link : from.out()) {
        const backend::LinkSite& at = link.site;
        if (at.return_offset != offset || at.target != to.key.rip || link.is_linked()) continue;
        if (!at.far && (from.linear_pc ^ to.linear_pc) >> 12) continue;
        if ((at.far || to.crosses_page()) && !to.has_numbers()) continue;
        backend_->link(from.entry, at, to.entry, to.code);
        to.in.push_back(link);
        ++counters_.links;
        linked = true;
    }
    return linked;
}

void TranslationCache::remember_jump(const CachedBlock& block) {
    if (!block.has_numbers()) return;
    jump_cache().remember(block.key.rip, block.key.mode, block.entry + block.code.far_entry);
}

void TranslationCache::clear_jump_cache() {
    jump_cache().clear();
}

void TranslationCache::detach(CachedBlock& block) {
    block.alive = false;
    --alive_;
    table_.erase(block);
    while (!block.in.empty()) {
        Link& link = block.in.front();
        backend_->unlink(link.from->entry, link.site);
        link.unlink();
    }
    // Its own jumps stay, should it be running: where they lead is alive, and nobody comes back from there.
    jump_cache().forget(block.key.rip, block.key.mode, block.entry + block.code.far_entry);
    for (unsigned part = 0; part < 2; ++part) {
        if (!block.pages[part].is_linked()) continue;
        block.pages[part].unlink();
        // A page without code stays listed: it may get some again in a moment.
        if (pages_.find(block.source.gpa[part] >> 12)->second.empty())
            map_.clear_code(align_down(block.source.gpa[part], softmmu::kPageSize));
    }
}

void TranslationCache::invalidate(CachedBlock& block) {
    if (!block.alive) return;
    ++counters_.invalidated;
    detach(block);
    if (!block.entry) return;
    const u64 room = align_up(block.code.code_bytes, kRoomStep) / kRoomStep;
    if (room < rooms_.size()) rooms_[room].push_front(block.pages[0]);
}

template <class F> void TranslationCache::for_each(F f) {
    for (const Place& place : ring_)
        f(*place.block);
    for (const auto& block : cold_)
        if (block) f(*block);
}

void TranslationCache::invalidate_all() {
    for_each([&](CachedBlock& block) { invalidate(block); });
}

void TranslationCache::invalidate_linear(u64 linear) {
    for_each([&](CachedBlock& block) {
        if (linear - block.linear_pc < block.guest_bytes ||
            ((linear ^ block.linear_pc) < 4096 &&
             block.covers((block.source.gpa[0] & ~u64{4095}) | (linear & 4095), 1)))
            invalidate(block);
    });
}

bool TranslationCache::may_write(u64 gpa, u64 size) {
    const CachedBlock* running = interpreted_;
    if (ctx_ && ctx_->host_return) running = by_host(reinterpret_cast<const u8*>(ctx_->host_return));
    return !running || running->guest_instructions <= 1 || !running->covers(gpa, size);
}

softmmu::CodeWatcher::Entered TranslationCache::entered(unsigned part) {
    const CachedBlock* const block = by_host(reinterpret_cast<const u8*>(ctx_->host_return));
    DRAGOMAN_ASSERT(block);
    return {.rip = block->key.rip,
            .linear = part ? block->second_page : block->linear_pc,
            .number = block->code_pages[part]};
}

void TranslationCache::written(u64 gpa, u64 size) {
    const auto it = pages_.find(gpa >> 12);
    if (it == pages_.end()) return;
    std::vector<CachedBlock*> hit;
    for (const BlockHook& hook : it->second)
        if (hook.block->covers(gpa, size)) hit.push_back(hook.block);
    for (CachedBlock* block : hit)
        invalidate(*block);
}

void TranslationCache::contents_changed(u64 gpa, u64 bytes) {
    std::vector<CachedBlock*> hit;
    const auto look = [&](const BlockList& page) {
        for (const BlockHook& hook : page)
            if (hook.block->covers(gpa, bytes)) hit.push_back(hook.block);
    };
    const u64 first = gpa >> 12, last = (gpa + bytes - 1) >> 12;
    for (const auto& [number, page] : pages_)
        if (number >= first && number <= last) look(page);
    for (CachedBlock* block : hit)
        invalidate(*block);
}

u64 TranslationCache::bytes_used() const {
    return ring_.empty() ? 0 : head_ - ring_.front().position;
}

} // namespace dragoman::runtime
