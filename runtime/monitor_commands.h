// What the monitor's files share: the form of a command, and the groups of commands.
#pragma once

#include "runtime/emulator.h"

#include <span>
#include <string>
#include <vector>

namespace dragoman::runtime {

struct MonitorCall {
    Emulator& emulator;
    std::string format;                 // what follows a slash after the command's name
    std::vector<std::string> arguments; // at least as many as the command wants
    std::string rest;                   // the same as one piece of text
};

struct MonitorCommand {
    const char* name;
    const char* alias;     // another name; empty: none
    const char* arguments; // for the help
    unsigned least;        // fewest arguments
    unsigned most;         // most of them
    const char* help;
    std::string (*run)(const MonitorCall& call);
};

std::span<const MonitorCommand> monitor_info_topics(); // `info TOPIC`; monitor_info.cpp

std::string monitor_machine_check(const MonitorCall& call); // monitor_machine_check.cpp

// monitor_network.cpp
std::string monitor_info_network(const MonitorCall& call);
std::string monitor_hostfwd_add(const MonitorCall& call);
std::string monitor_hostfwd_remove(const MonitorCall& call);
std::string monitor_set_link(const MonitorCall& call);

// monitor_hotplug.cpp
std::string monitor_device_add(const MonitorCall& call);
std::string monitor_device_del(const MonitorCall& call);
std::string monitor_drive_add(const MonitorCall& call);
std::string monitor_drive_del(const MonitorCall& call);
std::string monitor_netdev_add(const MonitorCall& call);
std::string monitor_netdev_del(const MonitorCall& call);

// monitor_vnc.cpp; the first two for QMP as well
Status set_vnc_password(Emulator& emulator, const std::string& protocol, const std::string& password);
Status expire_vnc_password(Emulator& emulator, const std::string& protocol, const std::string& time);
std::string monitor_set_password(const MonitorCall& call);
std::string monitor_expire_password(const MonitorCall& call);

// monitor_save.cpp; the first for QMP as well
Status save_guest_memory(Emulator& emulator, bool linear, u64 address, u64 bytes, const std::string& file);
std::string monitor_memsave(const MonitorCall& call);
std::string monitor_pmemsave(const MonitorCall& call);
std::string monitor_sum(const MonitorCall& call);
std::string monitor_gva2gpa(const MonitorCall& call);
std::string monitor_port_in(const MonitorCall& call);
std::string monitor_port_out(const MonitorCall& call);

// What is to be said of a word that monitors elsewhere know; empty: it is not one of them.
std::string monitor_foreign_word(const std::string& name); // monitor_foreign.cpp

// monitor_memory.cpp
std::string monitor_examine_linear(const MonitorCall& call);
std::string monitor_examine_physical(const MonitorCall& call);
std::string monitor_print(const MonitorCall& call);

} // namespace dragoman::runtime
