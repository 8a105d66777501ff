#include "runtime/tb_cache.h"

#include "base/assert.h"

namespace dragoman::runtime {

TbRecord* MadeRecords::add(u64 hash, const std::vector<u64>& record) {
    DRAGOMAN_ASSERT(record.size() <= kChunk);
    if (left_ < record.size()) {
        chunks_.push_back(std::make_unique_for_overwrite<u64[]>(left_ = kChunk));
        bytes_ += kChunk * sizeof(u64);
    }
    u64* const to = chunks_.back().get() + (kChunk - left_);
    std::copy(record.begin(), record.end(), to);
    left_ -= record.size();
    if (++count_ * 2 > slots_.size()) {
        std::vector<Slot> before(std::max<std::size_t>(4096, slots_.size() * 2));
        before.swap(slots_);
        for (const Slot& slot : before)
            if (slot.record) put(slot.hash, slot.record);
    }
    auto* const made = reinterpret_cast<TbRecord*>(to);
    put(hash, made);
    return made;
}

void MadeRecords::put(u64 hash, const TbRecord* record) {
    u64 at = hash;
    while (slots_[at & (slots_.size() - 1)].record)
        ++at;
    slots_[at & (slots_.size() - 1)] = {hash, record};
}

void MadeRecords::clear() {
    *this = {};
}

TbCache::TbCache(std::string path, std::string identity)
    : path_(std::move(path)), identity_(std::move(identity)) {
    if (!has_file()) {
        file_ = std::make_unique<TbCacheFile>();
        return;
    }
    auto file = TbCacheFile::open(path_, identity_);
    if (!file) complaint_ = file.error().message;
    file_ = file ? std::move(*file) : std::make_unique<TbCacheFile>();
    counters_.in_file = file_->records();
    used_.reserve(counters_.in_file);
}

bool TbCache::is_rewritten(u64 gpa) const {
    const Recent& slot = recent_[place_of(gpa)];
    return !has_file() && slot.gpa == gpa && slot.asked && asked_ - slot.asked < kRecent;
}

bool TbCache::wants(u64 gpa) {
    const bool again = is_rewritten(gpa);
    recent_[place_of(gpa)] = {gpa, ++asked_};
    return !again;
}

void TbCache::keep(const std::vector<u64>& made) {
    if (!has_file() && made_.bytes() >= kMostInMemory) made_.clear(); // what is in use comes again
    const u64 hash = hash_value(reinterpret_cast<const TbRecord*>(made.data())->key);
    unsigned versions = 0;
    made_.find(hash, [&](const TbRecord&) { return ++versions == kMostVersions; });
    if (made_.bytes() >= TbCacheFile::most_bytes || versions == kMostVersions) return;
    TbRecord* const record = made_.add(hash, made);
    if (has_file()) {
        seal(*record);
        order_.push_back(record);
    }
    ++counters_.kept;
}

Status TbCache::save(std::unique_ptr<ReplacedFile> aside) const {
    if (!has_file() || !made_.bytes()) return Ok{}; // nothing that the file does not have
    std::vector<const TbRecord*> records = order_;
    file_->for_each([&](const TbRecord& record) {
        if (!used_.count(&record)) records.push_back(&record);
    });
    if (!aside) {
        auto made = ReplacedFile::open(path_);
        if (!made) return made.error();
        aside = std::move(*made);
    }
    return TbCacheFile::write(*aside, identity_, records);
}

} // namespace dragoman::runtime
