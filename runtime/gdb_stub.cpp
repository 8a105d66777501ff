#include "runtime/gdb_stub.h"

#include "runtime/debug_memory.h"
#include "runtime/emulator.h"
#include "runtime/gdb_packets.h"
#include "runtime/gdb_registers.h"
#include "runtime/monitor.h"
#include "runtime/text.h"

#include <algorithm>
#include <cstring>
#include <fstream>

namespace dragoman::runtime {

namespace {

using ull = unsigned long long;

constexpr const char* kExpected = "expected tcp:[HOST]:PORT or unix:PATH[,arch=x86-64|i386|i8086]";
constexpr const char* kOk = "OK";
constexpr const char* kBadPacket = "E16";  // EINVAL
constexpr const char* kBadAddress = "E0e"; // EFAULT
constexpr const char* kTooMany = "E1c";    // ENOSPC
constexpr std::size_t kMaxBreakpoints = 1024;
constexpr std::size_t kMaxWatchpoints = 32;
constexpr u64 kMaxWatchBytes = 4096;
constexpr std::size_t kMaxRead = GdbPackets::kMaxPacket / 2 - 16; // bytes in one reply

std::optional<GdbArch> arch_by_name(const std::string& name) {
    if (name == "x86-64" || name == "i386:x86-64" || name == "amd64") return GdbArch::Amd64;
    if (name == "i386") return GdbArch::I386;
    if (name == "i8086") return GdbArch::I8086;
    return std::nullopt;
}

// Does the file hold a 64-bit kernel: an ELF of class 64, or a Linux image with a 64-bit entry (Linux boot
// protocol 2.12, xloadflags bit 0)?
bool is_64_bit_kernel(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    char head[0x240] = {};
    file.read(head, sizeof head);
    if (std::memcmp(head,
                    "\x7f"
                    "ELF",
                    4) == 0)
        return head[4] == 2;
    u16 version;
    std::memcpy(&version, head + 0x206, 2);
    return std::memcmp(head + 0x202, "HdrS", 4) == 0 && version >= 0x20c && (head[0x236] & 1);
}

class Stub final : public GdbStub, private hw::CharReceiver {
  public:
    Stub(Emulator& emulator, std::unique_ptr<Chardev> line, std::optional<GdbArch> arch)
        : emulator_(emulator), line_(std::move(line)), forced_arch_(arch),
          packets_({.send =
                        [this](const std::string& bytes) {
                            line_->write({reinterpret_cast<const u8*>(bytes.data()), bytes.size()});
                        },
                    .packet = [this](const std::string& data) { packet(data); },
                    .interrupt = [this] { emulator_.stop_machine(); }}) {
        line_->attach(*this);
        line_->on_connect([this] { connected(); });
        line_->on_disconnect([this] {
            if (connected_) let_go();
        });
        emulator_.on_stop([this](StopReason why) { stopped(why); });
    }
    ~Stub() override {
        emulator_.on_stop({});
        if (connected_) packets_.reply("W00");
    }

  private:
    struct Watchpoint {
        char type; // of the Z packet: 2 write, 3 read, 4 both
        u64 address, bytes;
        friend bool operator==(const Watchpoint&, const Watchpoint&) = default;
    };
    // A packet's name and what answers it; `text` is what follows the name.
    struct Command {
        std::string_view name;
        std::string (Stub::*run)(std::string_view text);
    };

    // CharReceiver
    bool can_receive() const override { return true; }
    void receive(u8 byte) override { packets_.take(byte); }

    void connected();
    void let_go();
    void stopped(StopReason why);
    void packet(const std::string& data);
    void resume(bool step);

