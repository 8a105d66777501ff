// Every character device of the machine, by name: those of -chardev, and those that -serial, -monitor and the
// like open for themselves.
#pragma once

#include "runtime/chardev.h"
#include "runtime/chardev_mux.h"
#include "runtime/options.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace dragoman::runtime {

class Chardevs {
  public:
    // `wake` asks for a service() soon; called inside guest accesses. `quit`: the user asks for the end
    // (Ctrl-A x). The first two are borrowed.
    Chardevs(Waker& waker, Log& log, std::function<void()> wake, std::function<void()> quit)
        : waker_(waker), log_(log), wake_(std::move(wake)), quit_(std::move(quit)) {}

    // The devices of -chardev.
    Status open(const Options& options);
    // What `option` leads to: "chardev:ID", or a short form that is opened under the name `label`. Null:
    // nowhere.
    Result<Chardev*> get(const std::string& option, const std::string& text, const std::string& label);
    // The monitor's end, which may share a line with a serial port ("mon:...").
    Result<Chardev*> monitor(const std::string& text);

    void service(); // on the vCPU's thread, between guest instructions

    struct Info {
        std::string label, what; // "serial0", "unix:/tmp/x,server"
        bool open;               // is somebody there?
    };
    std::vector<Info> list() const;
    Chardev* find(const std::string& label) const; // null: there is none

  private:
    struct Entry {
        std::string label, spec;
        Chardev* chardev; // null: nowhere
    };
    // `log`: the short form of a file for what is written; empty: none.
    Result<Chardev*> add(const std::string& option, const std::string& spec, const std::string& label,
                         const std::string& log = "");
    Result<Chardev*> line(const std::string& option, const std::string& spec, const std::string& label);

    Waker& waker_;
    Log& log_;
    std::function<void()> wake_, quit_;
    bool signals_ = true; // of the terminal
    u8 escape_ = 1;       // switches on a shared line
    Chardev* terminal_ = nullptr;
    std::vector<std::unique_ptr<Chardev>> owned_;
    std::map<const Chardev*, std::unique_ptr<Mux>> muxes_; // of the lines that are shared
    std::vector<Entry> entries_;
};

} // namespace dragoman::runtime
