// What the process gives up once everything is open, so that a guest that takes it over gains little.
#pragma once

#include "base/result.h"

#include <string>
#include <vector>

namespace dragoman::runtime {

// What a running machine may still need; everything else fails with EPERM.
struct SandboxNeeds {
    bool connections = false; // a user-mode network: the guest's connections become the process's
    std::vector<std::string> tftp_folders; // that such networks serve: the files that are there now
    bool folders = false;                  // shared folders
    bool window = false;                   // a display server
};

// For all threads, and for good (seccomp).
Status enter_sandbox(const SandboxNeeds& needs);

// Goes on as `user`: a name, or UID:GID.
Status change_user(const std::string& user);

} // namespace dragoman::runtime