    GdbArch choose_arch();
    x86::Cpu& cpu() { return emulator_.vcpu().cpu(); }
    std::string read_registers(std::string_view);
    std::string write_registers(std::string_view text);
    std::string read_register(std::string_view text);
    std::string write_register(std::string_view text);
    std::string read_memory(std::string_view text);
    std::string write_memory(std::string_view text);
    std::string write_binary(std::string_view text);
    std::string write_bytes(u64 address, u64 bytes, const std::string& data);
    std::string go_on(std::string_view text) { return go_from(text, false); }
    std::string step(std::string_view text) { return go_from(text, true); }
    std::string go_on_with_signal(std::string_view text) { return go_from(after_signal(text), false); }
    std::string step_with_signal(std::string_view text) { return go_from(after_signal(text), true); }
    static std::string_view after_signal(std::string_view text);
    std::string go_from(std::string_view text, bool step);
    std::string go_on_or_step(std::string_view text);
    std::string set_point(std::string_view text) { return point(text, true); }
    std::string clear_point(std::string_view text) { return point(text, false); }
    std::string point(std::string_view text, bool set);
    void apply_points();
    std::string why(std::string_view) { return last_stop_; }
    std::string set_thread(std::string_view) { return kOk; }
    std::string thread_alive(std::string_view text) { return text == "1" || text == "01" ? kOk : kBadPacket; }
    std::string detach(std::string_view);
    std::string kill(std::string_view);
    std::string supported(std::string_view text);
    std::string description(std::string_view text);
    std::string no_acknowledgements(std::string_view);
    std::string monitor(std::string_view text);
    template <const char* const& Text> std::string constant(std::string_view) { return Text; }

    static const Command commands_[];

