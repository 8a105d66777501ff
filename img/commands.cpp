#include "img/command.h"

namespace dragoman::img {

std::span<const Command> commands() {
    static constexpr Command table[] = {
        {"check", "[-q] [-f FORMAT] [-r leaks|all] [--output=human|json] [-U] FILE",
         "are the tables of an image right?", check},
        {"commit", "[-q] [-f FORMAT] [-d] [-p] FILE", "moves what an image holds into its backing file",
         commit},
        {"compare", "[-f FORMAT] [-F FORMAT] [-p] [-q] [-s] [-U] FILE1 FILE2", "do two images hold the same?",
         compare},
        {"convert", "[-c] [-p] [-q] [-n] [-U] [-f FORMAT] [-l SNAPSHOT] [-O FORMAT] [-o OPTIONS] FILE OUTPUT",
         "copies an image into another format", convert},
        {"create", "[-q] [-f FORMAT] [-b BACKING -F FORMAT] [-u] [-o OPTIONS] FILE [SIZE]", "makes an image",
         create},
        {"info", "[-f FORMAT] [--output=human|json] [--backing-chain] [-U] FILE", "tells of an image", info},
        {"resize", "[-q] [-f FORMAT] [--shrink] FILE [+|-]SIZE", "makes an image larger or smaller", resize},
        {"snapshot", "[-q] [-U] [-l | -c NAME | -a SNAPSHOT | -d SNAPSHOT] FILE", "snapshots inside an image",
         snapshot},
    };
    return table;
}

} // namespace dragoman::img
