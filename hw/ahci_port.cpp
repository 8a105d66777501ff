#include "hw/ahci_port.h"

#include "hw/ahci_registers.h"

#include <algorithm>

namespace dragoman::hw {

using namespace ahci;

AhciPort::AhciPort(Scheduler& scheduler, Adapter adapter, Log& log)
    : scheduler_(scheduler), adapter_(std::move(adapter)), log_(log), again_(scheduler, [this] { pump(); }) {
    power_on();
}

void AhciPort::attach(std::unique_ptr<AtaDisk> disk) {
    disk_ = disk.get();
    queue_.emplace(*disk, AhciQueue::Port{.memory = adapter_.memory,
                                          .done = [this](u8 tag) { queued_done(tag); },
                                          .failed = [this](const auto& failure) { queued_failed(failure); },
                                          .drained = [this] { pump(); }});
    connect(std::move(disk));
}

void AhciPort::attach(std::unique_ptr<AtapiCd> cd) {
    connect(std::move(cd));
}

void AhciPort::connect(std::unique_ptr<AtaDevice> device) {
    device_ = std::move(device);
    device_->attach({.serial = true}, [this] { pump(); });
    power_on();
}

// --- registers

u32 AhciPort::interrupt_status() const {
    return state_.interrupt_status | (state_.sata_error & kExchanged ? kConnectChange : 0) |
           (state_.sata_error & kPhyReadyChanged ? kPhyChange : 0);
}

void AhciPort::raise(u32 bits) {
    state_.interrupt_status |= bits;
    adapter_.changed();
}

u32 AhciPort::read(u32 offset) const {
    const State& s = state_;
    switch (offset) {
    case kList: return s.list[0];
    case kListUpper: return s.list[1];
    case kFrames: return s.frames[0];
    case kFramesUpper: return s.frames[1];
    case kInterruptStatus: return interrupt_status();
    case kInterruptEnable: return s.interrupt_enable;
    case kCommand:
        return s.command | (s.command & kReceive ? kReceiveRunning : 0) |
               (s.command & kStart ? kListRunning | u32(s.slot) << 8 : 0);
    case kTaskFile: return s.task_file;
    case kSignature: return s.signature;
    case kSataStatus: return usable() ? 0x123 : 0; // device and communication, generation 2, active
    case kSataControl: return s.sata_control;
    case kSataError: return s.sata_error;
    case kSataActive: return s.sata_active;
    case kCommandIssue: return s.issued;
    default: return 0;
    }
}

void AhciPort::write(u32 offset, u32 value, u32 mask) {
    State& s = state_;
    const auto merge = [&](u32& to, u32 writable) {
        to = (to & ~(mask & writable)) | (value & mask & writable);
    };
    const u32 ones = value & mask;
    switch (offset) {
    case kList: merge(s.list[0], ~0x3ffu); break;
    case kListUpper: merge(s.list[1], ~0u); break;
    case kFrames: merge(s.frames[0], ~0xffu); break;
    case kFramesUpper: merge(s.frames[1], ~0u); break;
    case kInterruptStatus: s.interrupt_status &= ~ones; break;
    case kInterruptEnable: merge(s.interrupt_enable, kEnableBits); break;
    case kCommand: write_command(value, mask); break;
    case kSataControl: write_sata_control((s.sata_control & ~mask) | ones); break;
    case kSataError: s.sata_error &= ~ones; break;
    case kSataActive: // 3.3.13 and 3.3.14: only while the list runs
        if (s.command & kStart) s.sata_active |= ones;
        break;
    case kCommandIssue:
        if (s.command & kStart) s.issued |= ones;
        pump();
        break;
    default: break;
    }
    adapter_.changed();
}

void AhciPort::write_command(u32 value, u32 mask) {
    State& s = state_;
    const u32 before = s.command;
    u32 writable = kStart | kReceive | kAtapi | kDriveLed;
    if (before & value & kStart) writable &= ~kReceive; // FRE stays while the list runs
    s.command = (before & ~(mask & writable)) | (value & mask & writable);
    if (value & mask & kOverride & (before & kStart ? 0 : ~0u)) s.task_file &= ~u32{kAtaBsy | kAtaDrq};
    if (before & ~s.command & kStart) stop_engine();
    if ((s.command & ~before & kReceive) && s.unposted) {
        s.unposted = false;
        receive_registers(false);
    }
    pump();
}

void AhciPort::stop_engine() {
    State& s = state_;
    ++changes_;
    s.issued = s.sata_active = 0;
    s.last_slot = 31;
    s.slot = 0;
    s.halted = s.running = false;
    running_ = {};
    if (queue_) queue_->forget();
}

// DET 1 holds the link in reset, 0 lets it go, 4 turns it off (3.3.11).
void AhciPort::write_sata_control(u32 value) {
    State& s = state_;
    const bool was_held = (s.sata_control & 0xf) != 0;
    s.sata_control = value & 0xfff;
    const bool held = (s.sata_control & 0xf) != 0;
    if (held == was_held || !device_) return;
    if (!held) return reset_link();
    s.task_file = 0x7f;
    s.sata_error |= kPhyReadyChanged;
}

// After COMRESET the device is there again, and says what it is.
void AhciPort::reset_link() {
    State& s = state_;
    ++changes_;
    s.running = s.in_reset = s.unposted = false;
    running_ = {};
    if (queue_) queue_->forget();
    s.sata_error |= kPhyReadyChanged | kExchanged;
    s.task_file = 0x80;
    s.signature = 0xffffffff;
    s.signing = true;
    device_->software_reset();
    pump();
}

void AhciPort::power_on() {
    state_ = {};
    state_.command = kSpinUp | kPowerOn;
    again_.cancel();
    stop_engine();
    if (!device_) return;
    device_->power_on();
    state_.task_file = 0x80;
    state_.signing = true;
    state_.sata_error = kPhyReadyChanged | kExchanged;
    pump();
}

void AhciPort::hba_reset() {
    const State before = state_;
    power_on();
    std::copy(std::begin(before.list), std::end(before.list), state_.list);
    std::copy(std::begin(before.frames), std::end(before.frames), state_.frames);
}

void AhciPort::visit(const std::string& prefix, StateVisitor& visitor) {
    visitor.field((prefix + "registers").c_str(), state_);
    if (device_) device_->visit(prefix + "device.", visitor);
    if (!visitor.loading()) return;
    ++changes_;
    state_.last_slot &= 31;
    state_.slot &= 31;
    state_.running = false; // nothing is under way when a state is saved
    running_ = {};
    if (queue_) queue_->forget();
}

} // namespace dragoman::hw
