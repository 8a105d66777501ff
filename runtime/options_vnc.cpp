// The screen for viewers elsewhere (-vnc), and the secrets that passwords come from (-object secret).
#include "runtime/option_table.h"

#include <algorithm>
#include <fstream>
#include <iterator>

namespace dragoman::runtime {

namespace {

constexpr unsigned kFirstPort = 5900, kFirstWebPort = 5700; // of display 0

// Others' properties that change nothing here: there is one way to encode, and the screen is always shared.
constexpr std::string_view ignored[] = {"share",         "lossy", "non-adaptive", "audiodev", "key-delay-ms",
                                        "power-control", "id",    "ipv4",         "ipv6"};

std::optional<std::string> decode_base64(const std::string& text) {
    constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string bytes;
    u32 bits = 0;
    unsigned count = 0;
    for (const char c : text) {
        if (c == '=' || c == '\n' || c == '\r' || c == ' ') continue;
        const std::size_t digit = digits.find(c);
        if (digit == digits.npos) return std::nullopt;
        bits = bits << 6 | u32(digit);
        if ((count += 6) < 8) continue;
        count -= 8;
        bytes.push_back(char(bits >> count));
    }
    return bytes;
}

} // namespace

Complaint set_vnc(Options& o, const std::string& text) {
    Properties properties = key_values(text);
    const std::string where = properties[0].first;
    properties.erase(properties.begin());
    if (where == "none") {
        o.vnc.reset();
        return {};
    }
    VncOption vnc;
    vnc.given = "-vnc " + text;
    if (where.rfind("unix:", 0) == 0) {
        vnc.path = where.substr(5);
    } else {
        const auto address = parse_tcp_address(where);
        const auto display = address ? parse_number(address->port) : std::nullopt;
        if (!display || *display > 65535 - kFirstPort)
            return "[HOST]:DISPLAY (0 is port 5900; without a host only this one can reach it), unix:PATH or "
                   "none";
        vnc.tcp = TcpAddress{address->host, std::to_string(kFirstPort + *display)};
    }
    bool web_display = false;
    for (const auto& [key, value] : properties) {
        if (key == "password-secret") {
            vnc.secret = value;
        } else if (key == "password") {
            const auto on = parse_on_off(value);
            if (!on) return "password=on or off";
            vnc.password = *on;
        } else if (key == "to" && vnc.tcp) {
            const auto last = parse_number(value);
            if (!last || *last > 65535 - kFirstPort || *last + kFirstPort < parse_number(vnc.tcp->port))
                return "to=DISPLAY, the last that may be taken, not before the first";
            vnc.last_port = unsigned(*last) + kFirstPort;
        } else if (key == "websocket" && vnc.tcp) {
            const auto port = parse_number(value);
            const auto on = port ? std::optional(true) : parse_on_off(value);
            if (!on || (port && (*port == 0 || *port > 65535))) return "websocket=on, off or a port";
            if (*on) vnc.web_port = port ? unsigned(*port) : kFirstWebPort;
            web_display = *on && !port;
        } else if (key == "reverse" || key == "tls-creds" || key == "tls-authz" || key == "sasl") {
            return "no " + key + "= (it is not built; the nearest is password-secret=, and a tunnel of ssh)";
        } else if (std::find(std::begin(ignored), std::end(ignored), key) == std::end(ignored)) {
            return "[HOST]:DISPLAY[,to=DISPLAY,websocket=on,password-secret=ID]; '" + key + "' is not built";
        }
    }
    vnc.web_follows = web_display;
    if (web_display) *vnc.web_port += unsigned(*parse_number(vnc.tcp->port)) - kFirstPort;
    o.vnc = vnc;
    return {};
}

Complaint add_secret(Options& o, const Properties& properties) {
    SecretOption secret;
    std::string id;
    for (const auto& [key, value] : properties) {
        if (key == "id")
            id = value;
        else if (key == "data")
            secret.data = value;
        else if (key == "file")
            secret.file = value;
        else if (key == "format" && (value == "raw" || value == "base64"))
            secret.base64 = value == "base64";
        else if (key == "keyid" || key == "iv")
            secret.encrypted = true;
        else if (key != "secret" && key != "qom-type")
            return "secret,id=ID,data=TEXT or file=FILE,format=raw or base64";
    }
    if (id.empty() || o.secrets.count(id)) return "id=ID that is not in use";
    o.secrets[id] = secret;
    return {};
}

Status check_vnc(Options& o) {
    if (!o.vnc) return Ok{};
    if (o.display == Options::Display::Sdl)
        return Error{o.vnc->given + ": expected no window beside it (-display none)"};
    if (!o.vga) return Error{o.vnc->given + ": expected a display to show (not -vga none)"};
    if (o.vnc->secret.empty()) return Ok{};
    const auto secret = o.secrets.find(o.vnc->secret);
    if (secret == o.secrets.end())
        return Error{o.vnc->given + ": expected the id of an -object secret; '" + o.vnc->secret +
                     "' is none"};
    if (secret->second.encrypted)
        return Error{o.vnc->given + ": expected a secret that is not encrypted (without keyid=)"};
    return Ok{};
}

Result<std::string> read_secret(const SecretOption& secret) {
    std::string text = secret.data;
    if (!secret.file.empty()) {
        std::ifstream file(secret.file, std::ios::binary);
        text.assign(std::istreambuf_iterator<char>(file), {});
        if (!file) return Error{"secret " + secret.file + ": cannot be read"};
    }
    if (!secret.base64) return text;
    const auto bytes = decode_base64(text);
    if (!bytes) return Error{"secret: expected base64"};
    return *bytes;
}

} // namespace dragoman::runtime
