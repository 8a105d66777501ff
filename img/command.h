// The image tool: one command is one function, given what was typed behind its name.
#pragma once

#include "block/qcow2.h"

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace dragoman::img {

// The words behind a command's name, taken apart: single-letter options with and without a value, long ones,
// operands.
class Arguments {
  public:
    // `letters`: as for getopt(3), "f:p" takes -f VALUE and -p. `words`: long options with a value end in
    // '='. Writes what is wrong to standard error.
    static std::optional<Arguments> parse(const std::vector<std::string>& words, const std::string& letters,
                                          const std::vector<std::string>& long_options = {});
    bool has(const std::string& option) const { return options_.count(option) != 0; }
    std::string value(const std::string& option) const; // the last one; empty: none
    const std::vector<std::string>& operands() const { return operands_; }
    const std::vector<std::string>& given(const std::string& option) const; // all of them

  private:
    std::map<std::string, std::vector<std::string>> options_;
    std::vector<std::string> operands_;
};

struct Command {
    const char* name;
    const char* arguments; // for the help
    const char* help;
    int (*run)(const std::vector<std::string>& words); // the exit status
};
std::span<const Command> commands();

int create(const std::vector<std::string>& words);
int info(const std::vector<std::string>& words);
int check(const std::vector<std::string>& words);
int compare(const std::vector<std::string>& words);
int convert(const std::vector<std::string>& words);
int resize(const std::vector<std::string>& words);
int commit(const std::vector<std::string>& words);
int snapshot(const std::vector<std::string>& words);

// --- what they share

int complain(const std::string& what);           // one line on standard error; 1
std::optional<u64> parse_size(std::string text); // bytes, or with a suffix k, M, G, T, P
std::string human_size(u64 bytes);               // "1 GiB"

struct CreateOptions {
    std::string format = "raw";
    block::Qcow2CreateOptions qcow2;
    bool size_given = false;
    std::string compat; // as given
    std::string preallocation = "off";
};
// -o of create and convert. False: it was complained of.
bool parse_create_options(const std::vector<std::string>& lists, CreateOptions& options);
// Makes an image of options.qcow2.size bytes.
Status make_image(const std::string& file, const CreateOptions& options);

// Opens an image as -f, -U and the like say; complains if that fails.
std::unique_ptr<block::Image> open(const std::string& file, const std::string& format, bool read_only,
                                   bool force_share = false);
block::Qcow2Image* as_qcow2(block::Image& image); // null: it is none

// "    (12.50/100%)" on standard output while it goes on.
class Progress {
  public:
    Progress(bool on, u64 all) : on_(on), all_(all) { show(0); }
    ~Progress();
    void show(u64 done);

  private:
    bool on_;
    u64 all_;
    unsigned last_ = ~0u;
};

} // namespace dragoman::img
