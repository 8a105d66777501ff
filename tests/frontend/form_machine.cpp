#include "form_machine.h"

namespace dragoman::test {

namespace {
constexpr u64 kDirect = 0x2000;         // where MOVDIR64B moves to
constexpr u64 kCompacted = 512 + 8 + 7; // bits 63:56 of XCOMP_BV (SDM vol. 1, 13.4.2)
} // namespace

FormMachine::FormMachine(const FormMode& which) : mode(which), cpu(m.cpu) {
    m.log.set_output(std::tmpfile());
    if (mode.is_long)
        m.long64();
    else if (mode.v86())
        m.v86(3);
    else if (mode.is_protected)
        m.flat();
    if (mode.paged && !mode.is_long) m.paging32();
    if (mode.is_long) m.put<u64>(kPages + 0x2000 + 8 * ((kBase + kAbsentOffset) >> 21), 0);
    // Code and stack of the mode's width; real mode has its segments where protected mode has them.
    constexpr u16 data = kSegP | kSegS | kSegWritable | kSegAccessed,
                  code_type = kSegP | kSegS | kSegCode | kSegReadable | kSegAccessed;
    const u16 wide = u16(mode.bits == 16 ? 0 : kSegG | kSegDB);
    const u32 limit = mode.bits == 16 ? 0xffff : 0xffffffff;
    for (unsigned i = 0; i < 6; ++i) {
        ir::Segment& s = cpu.seg[i];
        s = {.base = kBase, .limit = limit, .selector = s.selector, .attributes = u16(data | wide)};
        if (i != 1) continue;
        s.base = 0;
        if (mode.is_protected) s.attributes = u16(code_type | (mode.code64() ? u16{kSegL} : wide));
    }
    if (mode.v86()) cpu.tr.limit = 0xff; // with permissions for the first ports
    cpu.rip = kCode;
    cpu.cr0 |= kCr0MP | kCr0NE;
    cpu.cr4 |= kCr4OSFXSR | kCr4OSXMMEXCPT | kCr4OSXSAVE | kCr4FSGSBASE |
               (m.model.has(Feature::Pku) ? u64{kCr4PKE} : 0);
    cpu.xcr0 = state_components(m.model);
    first_ = std::make_unique<Cpu>(cpu);
}

void FormMachine::begin(const Form& form, unsigned cpl) {
    const u32 debug_version = cpu.debug_version;
    cpu = *first_;
    cpu.debug_version = debug_version;
    if (mode.is_protected) set_cpl(cpu, cpl);
    std::memset(m.map->ram() + kBase + kDataOffset, 0, kDataBytes);
    m.put<u8>(kBase + kDataOffset, 1);
    for (u64& r : cpu.gpr)
        r = 0;
    cpu.gpr[0] = 0x10;
    cpu.gpr[1] = 5;
    cpu.gpr[3] = 0x1234;
    cpu.gpr[4] = (mode.code64() ? kBase : 0) + 0x6000;
    for (unsigned n = 1; n < 4; ++n) {
        std::memset(cpu.vec[n], 0xff, sizeof cpu.vec[n]);
        std::memset(&cpu.fpu.st[n], 0xff, 10);
    }
    set_registers(form);
    for (u64& k : cpu.opmask)
        k = ~u64{0};
    code = form.code;
    point(form, kDataOffset);
}

// What single instructions ask of their registers and of memory.
void FormMachine::set_registers(const Form& form) {
    const u64 data = kBase + kDataOffset;
    switch (form.insn.mnemonic) {
    case ZYDIS_MNEMONIC_XLAT: cpu.gpr[0] = 0; break;
    case ZYDIS_MNEMONIC_MOVDIR64B: cpu.gpr[1] = kDirect + (mode.code64() ? kBase : 0); break;
    case ZYDIS_MNEMONIC_MONITOR:
    case ZYDIS_MNEMONIC_MWAIT: cpu.gpr[1] = 0; break;
    case ZYDIS_MNEMONIC_INVPCID: cpu.gpr[1] = 2; break; // all contexts
    case ZYDIS_MNEMONIC_RDMSR:
    case ZYDIS_MNEMONIC_WRMSR: cpu.gpr[1] = 0x10; break; // IA32_TIME_STAMP_COUNTER
    case ZYDIS_MNEMONIC_BOUND: m.put<u8>(data + form.operands[1].size / 16, 9); break;
    case ZYDIS_MNEMONIC_MOV: // a null selector
        if (form.operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
            ZydisRegisterGetClass(form.operands[0].reg.value) == ZYDIS_REGCLASS_SEGMENT)
            cpu.gpr[3] = 0;
        break;
    case ZYDIS_MNEMONIC_XSETBV:
        cpu.gpr[0] = kX87State | kSseState;
        cpu.gpr[1] = 0;
        break;
    case ZYDIS_MNEMONIC_XRSTORS:
    case ZYDIS_MNEMONIC_XRSTORS64: m.put<u8>(data + kCompacted, 0x80); [[fallthrough]];
    default:
        if (form.insn.meta.category == ZYDIS_CATEGORY_XSAVE || form.insn.meta.category == ZYDIS_CATEGORY_PKU)
            cpu.gpr[1] = 0;
    }
}

void FormMachine::point(const Form& form, u64 offset) {
    const u64 address = offset + (mode.code64() && offset < kNonCanonical ? kBase : 0);
    cpu.gpr[5] = cpu.gpr[6] = cpu.gpr[7] = address;
    if (form.insn.mnemonic == ZYDIS_MNEMONIC_XLAT) cpu.gpr[3] = address;
    const ZydisDecodedOperand* memory = form.memory(); // MOV between the accumulator and an address
    if (memory && memory->mem.base == ZYDIS_REGISTER_NONE && memory->mem.disp.has_displacement)
        std::memcpy(&code[form.insn.raw.disp.offset], &address, form.insn.raw.disp.size / 8);
}

int FormMachine::run(const std::vector<u8>& bytes) {
    std::copy(bytes.begin(), bytes.end(), m.map->ram() + kCode);
    m.put<u8>(kCode + bytes.size(), 0xf4);
    cpu.rip = kCode;
    const bool fault = m.run(1, false) == ir::Exit::Fault && cpu.rip == kCode;
    return fault ? int(m.delivered_vector()) : -1;
}

} // namespace dragoman::test
