#include "form_kinds.h"

#include <algorithm>

namespace dragoman::test {

bool any_register(const Form& f, std::initializer_list<ZydisRegisterClass> classes) {
    for (unsigned n = 0; n < f.insn.operand_count; ++n)
        if (f.operands[n].type == ZYDIS_OPERAND_TYPE_REGISTER)
            for (const auto wanted : classes)
                if (ZydisRegisterGetClass(f.operands[n].reg.value) == wanted) return true;
    return false;
}

bool is_one_of(const Form& f, std::initializer_list<ZydisMnemonic> list) {
    return std::find(list.begin(), list.end(), f.insn.mnemonic) != list.end();
}

bool vex(const Form& f) {
    return f.insn.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;
}
bool evex(const Form& f) {
    return f.insn.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX;
}
static bool has_vectors(const Form& f) {
    return any_register(f, {ZYDIS_REGCLASS_XMM, ZYDIS_REGCLASS_YMM, ZYDIS_REGCLASS_ZMM});
}
static bool opmasks_only(const Form& f) {
    return vex(f) && any_register(f, {ZYDIS_REGCLASS_MASK});
}
bool avx512(const Form& f) {
    return evex(f) || opmasks_only(f);
}
bool avx(const Form& f) {
    return vex(f) && !opmasks_only(f) &&
           (has_vectors(f) || is_one_of(f, {ZYDIS_MNEMONIC_VZEROUPPER, ZYDIS_MNEMONIC_VZEROALL,
                                            ZYDIS_MNEMONIC_VLDMXCSR, ZYDIS_MNEMONIC_VSTMXCSR}));
}
bool sse(const Form& f) {
    return f.insn.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
           (has_vectors(f) || is_one_of(f, {ZYDIS_MNEMONIC_LDMXCSR, ZYDIS_MNEMONIC_STMXCSR}));
}
bool mmx(const Form& f) {
    return !sse(f) && (any_register(f, {ZYDIS_REGCLASS_MMX}) || f.insn.mnemonic == ZYDIS_MNEMONIC_EMMS);
}
bool fwait(const Form& f) {
    return f.insn.mnemonic == ZYDIS_MNEMONIC_FWAIT;
}
bool saves_fpu(const Form& f) {
    return is_one_of(f, {ZYDIS_MNEMONIC_FXSAVE, ZYDIS_MNEMONIC_FXSAVE64, ZYDIS_MNEMONIC_FXRSTOR,
                         ZYDIS_MNEMONIC_FXRSTOR64});
}
bool x87(const Form& f) {
    return f.insn.meta.isa_ext == ZYDIS_ISA_EXT_X87 && !fwait(f);
}
bool saves_extended(const Form& f) {
    return is_one_of(f, {ZYDIS_MNEMONIC_XSAVE, ZYDIS_MNEMONIC_XSAVE64, ZYDIS_MNEMONIC_XSAVEC,
                         ZYDIS_MNEMONIC_XSAVEC64, ZYDIS_MNEMONIC_XSAVEOPT, ZYDIS_MNEMONIC_XSAVEOPT64,
                         ZYDIS_MNEMONIC_XSAVES, ZYDIS_MNEMONIC_XSAVES64, ZYDIS_MNEMONIC_XRSTOR,
                         ZYDIS_MNEMONIC_XRSTOR64, ZYDIS_MNEMONIC_XRSTORS, ZYDIS_MNEMONIC_XRSTORS64});
}
bool extended_state(const Form& f) {
    return saves_extended(f) || is_one_of(f, {ZYDIS_MNEMONIC_XGETBV, ZYDIS_MNEMONIC_XSETBV});
}
bool non_waiting(const Form& f) {
    return is_one_of(f, {ZYDIS_MNEMONIC_FNINIT, ZYDIS_MNEMONIC_FNCLEX, ZYDIS_MNEMONIC_FNSTSW,
                         ZYDIS_MNEMONIC_FNSTCW, ZYDIS_MNEMONIC_FNSTENV, ZYDIS_MNEMONIC_FNSAVE,
                         ZYDIS_MNEMONIC_FENI8087_NOP, ZYDIS_MNEMONIC_FDISI8087_NOP,
                         ZYDIS_MNEMONIC_FSETPM287_NOP});
}
static bool undefined(const Form& f) {
    return is_one_of(f, {ZYDIS_MNEMONIC_UD0, ZYDIS_MNEMONIC_UD1, ZYDIS_MNEMONIC_UD2, ZYDIS_MNEMONIC_RSM});
}
bool transfers(const Form& f) {
    switch (f.insn.meta.category) {
    case ZYDIS_CATEGORY_CALL:
    case ZYDIS_CATEGORY_RET:
    case ZYDIS_CATEGORY_UNCOND_BR:
    case ZYDIS_CATEGORY_COND_BR:
    case ZYDIS_CATEGORY_INTERRUPT:
    case ZYDIS_CATEGORY_PUSH:
    case ZYDIS_CATEGORY_POP:
    case ZYDIS_CATEGORY_SYSCALL:
    case ZYDIS_CATEGORY_SYSRET:
    case ZYDIS_CATEGORY_SYSTEM:
    case ZYDIS_CATEGORY_SEGOP:
    case ZYDIS_CATEGORY_IO:
    case ZYDIS_CATEGORY_IOSTRINGOP: return true;
    default:
        return any_register(f, {ZYDIS_REGCLASS_SEGMENT, ZYDIS_REGCLASS_CONTROL, ZYDIS_REGCLASS_DEBUG}) ||
               is_one_of(f, {ZYDIS_MNEMONIC_ENTER, ZYDIS_MNEMONIC_LEAVE, ZYDIS_MNEMONIC_HLT,
                             ZYDIS_MNEMONIC_MONITOR, ZYDIS_MNEMONIC_MWAIT, ZYDIS_MNEMONIC_INVPCID,
                             ZYDIS_MNEMONIC_BOUND, ZYDIS_MNEMONIC_STAC, ZYDIS_MNEMONIC_CLAC,
                             ZYDIS_MNEMONIC_XSETBV, ZYDIS_MNEMONIC_CLI, ZYDIS_MNEMONIC_STI});
    }
}
static bool protected_only(const Form& f) {
    return is_one_of(f, {ZYDIS_MNEMONIC_LLDT, ZYDIS_MNEMONIC_LTR, ZYDIS_MNEMONIC_SLDT, ZYDIS_MNEMONIC_STR,
                         ZYDIS_MNEMONIC_LAR, ZYDIS_MNEMONIC_LSL, ZYDIS_MNEMONIC_VERR, ZYDIS_MNEMONIC_VERW,
                         ZYDIS_MNEMONIC_ARPL});
}
bool privileged(const Form& f) {
    if (f.insn.mnemonic == ZYDIS_MNEMONIC_MOV)
        return any_register(f, {ZYDIS_REGCLASS_CONTROL, ZYDIS_REGCLASS_DEBUG});
    return is_one_of(f, {ZYDIS_MNEMONIC_CLTS, ZYDIS_MNEMONIC_INVD, ZYDIS_MNEMONIC_WBINVD,
                         ZYDIS_MNEMONIC_RDMSR, ZYDIS_MNEMONIC_WRMSR, ZYDIS_MNEMONIC_HLT,
                         ZYDIS_MNEMONIC_XSETBV, ZYDIS_MNEMONIC_SWAPGS, ZYDIS_MNEMONIC_LGDT,
                         ZYDIS_MNEMONIC_LIDT, ZYDIS_MNEMONIC_LLDT, ZYDIS_MNEMONIC_LTR, ZYDIS_MNEMONIC_LMSW,
                         ZYDIS_MNEMONIC_INVPCID, ZYDIS_MNEMONIC_INVLPG, ZYDIS_MNEMONIC_XSAVES,
                         ZYDIS_MNEMONIC_XSAVES64, ZYDIS_MNEMONIC_XRSTORS, ZYDIS_MNEMONIC_XRSTORS64});
}
bool hidden(const Form& f) {
    return is_one_of(
        f, {ZYDIS_MNEMONIC_MONITOR, ZYDIS_MNEMONIC_MWAIT, ZYDIS_MNEMONIC_STAC, ZYDIS_MNEMONIC_CLAC});
}
bool runs_plainly(const Form& f, const FormMode& mode, unsigned cpl) {
    if (!transfers(f)) return true;
    const bool loads_segment = f.operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
                               ZydisRegisterGetClass(f.operands[0].reg.value) == ZYDIS_REGCLASS_SEGMENT;
    if (loads_segment &&
        (f.operands[0].reg.value == ZYDIS_REGISTER_SS || f.operands[0].reg.value == ZYDIS_REGISTER_CS))
        return false;
    if (is_one_of(f, {ZYDIS_MNEMONIC_IRET, ZYDIS_MNEMONIC_IRETD, ZYDIS_MNEMONIC_IRETQ})) return false;
    switch (f.insn.meta.category) {
    case ZYDIS_CATEGORY_CALL:
    case ZYDIS_CATEGORY_RET:
    case ZYDIS_CATEGORY_UNCOND_BR:
    case ZYDIS_CATEGORY_COND_BR: return f.insn.meta.branch_type != ZYDIS_BRANCH_TYPE_FAR;
    case ZYDIS_CATEGORY_PUSH:
    case ZYDIS_CATEGORY_POP: return true;
    case ZYDIS_CATEGORY_IO:
    case ZYDIS_CATEGORY_IOSTRINGOP: return cpl == 0 || mode.v86();
    default: break;
    }
    if (is_one_of(f, {ZYDIS_MNEMONIC_MONITOR, ZYDIS_MNEMONIC_MWAIT, ZYDIS_MNEMONIC_STAC, ZYDIS_MNEMONIC_CLAC,
                      ZYDIS_MNEMONIC_INVPCID, ZYDIS_MNEMONIC_CLTS, ZYDIS_MNEMONIC_INVD, ZYDIS_MNEMONIC_WBINVD,
                      ZYDIS_MNEMONIC_RDMSR, ZYDIS_MNEMONIC_WRMSR, ZYDIS_MNEMONIC_XSETBV}))
        return cpl == 0 && !mode.v86();
    return (f.insn.mnemonic == ZYDIS_MNEMONIC_MOV && any_register(f, {ZYDIS_REGCLASS_SEGMENT})) ||
           is_one_of(f,
                     {ZYDIS_MNEMONIC_LAR, ZYDIS_MNEMONIC_LSL, ZYDIS_MNEMONIC_VERR, ZYDIS_MNEMONIC_VERW,
                      ZYDIS_MNEMONIC_ARPL, ZYDIS_MNEMONIC_SLDT, ZYDIS_MNEMONIC_STR, ZYDIS_MNEMONIC_SMSW,
                      ZYDIS_MNEMONIC_LDS, ZYDIS_MNEMONIC_LES, ZYDIS_MNEMONIC_LFS, ZYDIS_MNEMONIC_LGS,
                      ZYDIS_MNEMONIC_BOUND, ZYDIS_MNEMONIC_ENTER, ZYDIS_MNEMONIC_LEAVE, ZYDIS_MNEMONIC_INTO});
}
bool names_only(const Form& f) {
    return is_one_of(f, {ZYDIS_MNEMONIC_NOP, ZYDIS_MNEMONIC_PREFETCH, ZYDIS_MNEMONIC_PREFETCHW,
                         ZYDIS_MNEMONIC_PREFETCHWT1, ZYDIS_MNEMONIC_PREFETCHNTA, ZYDIS_MNEMONIC_PREFETCHT0,
                         ZYDIS_MNEMONIC_PREFETCHT1, ZYDIS_MNEMONIC_PREFETCHT2, ZYDIS_MNEMONIC_INVLPG,
                         ZYDIS_MNEMONIC_UD0, ZYDIS_MNEMONIC_UD1});
}
bool lockable(const Form& f) {
    return f.operands[0].type == ZYDIS_OPERAND_TYPE_MEMORY &&
           is_one_of(f, {ZYDIS_MNEMONIC_ADD, ZYDIS_MNEMONIC_ADC, ZYDIS_MNEMONIC_AND, ZYDIS_MNEMONIC_BTC,
                         ZYDIS_MNEMONIC_BTR, ZYDIS_MNEMONIC_BTS, ZYDIS_MNEMONIC_CMPXCHG,
                         ZYDIS_MNEMONIC_CMPXCHG8B, ZYDIS_MNEMONIC_CMPXCHG16B, ZYDIS_MNEMONIC_DEC,
                         ZYDIS_MNEMONIC_INC, ZYDIS_MNEMONIC_NEG, ZYDIS_MNEMONIC_NOT, ZYDIS_MNEMONIC_OR,
                         ZYDIS_MNEMONIC_SBB, ZYDIS_MNEMONIC_SUB, ZYDIS_MNEMONIC_XOR, ZYDIS_MNEMONIC_XADD,
                         ZYDIS_MNEMONIC_XCHG});
}
bool exists(const Form& f, const FormMode& mode) {
    if (undefined(f)) return false;
    return mode.is_protected || !(vex(f) || evex(f) || protected_only(f));
}

static bool unaligned(const Form& f) {
    return is_one_of(f, {ZYDIS_MNEMONIC_MOVUPS, ZYDIS_MNEMONIC_MOVUPD, ZYDIS_MNEMONIC_MOVDQU,
                         ZYDIS_MNEMONIC_LDDQU, ZYDIS_MNEMONIC_PCMPISTRI, ZYDIS_MNEMONIC_PCMPISTRM,
                         ZYDIS_MNEMONIC_PCMPESTRI, ZYDIS_MNEMONIC_PCMPESTRM, ZYDIS_MNEMONIC_MASKMOVDQU});
}
bool divides(const Form& f) {
    return is_one_of(f, {ZYDIS_MNEMONIC_DIV, ZYDIS_MNEMONIC_IDIV});
}

bool aligned(const Form& f) {
    const auto kind = f.insn.meta.exception_class;
    const bool by_class = kind == ZYDIS_EXCEPTION_CLASS_SSE1 || kind == ZYDIS_EXCEPTION_CLASS_SSE2 ||
                          kind == ZYDIS_EXCEPTION_CLASS_SSE4 || kind == ZYDIS_EXCEPTION_CLASS_AVX1 ||
                          kind == ZYDIS_EXCEPTION_CLASS_E1 || kind == ZYDIS_EXCEPTION_CLASS_E1NF;
    return (f.memory()->size >= 128 && by_class && !unaligned(f)) || saves_fpu(f) || saves_extended(f) ||
           f.insn.mnemonic == ZYDIS_MNEMONIC_CMPXCHG16B;
}
bool simd_numeric(const Form& f) {
    const bool exact =
        is_one_of(f, {ZYDIS_MNEMONIC_CVTSI2SD, ZYDIS_MNEMONIC_VCVTSI2SD, ZYDIS_MNEMONIC_VCVTUSI2SD}) &&
        f.operands[f.insn.operand_count_visible - 1].size == 32;
    if (exact) return false;
    switch (f.insn.meta.exception_class) {
    case ZYDIS_EXCEPTION_CLASS_SSE2:
    case ZYDIS_EXCEPTION_CLASS_SSE3:
    case ZYDIS_EXCEPTION_CLASS_AVX2:
    case ZYDIS_EXCEPTION_CLASS_AVX3:
    case ZYDIS_EXCEPTION_CLASS_AVX11:
    case ZYDIS_EXCEPTION_CLASS_E2:
    case ZYDIS_EXCEPTION_CLASS_E3:
    case ZYDIS_EXCEPTION_CLASS_E11: return true;
    default: return false;
    }
}
bool suppresses_exceptions(const Form& f) {
    return f.insn.avx.has_sae || f.insn.avx.rounding.mode != ZYDIS_ROUNDING_MODE_INVALID;
}
bool writes_memory(const Form& f) {
    return f.insn.mnemonic == ZYDIS_MNEMONIC_MOVDIR64B ||
           (f.memory()->actions & (ZYDIS_OPERAND_ACTION_WRITE | ZYDIS_OPERAND_ACTION_CONDWRITE));
}
bool accesses_memory(const Form& f, const FormMode& mode) {
    const bool implied = f.insn.meta.category == ZYDIS_CATEGORY_STRINGOP ||
                         is_one_of(f, {ZYDIS_MNEMONIC_XLAT, ZYDIS_MNEMONIC_MASKMOVQ,
                                       ZYDIS_MNEMONIC_MASKMOVDQU, ZYDIS_MNEMONIC_VMASKMOVDQU});
    if (!f.memory() || names_only(f) || !exists(f, mode) || (mode.v86() && privileged(f))) return false;
    return implied || !f.at(Place::Data).empty() || f.memory()->mem.base == ZYDIS_REGISTER_NONE;
}

} // namespace dragoman::test
