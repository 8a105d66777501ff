// A file that is written aside, in the same folder, and then takes its place: whole or not at all.
#pragma once

#include "base/result.h"

#include <memory>
#include <string>

namespace dragoman::runtime {

class ReplacedFile {
  public:
    // Readable and writable by its owner alone.
    static Result<std::unique_ptr<ReplacedFile>> open(const std::string& path);
    // For an owner that goes into the sandbox, where no file can be renamed: a process stays behind that can
    // do nothing but put the file in its place when it is told, or remove it when its owner is gone. Forks,
    // so it is to be called before there are threads. The file carries the mark of the sandbox.
    static Result<std::unique_ptr<ReplacedFile>> open_for_sandbox(const std::string& path);
    // Written by a process in the sandbox, which may have been the guest's by then. It cannot take the mark
    // off, unless it serves shared folders, whose files' modes it may change.
    static bool from_sandbox(const std::string& path);

    ~ReplacedFile(); // without commit(): as if it had never been
    ReplacedFile(const ReplacedFile&) = delete;
    ReplacedFile& operator=(const ReplacedFile&) = delete;

    int fd() const { return fd_; }
    Status commit(); // once, after all was written

  private:
    explicit ReplacedFile(const std::string& path) : path_(path), aside_(path + ".XXXXXX") {}
    Status make();
    Status leave_keeper();

    std::string path_, aside_;
    int fd_ = -1;
    int keeper_ = -1; // a socket; negative: there is none
    bool done_ = false;
};

} // namespace dragoman::runtime
