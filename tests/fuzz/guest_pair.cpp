#include "guest_pair.h"

#include "runtime/registers_text.h"

#include <array>
#include <csignal>
#include <cstdlib>
#include <map>
#include <sys/time.h>
#include <unistd.h>

namespace dragoman::test {

namespace {

constexpr int kGuardSeconds = 60;

void hang(int) {
    static constexpr char text[] = "hang: one input took a minute of processor time\n";
    [[maybe_unused]] const auto written = write(STDERR_FILENO, text, sizeof text - 1);
    std::abort();
}

void arm(int seconds) {
    itimerval timer{};
    timer.it_value.tv_sec = seconds;
    setitimer(ITIMER_PROF, &timer, nullptr);
}

struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, Close>;

// A machine as if it were new. Making one takes longer than running most inputs.
class Pool {
  public:
    VcpuMachine& get(const Way& way, std::FILE* log) {
        const Key key{way.interpret,     way.verify,       way.passes.on,  way.inline_tlb,
                      way.inline_lookup, way.share_checks, way.side_exits, way.inline_x87,
                      way.follow_calls,  way.far_links,    way.edge_loops};
        auto& kept = machines_[key];
        // Translations that are dropped keep their memory until the cache is full.
        if (!kept || ++kept->uses > kUses) kept = std::make_unique<Kept>(way);
        kept->renew();
        kept->machine.log = Log(log);
        return kept->machine;
    }

