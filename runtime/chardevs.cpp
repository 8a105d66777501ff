#include "runtime/chardevs.h"

#include "runtime/chardev_logged.h"

#include <algorithm>

namespace dragoman::runtime {

Status Chardevs::open(const Options& options) {
    escape_ = options.escape_character;
    for (const std::string* text : users_of_chardevs(options))
        if (text != &options.monitor && chardev_spec(options, *text) == "mon:stdio") signals_ = false;
    for (const auto& [id, spec] : options.chardevs) {
        const auto log = options.chardev_logs.find(id);
        if (auto chardev = add("-chardev", spec, id, log == options.chardev_logs.end() ? "" : log->second);
            !chardev)
            return chardev.error();
    }
    return Ok{};
}

// The line itself, without what may share it; null: nowhere.
Result<Chardev*> Chardevs::line(const std::string& option, const std::string& spec,
                                const std::string& label) {
    if (spec.empty() || spec == "none" || spec == "null" || spec.rfind("vc", 0) == 0)
        return static_cast<Chardev*>(nullptr);
    if (spec == "stdio" && terminal_) return terminal_;
    if (spec == "stdio") {
        owned_.push_back(std::make_unique<Terminal>(waker_, signals_));
        terminal_ = owned_.back().get();
    } else {
        auto opened = open_chardev(option, spec, label, waker_, log_);
        if (!opened) return opened.error();
        owned_.push_back(std::move(*opened));
    }
    owned_.back()->on_room(wake_);
    return owned_.back().get();
}

Result<Chardev*> Chardevs::add(const std::string& option, const std::string& spec, const std::string& label,
                               const std::string& log) {
    const bool shared = spec.rfind("mon:", 0) == 0;
    auto opened = line(option, shared ? spec.substr(4) : spec, label);
    if (!opened) return opened;
    Chardev* chardev = *opened;
    if (chardev && !log.empty()) {
        auto file = line(option, log, label);
        if (!file) return file;
        owned_.push_back(std::make_unique<Logged>(*chardev, **file));
        chardev = owned_.back().get();
    }
    if (chardev && (shared || muxes_.count(chardev))) {
        auto& mux = muxes_[chardev];
        if (!mux) {
            mux = std::make_unique<Mux>(*chardev, quit_, escape_);
            mux->on_room(wake_);
        }
        chardev = &mux->front(0);
    }
    if (spec != "none" && !spec.empty()) entries_.push_back({label, spec, chardev});
    return chardev;
}

Result<Chardev*> Chardevs::get(const std::string& option, const std::string& text, const std::string& label) {
    if (text.rfind("chardev:", 0) != 0) return add(option, text, label);
    return find(text.substr(8)); // the options were checked: it is there
}

Result<Chardev*> Chardevs::monitor(const std::string& text) {
    const auto front = [](const auto& mux) -> Result<Chardev*> { return &mux.second->front(1); };
    if (text.rfind("chardev:", 0) == 0) { // of a shared line the other end
        Chardev* const chardev = find(text.substr(8));
        for (const auto& mux : muxes_)
            if (chardev && &mux.second->front(0) == chardev) return front(mux);
        return chardev;
    }
    for (const auto& mux : muxes_) {
        const bool terminal = mux.first == terminal_ && (text == "stdio" || text == "mon:stdio");
        if (terminal || text.empty() || text == "none") return front(mux);
    }
    return get("-monitor", text, "compat_monitor0");
}

void Chardevs::service() {
    for (const auto& chardev : owned_)
        chardev->service();
    for (const auto& [line, mux] : muxes_)
        mux->service();
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
