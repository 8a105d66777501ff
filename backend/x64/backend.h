// IR to x86-64 host code. docs/host-code.md describes the shape of the code and the host registers' roles.
#pragma once

#include "backend/x64/code_buffer.h"
#include "backend/x64/instruction_kind.h"
#include "base/log.h"
#include "ir/block.h"
#include "ir/context.h"

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dragoman::backend {

// A direct jump that can be linked: until then it leads to a stub that leaves with Exit::Lookup, and
// Context::host_return inside the stub; Context::rip is not set then. A jump to another page leads to the far
// entry.
struct LinkSite {
    u16 jump_offset;   // of the patchable jmp rel32 from the block's entry
    u16 stub_offset;   // where it leads while unlinked
    u16 return_offset; // Context::host_return - entry when the stub was taken
    bool saved_flags;  // the jump is made with the flags in RAX too
    bool far;          // to another page; always with the flags in RAX
    u64 target;        // rip
};

// A point in host code where the block may be left or C++ is called: which guest instruction it belongs to.
struct SidePoint {
    u16 return_offset;     // Context::host_return - entry
    i16 guest_offset;      // of the guest instruction from the block's pc
    u16 instruction_index; // how many guest instructions of the block came before it
};
constexpr u64 kMostCodeBytes = 0xffff; // of a block

// A number in the code that an address which moves with the block (ir::Inst::from_pc) is, or leads to.
enum class PcForm : u8 {
    Eight,    // bytes: the address
    Signed,   // four, sign-extended
    Unsigned, // four, zero-extended
    Low,      // its low four
    TagSlot,  // four: a displacement to the window tag of its page
    PageSlot, // four: a displacement to the number of its code page
};
struct PcNumber {
    u16 offset; // in the code
    PcForm form;
    i32 distance; // of the address from the block's pc
};

// What is needed of a block as long as it is run.
struct Entries {
    u32 code_bytes = 0;
    // Offsets of the entries. For those who come with the flags in EFLAGS, and with the flags saved in RAX;
    // where the block lies in two pages they lead to the far entry.
    u32 entry = 0, saved_entry = 0;
    // With the flags saved, from another page (so the jump cache's): asks whether the block's pages are what
    // they were.
    u32 far_entry = 0;
};

// What compiling makes besides the code. One that is used again keeps its room.
struct Compiled : Entries {
    u32 numbers[2] = {};       // offsets of the numbers that it compares (Block::code_pages); 0: none
    u32 host_instructions = 0; // in line: without what is rarely run and lies behind the block's end
    KindCounts kinds;          // of what is in line, by kinds of guest instructions
    u32 calls = 0;             // CallRecords (stubs.h), the last of its bytes
    bool movable = false;      // the block may be used at another pc in the same place of a page: 64-bit code
    std::vector<PcNumber> pc_numbers;
    std::vector<LinkSite> links;
    std::vector<SidePoint> points; // sorted by return_offset
    std::vector<std::unique_ptr<ir::Inst>>
        kept; // instructions that the code refers to (ops emitted as calls of the interpreter)

    void clear();
};

// A compiled block as it can be kept in a file: nothing in it depends on where it, the stubs and the program
// lie in memory. What it does depend on is its build and Backend::identity.
struct PortableCode {
    u64 made_pc = 0, pc = 0; // the block's pc when it was compiled; now (for place())
    bool movable = false;
    std::span<const PcNumber> pc_numbers;
    u32 entry = 0, saved_entry = 0, far_entry = 0, numbers[2] = {}, host_instructions = 0,
        calls = 0; // as in Compiled
    KindCounts kinds;
    u32 code_pages[2] = {ir::Block::no_number, ir::Block::no_number}; // for place(): what they are now
    std::span<const LinkSite> links;
    std::span<const SidePoint> points;
    std::span<const u32>
        stub_jumps; // offsets of four bytes that lead to a stub: here its offset in the buffer
    std::span<const ir::Inst> kept; // `helper` is a position in the program (base/program_image.h)
    // With no jump linked. The first field of a CallRecord is a position in the program, the second, where
    // the interpreter is called, an index into `kept`.
    std::span<const u8> code;
};

struct Options {
    i64 tlb_offset = 0; // of the vCPU's softmmu::Tlb from its ir::Context
    // Context::budget is left alone, so nobody knows how many instructions have retired; its register is one
    // more for the guest's.
    bool uncounted = false;
    bool count_exact = false; // polls also test Context::budget (count clock, single-stepping)
    // kSwitches says what each does. BMI2 and PEXT are used only if the host has them, and the latter does it
    // fast.
    bool use_bmi2 = true, use_pext = true;
    bool inline_tlb = true, inline_lookup = true;
    bool far_links = true, saved_flags = true;
    bool compare_again = true, keep_eflags = true, early_polls = true;
    bool share_checks = true, loop_checks = true;
    bool hold_registers = true, load_operands = true, late_stack = true;
    bool window = true; // softmmu/host_window.h
    bool inline_x87 = true, lazy_vectors = true;
    bool bulk = true, bulk_misaligned = true; // the latter is slow on some hosts
    // The window's host address, less than 2 GiB; none: there is no window.
    std::optional<u32> window_base;
    i32 window_start() const { return i32(window_base.value_or(0)); }
};

// Each can be turned off by its name.
struct Switch {
    std::string_view name;
    bool Options::*on;
    std::string_view what; // one line for the user
};
inline constexpr Switch kSwitches[] = {
    {"uncounted", &Options::uncounted, "instructions are not counted"},
    {"bmi2", &Options::use_bmi2, "instructions of BMI2 in generated code"},
    {"pext", &Options::use_pext, "PEXT finds an entry of the TLB"},
    {"inline-tlb", &Options::inline_tlb, "generated code looks at the TLB itself"},
    {"inline-lookup", &Options::inline_lookup, "indirect jumps find their block without the run loop"},
    {"far-links", &Options::far_links, "jumps to other pages are linked"},
    {"saved-flags", &Options::saved_flags, "blocks may hand the flags on in RAX instead of EFLAGS"},
    {"compare-again", &Options::compare_again, "flags are made again from operands instead of saved"},
    {"keep-eflags", &Options::keep_eflags, "TLB checks leave EFLAGS alone where it is wanted"},
    {"early-polls", &Options::early_polls, "a branch backward polls before its flags are made"},
    {"share-checks", &Options::share_checks, "accesses off one register share a TLB check"},
    {"hold-registers", &Options::hold_registers, "guest registers in memory are held where one is free"},
    {"load-operands", &Options::load_operands, "what is loaded is an operand of the op that wants it"},
    {"late-stack", &Options::late_stack, "a row of PUSH and POP moves the stack pointer once"},
    {"loop-checks", &Options::loop_checks, "one TLB check for several rounds of a loop"},
    {"window", &Options::window, "hot pages lie where the low half of their address says"},
    {"inline-x87", &Options::inline_x87, "x87 instructions are the host's"},
    {"lazy-vectors", &Options::lazy_vectors, "calls of C++ leave vector registers where they are"},
    {"bulk", &Options::bulk, "string instructions move memory without C++"},
    {"bulk-misaligned", &Options::bulk_misaligned, "also where it is not aligned"},
};

class Backend {
  public:
    // Generates the entry, exit and slow-path stubs at the start of `buffer` (borrowed). Error: the host
    // lacks something.
    static Result<std::unique_ptr<Backend>> create(CodeBuffer& buffer, const Options& options, Log& log);
    virtual ~Backend() = default;

    // Bytes of `buffer` used by the stubs: blocks go after them.
    virtual u64 stub_bytes() const = 0;

    // Compiles `block` to run at `at` (inside the buffer's executable view), into at most `room` bytes.
    // False: it does not fit. The block and everything it points to may be dropped afterwards.
    virtual bool compile(const ir::Block& block, const u8* at, u64 room, Compiled& out) = 0;

    // The block that was compiled last, before anything was linked to it or from it; `kept` is what `made`
    // had. Valid until the next one is compiled. False: it leads to something outside the program.
    virtual bool portable(const u8* entry, const Compiled& made,
                          std::span<const std::unique_ptr<ir::Inst>> kept, PortableCode& to) = 0;
    // Puts the code at `at`, instead of compiling it. False: this cannot have come from portable().
    virtual bool place(const PortableCode& code, const u8* at, Compiled& out) = 0;
    // What generated code depends on besides the block and the build: the host's features and the options.
    virtual std::string identity() const = 0;

    // `code` and `target_code` are where blocks were compiled to. Patches a jump at run time (the code may
    // not be running in another thread).
    virtual void link(const u8* code, const LinkSite& site, const u8* target_code, const Entries& target) = 0;
    virtual void unlink(const u8* code, const LinkSite& site) = 0;

    // Runs code from `entry` until it leaves: Context::exit, rip, registers, flags and budget are then at
    // rest. When a memory access or a helper left it, Context::host_return names the SidePoint; rip is not
    // set then for Fault and Restart raised by memory accesses (the caller sets it from the SidePoint), nor
    // where host_return names a LinkSite.
    virtual void run(ir::Context& ctx, const u8* entry) = 0;

    // Host code as text, one instruction a line (Capstone).
    virtual std::string list(const u8* entry, u64 bytes) const = 0;
    virtual std::string describe() const = 0; // host features in use, for `info jit`
};

} // namespace dragoman::backend
