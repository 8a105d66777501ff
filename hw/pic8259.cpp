#include "hw/pic8259.h"

#include "base/assert.h"
#include "base/bits.h"

#include <cstdio>
#include <utility>

namespace dragoman::hw {

namespace {

constexpr unsigned none = 8;

// ICW1
constexpr u8 kIcw1Ic4 = 0x01, kIcw1Select = 0x10;
// ICW4
constexpr u8 kIcw4Mode8086 = 0x01, kIcw4Aeoi = 0x02, kIcw4Sfnm = 0x10;
// OCW3
constexpr u8 kOcw3Select = 0x08, kOcw3Poll = 0x04, kOcw3ReadRegister = 0x02, kOcw3ReadIsr = 0x01;
constexpr u8 kOcw3EnableSpecialMask = 0x40, kOcw3SpecialMask = 0x20;

} // namespace

Pic8259::Pic8259(Role role, std::function<void(bool)> output, Log& log)
    : role_(role), output_(std::move(output)), log_(log) {}

void Pic8259::reset() {
    latched_ = imr_ = isr_ = 0;
    icw1_ = icw2_ = icw3_ = icw4_ = 0;
    elcr_ = 0;
    lowest_ = 7;
    init_ = Init::NeedIcw1;
    read_isr_ = poll_ = special_mask_ = rotate_on_aeoi_ = false;
    update();
}

void Pic8259::visit(StateVisitor& visitor) {
    const std::string prefix = role_ == Role::Master ? "master." : "slave.";
    const auto field = [&](const char* name, auto& value) { visitor.field((prefix + name).c_str(), value); };
    field("inputs", inputs_);
    field("latched", latched_);
    field("imr", imr_);
    field("isr", isr_);
    field("icw1", icw1_);
    field("icw2", icw2_);
    field("icw3", icw3_);
    field("icw4", icw4_);
    field("elcr", elcr_);
    field("lowest", lowest_);
    field("init", init_);
    field("read_isr", read_isr_);
    field("poll", poll_);
    field("special_mask", special_mask_);
    field("rotate_on_aeoi", rotate_on_aeoi_);
    field("int", int_);
    if (visitor.loading()) {
        lowest_ &= 7;
        if (init_ > Init::Ready) init_ = Init::NeedIcw1;
    }
}

// --- Inputs and priority
// ---------------------------------------------------------------------------------------

void Pic8259::set_input(unsigned level, bool high) {
    const bool was = bit(inputs_, level);
    inputs_ = with_bit(inputs_, level, high);
    if (high && !was) latched_ = with_bit(latched_, level, true);
    update();
}

void Pic8259::withdraw(unsigned level) {
    latched_ = with_bit(latched_, level, false);
    update();
}

void Pic8259::set_elcr(u8 value) {
    elcr_ = value;
    update();
}

// The IRR as it is read: edges that wait, and levels that are up.
u8 Pic8259::requests() const {
    const u8 by_level = level_triggered();
    return u8((latched_ & ~by_level) | (inputs_ & by_level));
}

unsigned Pic8259::by_priority(u8 levels) const {
    for (unsigned i = 1; i <= 8; i++) {
        const unsigned level = (lowest_ + i) & 7;
        if (bit(levels, level)) return level;
    }
    return none;
}

// A level that is masked while special mask mode is on neither blocks others nor is ended by a non-specific
// EOI.
unsigned Pic8259::highest_in_service() const {
    return by_priority(special_mask_ ? u8(isr_ & ~imr_) : isr_);
}

unsigned Pic8259::requesting() const {
    if (init_ != Init::Ready) return none;
    const unsigned request = by_priority(u8(requests() & ~imr_));
    if (request == none) return none;
    const unsigned serving = highest_in_service();
    if (serving == none || priority_of(request) < priority_of(serving)) return request;
    // Special fully nested mode: a slave in service may ask again, for something more urgent of its own.
    const bool from_slave = role_ == Role::Master && !single() && bit(icw3_, request);
    if ((icw4_ & kIcw4Sfnm) && from_slave && request == serving) return request;
    return none;
}

void Pic8259::update() {
    const bool level = requesting() != none;
    if (level == int_) return;
    int_ = level;
    output_(level);
}

// --- Acknowledge and end of interrupt
// ----------------------------------------------------------------------------

unsigned Pic8259::acknowledge() {
    const unsigned level = requesting();
    unsigned answer = spurious;
    if (level != none) {
        answer = level;
        latched_ = with_bit(latched_, level, false);
        if (!(icw4_ & kIcw4Aeoi))
            isr_ = with_bit(isr_, level, true);
        else if (rotate_on_aeoi_)
            lowest_ = u8(level);
    }
    // INT drops with the acknowledge even if something else is waiting: whoever sees edges needs a new one.
    if (int_) {
        int_ = false;
        output_(false);
    }
    update();
    return answer;
}

u8 Pic8259::vector(unsigned level) const {
    if (!(icw4_ & kIcw4Mode8086))
        log_.once("8259A: MCS-80/85 mode is not emulated; vectors are given as in 8086 mode");
    return u8((icw2_ & 0xf8) | (level == spurious ? 7 : level));
}

void Pic8259::end_of_interrupt(unsigned level, bool rotate) {
    if (level == none) return;
    isr_ = with_bit(isr_, level, false);
    if (rotate) lowest_ = u8(level);
}

// --- Command words
// -------------------------------------------------------------------------------------------------

void Pic8259::start_init(u8 icw1) {
    icw1_ = icw1;
    icw4_ = 0;
    imr_ = isr_ = 0;
    latched_ = 0; // the edge sense circuit is reset: a request must rise again
    lowest_ = 7;
    read_isr_ = poll_ = special_mask_ = rotate_on_aeoi_ = false;
    init_ = Init::NeedIcw2;
}

void Pic8259::write_init(u8 value) {
    const bool need4 = icw1_ & kIcw1Ic4;
    switch (init_) {
    case Init::NeedIcw2:
        icw2_ = value;
        init_ = !single() ? Init::NeedIcw3 : need4 ? Init::NeedIcw4 : Init::Ready;
        break;
    case Init::NeedIcw3:
        icw3_ = value;
        init_ = need4 ? Init::NeedIcw4 : Init::Ready;
        break;
    case Init::NeedIcw4:
        icw4_ = value;
        init_ = Init::Ready;
        break;
    case Init::NeedIcw1:
    case Init::Ready: imr_ = value; break; // OCW1
    }
}

void Pic8259::write_ocw2(u8 value) {
    const unsigned level = value & 7;
    switch (value >> 5) { // R, SL, EOI
    case 0b000: rotate_on_aeoi_ = false; break;
    case 0b100: rotate_on_aeoi_ = true; break;
    case 0b001: end_of_interrupt(highest_in_service(), false); break;
    case 0b101: end_of_interrupt(highest_in_service(), true); break;
    case 0b011: end_of_interrupt(level, false); break;
    case 0b111: end_of_interrupt(level, true); break;
    case 0b110: lowest_ = u8(level); break;
    case 0b010: break; // no operation
    }
}

void Pic8259::write_ocw3(u8 value) {
    if (value & kOcw3EnableSpecialMask) special_mask_ = value & kOcw3SpecialMask;
    poll_ = value & kOcw3Poll;
    if (value & kOcw3ReadRegister) read_isr_ = value & kOcw3ReadIsr;
}

void Pic8259::write(u32 offset, u8 value) {
    if (offset == 1)
        write_init(value);
    else if (value & kIcw1Select)
        start_init(value);
    else if (value & kOcw3Select)
        write_ocw3(value);
    else
        write_ocw2(value);
    update();
}

u8 Pic8259::read(u32 offset) {
    if (poll_) { // the read is the acknowledge, at either address
        poll_ = false;
        const unsigned level = acknowledge();
        return level == spurious ? 0 : u8(0x80 | level);
    }
    if (offset == 1) return imr_;
    return read_isr_ ? isr_ : requests();
}

std::string Pic8259::describe() const {
    char text[200];
    std::snprintf(
        text, sizeof text, "irr=%02x imr=%02x isr=%02x elcr=%02x base=%02x lowest=%u int=%u%s%s%s%s%s",
        requests(), imr_, isr_, elcr_, icw2_ & 0xf8, lowest_, int_,
        init_ == Init::Ready ? "" : " uninitialized", icw4_ & kIcw4Aeoi ? " aeoi" : "",
        icw4_ & kIcw4Sfnm ? " sfnm" : "", special_mask_ ? " special-mask" : "", read_isr_ ? " read-isr" : "");
    return text;
}

// --- The pair
// --------------------------------------------------------------------------------------------------------

namespace {

// ELCR: IRQ 0, 1, 2, 8 and 13 are always edge-triggered (82371SB: ELCR1, ELCR2).
constexpr u8 kElcrWritable[2] = {0xf8, 0xde};

template <std::size_t... I>
std::array<FunctionLine, 16> make_lines(Pic8259& master, Pic8259& slave, std::index_sequence<I...>) {
    const auto line = [&](unsigned irq) {
        Pic8259& pic = irq < 8 ? master : slave;
        if (irq == 2) return FunctionLine([](bool) {});
        return FunctionLine([&pic, irq](bool level) { pic.set_input(irq & 7, level); });
    };
    return {line(I)...};
}

} // namespace

PicPair::PicPair(IrqLine& intr, Log& log)
    : intr_(intr), master_(
                       Pic8259::Role::Master, [this](bool level) { intr_.set(level); }, log),
      slave_(
          Pic8259::Role::Slave,
          [this](bool level) {
              master_.set_input(cascade_level, level);
              if (!level) master_.withdraw(cascade_level);
          },
          log),
      master_ports_([this](u32 o) { return master_.read(o); }, [this](u32 o, u8 v) { master_.write(o, v); }),
      slave_ports_([this](u32 o) { return slave_.read(o); }, [this](u32 o, u8 v) { slave_.write(o, v); }),
      elcr_ports_([this](u32 o) { return (o ? slave_ : master_).elcr(); },
                  [this](u32 o, u8 v) { (o ? slave_ : master_).set_elcr(v & kElcrWritable[o & 1]); }),
      lines_(make_lines(master_, slave_, std::make_index_sequence<16>())) {}

void PicPair::map(IoBus& bus) {
    bus.map(0x20, 2, master_ports_, PortRange::byte_wide);
    bus.map(0xa0, 2, slave_ports_, PortRange::byte_wide);
    bus.map(0x4d0, 2, elcr_ports_, PortRange::byte_wide);
}

IrqLine& PicPair::line(unsigned irq) {
    DRAGOMAN_ASSERT(irq < 16);
    return lines_[irq];
}

u8 PicPair::acknowledge() {
    const unsigned level = master_.acknowledge();
    const bool slave_answers =
        level == cascade_level && !master_.single() && bit(master_.icw3(), cascade_level);
    if (!slave_answers) return master_.vector(level);
    // The slave drives the bus when its identity is on the cascade lines; otherwise nobody does.
    if ((slave_.icw3() & 7) != cascade_level) return 0xff;
    return slave_.vector(slave_.acknowledge());
}

void PicPair::reset() {
    slave_.reset();
    master_.reset();
}

void PicPair::visit(StateVisitor& visitor) {
    const bool was = master_.output();
    master_.visit(visitor);
    slave_.visit(visitor);
    if (visitor.loading() && master_.output() != was) intr_.set(master_.output());
}

std::string PicPair::describe() const {
    return "pic0: " + master_.describe() + "\npic1: " + slave_.describe() + "\n";
}

} // namespace dragoman::hw
