#include "differential.h"
#include "host_processor.h"

#include "base/bits.h"
#include "frontend/x86/instruction.h"
#include "frontend/x86/listing.h"
#include "frontend/x86/mode.h"
#include "ir/verify.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>

namespace dragoman::test {

using namespace x86;

namespace {

constexpr u64 kRam = 64 * MiB;
constexpr u16 kData = kSegP | kSegS | kSegWritable | kSegAccessed;
constexpr u16 kCode = kSegP | kSegS | kSegCode | kSegReadable | kSegAccessed;

} // namespace

Machine::Machine(Executor executor) : executor_(std::move(executor)) {
    map_ = std::move(softmmu::PhysicalMap::create(kRam).value());
    mmu_ = std::make_unique<softmmu::Mmu>(*map_, tlb_, log_);
    memory_ = std::make_unique<GuestMemory>(*mmu_);
    model_.features.set();
    cpu_.model = &model_;
    cpu_.mmu = mmu_.get();
    cpu_.log = &log_;
    cpu_.memory = memory_.get();
    jump_cache_[0].begin();
    ir::use_jump_cache(cpu_, jump_cache_[0]);
    translator_ = std::make_unique<Translator>(*mmu_, log_);
    set_mode64();
}

void Machine::set_mode64() {
    cpu_.cr0 = kCr0PE | kCr0ET | kCr0NE;
    cpu_.cr4 = kCr4PAE | kCr4OSFXSR | kCr4OSXMMEXCPT;
    cpu_.efer = kEferLME | kEferLMA;
    for (auto& s : cpu_.seg)
        s = {.base = 0, .limit = 0xffffffff, .selector = 0x2b, .attributes = kData | kSegDplMask};
    cpu_.seg[1] = {
        .base = 0, .limit = 0xffffffff, .selector = 0x33, .attributes = kCode | kSegDplMask | kSegL};
    cpu_.cpl = 3;
    cpu_.view = u8(softmmu::View::User);
    mmu_->set_paging({.long_mode = true});
    mmu_->flush(false);
}

void Machine::set_paged_mode64() {
    constexpr u64 tables = 0x3000000, present = 7 /* writable, user */, large = 0x80, page = 0x1000,
                  large_page = 2 * MiB;
    const auto put = [&](unsigned table, u64 entry, u64 value) {
        std::memcpy(ram() + tables + table * page + 8 * entry, &value, sizeof value);
    };
    set_mode64();
    std::memset(ram() + tables, 0, 4 * page);
    put(0, 0, (tables + page) | present);
    put(1, 0, (tables + 2 * page) | present);
    for (u64 n = 0; n < kRam / large_page; ++n)
        put(2, n, n * large_page | present | large);
    put(2, Native::data_base / large_page, (tables + 3 * page) | present);
    for (u64 at = 0; at < Native::data_bytes; at += page)
        put(3, at / page, (Native::data_base + at) | present);
    mmu_->set_paging({.cr3 = tables, .paging = true, .pae = true, .long_mode = true});
    mmu_->flush(false);
}

void Machine::set_mode(unsigned code_bits) {
    const bool real = code_bits == 16;
    cpu_.cr0 = real ? u64{kCr0ET} : kCr0PE | kCr0ET | kCr0NE;
    cpu_.cr4 = kCr4OSFXSR;
    cpu_.efer = 0;
    const u16 wide = real ? 0 : kSegDB | kSegG;
    const u32 limit = real ? 0xffff : 0xffffffff;
    for (auto& s : cpu_.seg)
        s = {.base = 0, .limit = limit, .selector = 0, .attributes = u16(kData | wide)};
    if (!real) cpu_.seg[1].attributes = kCode | wide;
    cpu_.cpl = 0;
    cpu_.view = u8(softmmu::View::Supervisor);
    mmu_->set_paging({});
    mmu_->flush(false);
}

bool Machine::translate(ir::Block& block, unsigned limit) {
    Translator::Source source;
    return translator_->translate(cpu_, block, source, limit);
}

ir::Exit Machine::run(std::span<const u8> code, unsigned instructions) {
    const u64 at = cpu_.code64() ? cpu_.rip : u32(cpu_.rip + cpu_.seg[1].base);
    std::copy(code.begin(), code.end(), ram() + at);
    cpu_.budget = 1'000'000;
    cpu_.exit = ir::Exit::None;
    cpu_.fault = {};
    while (instructions > 0) {
        ir::Block block;
        if (!translate(block, instructions)) return ir::Exit::Fault;
        for (const std::string& problem : ir::verify(block))
            ADD_FAILURE() << problem << "\n" << ir::print(block);
        executor_(cpu_, block);
        if (cpu_.exit != ir::Exit::Lookup && cpu_.exit != ir::Exit::Event) return cpu_.exit;
        instructions -= std::min(instructions, block.guest_instructions);
    }
    return cpu_.exit;
}

namespace {

// The mnemonics of the general-purpose group.
bool is_integer(ZydisMnemonic m) {
    static const auto table = [] {
        std::array<bool, ZYDIS_MNEMONIC_MAX_VALUE + 1> set{};
#define INSN(mnemonic, ...) set[ZYDIS_MNEMONIC_##mnemonic] = true;
#include "frontend/x86/instructions_integer.inc"
#undef INSN
        return set;
    }();
    return table[m];
}

bool is_gpr(ZydisRegister reg) {
    return reg >= ZYDIS_REGISTER_AL && reg <= ZYDIS_REGISTER_R15;
}

unsigned gpr_number(ZydisRegister reg) {
    const ZydisRegister full = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);
    return unsigned(full - ZYDIS_REGISTER_RAX);
}

struct Decoded {
    ZydisDecodedInstruction insn;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
};

class Maker {
  public:
    explicit Maker(std::mt19937_64& random) : random_(random) {
        ZydisDecoderInit(&decoder_, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
        for (auto mode : {ZYDIS_DECODER_MODE_MPX, ZYDIS_DECODER_MODE_CET, ZYDIS_DECODER_MODE_WBNOINVD,
                          ZYDIS_DECODER_MODE_CLDEMOTE})
            ZydisDecoderEnableMode(&decoder_, mode, ZYAN_FALSE);
    }

    // False: try again.
    bool make(Case& c, const std::function<bool(ZydisMnemonic)>& wanted) {
        c = {};
        c.code = random_bytes();
        if (!decode(c.code)) return false;
        c.code.resize(d_.insn.length);
        if (!is_integer(d_.insn.mnemonic) || (wanted && !wanted(d_.insn.mnemonic)) || !runs_natively())
            return false;
        if (!place(c) || !decode(c.code) || !operands_reachable(c)) return false;
        find_defined_flags(c);
        c.text = list_guest(c.code, c.before.rip, 64);
        return true;
    }

    void make_sequence(Case& c, unsigned length) {
        c = {};
        ir::Flags undefined = 0;
        for (c.instructions = 0; c.instructions < length;) {
            std::vector<u8> code = random_bytes();
            if (!decode(code) || !is_integer(d_.insn.mnemonic) || !runs_natively() || !registers_only())
                continue;
            const InstructionInfo* row = find_instruction(d_.insn);
            if (!row || (row->reads & undefined)) continue;
            // A shift by 0 keeps what was there, and BT keeps ZF.
            const bool maybe = d_.insn.meta.category == ZYDIS_CATEGORY_SHIFT ||
                               d_.insn.meta.category == ZYDIS_CATEGORY_ROTATE || is_bit_test();
            undefined = (maybe ? undefined : undefined & ~row->writes) | row->undefined;
            c.code.insert(c.code.end(), code.begin(), code.begin() + d_.insn.length);
            c.instructions++;
        }
        c.before.rip = Native::code_base + 0x8000;
        c.before.flags = 0x202 | (random_() & ir::kAllFlags);
        for (u64& r : c.before.gpr)
            r = random_value();
        c.data.resize(Native::data_bytes);
        c.compare = ir::kAllFlags & ~undefined;
        c.text = list_guest(c.code, c.before.rip, 64);
    }

  private:
    // Neither memory, stack, control flow nor an exception; and a result that the manual defines.
    bool registers_only() const {
        switch (d_.insn.meta.category) {
        case ZYDIS_CATEGORY_PUSH:
        case ZYDIS_CATEGORY_POP:
        case ZYDIS_CATEGORY_CALL:
        case ZYDIS_CATEGORY_RET:
        case ZYDIS_CATEGORY_COND_BR:
        case ZYDIS_CATEGORY_UNCOND_BR:
        case ZYDIS_CATEGORY_STRINGOP: return false;
        default: break;
        }
        if (is_divide() || d_.insn.mnemonic == ZYDIS_MNEMONIC_UD0 || d_.insn.mnemonic == ZYDIS_MNEMONIC_UD1 ||
            d_.insn.mnemonic == ZYDIS_MNEMONIC_UD2 || d_.insn.mnemonic == ZYDIS_MNEMONIC_STD)
            return false;
        for (unsigned n = 0; n < d_.insn.operand_count; n++)
            if (d_.operands[n].type == ZYDIS_OPERAND_TYPE_MEMORY && d_.insn.mnemonic != ZYDIS_MNEMONIC_LEA &&
                d_.insn.meta.category != ZYDIS_CATEGORY_WIDENOP)
                return false;
        const bool two = d_.insn.mnemonic == ZYDIS_MNEMONIC_SHLD || d_.insn.mnemonic == ZYDIS_MNEMONIC_SHRD;
        return !(two && d_.operands[0].size == 16); // a count above 16
    }

    u64 rnd(u64 below) { return random_() % below; }

    std::vector<u8> random_bytes() {
        std::vector<u8> code;
        if (rnd(5) == 0) code.push_back(0x66);
        if (rnd(12) == 0) code.push_back(0x67);
        switch (rnd(24)) {
        case 0: code.push_back(0xf2); break;
        case 1: code.push_back(0xf3); break;
        case 2: code.push_back(0xf0); break;
        default: break;
        }
        if (rnd(8) == 0) { // VEX: map 2 or 3, mostly L = 0
            code.insert(code.end(), {0xc4, u8(random_() << 5 | (2 + rnd(2))),
                                     u8(random_() & (rnd(8) ? ~4u : ~0u)), u8(0xf0 | rnd(8))});
            while (code.size() < 16)
                code.push_back(u8(random_()));
            return code;
        }
        if (rnd(2)) code.push_back(u8(0x40 | rnd(16)));
        switch (rnd(8)) {
        case 0:
        case 1:
        case 2: code.push_back(0x0f); break;
        case 3: code.insert(code.end(), {0x0f, 0x38}); break;
        default: break;
        }
        while (code.size() < 16)
            code.push_back(rnd(8) ? u8(random_()) : u8(rnd(2) ? 0 : 0xff));
        return code;
    }

    bool decode(const std::vector<u8>& code) {
        return ZYAN_SUCCESS(
            ZydisDecoderDecodeFull(&decoder_, code.data(), code.size(), &d_.insn, d_.operands));
    }

    bool runs_natively() const {
        if (d_.insn.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR || host_differs(d_.insn)) return false;
        const InstructionInfo* row = find_instruction(d_.insn);
        if (row && !host_has(row->feature)) return false;
        // Zydis 4.0 shows another address than the processor's (see Translation::effective).
        const auto& raw = d_.insn.raw;
        if (d_.insn.address_width == 32 && raw.modrm.mod == 0 && raw.modrm.rm == 4 && raw.sib.base == 5 &&
            d_.insn.mnemonic != ZYDIS_MNEMONIC_LEA)
            return false;
        if (d_.insn.attributes & (ZYDIS_ATTRIB_HAS_SEGMENT_FS | ZYDIS_ATTRIB_HAS_SEGMENT_GS)) return false;
        for (unsigned n = 0; n < d_.insn.operand_count_visible; n++)
            if (d_.operands[n].type == ZYDIS_OPERAND_TYPE_REGISTER && !is_gpr(d_.operands[n].reg.value))
                return false;
        return true;
    }

    u64 random_value() {
        switch (rnd(6)) {
        case 0: return rnd(4) - 2;
        case 1: return u64{1} << rnd(64);
        case 2: return (u64{1} << rnd(64)) - 1;
        case 3: return u64(i64(i32(random_())));
        case 4: return rnd(300);
        default: return random_();
        }
    }
    // An address in the data area with room on both sides.
    u64 random_address() {
        if (rnd(4) == 0) return Native::data_base + 0x1000 - rnd(32); // may cross the page
        return Native::data_base + 0x400 + rnd(Native::data_bytes - 0x800);
    }
    // Outside of where instructions are put.
    u64 random_code_address() { return Native::code_base + (rnd(2) ? 0x1000 : 0xa000) + rnd(0x5000); }

    bool place(Case& c) {
        UserState& s = c.before;
        s.rip = Native::code_base + 0x8000 + (rnd(3) ? 0x100 : 0x1000 - rnd(16));
        s.flags = 0x202 | (random_() & ir::kAllFlags) | (rnd(4) ? 0 : u64{kDF});
        for (u64& r : s.gpr)
            r = random_value();
        s.gpr[4] = Native::data_base + 0x1000 + (rnd(2) ? 8 * rnd(16) : rnd(64));
        c.data.resize(Native::data_bytes);
        for (std::size_t i = 0; i < c.data.size(); i += 8) {
            const u64 v = random_value();
            std::memcpy(&c.data[i], &v, 8);
        }

        switch (d_.insn.meta.category) {
        case ZYDIS_CATEGORY_STRINGOP: place_string(c); return true;
        case ZYDIS_CATEGORY_RET: put(c, s.gpr[4], random_code_address()); return true;
        default: break;
        }
        for (unsigned i = 0; i < 2; i++) { // relative branches
            const auto& raw = d_.insn.raw.imm[i];
            if (!raw.size || !raw.is_relative) continue;
            i64 by = raw.size == 8 ? i64(rnd(256)) - 128 : i64(rnd(0x4000)) - 0x2000;
            if (by < 0 && by >= -15) by = 0; // not into the instruction itself
            std::memcpy(&c.code[raw.offset], &by, raw.size / 8);
        }
        switch (d_.insn.mnemonic) {
        case ZYDIS_MNEMONIC_LEAVE:
        case ZYDIS_MNEMONIC_ENTER: s.gpr[5] = random_address(); return true;
        case ZYDIS_MNEMONIC_XLAT: s.gpr[3] = random_address(); return true;
        default: break;
        }
        for (unsigned n = 0; n < d_.insn.operand_count_visible; n++)
            if (d_.operands[n].type == ZYDIS_OPERAND_TYPE_MEMORY && d_.insn.mnemonic != ZYDIS_MNEMONIC_LEA)
                return place_memory(c, d_.operands[n].mem);
        if (is_branch() && d_.operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER) {
            const unsigned target = gpr_number(d_.operands[0].reg.value);
            if (target == 4) return false; // CALL would push into the code
            s.gpr[target] = random_code_address();
        }
        if (is_divide() && rnd(4)) s.gpr[2] = rnd(2) ? rnd(8) : s.gpr[0] >> 63 ? ~u64{0} : 0;
        if (d_.insn.mnemonic == ZYDIS_MNEMONIC_CMPXCHG && rnd(2) && !is_high(d_.operands[0].reg.value))
            s.gpr[0] = s.gpr[gpr_number(d_.operands[0].reg.value)];
        return true;
    }

    static bool is_high(ZydisRegister r) { return r >= ZYDIS_REGISTER_AH && r <= ZYDIS_REGISTER_BH; }
    bool is_branch() const {
        return d_.insn.mnemonic == ZYDIS_MNEMONIC_JMP || d_.insn.mnemonic == ZYDIS_MNEMONIC_CALL;
    }
    bool is_divide() const {
        return d_.insn.mnemonic == ZYDIS_MNEMONIC_DIV || d_.insn.mnemonic == ZYDIS_MNEMONIC_IDIV;
    }
    bool is_bit_test() const {
        const auto m = d_.insn.mnemonic;
        return m == ZYDIS_MNEMONIC_BT || m == ZYDIS_MNEMONIC_BTS || m == ZYDIS_MNEMONIC_BTR ||
               m == ZYDIS_MNEMONIC_BTC;
    }
    bool is_bit_string() const { return is_bit_test() && d_.operands[1].type == ZYDIS_OPERAND_TYPE_REGISTER; }
    static void put(Case& c, u64 address, u64 value) {
        std::memcpy(&c.data[address - Native::data_base], &value, 8);
    }

    void place_string(Case& c) {
        UserState& s = c.before;
        s.gpr[1] = rnd(40);
        // With ECX = 0 and 32-bit addresses Intel's processors clear the upper half of RCX, AMD's do not.
        if (d_.insn.address_width == 32 && host_is_amd()) ++s.gpr[1];
        s.gpr[6] = random_address();
        s.gpr[7] = rnd(2) ? random_address() : s.gpr[6] + rnd(64) - 32;
        if (d_.insn.address_width == 32)
            for (unsigned r : {1, 6, 7})
                s.gpr[r] |= random_() << 32;
        if (rnd(2)) // long runs of equal bytes, so that comparisons go on
            std::fill(c.data.begin(), c.data.end(), u8(s.gpr[0]));
    }

    bool place_memory(Case& c, const ZydisDecodedOperandMem& mem) {
        UserState& s = c.before;
        u64 target = random_address();
        if (d_.insn.mnemonic == ZYDIS_MNEMONIC_CMPXCHG16B && rnd(8)) target &= ~u64{15};
        const bool narrow = d_.insn.address_width == 32;
        u64 sum = 0;
        if (mem.index != ZYDIS_REGISTER_NONE) {
            u64& index = s.gpr[gpr_number(mem.index)];
            index = rnd(16);
            sum = index * mem.scale;
        }
        const bool rip = mem.base == ZYDIS_REGISTER_RIP || mem.base == ZYDIS_REGISTER_EIP;
        const u64 disp = u64(mem.disp.value);
        if (mem.base == ZYDIS_REGISTER_NONE || rip) {
            if (d_.insn.raw.disp.size != 32 && d_.insn.raw.disp.size != 64) return false;
            const u64 value = target - sum - (rip ? s.rip + d_.insn.length : 0);
            std::memcpy(&c.code[d_.insn.raw.disp.offset], &value, d_.insn.raw.disp.size / 8);
        } else {
            const unsigned base = gpr_number(mem.base);
            if (base == 4) {
                if (disp + 0x400 > 0x800) return false; // RSP stays where it is
            } else {
                s.gpr[base] = target - disp - sum;
                if (mem.base == mem.index)
                    s.gpr[base] = target - disp > 0 ? (target - disp) / (1u + mem.scale) : 0;
                if (narrow) s.gpr[base] = u32(s.gpr[base]) | random_() << 32;
            }
        }
        if (is_bit_string()) {
            const unsigned number = gpr_number(d_.operands[1].reg.value);
            const u64 low = size_mask(d_.operands[1].size / 8);
            if (number != 4 && (mem.base == ZYDIS_REGISTER_NONE || number != gpr_number(mem.base) || rip) &&
                (mem.index == ZYDIS_REGISTER_NONE || number != gpr_number(mem.index)))
                s.gpr[number] = ((rnd(4096) - 2048) & low) | (s.gpr[number] & ~low);
        }
        if (!decode(c.code)) return false;
        const u64 ea = effective(c, d_.operands[memory_operand()].mem);
        if (!inside(ea)) return false;
        if (is_branch()) put(c, ea, random_code_address());
        if (d_.insn.mnemonic == ZYDIS_MNEMONIC_CMPXCHG && rnd(2))
            std::memcpy(&s.gpr[0], &c.data[ea - Native::data_base], 8);
        if (d_.insn.meta.category == ZYDIS_CATEGORY_SEMAPHORE && d_.operands[0].size >= 64 && rnd(2) &&
            d_.insn.mnemonic != ZYDIS_MNEMONIC_CMPXCHG && d_.insn.mnemonic != ZYDIS_MNEMONIC_XADD) {
            const u8* at = &c.data[ea - Native::data_base];
            const unsigned half = d_.operands[0].size / 16;
            std::memcpy(&s.gpr[0], at, half);
            std::memcpy(&s.gpr[2], at + half, half);
        }
        return true;
    }

    unsigned memory_operand() const {
        for (unsigned n = 0; n < d_.insn.operand_count_visible; n++)
            if (d_.operands[n].type == ZYDIS_OPERAND_TYPE_MEMORY) return n;
        return 0;
    }
    u64 effective(const Case& c, const ZydisDecodedOperandMem& mem) const {
        u64 ea = u64(mem.disp.value);
        if (mem.base == ZYDIS_REGISTER_RIP || mem.base == ZYDIS_REGISTER_EIP)
            ea += c.before.rip + d_.insn.length;
        else if (mem.base != ZYDIS_REGISTER_NONE)
            ea += c.before.gpr[gpr_number(mem.base)];
        if (mem.index != ZYDIS_REGISTER_NONE) ea += c.before.gpr[gpr_number(mem.index)] * mem.scale;
        return ea & size_mask(d_.insn.address_width / 8);
    }
    static bool inside(u64 ea) {
        return ea >= Native::data_base + 64 && ea + 128 <= Native::data_base + Native::data_bytes;
    }

    // Registers may have been given their values in an order that undid an address.
    bool operands_reachable(const Case& c) const {
        for (unsigned n = 0; n < d_.insn.operand_count_visible; n++) {
            if (d_.operands[n].type != ZYDIS_OPERAND_TYPE_MEMORY || d_.insn.mnemonic == ZYDIS_MNEMONIC_LEA)
                continue;
            u64 ea = effective(c, d_.operands[n].mem);
            if (!inside(ea)) return false;
            if (is_bit_string()) {
                const unsigned bytes = d_.operands[1].size / 8u;
                ea += u64(sign_extend(c.before.gpr[gpr_number(d_.operands[1].reg.value)], bytes) >> 3);
                if (!inside(ea)) return false;
            }
        }
        if (d_.insn.mnemonic == ZYDIS_MNEMONIC_XLAT) {
            const u64 mask = size_mask(d_.insn.address_width / 8);
            return inside((c.before.gpr[3] & mask) + 256) && inside(c.before.gpr[3] & mask);
        }
        return true;
    }

    void find_defined_flags(Case& c) const {
        const InstructionInfo* row = find_instruction(d_.insn);
        ir::Flags undefined = row ? row->undefined : 0;
        if (d_.insn.meta.category == ZYDIS_CATEGORY_SHIFT || d_.insn.meta.category == ZYDIS_CATEGORY_ROTATE) {
            const auto m = d_.insn.mnemonic;
            const unsigned width = d_.operands[0].size;
            const bool two = m == ZYDIS_MNEMONIC_SHLD || m == ZYDIS_MNEMONIC_SHRD;
            const auto& count = d_.operands[two ? 2 : 1];
            const u64 raw = count.type == ZYDIS_OPERAND_TYPE_IMMEDIATE ? count.imm.value.u : c.before.gpr[1];
            const u64 masked = raw & (width == 64 ? 63 : 31);
            if (masked == 0) undefined = 0;
            if (masked == 1) undefined &= ~ir::kOF;
            if (masked >= width) undefined |= ir::kCF; // SHL, SHR and SHLD: beyond the operand
        }
        c.compare = ir::kAllFlags & ~undefined;
    }

    std::mt19937_64& random_;
    ZydisDecoder decoder_;
    Decoded d_;
};

void add_line(std::string& out, const char* name, u64 before, u64 host, u64 ours) {
    char line[160];
    std::snprintf(line, sizeof line, "  %-6s before %016llx  host %016llx  ours %016llx%s\n", name,
                  static_cast<unsigned long long>(before), static_cast<unsigned long long>(host),
                  static_cast<unsigned long long>(ours), host != ours ? "  <--" : "");
    out += line;
}

} // namespace

Case random_case(std::mt19937_64& random, const std::function<bool(ZydisMnemonic)>& wanted) {
    Maker maker(random);
    Case c;
    while (!maker.make(c, wanted)) {
    }
    return c;
}

std::vector<ZydisMnemonic> integer_mnemonics() {
    std::vector<ZydisMnemonic> all;
    for (const InstructionInfo& row : instruction_table())
        if (is_integer(row.mnemonic) && !(row.attributes & kNo64) && host_has(row.feature) &&
            row.mnemonic != ZYDIS_MNEMONIC_JCXZ) // there is no 16-bit address
            all.push_back(row.mnemonic);
    return all;
}

Case random_sequence(std::mt19937_64& random, unsigned length) {
    Maker maker(random);
    Case c;
    maker.make_sequence(c, length);
    return c;
}

std::string compare(Machine& machine, Native& native, const Case& c) {
    UserState host = c.before;
    std::memcpy(native.data(), c.data.data(), c.data.size());
    const NativeResult result = native.run(c.code, host);

    Cpu& cpu = machine.cpu();
    u8* guest_data = machine.ram() + Native::data_base;
    std::memcpy(guest_data, c.data.data(), c.data.size());
    std::memcpy(cpu.gpr, c.before.gpr, sizeof cpu.gpr);
    cpu.rip = c.before.rip;
    cpu.flags = ir::Flags(c.before.flags) & ir::kAllFlags;
    cpu.direction_flag = (c.before.flags & kDF) != 0;
    const ir::Exit exit = machine.run(c.code, c.instructions);

    const bool faulted = exit == ir::Exit::Fault;
    bool same = faulted == result.faulted && (!faulted || cpu.fault.vector == result.vector);
    if (!same && result.faulted && result.vector == kPF && !faulted)
        return ""; // outside the data area: no verdict
    const ir::Flags compared = faulted ? ir::Flags{ir::kAllFlags} : c.compare;
    const u64 host_flags = host.flags & (compared | kDF);
    const u64 our_flags = (cpu.flags & compared) | (cpu.direction_flag ? u64{kDF} : 0);
    same = same && !std::memcmp(host.gpr, cpu.gpr, sizeof cpu.gpr) && host_flags == our_flags &&
           host.rip == cpu.rip && !std::memcmp(native.data(), guest_data, c.data.size());
    if (same) return "";

    std::string out = c.text;
    static constexpr const char* names[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                              "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    for (unsigned i = 0; i < 16; i++)
        add_line(out, names[i], c.before.gpr[i], host.gpr[i], cpu.gpr[i]);
    add_line(out, "rip", c.before.rip, host.rip, cpu.rip);
    add_line(out, "flags", c.before.flags & (compared | kDF), host_flags, our_flags);
    add_line(out, "fault", 0, result.faulted ? result.vector : ~u64{0}, faulted ? cpu.fault.vector : ~u64{0});
    for (std::size_t i = 0; i < c.data.size(); i++) {
        if (native.data()[i] == guest_data[i]) continue;
        char line[96];
        std::snprintf(line, sizeof line, "  [%llx] before %02x  host %02x  ours %02x  <--\n",
                      static_cast<unsigned long long>(Native::data_base + i), c.data[i], native.data()[i],
                      guest_data[i]);
        out += line;
    }
    ir::Block block;
    cpu.rip = c.before.rip;
    if (machine.translate(block, c.instructions)) out += ir::print(block);
    return out;
}

} // namespace dragoman::test
