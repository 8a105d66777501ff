// The x87 control instructions that move the environment or the whole state (SDM vol. 1, 8.1.10 and 8.1.11).
#include "frontend/x86/platform.h"
#include "frontend/x86/system_helpers.h"
#include "frontend/x86/system_memory.h"
#include "frontend/x86/x87_ops.h"

#include <cstring>

namespace dragoman::x86 {

namespace {

// The environment's seven fields in memory: 2 or 4 bytes each, from the operand size (figures 8-9 to 8-12).
constexpr unsigned kFields = 7;
constexpr unsigned kRegisters = 8, kRegisterBytes = 10;

struct Image {
    u8 bytes[kFields * 4 + kRegisters * kRegisterBytes];
};

// Linear addresses instead of segment and offset in real and virtual-8086 mode.
bool real_format(const Cpu& cpu) {
    return cpu.real_mode() || cpu.v86();
}

void put_field(Image& image, unsigned width, unsigned n, u32 value) {
    std::memcpy(image.bytes + n * width, &value, width);
}
u32 get_field(const Image& image, unsigned width, unsigned n) {
    u32 value = 0;
    std::memcpy(&value, image.bytes + n * width, width);
    return value;
}

void put_environment(const Cpu& cpu, unsigned width, Image& image) {
    const ir::Fpu& f = cpu.fpu;
    constexpr u32 ones = 0xffff0000; // in the upper half of 32-bit fields
    u32 fields[kFields] = {f.control | ones, status_word(f) | ones, full_tag_word(f) | ones};
    if (real_format(cpu)) {
        const u32 ip = u32(f.ip) + (u32{f.cs} << 4), dp = u32(f.dp) + (u32{f.ds} << 4);
        fields[3] = (ip & 0xffff) | ones;
        fields[4] = (ip >> 16 << 12 & (width == 2 ? 0xf000 : 0x0ffff000)) | (f.opcode & 0x7ff);
        fields[5] = (dp & 0xffff) | ones;
        fields[6] = dp >> 16 << 12 & (width == 2 ? 0xf000 : 0x0ffff000);
    } else {
        fields[3] = u32(f.ip);
        fields[4] = f.cs | (f.opcode & 0x7ffu) << 16;
        fields[5] = u32(f.dp);
        fields[6] = f.ds | ones;
    }
    for (unsigned n = 0; n < kFields; ++n)
        put_field(image, width, n, fields[n]);
}

// The registers are to be in st[] by their place relative to the new TOP: `keep` says that they stay where
// they are physically (FLDENV), otherwise the caller loads them.
void get_environment(Cpu& cpu, unsigned width, const Image& image, bool keep) {
    ir::Fpu& f = cpu.fpu;
    const u16 status = u16(get_field(image, width, 1));
    const unsigned new_top = status >> 11 & 7;
    if (keep) {
        u8 old[kRegisters][16];
        std::memcpy(old, f.st, sizeof old);
        for (unsigned i = 0; i < kRegisters; ++i)
            std::memcpy(f.st[i], old[(new_top + i - f.top) & 7], 16);
    }
    f.control = control_word(u16(get_field(image, width, 0)));
    f.tag = abridged_tag_word(u16(get_field(image, width, 2)));
    set_status_word(f, status);
    const u32 ip = get_field(image, width, 3), dp = get_field(image, width, 5);
    const u32 ip_rest = get_field(image, width, 4), dp_rest = get_field(image, width, 6);
    if (real_format(cpu)) {
        f.ip = (ip & 0xffff) | (ip_rest & 0x0ffff000) << 4;
        f.dp = (dp & 0xffff) | (dp_rest & 0x0ffff000) << 4;
        f.cs = f.ds = 0;
        f.opcode = ip_rest & 0x7ff;
    } else {
        f.ip = ip;
        f.dp = dp;
        f.cs = kept_selector(cpu, u16(ip_rest));
        f.ds = kept_selector(cpu, u16(dp_rest));
        f.opcode = ip_rest >> 16 & 0x7ff; // not in the format of 16 bits
    }
}

constexpr u32 kPiece = 64; // the most that one access may have

bool read(Cpu& cpu, u64 linear, u8* to, u32 bytes) {
    for (u32 at = 0; at < bytes; at += kPiece)
        if (!read_memory(cpu, linear + at, to + at, std::min(kPiece, bytes - at), softmmu::View(cpu.view)))
            return false;
    return true;
}
bool write(Cpu& cpu, u64 linear, const u8* from, u32 bytes) {
    const auto view = softmmu::View(cpu.view);
    if (!check_write(cpu, linear, bytes, view)) return false;
    for (u32 at = 0; at < bytes; at += kPiece)
        if (!write_memory(cpu, linear + at, from + at, std::min(kPiece, bytes - at), view)) return false;
    return true;
}

// After a change of the status or control word.
void control_changed(Cpu& cpu, const X87Call& call) {
    update_ferr(cpu);
    leave_if_mode_changed(cpu, (cpu.rip + call.length) & instruction_pointer_mask(cpu));
}

u64 status(ir::Context& ctx, u64, u64, u64) {
    return status_word(ctx.fpu);
}

u64 init(ir::Context& ctx, u64, u64, u64 imm) {
    initialize(ctx.fpu);
    control_changed(cpu_of(ctx), X87Call::unpack(imm));
    return 0;
}

u64 clear(ir::Context& ctx, u64, u64, u64 imm) {
    ctx.fpu.status &= u16(~(kX87Exceptions | kX87StackFault | kX87Summary | kX87Busy));
    control_changed(cpu_of(ctx), X87Call::unpack(imm));
    return 0;
}

u64 load_control(ir::Context& ctx, u64 value, u64, u64 imm) {
    set_control_word(ctx.fpu, u16(value));
    control_changed(cpu_of(ctx), X87Call::unpack(imm));
    return 0;
}

u64 store_environment(ir::Context& ctx, u64 linear, u64, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    const X87Call call = X87Call::unpack(imm);
    Image image;
    put_environment(cpu, call.operand, image);
    if (!write(cpu, linear, image.bytes, kFields * call.operand)) return 0;
    cpu.fpu.control |= kX87Exceptions;
    update_summary(cpu.fpu);
    control_changed(cpu, call);
    return 0;
}

u64 load_environment(ir::Context& ctx, u64 linear, u64, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    const X87Call call = X87Call::unpack(imm);
    Image image;
    if (!read(cpu, linear, image.bytes, kFields * call.operand)) return 0;
    get_environment(cpu, call.operand, image, true);
    control_changed(cpu, call);
    return 0;
}

u64 save(ir::Context& ctx, u64 linear, u64, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    const X87Call call = X87Call::unpack(imm);
    Image image;
    put_environment(cpu, call.operand, image);
    u8* st = image.bytes + kFields * call.operand;
    for (unsigned i = 0; i < kRegisters; ++i)
        std::memcpy(st + i * kRegisterBytes, cpu.fpu.st[i], kRegisterBytes);
    if (!write(cpu, linear, image.bytes, kFields * call.operand + kRegisters * kRegisterBytes)) return 0;
    initialize(cpu.fpu);
    control_changed(cpu, call);
    return 0;
}

u64 restore(ir::Context& ctx, u64 linear, u64, u64 imm) {
    Cpu& cpu = cpu_of(ctx);
    const X87Call call = X87Call::unpack(imm);
    Image image;
    if (!read(cpu, linear, image.bytes, kFields * call.operand + kRegisters * kRegisterBytes)) return 0;
    get_environment(cpu, call.operand, image, false);
    const u8* st = image.bytes + kFields * call.operand;
    for (unsigned i = 0; i < kRegisters; ++i)
        std::memcpy(cpu.fpu.st[i], st + i * kRegisterBytes, kRegisterBytes);
    control_changed(cpu, call);
    return 0;
}

} // namespace

const ir::Helper x87_status{"fnstsw", status}, x87_init{"fninit", init}, x87_clear{"fnclex", clear},
    x87_load_control{"fldcw", load_control}, x87_load_environment{"fldenv", load_environment},
    x87_store_environment{"fnstenv", store_environment}, x87_save{"fnsave", save},
    x87_restore{"frstor", restore};

} // namespace dragoman::x86
