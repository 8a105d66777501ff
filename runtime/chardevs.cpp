#include "runtime/chardevs.h"

#include <algorithm>

namespace dragoman::runtime {

namespace {

bool is_terminal(const std::string& spec) {
    return spec == "stdio" || spec == "mon:stdio";
}

} // namespace

Status Chardevs::open(const Options& options) {
    escape_ = options.escape_character;
    for (const std::string* text : users_of_chardevs(options))
        mux_ |= text != &options.monitor && chardev_spec(options, *text) == "mon:stdio";
    for (const auto& [id, spec] : options.chardevs)
        if (auto chardev = add("-chardev", spec, id); !chardev) return chardev.error();
    return Ok{};
}

Result<Chardev*> Chardevs::add(const std::string& option, const std::string& spec, const std::string& label) {
    Chardev* chardev = nullptr;
    if (is_terminal(spec)) {
        if (!terminal_) {
            terminal_ = std::make_unique<Terminal>(waker_, Terminal::Hooks{quit_}, mux_, escape_);
            for (unsigned n = 0; n < 2; ++n)
                terminal_->front(n).on_room(wake_);
        }
        chardev = &terminal_->front(0);
    } else if (!spec.empty() && spec != "none" && spec != "null" && spec.rfind("vc", 0) != 0) {
        auto opened = open_chardev(option, spec, label, waker_, log_);
        if (!opened) return opened.error();
        owned_.push_back(std::move(*opened));
        chardev = owned_.back().get();
        chardev->on_room(wake_);
    }
    if (spec != "none" && !spec.empty()) entries_.push_back({label, spec, chardev});
    return chardev;
}

Result<Chardev*> Chardevs::get(const std::string& option, const std::string& text, const std::string& label) {
    if (text.rfind("chardev:", 0) != 0) return add(option, text, label);
    return find(text.substr(8)); // the options were checked: it is there
}

Result<Chardev*> Chardevs::monitor(const std::string& text) {
    if (mux_ && terminal_ && (text.empty() || text == "none" || is_terminal(text)))
        return &terminal_->front(1);
    return get("-monitor", text, "compat_monitor0");
}

void Chardevs::service() {
    if (terminal_) terminal_->service();
    for (const auto& chardev : owned_)
        chardev->service();
}

std::vector<Chardevs::Info> Chardevs::list() const {
    std::vector<Info> all;
    for (const Entry& e : entries_)
        all.push_back({e.label, e.spec, e.chardev && e.chardev->attended()});
    return all;
}

Chardev* Chardevs::find(const std::string& label) const {
    const auto it =
        std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.label == label; });
    return it == entries_.end() ? nullptr : it->chardev;
}

} // namespace dragoman::runtime
