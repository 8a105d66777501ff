// Runs a fuzz target over the files of directories, once each: its corpus as a test, by any compiler.
#include "base/types.h"

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const dragoman::u8* data, std::size_t size);

int main(int argc, char** argv) {
    unsigned files = 0;
    for (int n = 1; n < argc; ++n)
        for (const auto& entry : std::filesystem::directory_iterator(argv[n])) {
            std::ifstream in(entry.path(), std::ios::binary);
            const std::vector<char> bytes(std::istreambuf_iterator<char>(in), {});
            std::printf("%s\n", entry.path().c_str()); // the last one named is the one that fails
            std::fflush(stdout);
            LLVMFuzzerTestOneInput(reinterpret_cast<const dragoman::u8*>(bytes.data()), bytes.size());
            ++files;
        }
    if (files) return 0;
    std::fprintf(stderr, "no files to run; expected: %s DIRECTORY...\n", argv[0]);
    return 1;
}
