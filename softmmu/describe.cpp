// `info mem`: the mappings of the address space that is loaded.
#include "base/bits.h"
#include "softmmu/mmu.h"

#include <cstdio>

namespace dragoman::softmmu {

namespace {
constexpr unsigned kMostSteps = 4'000'000;
}

std::string Mmu::describe() const {
    if (!paging_.paging) return "paging is off\n";
    struct Run {
        u64 from = 0, to = 0;
        bool writable = false, global = false;
    } run;
    std::string text;
    auto flush_run = [&] {
        if (run.to == run.from) return;
        char line[96];
        std::snprintf(line, sizeof line, "%016llx-%016llx %016llx -%c%c\n", (unsigned long long)run.from,
                      (unsigned long long)run.to, (unsigned long long)(run.to - run.from), 'r',
                      run.writable ? 'w' : '-');
        text += line;
        run = {};
    };
    // Steps by what a walk finds: the reach of the mapping, or of the entry that leads nowhere.
    const unsigned address_bits = paging_.long_mode ? (paging_.la57 ? 57 : 48) : 32;
    const u64 sign = paging_.long_mode ? u64{1} << (address_bits - 1) : 0;
    unsigned steps = 0;
    for (u64 at = 0; at < u64{1} << address_bits;) {
        if (++steps > kMostSteps) { // tables that lead into themselves have no end
            flush_run();
            return text + "... and more\n";
        }
        const u64 linear = sign && (at & sign) ? at | ~low_mask(address_bits) : at;
        const Translation t = probe(linear);
        const u64 step = u64{1} << t.mapping.page_bits;
        if (!t.ok || linear != run.to || t.writable != run.writable) flush_run();
        if (t.ok) {
            if (run.to == run.from) run = {linear, linear, t.writable, t.mapping.global};
            run.to = linear + step;
        }
        at = align_down(at, step) + step;
    }
    flush_run();
    return text;
}

} // namespace dragoman::softmmu
