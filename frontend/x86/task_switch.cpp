// Task switching (SDM vol. 3, ch. 8) and what else is read from a TSS.
#include "base/bits.h"
#include "frontend/x86/debug.h"
#include "frontend/x86/exception.h"
#include "frontend/x86/far_transfer.h"
#include "frontend/x86/system_memory.h"
#include "frontend/x86/system_registers.h"

namespace dragoman::x86 {

namespace {

// Where a TSS keeps things (SDM vol. 3, figures 8-2 and 8-10).
struct Layout {
    unsigned word;      // bytes of a register
    unsigned ip, flags; // general registers follow the flags, in their order
    unsigned selectors, selector_step, selector_count;
    unsigned ldt;
    u32 least_limit;
};
constexpr Layout kLayout16 = {2, 0x0e, 0x10, 0x22, 2, 4, 0x2a, 0x2b};
constexpr Layout kLayout32 = {4, 0x20, 0x24, 0x48, 4, 6, 0x60, 0x67};
constexpr unsigned kCr3At = 0x1c, kTrapAt = 0x64;

const Layout& layout_of(unsigned type) {
    return type & 8 ? kLayout32 : kLayout16;
}

bool fail(Cpu& cpu, Vector vector, u32 error) {
    raise(cpu, vector, error);
    return false;
}

// The new task's registers as its TSS holds them.
struct Image {
    u32 cr3 = 0, ip = 0, flags = 0, gpr[8] = {};
    u16 selector[6] = {}, ldt = 0;
    bool trap = false;
};

bool read_image(Cpu& cpu, u64 base, const Layout& l, Image& image) {
    const auto word = [&](unsigned at, u32& value) {
        value = 0;
        return read_memory(cpu, base + at, &value, l.word, system_view(cpu));
    };
    bool ok = word(l.ip, image.ip) && word(l.flags, image.flags);
    for (unsigned i = 0; ok && i < 8; ++i)
        ok = word(l.flags + (i + 1) * l.word, image.gpr[i]);
    for (unsigned i = 0; ok && i < l.selector_count; ++i)
        ok = read_system(cpu, base + l.selectors + i * l.selector_step, image.selector[i]);
    ok = ok && read_system(cpu, base + l.ldt, image.ldt);
    if (ok && l.word == 4) {
        u16 trap = 0;
        ok = read_system(cpu, base + kCr3At, image.cr3) && read_system(cpu, base + kTrapAt, trap);
        image.trap = trap & 1;
    }
    return ok;
}

// Cannot fault: the caller has checked that the TSS can be written.
void save_image(Cpu& cpu, u64 base, const Layout& l, u64 next_rip, u32 flags) {
    const auto word = [&](unsigned at, u64 value) {
        write_memory(cpu, base + at, &value, l.word, system_view(cpu));
    };
    word(l.ip, next_rip);
    word(l.flags, flags);
    for (unsigned i = 0; i < 8; ++i)
        word(l.flags + (i + 1) * l.word, cpu.gpr[i]);
    for (unsigned i = 0; i < l.selector_count; ++i)
        write_system(cpu, base + l.selectors + i * l.selector_step, cpu.seg[i].selector);
}

void mark_busy(Cpu& cpu, const Descriptor& d, bool busy) {
    write_system(cpu, d.address + 5, u8(with_bit((d.low >> 40) & 0xff, 1, busy)));
}

bool load_code_segment(Cpu& cpu, u16 selector) {
    const u16 error = selector & 0xfffc;
    if (is_null(selector)) return fail(cpu, kTS, 0);
    Descriptor d;
    if (!read_descriptor(cpu, selector, d, kTS)) return false;
    const bool level_ok = d.conforming() ? d.dpl() <= rpl(selector) : d.dpl() == rpl(selector);
    if (!d.is_code() || !level_ok) return fail(cpu, kTS, error);
    if (!d.present()) return fail(cpu, kNP, error);
    if (!set_accessed(cpu, d)) return false;
    cpu.seg[1] = d.segment(selector);
    return true;
}

// The part of a switch that runs in the context of the new task: faults are that task's.
bool enter_task(Cpu& cpu, const Image& image) {
    constexpr unsigned order[] = {2, 0, 3, 4, 5}; // SS, then ES DS FS GS
    if (!load_ldtr(cpu, image.ldt, kTS)) return false;
    if (cpu.v86()) {
        for (unsigned i = 0; i < 6; ++i)
            load_real_segment(cpu, ir::Seg(i), image.selector[i]);
    } else {
        if (!load_code_segment(cpu, image.selector[1])) return false;
        for (const unsigned i : order)
            if (!load_segment(cpu, ir::Seg(i), image.selector[i], kTS)) return false;
    }
    if (cpu.rip > cpu.seg[1].limit) return fail(cpu, kGP, 0);
    return true;
}

} // namespace

bool task_switch(Cpu& cpu, u16 selector, TaskSwitch how, u64 next_rip, bool has_error, u32 error) {
    const u16 code = selector & 0xfffc;
    const bool returning = how == TaskSwitch::Return;
    const bool nests = how == TaskSwitch::Call || how == TaskSwitch::Gate;
    const Vector wrong = returning ? kTS : kGP;
    Descriptor d, old;
    if (selector & 4) return fail(cpu, wrong, code);
    if (!read_descriptor(cpu, selector, d, wrong)) return false;
    const unsigned wanted = returning ? 3 : 1;
    if (d.is_segment() || (d.type() & 7) != wanted) return fail(cpu, wrong, code);
    if (!d.present()) return fail(cpu, kNP, code);
    const Layout& to = layout_of(d.type());
    if (d.limit() < to.least_limit) return fail(cpu, kTS, code);

    // Everything that can fault in the old task's context, before anything is changed.
    const Layout& from = layout_of(cpu.tr.attributes & 0xf);
    if (cpu.tr.limit < from.least_limit) return fail(cpu, kTS, cpu.tr.selector & 0xfffc);
    if (!check_write(cpu, cpu.tr.base, from.least_limit + 1, system_view(cpu))) return false;
    Image image;
    if (!check_write(cpu, d.base(), to.least_limit + 1, system_view(cpu))) return false;
    if (!read_image(cpu, d.base(), to, image)) return false;
    if (!check_write(cpu, d.address, 8, system_view(cpu))) return false;
    if (!read_descriptor(cpu, cpu.tr.selector, old, kTS)) return false;
    if (!check_write(cpu, old.address, 8, system_view(cpu))) return false;

    u32 flags = cpu.eflags();
    if (returning) flags &= ~u32(kNT);
    if (!nests) mark_busy(cpu, old, false);
    save_image(cpu, cpu.tr.base, from, next_rip, flags);
    if (nests) write_system(cpu, d.base(), cpu.tr.selector);
    if (!returning) mark_busy(cpu, d, true);

    // From here on faults belong to the new task (SDM vol. 3, 8.3).
    cpu.tr = d.segment(selector);
    cpu.tr.attributes |= 2;
    cpu.cr0 |= kCr0TS;
    cpu.irrevocable = true;
    if (cpu.dr[7] & kDr7Local) breakpoints_changed(cpu);
    cpu.dr[7] &= ~u64{0x100 | kDr7Local}; // LE too
    cpu.rip = image.ip;
    u32 new_flags = to.word == 2 ? image.flags & 0xffff : image.flags;
    if (nests) new_flags |= kNT;
    cpu.set_eflags(cpu.dr[7] & kDr7Enables ? new_flags : new_flags & ~u32(kRF));
    for (unsigned i = 0; i < 8; ++i)
        cpu.gpr[i] = to.word == 4 ? image.gpr[i] : 0xffff0000 | image.gpr[i];
    for (unsigned i = 0; i < 6; ++i)
        cpu.seg[i] = null_segment(image.selector[i]);
    cpu.seg[1].attributes = kSegP | kSegS | kSegCode; // whatever happens, a code segment of some width
    set_cpl(cpu, cpu.v86() ? 3 : rpl(image.selector[1]));
    cpu.ldtr = null_segment(image.ldt);
    if (to.word == 4 && (cpu.cr0 & kCr0PG) && !write_cr3(cpu, image.cr3)) return false;
    if (!enter_task(cpu, image)) return false;

    if (has_error) {
        Stack stack = current_stack(cpu);
        Frame frame(to.word);
        frame.push(error);
        if (!frame.write(cpu, stack)) return false;
        set_stack_pointer(cpu, stack);
    }
    if (image.trap) cpu.debug_traps |= kDr6BT; // before the first instruction of the new task
    return true;
}

bool inner_stack(Cpu& cpu, unsigned level, u16& ss, u64& sp) {
    const u16 tr_error = cpu.tr.selector & 0xfffc;
    if (cpu.tr.attributes & 8) {
        const u32 at = level * 8 + 4;
        u32 image[2] = {};
        if (at + 5 > cpu.tr.limit) return fail(cpu, kTS, tr_error);
        if (!read_memory(cpu, cpu.tr.base + at, image, 6, system_view(cpu))) return false;
        sp = image[0];
        ss = u16(image[1]);
    } else {
        const u32 at = level * 4 + 2;
        u16 image[2];
        if (at + 3 > cpu.tr.limit) return fail(cpu, kTS, tr_error);
        if (!read_memory(cpu, cpu.tr.base + at, image, 4, system_view(cpu))) return false;
        sp = image[0];
        ss = image[1];
    }
    return true;
}

bool inner_stack64(Cpu& cpu, unsigned level, unsigned ist, u64& rsp) {
    const u32 at = ist ? 0x1c + ist * 8 : level * 8 + 4;
    if (at + 7 > cpu.tr.limit) return fail(cpu, kTS, cpu.tr.selector & 0xfffc);
    if (!read_system(cpu, cpu.tr.base + at, rsp)) return false;
    if (!canonical(cpu, rsp)) return fail(cpu, kSS, 0);
    return true;
}

} // namespace dragoman::x86
