#include "hw/uart16550.h"

#include "base/bits.h"

#include <utility>

namespace dragoman::hw {

namespace {

enum : u8 { kIerReceived = 1, kIerTransmit = 2, kIerLine = 4, kIerModem = 8 };
enum : u8 { kDataReady = 1, kOverrun = 2, kBreak = 0x10, kThre = 0x20, kTemt = 0x40, kFifoError = 0x80 };
constexpr u8 kCharacterErrors = 0x1c; // PE, FE, BI: they travel with their character
enum : u8 { kDtr = 1, kRts = 2, kOut1 = 4, kOut2 = 8, kLoop = 0x10 };
enum : u8 { kCts = 0x10, kDsr = 0x20, kRi = 0x40, kDcd = 0x80 };
constexpr u8 kDlab = 0x80;
enum : u8 { kNone = 1, kLineStatus = 6, kReceived = 4, kTimeout = 0xc, kTransmit = 2, kModem = 0 }; // IIR

} // namespace

Uart16550::Uart16550(std::string name, IrqLine& irq, Scheduler& scheduler, CharBackend* backend)
    : name_(std::move(name)), irq_(irq), scheduler_(scheduler), backend_(backend),
      timeout_(scheduler, [this] {
          if (!s_.count || !fifo_on()) return;
          s_.timeout_pending = 1;
          update();
      }) {
    if (backend_) backend_->attach(*this);
    Uart16550::reset();
}

void Uart16550::reset() {
    s_ = State{};
    s_.msr = modem_inputs();
    timeout_.cancel();
    update();
    offer_room();
}

void Uart16550::visit(StateVisitor& visitor) {
    visitor.field("uart", s_);
    if (!visitor.loading()) return;
    s_.head %= fifo_size;
    if (s_.count > capacity()) s_.count = u8(capacity());
    restart_timeout();
    wants_room_ = true; // the back-end may have been told otherwise before
    offer_room();
}

void Uart16550::offer_room() {
    if (!backend_ || !wants_room_ || !can_receive()) return;
    wants_room_ = false;
    backend_->room();
}

u64 Uart16550::read(u64 offset, unsigned) {
    switch (offset & 7) {
    case 0: return s_.lcr & kDlab ? u8(s_.divisor) : read_rbr();
    case 1: return s_.lcr & kDlab ? u8(s_.divisor >> 8) : s_.ier;
    case 2: return read_iir();
    case 3: return s_.lcr;
    case 4: return s_.mcr;
    case 5: return read_lsr();
    case 6: {
        const u8 msr = s_.msr;
        s_.msr &= 0xf0; // reading clears the deltas
        update();
        return msr;
    }
    default: return s_.scr;
    }
}

void Uart16550::write(u64 offset, unsigned, u64 value) {
    const u8 v = u8(value);
    switch (offset & 7) {
    case 0:
        if (s_.lcr & kDlab)
            s_.divisor = u16((s_.divisor & 0xff00) | v);
        else
            transmit(v);
        break;
    case 1:
        if (s_.lcr & kDlab) {
            s_.divisor = u16((s_.divisor & 0xff) | v << 8);
            break;
        }
        // Enabling ETBEI while the holding register is empty interrupts at once.
        if ((v & kIerTransmit) && !(s_.ier & kIerTransmit) && (s_.lsr & kThre)) s_.thre_pending = 1;
        s_.ier = v & 0x0f;
        update();
        break;
    case 2: write_fcr(v); break;
    case 3: s_.lcr = v; break;
    case 4: write_mcr(v); break;
    case 7: s_.scr = v; break;
    default: break; // LSR and MSR: factory tests only
    }
}

unsigned Uart16550::trigger() const {
    static constexpr u8 levels[] = {1, 4, 8, 14};
    return fifo_on() ? levels[s_.fcr >> 6] : 1;
}

// Interrupts, highest priority first (data sheet, table IV).
u8 Uart16550::iir() const {
    const u8 ids = fifo_on() ? 0xc0 : 0;
    if ((s_.ier & kIerLine) && (s_.lsr & (kOverrun | kCharacterErrors))) return ids | kLineStatus;
    if (s_.ier & kIerReceived) {
        if (s_.count >= trigger()) return ids | kReceived;
        if (s_.timeout_pending) return ids | kTimeout;
    }
    if ((s_.ier & kIerTransmit) && s_.thre_pending) return ids | kTransmit;
    if ((s_.ier & kIerModem) && (s_.msr & 0x0f)) return ids | kModem;
    return ids | kNone;
}

void Uart16550::update() {
    irq_.set(!(iir() & kNone) && (s_.mcr & kOut2));
}

u8 Uart16550::read_iir() {
    const u8 value = iir();
    if ((value & 0x0f) == kTransmit) {
        s_.thre_pending = 0;
        update();
    }
    return value;
}

u8 Uart16550::read_lsr() {
    const u8 value = s_.lsr;
    s_.lsr &= u8(~(kOverrun | kCharacterErrors));
    if (s_.count) s_.fifo[s_.head].errors = 0; // seen
    update_head_errors();
    update();
    return value;
}

u8 Uart16550::read_rbr() {
    if (s_.count) {
        s_.rbr = s_.fifo[s_.head].byte;
        s_.head = u8((s_.head + 1) % fifo_size);
        s_.count--;
        if (!s_.count) s_.lsr &= u8(~kDataReady);
        update_head_errors();
    }
    s_.timeout_pending = 0;
    restart_timeout();
    update();
    offer_room();
    return s_.rbr;
}

// The errors of the character at the top of the FIFO show in LSR; bit 7 tells of any further down.
void Uart16550::update_head_errors() {
    if (s_.count) s_.lsr |= s_.fifo[s_.head].errors;
    bool any = false;
    for (unsigned i = 0; i < s_.count; i++)
        any |= s_.fifo[(s_.head + i) % fifo_size].errors != 0;
    s_.lsr = with_bit(s_.lsr, 7, any && fifo_on());
}

bool Uart16550::can_receive() const {
    return !(s_.mcr & kLoop) && s_.count < capacity();
}

void Uart16550::receive(u8 byte) {
    if (!(s_.mcr & kLoop)) push(byte, 0); // in loopback SIN is disconnected
}

void Uart16550::receive_break() {
    if (!(s_.mcr & kLoop)) push(0, kBreak);
}

void Uart16550::push(u8 byte, u8 errors) {
    if (s_.count >= capacity()) {
        s_.lsr |= kOverrun;
        if (!fifo_on())
            s_.fifo[s_.head] = {byte, errors}; // without FIFO the old character is lost, with it the new
    } else {
        s_.fifo[(s_.head + s_.count) % fifo_size] = {byte, errors};
        s_.count++;
        s_.lsr |= kDataReady;
    }
    if (s_.count == capacity()) wants_room_ = true;
    update_head_errors();
    restart_timeout();
    update();
}

void Uart16550::transmit(u8 byte) {
    // The character leaves at once; the interrupt line still sees THRE go and come, as edge-triggered 8259s
    // need.
    s_.thre_pending = 0;
    update();
    if (s_.mcr & kLoop)
        push(byte, 0);
    else if (backend_)
        backend_->write({&byte, 1});
    s_.lsr |= kThre | kTemt;
    s_.thre_pending = 1;
    update();
}

void Uart16550::clear_receiver() {
    s_.count = s_.head = 0;
    s_.timeout_pending = 0;
    s_.lsr &= u8(~(kDataReady | kFifoError));
    timeout_.cancel();
}

void Uart16550::write_fcr(u8 value) {
    const bool toggled = (value ^ s_.fcr) & 1; // which clears both FIFOs
    if (!(value & 1)) {
        s_.fcr = 0; // the other bits are taken only together with bit 0
        if (toggled) clear_receiver();
    } else {
        s_.fcr = value & 0xc9;
        if (toggled || (value & 2)) clear_receiver();
        if (value & 4) s_.lsr |= kThre | kTemt;
    }
    update();
    offer_room();
}

u8 Uart16550::modem_inputs() const {
    if (s_.mcr & kLoop) {
        u8 inputs = 0;
        if (s_.mcr & kRts) inputs |= kCts;
        if (s_.mcr & kDtr) inputs |= kDsr;
        if (s_.mcr & kOut1) inputs |= kRi;
        if (s_.mcr & kOut2) inputs |= kDcd;
        return inputs;
    }
    return backend_ ? kCts | kDsr | kDcd : 0;
}

void Uart16550::set_modem_inputs(u8 inputs) {
    const u8 changed = u8((s_.msr ^ inputs) & 0xf0);
    u8 deltas = u8((changed >> 4) & 0x0b);
    if ((changed & kRi) && !(inputs & kRi)) deltas |= 4; // TERI: only the trailing edge
    s_.msr = u8(inputs | (s_.msr & 0x0f) | deltas);
}

void Uart16550::write_mcr(u8 value) {
    if (s_.mcr & kLoop) wants_room_ = true;
    s_.mcr = value & 0x1f;
    set_modem_inputs(modem_inputs());
    update();
    offer_room();
}

// The character timeout: four character times without a character coming or being read, while the FIFO holds
// some.
void Uart16550::restart_timeout() {
    if (fifo_on() && s_.count && !s_.timeout_pending)
        timeout_.arm(scheduler_.now() + 4 * character_ns());
    else
        timeout_.cancel();
}

u64 Uart16550::character_ns() const {
    const u64 bits_per_character =
        1 + 5 + (s_.lcr & 3) + (s_.lcr & 8 ? 1 : 0) + (s_.lcr & 4 ? 2 : 1); // start, data, parity, stop
    const u64 divisor = s_.divisor ? s_.divisor : 0x10000;
    return bits_per_character * divisor * 16 * 1000000000 / 1843200;
}

} // namespace dragoman::hw
