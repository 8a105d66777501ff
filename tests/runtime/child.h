// Runs a part of a test in a child process: what there is no way back from.
#pragma once

#include <cstdio>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace dragoman::runtime {

// What `work` returns, 0 to 255; -1 and a failure if the child did not end by itself.
template <class Work> int in_child(Work work) {
    std::fflush(nullptr); // or the child would print it again
    const pid_t child = fork();
    if (child == 0) {
        const int result = work();
        std::fflush(nullptr);
        _exit(result);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status)) {
        ADD_FAILURE() << "the child process: status " << status;
        return -1;
    }
    return WEXITSTATUS(status);
}

} // namespace dragoman::runtime
