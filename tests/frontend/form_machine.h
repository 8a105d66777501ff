// A processor of each mode, in which the forms of forms.h are run one by one.
#pragma once

#include "forms.h"
#include "system_machine.h"

namespace dragoman::test {

class FormMachine {
  public:
    // Linear addresses: ES, SS and DS begin at kBase, but in 64-bit mode; the data lies kData above; from
    // kAbsent on nothing is mapped, where there is paging.
    static constexpr u64 kBase = 0x3f8000, kDataOffset = 0x1000, kAbsentOffset = 0x8000,
                         kNonCanonical = u64{1} << 47, kDataBytes = 0x1000;

    explicit FormMachine(const FormMode& mode);

    // The state to begin with: all extensions enabled, no exception unmasked; SI, DI and BP (BX too, if it is
    // XLAT's) point to the data, which is 1, 0, 0 ...
    void begin(const Form& form, unsigned cpl);
    // Where that memory is, for the registers.
    void point(const Form& form, u64 offset);
    // Runs one instruction; the vector of its exception, or -1.
    int run(const std::vector<u8>& code);

    const FormMode& mode;
    SystemMachine m;
    Cpu& cpu;
    std::vector<u8> code; // of the form, its displacement pointing to the data

  private:
    void set_registers(const Form& form);

    std::unique_ptr<Cpu> first_;
};

} // namespace dragoman::test
