// National PC16550D UART (data sheet TL/C/8652), as wired on a PC: clock 1.8432 MHz, OUT2# gates the
// interrupt.
#pragma once

#include "base/io.h"
#include "hw/core/chardev.h"
#include "hw/core/irq.h"
#include "hw/core/scheduler.h"
#include "hw/core/state.h"

#include <array>
#include <string>
#include <type_traits>

namespace dragoman::hw {

class Uart16550 final : public Device, public IoHandler, public CharReceiver {
  public:
    // Eight byte-wide ports. `backend` may be null: nobody at the other end (modem lines inactive). Borrowed.
    Uart16550(std::string name, IrqLine& irq, Scheduler& scheduler, CharBackend* backend);

    u64 read(u64 offset, unsigned size) override;
    void write(u64 offset, unsigned size, u64 value) override;

    bool can_receive() const override;
    void receive(u8 byte) override;
    void receive_break() override;

    const char* name() const override { return name_.c_str(); }
    void reset() override;
    void visit(StateVisitor& visitor) override;

  private:
    static constexpr unsigned fifo_size = 16;
    struct Received {
        u8 byte = 0;
        u8 errors = 0; // LSR bits 4:2 of this character
    };
    struct State { // without padding: it is saved as it is
        u16 divisor = 12;
        u8 ier = 0, fcr = 0, lcr = 0, mcr = 0, lsr = 0x60, msr = 0, scr = 0;
        u8 rbr = 0; // what an empty receiver still shows
        u8 thre_pending = 0, timeout_pending = 0;
        u8 count = 0, head = 0; // receive FIFO
        std::array<Received, fifo_size> fifo{};
    };
    static_assert(std::has_unique_object_representations_v<State>);

    bool fifo_on() const { return s_.fcr & 1; }
    unsigned capacity() const { return fifo_on() ? fifo_size : 1; }
    unsigned trigger() const;
    u8 read_rbr();
    u8 read_iir();
    u8 read_lsr();
    u8 iir() const;
    void transmit(u8 byte);
    void write_fcr(u8 value);
    void write_mcr(u8 value);
    void push(u8 byte, u8 errors);
    void clear_receiver();
    void update_head_errors();
    void set_modem_inputs(u8 inputs);
    u8 modem_inputs() const;
    void restart_timeout();
    u64 character_ns() const;
    void offer_room();
    void update();

    std::string name_;
    IrqLine& irq_;
    Scheduler& scheduler_;
    CharBackend* backend_;
    State s_;
    Timer timeout_;
    bool wants_room_ = false; // the back-end was told to wait
};

} // namespace dragoman::hw
