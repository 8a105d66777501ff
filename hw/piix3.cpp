#include "hw/piix3.h"

#include "base/assert.h"
#include "base/bits.h"

#include <algorithm>
#include <cstring>

namespace dragoman::hw {

namespace {

constexpr u8 kPirqrc = 0x60;      // PIRQA#..PIRQD#: 7 = not routed, 3:0 = ISA IRQ
constexpr u16 kRoutable = 0xdef8; // not 0, 1, 2, 8, 13

struct Row {
    u8 offset;
    u32 value, writable;
    u8 size;
};
constexpr Row kRows[] = {
    {kPciCommand, 0x0007, 0x0108, 2}, // I/O, memory and bus master are always on
    {kPciStatus, 0x0200, 0, 2},
    {kPciHeaderType, 0x80, 0, 1}, // several functions
    {0x4c, 0x4d, 0xff, 1},        // IORT
    {0x4e, 0x0003, 0x0fff, 2},    // XBCS
    {0x60, 0x80, 0x8f, 1},
    {0x61, 0x80, 0x8f, 1},
    {0x62, 0x80, 0x8f, 1},
    {0x63, 0x80, 0x8f, 1},
    {0x69, 0x02, 0xfe, 1},     // TOM
    {0x6a, 0x0000, 0x8005, 2}, // MSTAT
    {0x70, 0x80, 0xef, 1},     // MBIRQ0
    {0x76, 0x04, 0x8f, 1},     // MBDMA
    {0x77, 0x04, 0x8f, 1},
    {0x78, 0x0002, 0xffff, 2},  // PCSC
    {0x80, 0x00, 0x7f, 1},      // APICBASE
    {0x82, 0x00, 0x0f, 1},      // DLC
    {0xa0, 0x08, 0x1f, 1},      // SMICNTL
    {0xa2, 0x0000, 0x01ff, 2},  // SMIEN
    {0xa4, 0x00000000, ~0u, 4}, // SEE
    {0xa8, 0x0f, 0xff, 1},      // FTMR
    {0xaa, 0x0000, 0x01ff, 2},  // SMIREQ
    {0xac, 0x00, 0xff, 1},      // CTLTMR
    {0xae, 0x00, 0xff, 1},      // CTHTMR
};

} // namespace

class Piix3::Input final : public IrqLine {
  public:
    Input(Piix3& owner, bool is_pci, u8 n) : pci(is_pci), number(n), owner_(owner) {}
    void set(bool on) override {
        if (level == on) return;
        level = on;
        owner_.update();
    }
    const bool pci;
    const u8 number; // ISA IRQ or PIRQ
    bool level = false;

  private:
    Piix3& owner_;
};

u64 Piix3::ResetControl::read(u64, unsigned) {
    return value;
}

void Piix3::ResetControl::write(u64, unsigned, u64 written) {
    const bool rising = bit(written, 2) && !bit(value, 2);
    value = u8(written & 6);
    if (!rising) return;
    const bool hard = bit(written, 1);
    value &= u8(~4); // the reset that follows clears RCPU
    if (owner_.reset_machine_) owner_.reset_machine_(hard);
}

Piix3::Piix3(const std::array<IrqLine*, 16>& outputs, std::function<void(bool)> reset_machine)
    : PciFunction("piix3", {.vendor = 0x8086, .device = 0x7000, .class_code = 0x060100}), outputs_(outputs),
      reset_machine_(std::move(reset_machine)) {
    for (const Row& row : kRows)
        set_config(row.offset, row.size, row.value, row.writable);
}

Piix3::~Piix3() = default;

IrqLine& Piix3::isa(unsigned irq) {
    DRAGOMAN_ASSERT(irq < 16);
    return *inputs_.emplace_back(std::make_unique<Input>(*this, false, u8(irq)));
}

IrqLine& Piix3::intx(unsigned slot, unsigned function, unsigned pin) {
    DRAGOMAN_ASSERT(slot < 32 && function < 8 && pin >= 1 && pin <= 4);
    return *inputs_.emplace_back(std::make_unique<Input>(*this, true, u8((pin - 1 + slot - 1) & 3)));
}

int Piix3::pirq_route(unsigned pirq) const {
    const u8 route = config_[kPirqrc + (pirq & 3)];
    return bit(route, 7) || !bit(kRoutable, route & 15) ? -1 : route & 15;
}

void Piix3::reset() {
    PciFunction::reset();
    rcr_.value = 0;
    update();
}

void Piix3::visit(StateVisitor& visitor) {
    PciFunction::visit(visitor);
    visitor.field("rcr", rcr_.value);
    visitor.field("levels", levels_);
    std::array<u8, 64> raised{};
    for (unsigned i = 0; i < inputs_.size() && i < raised.size(); i++)
        raised[i] = inputs_[i]->level;
    visitor.field("inputs", raised);
    if (!visitor.loading()) return;
    for (unsigned i = 0; i < inputs_.size() && i < raised.size(); i++)
        inputs_[i]->level = raised[i] != 0;
}

void Piix3::config_written(u8 offset, unsigned size) {
    if (offset < kPirqrc + 4 && offset + size > kPirqrc) update();
}

void Piix3::update() {
    u16 levels = 0;
    for (const auto& input : inputs_) {
        if (!input->level) continue;
        const int irq = input->pci ? pirq_route(input->number) : input->number;
        if (irq >= 0) levels |= u16(1u << irq);
    }
    const u16 changed = levels ^ levels_;
    levels_ = levels;
    for (unsigned irq = 0; irq < 16; irq++)
        if (bit(changed, irq) && outputs_[irq]) outputs_[irq]->set(bit(levels, irq));
}

} // namespace dragoman::hw
