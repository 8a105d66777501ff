// What an AHCI port does with its command list, and the frames it takes from the device.
#include "hw/ahci_port.h"
#include "hw/ahci_registers.h"

#include <bit>
#include <cstring>

namespace dragoman::hw {

using namespace ahci;

namespace {

constexpr unsigned kStepsAtOnce = 64; // then the rest waits for a timer

} // namespace

// Goes on with whatever can go on. Called whenever something changed; calls from within are remembered by the
// loop.
void AhciPort::pump() {
    if (pumping_) return;
    pumping_ = true;
    unsigned steps = 0;
    while (steps < kStepsAtOnce && step())
        ++steps;
    pumping_ = false;
    if (steps == kStepsAtOnce) again_.arm(scheduler_.now() + 1000);
}

bool AhciPort::step() {
    State& s = state_;
    if (!usable()) return false;
    if (s.signing) {
        if ((device_->status() & kAtaBsy) || (queue_ && queue_->forgotten())) return false;
        s.signing = false;
        device_->acknowledge();
        s.signature = device_->read_register(AtaReg::Count) |
                      u32{device_->read_register(AtaReg::LbaLow)} << 8 |
                      u32{device_->read_register(AtaReg::LbaMid)} << 16 |
                      u32{device_->read_register(AtaReg::LbaHigh)} << 24;
        set_task_file(device_->status(), device_->read_register(AtaReg::ErrorFeatures));
        s.unposted = !(s.command & kReceive);
        if (!s.unposted) receive_registers(false);
        return true;
    }
    if (!s.running) return fetch();
    if (s.halted) return false;
    if (device_->data_window().bytes != 0) return move_data();
    if (device_->status() & kAtaBsy) return false;
    finish();
    return true;
}

// Takes the next command of the list. False: there is none that could begin.
bool AhciPort::fetch() {
    State& s = state_;
    if (!(s.command & kStart) || s.halted || s.issued == 0 || (s.task_file & (kAtaBsy | kAtaDrq)))
        return false;
    if (queue_ && queue_->forgotten()) return false;
    DmaBus* memory = adapter_.memory();
    if (!memory) return false;
    // Round robin from the one after the last (5.3.2.3).
    const unsigned first = (s.last_slot + 1u) & 31;
    const unsigned slot = (first + unsigned(std::countr_zero(std::rotr(s.issued, int(first))))) & 31;

    struct {
        u16 flags, entries;
        u32 moved;
        u64 table;
        u32 reserved[4];
    } header;
    static_assert(sizeof header == 32);
    u8 fis[64] = {};
    const u64 changes = changes_, at = list() + slot * sizeof header;
    const bool read = memory->read(at, &header, sizeof header);
    const u64 table = header.table & ~u64{0x7f};
    if (!read || !memory->read(table, fis, sizeof fis)) {
        s.last_slot = s.slot = u8(slot);
        fatal(kBusFatal, "a command list outside memory");
        return false;
    }
    if (changes != changes_) return true;
    s.last_slot = s.slot = u8(slot);
    if ((header.flags & 0x1f) < 5 || fis[0] != 0x27) { // a register frame is five dwords
        fatal(kInterfaceFatal, "a frame that is not a register frame");
        return false;
    }
    if (!(fis[1] & 0x80)) {
        control_frame(slot, fis[15]);
        return true;
    }
    const PrdCursor prd(table + 0x80, header.entries);
    if (disk_ && (fis[2] == AhciQueue::read_command || fis[2] == AhciQueue::write_command)) {
        if (fis[12] >> 3 != slot) {
            queued_failed({.tag = u8(slot), .error = kAtaAbrt});
            return false;
        }
        // The device takes it and gives the link back: that ends its slot in PxCI (5.6.4).
        s.issued &= ~(1u << slot);
        set_task_file(kAtaDrdy | kAtaDsc, 0);
        queue_->start(fis, prd);
        return true;
    }
    if (queue_ && queue_->running()) { // SATA 13.6.4.1: not among queued ones
        queued_failed({.tag = u8(slot), .error = kAtaAbrt});
        return false;
    }
    if (device_->status() & (kAtaBsy | kAtaDrq)) return false; // it does not listen: only a reset helps
    running_ = {.header = at, .table = table, .list = prd};
    start(fis);
    return true;
}

// A frame with C clear: the Device Control register (SRST).
void AhciPort::control_frame(unsigned slot, u8 control) {
    State& s = state_;
    s.issued &= ~(1u << slot);
    const bool srst = control & 0x04;
    if (srst == s.in_reset) return;
    s.in_reset = srst;
    if (queue_) queue_->forget();
    s.sata_active = 0;
    device_->software_reset();
    if (!srst) {
        s.signing = true;
        s.task_file |= kAtaBsy;
    }
}

void AhciPort::start(const u8* fis) {
    static constexpr struct {
        AtaReg reg;
        u8 at, before; // in the frame: now, and what was written before it (10.3.4)
    } registers[] = {{AtaReg::ErrorFeatures, 3, 11},
                     {AtaReg::Count, 12, 13},
                     {AtaReg::LbaLow, 4, 8},
                     {AtaReg::LbaMid, 5, 9},
                     {AtaReg::LbaHigh, 6, 10}};
    State& s = state_;
    s.running = true;
    s.task_file |= kAtaBsy;
    for (const auto& r : registers) {
        device_->write_register(r.reg, fis[r.before]);
        device_->write_register(r.reg, fis[r.at]);
    }
    device_->write_register(AtaReg::Device, fis[7]);
    running_.packet_due = fis[2] == 0xa0;
    device_->write_command(fis[2]);
}

// One data phase of the device, or as much as the list allows.
bool AhciPort::move_data() {
    const AtaDevice::DataWindow window = device_->data_window();
    DmaBus* memory = adapter_.memory();
    if (!memory) return false;
    const bool interrupt = !window.dma && device_->intrq();
    const u64 changes = changes_;
    device_->acknowledge();
    auto moved = PrdCursor::Outcome::Done;
    if (running_.packet_due) { // the packet has a place of its own in the table (4.2.3.2)
        running_.packet_due = false;
        if (!memory->read(running_.table + 0x40, window.data, window.bytes))
            moved = PrdCursor::Outcome::BadMemory;
    } else {
        moved = running_.list.move(*memory, window.data, window.bytes, window.to_memory);
        running_.pio_in = !window.dma && window.to_memory;
    }
    if (changes != changes_) return true;
    if (moved == PrdCursor::Outcome::BadMemory) {
        fatal(kBusFatal, "a buffer outside memory");
        return false;
    }
    if (moved == PrdCursor::Outcome::TooShort) {
        if (!window.to_memory) {
            fatal(kInterfaceFatal, "a list shorter than the data to write");
            return false;
        }
        raise(kOverflow); // what came too much is lost
    }
    device_->advance(window.bytes);
    if (!window.dma) {
        receive_pio_setup(window.bytes, window.to_memory, interrupt);
        if (interrupt) raise(kPioFrame);
    }
    return true;
}

// The device is neither busy nor wants data: the command ended.
void AhciPort::finish() {
    State& s = state_;
    const bool interrupt = device_->intrq();
    const u8 status = device_->status(), error = device_->read_register(AtaReg::ErrorFeatures);
    const bool bad = status & (kAtaErr | kAtaDf);
    device_->acknowledge();
    set_task_file(status, error);
    const u32 moved = running_.list.moved();
    const u64 changes = changes_;
    if (DmaBus* memory = adapter_.memory()) memory->put<u32>(running_.header + 4, moved);
    // The last PIO Setup frame carried the status of a command that sends data by PIO (SATA 11.4).
    if (changes == changes_ && (!running_.pio_in || interrupt || bad)) receive_registers(interrupt);
    if (changes != changes_) return;
    s.running = false;
    running_ = {};
    s.halted = bad; // the slot of a command that failed stays in PxCI
    if (!bad) s.issued &= ~(1u << s.slot);
    if (interrupt || bad) raise((interrupt ? kRegisterFrame : 0) | (bad ? kTaskFileError : 0));
}

void AhciPort::fatal(u32 cause, const char* why) {
    log_.print(LogItem::GuestError, "ahci: %s (list at %llx)\n", why,
               static_cast<unsigned long long>(list()));
    state_.halted = true;
    raise(cause);
}

void AhciPort::queued_done(u8 tag) {
    state_.sata_active &= ~(1u << tag);
    set_task_file(kAtaDrdy | kAtaDsc, 0);
    receive_device_bits(1u << tag);
    raise(kDeviceBits);
    pump();
}

void AhciPort::queued_failed(const AhciQueue::Failure& failure) {
    if (failure.memory) return fatal(kBusFatal, "a buffer outside memory");
    if (failure.list_too_short) return fatal(kInterfaceFatal, "a list shorter than the data");
    const u8 status = kAtaDrdy | kAtaDsc | kAtaErr;
    disk_->set_queue_error({true, failure.tag, status, failure.error, failure.lba});
    set_task_file(status, failure.error);
    queue_->forget();
    state_.halted = true;
    receive_device_bits(0);
    raise(kDeviceBits | kTaskFileError);
}

// --- frames from the device (SATA 3.0, 10.3)

void AhciPort::receive(u32 at, const void* fis, u32 bytes) {
    DmaBus* memory = adapter_.memory();
    if (!memory || !(state_.command & kReceive)) return;
    const u64 frames = (u64{state_.frames[1]} << 32 | state_.frames[0]) + at;
    if (!memory->write(frames, fis, bytes))
        log_.print(LogItem::GuestError, "ahci: frames are received outside memory\n");
}

void AhciPort::receive_registers(bool interrupt) {
    u8 fis[20] = {0x34, u8(interrupt ? 0x40 : 0), u8(state_.task_file), u8(state_.task_file >> 8)};
    for (unsigned i = 0; i < 3; ++i) {
        const AtaReg reg = AtaReg(unsigned(AtaReg::LbaLow) + i);
        device_->set_high_order_byte(false);
        fis[4 + i] = device_->read_register(reg);
        device_->set_high_order_byte(true);
        fis[8 + i] = device_->read_register(reg);
    }
    fis[13] = device_->read_register(AtaReg::Count);
    device_->set_high_order_byte(false);
    fis[12] = device_->read_register(AtaReg::Count);
    fis[7] = device_->read_register(AtaReg::Device);
    receive(kRegistersAt, fis, sizeof fis);
}

void AhciPort::receive_pio_setup(u32 bytes, bool to_memory, bool interrupt) {
    const u8 status = device_->status();
    u8 fis[20] = {0x5f, u8((interrupt ? 0x40 : 0) | (to_memory ? 0x20 : 0)), u8(kAtaDrdy | kAtaDsc | kAtaDrq),
                  device_->read_register(AtaReg::ErrorFeatures)};
    for (unsigned i = 0; i < 3; ++i)
        fis[4 + i] = device_->read_register(AtaReg(unsigned(AtaReg::LbaLow) + i));
    fis[7] = device_->read_register(AtaReg::Device);
    fis[12] = device_->read_register(AtaReg::Count);
    fis[15] = status; // the ending status
    fis[16] = u8(bytes);
    fis[17] = u8(bytes >> 8);
    receive(kPioAt, fis, sizeof fis);
}

void AhciPort::receive_device_bits(u32 tags) {
    u8 fis[8] = {0xa1, 0x40, u8(state_.task_file & 0x77), u8(state_.task_file >> 8)};
    std::memcpy(fis + 4, &tags, sizeof tags);
    receive(kDeviceBitsAt, fis, sizeof fis);
}

} // namespace dragoman::hw
