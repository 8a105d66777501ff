#include "runtime/qmp.h"

#include "runtime/chardev.h"
#include "runtime/qmp_commands.h"

#include <cctype>
#include <ctime>
#include <utility>

namespace dragoman::runtime {

namespace {

constexpr std::size_t kLongest = 1 * MiB;
constexpr unsigned kDeepest = 64;

std::string line_of(const Json& value) {
    return value.dump(-1, ' ', true, Json::error_handler_t::replace) + "\r\n";
}

Json error_answer(const QmpError& error) {
    return {{"error", {{"class", error.kind}, {"desc", error.text}}}};
}

// What is wrong with a command before it is looked at; nothing: all is well.
std::optional<QmpError> check_form(const Json& command) {
    if (command.is_discarded()) return generic_error("this is not JSON");
    if (!command.is_object()) return generic_error("expected an object with a member 'execute'");
    for (const auto& [key, value] : command.items())
        if (key != "execute" && key != "arguments" && key != "id")
            return generic_error("'" + key + "': expected execute, arguments and id only");
    if (!command.contains("execute") || !command["execute"].is_string())
        return generic_error("expected a member 'execute', a string");
    if (command.contains("arguments") && !command["arguments"].is_object())
        return generic_error("'arguments': expected an object");
    return {};
}

} // namespace

std::optional<std::string> JsonSplitter::take(u8 byte) {
    const bool space = byte <= ' ';
    if (skipping_) {
        skipping_ = byte != '\n';
        return {};
    }
    if (text_.empty() && space) return {};
    if (!in_string_ && depth_ == 0 && !text_.empty() && space) return std::exchange(text_, {});
    text_ += char(byte);
    if (in_string_) {
        if (escaped_)
            escaped_ = false;
        else if (byte == '\\')
            escaped_ = true;
        else if (byte == '"')
            in_string_ = false;
    } else if (byte == '"') {
        in_string_ = true;
    } else if (byte == '{' || byte == '[') {
        ++depth_;
    } else if ((byte == '}' || byte == ']') && (depth_ == 0 || --depth_ == 0)) {
        depth_ = 0;
        return std::exchange(text_, {});
    }
    if (text_.size() < kLongest && depth_ <= kDeepest) return {};
    std::string text = std::exchange(text_, {});
    *this = {};
    skipping_ = true;
    return text;
}

Qmp::Qmp(Emulator& emulator, Chardev& chardev) : emulator_(emulator), chardev_(chardev) {
    chardev_.attach(*this);
    chardev_.on_connect([this] { greet(); });
    emulator_.events().listen([this](const MachineEvent& what) { event(what); });
    if (chardev_.attended()) greet();
}

void Qmp::greet() {
    splitter_.reset();
    negotiated_ = false;
    send(line_of({{"QMP", {{"version", qmp_version()}, {"capabilities", Json::array()}}}}));
}

void Qmp::receive(u8 byte) {
    if (const auto text = splitter_.take(byte)) execute(*text);
}

void Qmp::execute(const std::string& text) {
    const Json command = Json::parse(text, nullptr, false);
    QmpAnswer answer = Json::object();
    executing_ = true;
    if (const auto bad = check_form(command)) {
        answer = *bad;
    } else {
        const std::string name = command["execute"];
        const Json arguments = command.value("arguments", Json::object());
        if (name == "qmp_capabilities" && negotiated_)
            answer = QmpError{"CommandNotFound", "the capabilities are negotiated already"};
        else if (name != "qmp_capabilities" && !negotiated_)
            answer = QmpError{"CommandNotFound", "expected qmp_capabilities before any other command"};
        else
            answer = run_qmp_command(emulator_, name, arguments);
        if (name == "qmp_capabilities" && answer.index() == 0) negotiated_ = true;
    }
    Json reply = answer.index() == 0 ? Json{{"return", std::get<Json>(answer)}}
                                     : error_answer(std::get<QmpError>(answer));
    if (command.is_object() && command.contains("id")) reply["id"] = command["id"];
    send(line_of(reply));
    executing_ = false;
    for (const std::string& line : std::exchange(later_, {}))
        send(line);
}

void Qmp::event(const MachineEvent& event) {
    if (!negotiated_ || !chardev_.attended()) return;
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    Json message = {{"event", event.name},
                    {"timestamp", {{"seconds", now.tv_sec}, {"microseconds", now.tv_nsec / 1000}}}};
    for (const auto& [name, value] : event.data)
        std::visit([&, key = name](const auto& v) { message["data"][key] = v; }, value);
    if (executing_)
        later_.push_back(line_of(message));
    else
        send(line_of(message));
}

void Qmp::send(const std::string& line) {
    chardev_.write({reinterpret_cast<const u8*>(line.data()), line.size()});
}

} // namespace dragoman::runtime