    Emulator& emulator_;
    std::unique_ptr<Chardev> line_;
    std::optional<GdbArch> forced_arch_;
    GdbPackets packets_;
    GdbLayout layout_;
    bool connected_ = false;
    bool waiting_ = false; // the debugger waits for a stop reply
    bool swbreak_ = false, hwbreak_ = false;
    std::string last_stop_ = "T05thread:01;";
    std::set<u64> software_, hardware_;
    std::vector<Watchpoint> watchpoints_;
};

constexpr const char* kResumeActions = "vCont;c;C;s;S";
constexpr const char* kThread = "QC1";
constexpr const char* kThreads = "m1";
constexpr const char* kNoMoreThreads = "l";
constexpr const char* kAttached = "1";

// Longer names before their beginnings.
const Stub::Command Stub::commands_[] = {
    {"qSupported", &Stub::supported},
    {"qXfer:features:read:target.xml:", &Stub::description},
    {"qRcmd,", &Stub::monitor},
    {"qfThreadInfo", &Stub::constant<kThreads>},
    {"qsThreadInfo", &Stub::constant<kNoMoreThreads>},
    {"qAttached", &Stub::constant<kAttached>},
    {"qC", &Stub::constant<kThread>},
    {"qSymbol", &Stub::constant<kOk>},
    {"QStartNoAckMode", &Stub::no_acknowledgements},
    {"vCont?", &Stub::constant<kResumeActions>},
    {"vCont;", &Stub::go_on_or_step},
    {"vKill", &Stub::kill},
    {"?", &Stub::why},
    {"g", &Stub::read_registers},
    {"G", &Stub::write_registers},
    {"p", &Stub::read_register},
    {"P", &Stub::write_register},
    {"m", &Stub::read_memory},
    {"M", &Stub::write_memory},
    {"X", &Stub::write_binary},
    {"c", &Stub::go_on},
    {"C", &Stub::go_on_with_signal},
    {"s", &Stub::step},
    {"S", &Stub::step_with_signal},
    {"Z", &Stub::set_point},
    {"z", &Stub::clear_point},
    {"H", &Stub::set_thread},
    {"T", &Stub::thread_alive},
    {"D", &Stub::detach},
    {"k", &Stub::kill},
};

bool skip(std::string_view& text, char c) {
    if (text.empty() || text[0] != c) return false;
    text.remove_prefix(1);
    return true;
}

void Stub::packet(const std::string& data) {
    for (const Command& c : commands_)
        if (std::string_view(data).substr(0, c.name.size()) == c.name) {
            const std::string answer = (this->*c.run)(std::string_view(data).substr(c.name.size()));
            if (!answer.empty())
                packets_.reply(answer); // nothing: answered already, or when the machine stops
            return;
        }
    packets_.reply(""); // not known
}

GdbArch Stub::choose_arch() {
    if (forced_arch_) return *forced_arch_;
    const std::string& kernel = emulator_.options().kernel;
    if (cpu().long_mode() || (!kernel.empty() && is_64_bit_kernel(kernel))) return GdbArch::Amd64;
    return cpu().real_mode() || cpu().v86() ? GdbArch::I8086 : GdbArch::I386;
}

void Stub::connected() {
    packets_.reset();
    connected_ = true;
    waiting_ = swbreak_ = hwbreak_ = false;
    emulator_.stop_machine();
    last_stop_ = "T05thread:01;";
    layout_ = {choose_arch(), gdb_vectors(*cpu().model)};
}

void Stub::let_go() {
    connected_ = waiting_ = false;
    software_.clear();
    hardware_.clear();
    watchpoints_.clear();
    apply_points();
    emulator_.continue_machine();
}

void Stub::stopped(StopReason reason) {
    if (!connected_) return;
    std::string text = reason == StopReason::Requested ? "T02thread:01;" : "T05thread:01;";
    if (reason == StopReason::Breakpoint) {
        const bool hardware = hardware_.count(emulator_.vcpu().linear_pc());
        if (hardware ? hwbreak_ : swbreak_) text += hardware ? "hwbreak:;" : "swbreak:;";
    } else if (reason == StopReason::Watchpoint) {
        const softmmu::Mmu::Watch& hit = emulator_.vcpu().watch_hit();
        text += format("%s:%llx;",
                       !hit.on_read   ? "watch"
                       : hit.on_write ? "awatch"
                                      : "rwatch",
                       ull(hit.linear));
    }
    last_stop_ = text;
    if (!std::exchange(waiting_, false)) return;
    packets_.reply(text);
}

void Stub::resume(bool step) {
    waiting_ = true;
    if (step)
        emulator_.step_machine();
    else
        emulator_.continue_machine();
}

std::string_view Stub::after_signal(std::string_view text) { // "sig[;addr]": signals mean nothing here
    take_hex(text);
    skip(text, ';');
    return text;
}

std::string Stub::go_from(std::string_view text, bool step) {
    if (emulator_.running()) return kBadPacket;
    if (!text.empty()) {
        const auto address = take_hex(text);
        if (!address) return kBadPacket;
        for (const GdbRegister& r : gdb_registers(layout_))
            if (r.name == "rip" || r.name == "eip") r.set(cpu(), r.index, *address);
    }
    resume(step);
    return {};
}

std::string Stub::go_on_or_step(std::string_view text) { // the first action that concerns thread 1
    if (emulator_.running() || text.empty()) return kBadPacket;
    const char action = text[0];
    if (std::string_view("cCsS").find(action) == std::string_view::npos) return kBadPacket;
    resume(action == 's' || action == 'S');
    return {};
}

std::string Stub::read_registers(std::string_view) {
    std::string text;
    for (const GdbRegister& r : gdb_registers(layout_)) {
        u8 bytes[GdbRegister::max_size];
        r.read(cpu(), bytes);
        text += to_hex({bytes, r.size()});
    }
    return text;
}

std::string Stub::write_registers(std::string_view text) {
    const auto bytes = from_hex(text);
    if (!bytes) return kBadPacket;
    std::size_t at = 0;
    bool good = true;
    for (const GdbRegister& r : gdb_registers(layout_)) {
        if (at + r.size() > bytes->size()) break; // the debugger may leave out what it does not know
        good &= r.write(cpu(), reinterpret_cast<const u8*>(bytes->data()) + at);
        at += r.size();
    }
    return good ? kOk : kBadPacket;
}

std::string Stub::read_register(std::string_view text) {
    const auto n = take_hex(text);
    const auto registers = gdb_registers(layout_);
    if (!n || *n >= registers.size()) return kBadPacket;
    u8 bytes[GdbRegister::max_size];
    registers[*n].read(cpu(), bytes);
    return to_hex({bytes, registers[*n].size()});
}

std::string Stub::write_register(std::string_view text) {
    const auto n = take_hex(text);
    const auto registers = gdb_registers(layout_);
    if (!n || *n >= registers.size() || !skip(text, '=')) return kBadPacket;
    const auto bytes = from_hex(text);
    if (!bytes || bytes->size() != registers[*n].size()) return kBadPacket;
    return registers[*n].write(cpu(), reinterpret_cast<const u8*>(bytes->data())) ? kOk : kBadPacket;
}

std::string Stub::read_memory(std::string_view text) {
    const auto address = take_hex(text);
    if (!address || !skip(text, ',')) return kBadPacket;
    const auto count = take_hex(text);
    if (!count || *count > kMaxRead) return kBadPacket;
    std::vector<u8> bytes(*count);
    const unsigned unit = *count == 2 || *count == 4 || *count == 8 ? unsigned(*count) : 1;
    if (!read_linear(emulator_.vcpu(), *address, bytes.data(), *count, unit)) {
        // As much of it as there is.
        const u64 first = std::min(*count, 4096 - *address % 4096);
        if (first == *count || !read_linear(emulator_.vcpu(), *address, bytes.data(), first, 1))
            return kBadAddress;
        bytes.resize(first);
    }
    return to_hex(bytes);
}

std::string Stub::write_bytes(u64 address, u64 bytes, const std::string& data) {
    if (data.size() != bytes) return kBadPacket;
    const unsigned unit = bytes == 2 || bytes == 4 || bytes == 8 ? unsigned(bytes) : 1;
    const auto* from = reinterpret_cast<const u8*>(data.data());
    return write_linear(emulator_.vcpu(), address, from, bytes, unit) ? kOk : kBadAddress;
}

std::string Stub::write_memory(std::string_view text) {
    const auto address = take_hex(text);
    if (!address || !skip(text, ',')) return kBadPacket;
    const auto count = take_hex(text);
    if (!count || !skip(text, ':')) return kBadPacket;
    const auto data = from_hex(text);
    return data ? write_bytes(*address, *count, *data) : kBadPacket;
}

std::string Stub::write_binary(std::string_view text) {
    const auto address = take_hex(text);
    if (!address || !skip(text, ',')) return kBadPacket;
    const auto count = take_hex(text);
    if (!count || !skip(text, ':')) return kBadPacket;
    return write_bytes(*address, *count, std::string(text));
}

std::string Stub::point(std::string_view text, bool set) { // "type,address,kind"
    if (text.size() < 2) return kBadPacket;
    const char type = text[0];
    text.remove_prefix(1);
    if (type < '0' || type > '4') { // not known
        packets_.reply("");
        return {};
    }
    if (!skip(text, ',')) return kBadPacket;
    const auto address = take_hex(text);
    if (!address || !skip(text, ',')) return kBadPacket;
    const auto kind = take_hex(text);
    if (!kind) return kBadPacket;
    if (type <= '1') {
        std::set<u64>& points = type == '0' ? software_ : hardware_;
        if (!set)
            points.erase(*address);
        else if (points.size() >= kMaxBreakpoints)
            return kTooMany;
        else
            points.insert(*address);
    } else {
        const Watchpoint watch{type, *address, *kind};
        std::erase(watchpoints_, watch);
        if (set) {
            if (!*kind || *kind > kMaxWatchBytes) return kBadPacket;
            if (watchpoints_.size() >= kMaxWatchpoints) return kTooMany;
            watchpoints_.push_back(watch);
        }
    }
    apply_points();
    return kOk;
}

void Stub::apply_points() {
    std::set<u64> points = software_;
    points.insert(hardware_.begin(), hardware_.end());
    emulator_.vcpu().set_breakpoints(std::move(points));
    std::vector<softmmu::Mmu::Watch> watches;
    for (const Watchpoint& w : watchpoints_)
        watches.push_back(
            {.linear = w.address, .bytes = w.bytes, .on_read = w.type != '2', .on_write = w.type != '3'});
    emulator_.vcpu().set_watchpoints(std::move(watches));
}

std::string Stub::detach(std::string_view) {
    packets_.reply(kOk);
    let_go();
    return {};
}

std::string Stub::kill(std::string_view text) {
    if (!text.empty()) packets_.reply(kOk); // vKill;pid
    connected_ = false;
    emulator_.quit(0);
    return {};
}

std::string Stub::supported(std::string_view text) {
    swbreak_ = text.find("swbreak+") != std::string_view::npos;
    hwbreak_ = text.find("hwbreak+") != std::string_view::npos;
    return format("PacketSize=%zx;QStartNoAckMode+;qXfer:features:read+;swbreak+;hwbreak+;vContSupported+",
                  GdbPackets::kMaxPacket);
}

std::string Stub::description(std::string_view text) { // "offset,length"
    const auto offset = take_hex(text);
    if (!offset || !skip(text, ',')) return kBadPacket;
    const auto length = take_hex(text);
    if (!length) return kBadPacket;
    const std::string xml = gdb_target_description(layout_);
    if (*offset > xml.size()) return kBadPacket;
    const std::string part = xml.substr(*offset, std::min<u64>(*length, kMaxRead));
    return (*offset + part.size() < xml.size() ? "m" : "l") + part;
}

std::string Stub::no_acknowledgements(std::string_view) {
    packets_.reply(kOk);
    packets_.stop_acknowledging();
    return {};
}

std::string Stub::monitor(std::string_view text) {
    const auto line = from_hex(text);
    if (!line) return kBadPacket;
    std::string output = run_monitor_command(emulator_, *line);
    constexpr std::size_t most = 16 * KiB;
    if (output.size() > most) output = output.substr(0, most) + "\n... (the rest is left out)\n";
    for (std::size_t at = 0; at < output.size(); at += kMaxRead) {
        const std::string part = output.substr(at, kMaxRead);
        packets_.reply("O" + to_hex({reinterpret_cast<const u8*>(part.data()), part.size()}));
    }
    return kOk;
}

} // namespace

Result<std::unique_ptr<GdbStub>> GdbStub::listen(Emulator& emulator, const std::string& address) {
    std::string spec = address;
    std::optional<GdbArch> arch;
    if (const std::size_t at = spec.find(",arch="); at != std::string::npos) {
        const std::size_t end = std::min(spec.find(',', at + 1), spec.size());
        arch = arch_by_name(spec.substr(at + 6, end - at - 6));
        if (!arch) return Error{"-gdb " + address + ": " + kExpected};
        spec.erase(at, end - at);
    }
    if (spec.rfind("tcp:", 0) != 0 && spec.rfind("unix:", 0) != 0)
        return Error{"-gdb " + address + ": " + kExpected};
    spec += ",server=on,wait=off";
    auto line = open_chardev("-gdb", spec, "gdb", emulator.waker(), emulator.log());
    if (!line) { // in the user's words
        const std::string& message = line.error().message;
        const std::string why = message.substr(std::string("-gdb " + spec + ": ").size());
        return Error{"-gdb " + address + ": " + (why.rfind("expected", 0) == 0 ? kExpected : why)};
    }
    return std::unique_ptr<GdbStub>(std::make_unique<Stub>(emulator, std::move(*line), arch));
}

} // namespace dragoman::runtime
