#include "img/command.h"

#include <cstdio>

using namespace dragoman::img;

int main(int argc, char** argv) {
    const std::vector<std::string> words(argv + 1, argv + argc);
    const std::string name = words.empty() ? "" : words[0];
    if (name == "--help" || name == "-h" || name == "help" || name.empty()) {
        std::FILE* to = name.empty() ? stderr : stdout;
        std::fprintf(to, "usage: dragoman-img COMMAND [options]\n\n");
        for (const Command& command : commands())
            std::fprintf(to, "  %s %s\n        %s\n", command.name, command.arguments, command.help);
        std::fprintf(to, "\nFORMAT: raw or qcow2. OPTIONS of new qcow2 images: "
                         "size=,cluster_size=,compat=,backing_file=,\n"
                         "backing_fmt=,lazy_refcounts=,refcount_bits=,compression_type=,\npreallocation=off|"
                         "metadata|falloc|full.\n");
        return name.empty() ? 1 : 0;
    }
    if (name == "--version" || name == "-V") {
        std::puts("dragoman-img version " DRAGOMAN_VERSION);
        return 0;
    }
    for (const Command& command : commands())
        if (name == command.name) return command.run({words.begin() + 1, words.end()});
    return complain("Command not found: " + name + " (dragoman-img --help lists what there is)");
}