  private:
    static constexpr unsigned kUses = 200;
    using Key = std::array<u32, 11>;
    struct Kept {
        explicit Kept(const Way& way) : machine(way, MiB, kPairRam), first(machine.cpu()) {}
        void renew() {
            x86::Cpu& c = machine.cpu();
            const u32 debug_version = c.debug_version;
            c = first;
            c.debug_version = debug_version + 1; // breakpoints of before go
            std::memset(machine.map->ram(), 0, kPairRam);
            x86::update_paging(c);
            machine.vcpu->mmu().flush(false);
            machine.vcpu->cache().invalidate_all();
            machine.vcpu->cache().clear_jump_cache();
            machine.platform.tsc = 0;
        }
        VcpuMachine machine;
        const x86::Cpu first;
        unsigned uses = 0;
    };
    std::map<Key, std::unique_ptr<Kept>> machines_;
};

Pool& pool() {
    static Pool machines;
    return machines;
}

// How a run ended.
struct Run {
    runtime::StopReason reason;
    bool by_itself; // halted or shut down
    u64 retired;
};

// Until `enough`, which is asked at each turn of the run loop. A loop in generated code is left only if it is
// kicked.
Run run(VcpuMachine& m, bool kicked, const std::function<bool()>& enough) {
    bool idle = false;
    m.on_idle = [&] {
        idle = true;
        m.vcpu->request_stop();
    };
    m.vcpu->on_service([&] {
        if (enough())
            m.vcpu->request_stop();
        else
            m.vcpu->kick();
    });
    if (kicked) m.vcpu->kick();
    const auto reason = m.vcpu->run();
    m.vcpu->on_service({});
    return {reason, idle || reason == runtime::StopReason::Shutdown, m.vcpu->instructions_retired()};
}

// Is true once it has been asked so often.
auto after(unsigned turns) {
    return [turns]() mutable { return turns-- == 0; };
}

template <class T>
void compare(std::string& text, const char* what, const T& interpreted, const T& generated) {
    if (std::memcmp(&interpreted, &generated, sizeof(T)) != 0) text += std::string("  ") + what + "\n";
}

// What other programs can see of the processor and of RAM.
std::string differences(VcpuMachine& interpreted, VcpuMachine& generated) {
    const x86::Cpu &i = interpreted.cpu(), &g = generated.cpu();
    std::string text;
    compare(text, "vectors", i.vec, g.vec);
    compare(text, "opmasks", i.opmask, g.opmask);
    compare(text, "x87 registers", i.fpu.st, g.fpu.st);
    compare(text, "x87 opcode", i.fpu.opcode, g.fpu.opcode);
    compare(text, "x87 ip", i.fpu.ip, g.fpu.ip);
    compare(text, "x87 cs", i.fpu.cs, g.fpu.cs);
    compare(text, "x87 dp", i.fpu.dp, g.fpu.dp);
    compare(text, "x87 ds", i.fpu.ds, g.fpu.ds);
    compare(text, "XCR0", i.xcr0, g.xcr0);
    compare(text, "time stamps read", interpreted.platform.tsc, generated.platform.tsc);
    const u8 *const a = interpreted.map->ram(), *const b = generated.map->ram();
    if (std::memcmp(a, b, kPairRam) != 0)
        for (u64 at = 0, shown = 0; at < kPairRam && shown < 16; ++at)
            if (a[at] != b[at]) {
                char line[80];
                std::snprintf(line, sizeof line, "  byte at %llx: interpreter %02x, generated code %02x\n",
                              static_cast<unsigned long long>(at), a[at], b[at]);
                text += line;
                ++shown;
            }
    const std::string of_i = runtime::describe_registers(i), of_g = runtime::describe_registers(g);
    if (of_i != of_g) text += "  registers\n";
    if (text.empty()) return text;
    return "different:\n" + text + "interpreter:\n" + of_i + "generated code:\n" + of_g;
}

// The interpreter's run again, with what `items` say on `log`.
void run_logged(const std::function<void(VcpuMachine&)>& prepare, u64 most, u32 items, std::FILE* log) {
    VcpuMachine& m =
        pool().get({.name = "Interpreted", .interpret = true, .passes = ir::PassSwitches::none()}, log);
    m.log.set_items(items);
    prepare(m);
    unsigned turns = 0;
    run(m, true, [&] { return m.vcpu->instructions_retired() > most || ++turns > 10'000; });
}

// Did the guest execute an operation that leaves flags undefined?
bool undefined_flags(const std::function<void(VcpuMachine&)>& prepare, u64 most) {
    const File log(std::tmpfile());
    run_logged(prepare, most, u32(LogItem::Op), log.get());
    std::rewind(log.get());
    static constexpr const char* ops[] = {"rol.", "ror.", "rcl.", "rcr.", "shld.", "shrd.", "divwide."};
    char line[512];
    bool found = false;
    while (!found && std::fgets(line, sizeof line, log.get()))
        for (const char* op : ops)
            found |= std::strstr(line, op) != nullptr;
    return found;
}

} // namespace

HangGuard::HangGuard() {
    std::signal(SIGPROF, hang);
    arm(kGuardSeconds);
}
HangGuard::~HangGuard() {
    arm(0);
}

Way way_of(unsigned number) {
    Way way{.name = "Fuzzed"};
    const unsigned passes = unsigned(ir::passes().size());
    bool* const switches[] = {&way.inline_tlb, &way.inline_lookup, &way.share_checks, &way.side_exits,
                              &way.inline_x87, &way.follow_calls,  &way.far_links,    &way.edge_loops};
    number %= unsigned(2 + passes + std::size(switches));
    if (number == 1) {
        way.passes = ir::PassSwitches::none();
        for (bool* one : switches)
            *one = false;
    } else if (number >= 2 + passes) {
        *switches[number - 2 - passes] = false;
    } else if (number >= 2) {
        way.passes.on &= ~(1u << (number - 2));
    }
    return way;
}

std::string run_pair(const PairOptions& options, const std::function<void(VcpuMachine&)>& prepare) {
    // The same blocks in both.
    Way interpreting = options.generated;
    interpreting.interpret = true;
    const File nowhere(std::fopen("/dev/null", "w"));
    VcpuMachine& interpreted = pool().get(interpreting, nowhere.get());
    VcpuMachine& generated = pool().get(options.generated, nowhere.get());
    prepare(interpreted);
    prepare(generated);
    Run of_i, of_g;
    if (options.stepwise) {
        // The interpreter stops after every block and every exception, generated code after some of them.
        of_g = run(generated, true, after(options.turns));
        unsigned more = 2 * options.turns;
        of_i = run(interpreted, true, [&] {
            const u64 retired = interpreted.vcpu->instructions_retired();
            if (retired != of_g.retired) return retired > of_g.retired;
            return !more-- || (!of_g.by_itself && differences(interpreted, generated).empty());
        });
    } else {
        of_i = run(interpreted, true, after(options.turns));
        // What differs for a good reason may never end.
        if (!of_i.by_itself || undefined_flags(prepare, of_i.retired)) return {};
        of_g = run(generated, false, [] { return false; });
    }
    std::string wrong = differences(interpreted, generated);
    if (of_i.reason != of_g.reason || of_i.by_itself != of_g.by_itself || of_i.retired != of_g.retired)
        wrong += "interpreter: " + std::to_string(of_i.retired) + " instructions, stop " +
                 std::to_string(int(of_i.reason)) + "; generated code: " + std::to_string(of_g.retired) +
                 " instructions, stop " + std::to_string(int(of_g.reason)) + "\n";
    if (wrong.empty() || undefined_flags(prepare, of_i.retired)) return {};
    run_logged(prepare, of_i.retired, u32(LogItem::InAsm) | u32(LogItem::Int) | u32(LogItem::Exec), stderr);
    return wrong;
}

std::string run_lockstep(const PairOptions& options, const std::function<void(VcpuMachine&)>& prepare) {
    Way verified = options.generated;
    verified.verify = true;
    const File log(std::tmpfile());
    std::string text;
    {
        VcpuMachine& m = pool().get(verified, log.get());
        prepare(m);
        const Run ended = run(m, true, after(options.turns));
        if (ended.reason == runtime::StopReason::Difference) {
            std::rewind(log.get());
            for (int c; (c = std::fgetc(log.get())) != EOF;)
                text += char(c);
        }
    }
    return text;
}

void expect_no_difference(const std::string& what) {
    if (what.empty()) return;
    std::fputs(what.c_str(), stderr);
    std::abort();
}

} // namespace dragoman::test
