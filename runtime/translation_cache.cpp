#include "runtime/translation_cache.h"

#include "base/bits.h"

#include <algorithm>
#include <memory>
#include <new>
#include <sys/mman.h>

namespace dragoman::runtime {

namespace {

// Looked into at random by nearly every jump to another page: in huge pages where the host has them.
ir::Context::JumpCacheEntry* make_jump_cache() {
    using Entry = ir::Context::JumpCacheEntry;
    constexpr u64 huge_page = 2 * MiB, bytes = ir::Context::jump_cache_entries * sizeof(Entry);
    static_assert(bytes % huge_page == 0);
    void* const memory = std::aligned_alloc(huge_page, bytes);
    if (!memory) throw std::bad_alloc();
    madvise(memory, bytes, MADV_HUGEPAGE);
    return std::uninitialized_default_construct_n(static_cast<Entry*>(memory),
                                                  ir::Context::jump_cache_entries) -
           ir::Context::jump_cache_entries;
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
    const auto it =
        std::lower_bound(code.points.begin(), code.points.end(), offset,
                         [](const backend::SidePoint& p, u32 at) { return p.return_offset < at; });
    return it != code.points.end() && it->return_offset == offset ? &*it : nullptr;
}

TranslationCache::TranslationCache(softmmu::PhysicalMap& map, backend::CodeBuffer* buffer,
                                   backend::Backend* backend)
    : map_(map), buffer_(buffer), backend_(backend), buckets_(kBuckets),
      set_(Set::bucket_traits(buckets_.data(), buckets_.size())), jump_cache_(make_jump_cache()) {
    if (backend_) {
        ring_start_ = align_up(backend_->stub_bytes(), 64);
        ring_bytes_ = buffer_->bytes() - ring_start_;
        granules_.resize(ring_bytes_ / kGranule + 1);
    }
    map_.set_watcher(this);
    map_.add_listener(*this);
}

TranslationCache::~TranslationCache() {
    map_.set_watcher(nullptr);
    map_.remove_listener(*this);
    invalidate_all();
    ring_.clear();
}

CachedBlock* TranslationCache::find(const BlockKey& key) {
    const auto it = set_.find(
        key, [](const BlockKey& k) { return hash_value(k); },
        [](const BlockKey& k, const CachedBlock& block) { return k == block.key; });
    return it == set_.end() ? nullptr : &*it;
}

const u8* TranslationCache::reserve(u64& position) {
    // A block is never split at the end of the ring: what is left there is skipped.
    if (ring_bytes_ - head_ % ring_bytes_ < kMaxBlockBytes) head_ += ring_bytes_ - head_ % ring_bytes_;
    while (!ring_.empty() && ring_.front()->position + ring_bytes_ < head_ + kMaxBlockBytes)
        evict_oldest();
    position = head_;
    return buffer_->executable() + ring_start_ + head_ % ring_bytes_;
}

void TranslationCache::evict_oldest() {
    CachedBlock& oldest = *ring_.front();
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

CachedBlock* TranslationCache::at_position(u64 position) {
    std::size_t n = granules_[position % ring_bytes_ / kGranule] - popped_;
    if (n >= ring_.size() || ring_[n]->position > position) { // the granule is partly of another round
        const auto it = std::upper_bound(ring_.begin(), ring_.end(), position,
                                         [](u64 at, const auto& block) { return at < block->position; });
        return it == ring_.begin() ? nullptr : std::prev(it)->get();
    }
    // The next block is looked at only where this one has ended.
    while (position - ring_[n]->position >= ring_[n]->code.code_bytes && n + 1 < ring_.size() &&
           ring_[n + 1]->position <= position)
        ++n;
    return ring_[n].get();
}

CachedBlock* TranslationCache::insert(const BlockKey& key, const x86::Translator::Source& source,
                                      ir::Block&& block, bool keep_ir, const backend::PortableCode* code) {
    auto cached = std::make_unique<CachedBlock>();
    if (backend_) {
        cached->entry = reserve(cached->position);
        const bool made = code ? code->code.size() <= kMaxBlockBytes &&
                                     backend_->place(*code, cached->entry, cached->code)
                               : backend_->compile(block, cached->entry, kMaxBlockBytes, cached->code);
        if (!made) return nullptr;
        head_ += align_up(cached->code.code_bytes, 16);
    } else {
        if (ring_.size() >= kMaxInterpretedBlocks) evict_oldest();
        cached->position = head_++;
    }
    cached->key = key;
    cached->source = source;
    cached->linear_pc = block.linear_pc;
    cached->guest_bytes = block.guest_bytes;
    cached->guest_instructions = block.guest_instructions;
    cached->out = std::vector<Link>(cached->code.links.size());
    for (u32 site = 0; site < cached->out.size(); ++site) {
        cached->out[site].from = cached.get();
        cached->out[site].site = site;
    }
    if (keep_ir || !backend_) cached->ir = std::make_unique<ir::Block>(std::move(block));

    set_.insert(*cached);
    for (unsigned part = 0; part < 2; ++part) {
        if (!source.bytes[part]) continue;
        cached->pages[part].block = cached.get();
        pages_[source.gpa[part] >> 12].push_back(cached->pages[part]);
        map_.mark_code(source.gpa[part], source.bytes[part]);
    }
    constexpr unsigned followed = x86::Translator::Source::Followed; // in the first page
    if (source.bytes[followed]) map_.mark_code(source.gpa[followed], source.bytes[followed]);
    ++alive_;
    ++counters_.blocks;
    counters_.guest_bytes += cached->guest_bytes;
    counters_.guest_instructions += cached->guest_instructions;
    counters_.host_bytes += cached->code.code_bytes;
    counters_.host_instructions += cached->code.host_instructions;
    ring_.push_back(std::move(cached));
    if (backend_) note_place(ring_.back()->position, head_);
    return ring_.back().get();
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

void TranslationCache::try_link(CachedBlock& from, const u8* host_return, CachedBlock& to) {
    if (!from.alive || !to.alive || from.crosses_page()) return;
    if ((from.linear_pc ^ to.linear_pc) >> 12) return;
    if (from.key.mode != to.key.mode) return;
    const u32 offset = u32(host_return - from.entry);
    for (u32 site = 0; site < from.out.size(); ++site) {
        const backend::LinkSite& at = from.code.links[site];
        if (at.return_offset != offset || at.target != to.key.rip || from.out[site].is_linked()) continue;
        if (to.crosses_page()) { // its second page must be looked at each time that the mapping may have
                                 // changed
            backend_->look_up(from.entry, at);
            continue;
        }
        backend_->link(from.entry, at, to.entry, to.code);
        to.in.push_back(from.out[site]);
        ++counters_.links;
    }
}

void TranslationCache::remember_jump(u64 rip, u64 key, const CachedBlock& block) {
    jump_cache_[ir::jump_cache_index(rip)] =
        jump_cache_[ir::jump_cache_second_index(rip)] = {rip, key, block.entry + block.code.saved_entry, 0};
}

void TranslationCache::clear_jump_cache() {
    std::fill_n(jump_cache_.get(), ir::Context::jump_cache_entries, ir::Context::JumpCacheEntry{});
}

void TranslationCache::detach(CachedBlock& block) {
    block.alive = false;
    --alive_;
    block.unlink();
    for (PageHook& hook : block.pages)
        if (hook.is_linked()) hook.unlink();
    while (!block.in.empty()) {
        Link& link = block.in.front();
        backend_->unlink(link.from->entry, link.from->code.links[link.site]);
        link.unlink();
    }
    // Its own jumps lead nowhere from now on: should it be running, it leaves at its end.
    for (Link& link : block.out) {
        if (!link.is_linked()) continue;
        backend_->unlink(block.entry, block.code.links[link.site]);
        link.unlink();
    }
    for (const u64 index :
         {ir::jump_cache_index(block.key.rip), ir::jump_cache_second_index(block.key.rip)}) {
        ir::Context::JumpCacheEntry& jump = jump_cache_[index];
        if (jump.host == block.entry + block.code.saved_entry) jump = {};
    }
    for (unsigned part = 0; part < 2; ++part)
        if (block.source.bytes[part]) drop_page(block.source.gpa[part] >> 12);
}

void TranslationCache::drop_page(u64 page) {
    const auto it = pages_.find(page);
    if (it == pages_.end() || !it->second.empty()) return;
    pages_.erase(it);
    map_.clear_code(page << 12);
}

void TranslationCache::invalidate(CachedBlock& block) {
    if (!block.alive) return;
    ++counters_.invalidated;
    detach(block);
}

void TranslationCache::invalidate_all() {
    for (const auto& block : ring_)
        invalidate(*block);
}

void TranslationCache::invalidate_linear(u64 linear) {
    for (const auto& block : ring_)
        if (linear - block->linear_pc < block->guest_bytes ||
            ((linear ^ block->linear_pc) < 4096 &&
             block->covers((block->source.gpa[0] & ~u64{4095}) | (linear & 4095), 1)))
            invalidate(*block);
}

bool TranslationCache::may_write(u64 gpa, u64 size) {
    const CachedBlock* running = interpreted_;
    if (ctx_ && ctx_->host_return) running = by_host(reinterpret_cast<const u8*>(ctx_->host_return));
    return !running || running->guest_instructions <= 1 || !running->covers(gpa, size);
}

void TranslationCache::written(u64 gpa, u64 size) {
    const auto it = pages_.find(gpa >> 12);
    if (it == pages_.end()) return;
    std::vector<CachedBlock*> hit;
    for (const PageHook& hook : it->second)
        if (hook.block->covers(gpa, size)) hit.push_back(hook.block);
    for (CachedBlock* block : hit)
        invalidate(*block);
}

void TranslationCache::contents_changed(u64 gpa, u64 bytes) {
    std::vector<CachedBlock*> hit;
    for (const auto& block : ring_)
        if (block->alive && block->covers(gpa, bytes)) hit.push_back(block.get());
    for (CachedBlock* block : hit)
        invalidate(*block);
}

u64 TranslationCache::bytes_used() const {
    return ring_.empty() ? 0 : head_ - ring_.front()->position;
}

} // namespace dragoman::runtime
