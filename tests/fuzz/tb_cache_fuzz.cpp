// libFuzzer: a file of translations of arbitrary bytes is read, and one record of arbitrary bytes, its
// checksum made right, is put where generated code lives. Nothing of it is run: a file that was meant to be
// run is trusted.
#include "runtime/tb_cache_file.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

using namespace dragoman;
using namespace dragoman::runtime;

void must(bool good, const char* what) {
    if (good) return;
    std::fprintf(stderr, "tb_cache_fuzz: %s\n", what);
    std::abort();
}

struct Target {
    Log log;
    std::unique_ptr<backend::CodeBuffer> buffer = std::move(*backend::CodeBuffer::create(MiB));
    std::unique_ptr<backend::Backend> backend = std::move(*backend::Backend::create(*buffer, {}, log));
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
    static Target target;
    if (size > 16 * KiB) return 0;
    std::vector<u64> bytes((size + 7) / 8); // aligned, as a mapping is
    if (size) std::memcpy(bytes.data(), data, size);
    if (auto file = TbCacheFile::read({reinterpret_cast<const u8*>(bytes.data()), size}, "")) {
        (*file)->for_each([&](const TbRecord& record) {
            must(u64(record.guest_at(0) - reinterpret_cast<const u8*>(bytes.data())) + record.guest_bytes() <=
                     size,
                 "a record ends outside of the file");
        });
    }
    if (bytes.empty()) return 0;
    const auto* record = reinterpret_cast<const TbRecord*>(bytes.data());
    if (!record->sound(bytes.size() * 8)) return 0;
    backend::Compiled out;
    (void)target.backend->place(record->portable(record->pc + (bytes.back() << 12)),
                                target.buffer->executable() + target.backend->stub_bytes(), out);
    return 0;
}
