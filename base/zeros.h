// An array of zeros. It takes memory only where it is touched, for tables that are mostly empty; or all of it
// at once, for those that fill, where a read of a page before it is written would cost: the kernel lends a
// page of zeros, and to take that back it interrupts the processors of the other threads.
#pragma once

#include "base/bits.h"
#include "base/types.h"

#include <new>
#include <sys/mman.h>
#include <type_traits>
#include <utility>

namespace dragoman {

// `T` is what it is to be where all its bytes are 0.
template <class T> class Zeros {
    static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);

  public:
    enum class Memory { WhereTouched, AtOnce };
    Zeros() = default;
    // The array begins at a multiple of `alignment`, a power of two. Throws bad_alloc.
    explicit Zeros(u64 count, Memory memory = Memory::WhereTouched, u64 alignment = 4 * KiB)
        : bytes_(count * sizeof(T) + alignment), size_(count) {
        const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
        map_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE,
                    memory == Memory::AtOnce ? flags | MAP_POPULATE : flags, -1, 0);
        if (map_ == MAP_FAILED) throw std::bad_alloc();
        first_ = reinterpret_cast<T*>(align_up(reinterpret_cast<u64>(map_), alignment));
    }
    Zeros(Zeros&& other) noexcept { *this = std::move(other); }
    Zeros& operator=(Zeros&& other) noexcept {
        std::swap(map_, other.map_);
        std::swap(bytes_, other.bytes_);
        std::swap(size_, other.size_);
        std::swap(first_, other.first_);
        return *this;
    }
    ~Zeros() {
        if (map_) munmap(map_, bytes_);
    }

    T* data() const { return first_; }
    u64 size() const { return size_; } // in elements
    T& operator[](u64 n) const { return first_[n]; }

  private:
    void* map_ = nullptr;
    u64 bytes_ = 0, size_ = 0;
    T* first_ = nullptr;
};

} // namespace dragoman
