// What surrounds the processor, as its instructions see it. Implemented by the runtime.
#pragma once

#include "base/time_line.h"
#include "base/types.h"

namespace dragoman::x86 {

class Platform {
  public:
    virtual ~Platform() = default;
    virtual u32 port_in(u16 port, unsigned size) = 0;
    virtual void port_out(u16 port, unsigned size, u32 value) = 0;
    virtual u64 time_stamp() = 0; // TSC before Cpu::tsc_offset
    // What time_stamp() follows; null: it is to be asked each time. Whoever changes the line calls
    // update_time.
    virtual const TimeLine* time_line() { return nullptr; }
    virtual u64 tsc_hz() = 0;
    virtual bool random(u64& value) = 0; // RDRAND, RDSEED

    // Local APIC: CR8 (0 to 15: bits 7:4 of the TPR), IA32_APIC_BASE, x2APIC MSRs (0x800-0x8ff) and
    // IA32_TSC_DEADLINE. False: #GP.
    virtual u8 apic_tpr() = 0;
    virtual void set_apic_tpr(u8 value) = 0;
    virtual bool apic_read_msr(u32 msr, u64& value) = 0;
    virtual bool apic_write_msr(u32 msr, u64 value) = 0;
    virtual u8 apic_id() = 0;

    // The interrupt acknowledge cycle: the vector, or -1 if the request has gone away.
    virtual int acknowledge_interrupt() = 0;
    virtual void fpu_error(bool level) = 0;          // FERR#, to IRQ 13
    virtual bool fpu_errors_ignored() = 0;           // IGNNE#
    virtual void system_management(bool active) = 0; // SMIACT#: SMRAM is seen while active
};

} // namespace dragoman::x86
