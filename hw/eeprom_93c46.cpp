#include "hw/eeprom_93c46.h"

namespace dragoman::hw {

namespace {

constexpr unsigned kCommandBits = 9; // start bit, two of opcode, six of address
constexpr u16 kOpcodeRead = 6;       // start bit and opcode

} // namespace

void Eeprom93c46::set_wires(bool select, bool clock, bool in) {
    const bool edge = clock && !clock_;
    clock_ = clock;
    if (!select) {
        count_ = 0;
        shift_ = 0;
        reading_ = false;
        output_ = true; // pulled up
        return;
    }
    if (!edge) return;
    if (reading_) {
        output_ = shift_ & 0x8000;
        shift_ = u16(shift_ << 1);
        return; // after the word: zeros
    }
    if (count_ == 0 && !in) return; // waiting for the start bit
    shift_ = u16(shift_ << 1 | in);
    if (++count_ < kCommandBits) return;
    if (shift_ >> 6 == kOpcodeRead) {
        reading_ = true;
        output_ = false; // a zero before the data
        shift_ = word(shift_ & 0x3f);
    } else { // writes and erasures are ready at once, and forgotten
        shift_ = 0;
    }
    count_ = 0;
}

void Eeprom93c46::reset() {
    shift_ = 0;
    count_ = 0;
    clock_ = reading_ = false;
    output_ = true;
}

void Eeprom93c46::visit(StateVisitor& visitor) {
    visitor.field("eeprom.words", words_);
    visitor.field("eeprom.shift", shift_);
    visitor.field("eeprom.count", count_);
    visitor.field("eeprom.clock", clock_);
    visitor.field("eeprom.output", output_);
    visitor.field("eeprom.reading", reading_);
}

} // namespace dragoman::hw
