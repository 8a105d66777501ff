// How IR ops reach guest memory when the inline TLB check cannot: one protocol for interpreter and generated code.
#pragma once

#include "base/types.h"
#include "ir/context.h"

namespace dragoman::ir {

enum class Access : u8 { Read, Write, ReadWrite, Any /* only of SegAddr: whatever the segment's type */ };

class Memory {
  public:
    virtual ~Memory() = default;

    // Makes `size` bytes (1..64) at linear address `linear` reachable for an access of this kind under the access view
    // Context::view. Returns a host pointer to them: RAM itself, or a bounce buffer where RAM cannot be touched
    // directly (MMIO, page crossing, translated code, watchpoints); for reads the buffer is already filled. Whoever
    // wrote through the pointer must call commit() before anything else happens to memory. At most one acquire for
    // writing is open at a time; an acquire for reading gives a pointer valid until the next acquire.
    // Null: the access cannot be done; ctx.exit says why (Fault with ctx.fault filled in, or Restart), and nothing
    // has changed. A ReadWrite or Write acquire checks for write permission first, over all its bytes.
    virtual u8* acquire(Context& ctx, u64 linear, u32 size, Access access) = 0;

    // Ends a Write or ReadWrite acquire: carries a bounce buffer's bytes to where they belong. Cannot fault.
    virtual void commit(Context& ctx) = 0;

    // May the generated code around Context::host_return be entered: is its first page (`part` 0) or the one behind
    // it (1) what it was when the code was made? Looks the page up if need be, and sets Context::rip to where the code
    // begins. Raises nothing: whoever is refused asks again for the reason.
    virtual bool may_enter(Context&, unsigned /*part*/) { return false; }

    // Generated code has often found this address's page in the TLB, but not in the host window.
    virtual void warm(Context&, u64 /*linear*/) {}
};

} // namespace dragoman::ir
