#include "runtime/tb_cache.h"

namespace dragoman::runtime {

TbCache::TbCache(std::string path, std::string identity)
    : path_(std::move(path)), identity_(std::move(identity)) {
    auto file = TbCacheFile::open(path_, identity_);
    if (!file) complaint_ = file.error().message;
    file_ = file ? std::move(*file) : std::make_unique<TbCacheFile>();
    counters_.in_file = file_->records();
    used_.reserve(counters_.in_file);
}

void TbCache::keep(const TbRecord& header, const u8* const parts[], const backend::PortableCode& code) {
    const u64 hash = hash_value(header.key);
    if (made_bytes_ >= TbCacheFile::most_bytes || made_.count(hash) >= kMostVersions) return;
    std::vector<u64> record = make_record(header, parts, code);
    made_bytes_ += record.size() * sizeof(u64);
    const auto it = made_.emplace(hash, std::move(record));
    order_.push_back(reinterpret_cast<const TbRecord*>(it->second.data()));
    ++counters_.kept;
}

Status TbCache::save() const {
    if (made_.empty()) return Ok{}; // nothing that the file does not have
    std::vector<const TbRecord*> records = order_;
    file_->for_each([&](const TbRecord& record) {
        if (!used_.count(&record)) records.push_back(&record);
    });
    return TbCacheFile::write(path_, identity_, records);
}

} // namespace dragoman::runtime
