#include "runtime/board.h"

namespace dragoman::runtime {

void describe_board(const softmmu::PhysicalMap& map, hw::Pc&, BoardFacts& board) {
    const u64 low = map.ram_below_4g();
    board.memory = {
        {0, 0x9fc00, 1}, {0x9fc00, 0x400, 2}, {0xf0000, 0x10000, 2}, {0x100000, low - 0x100000, 1}};
    if (map.ram_bytes() > low) board.memory.push_back({4 * GiB, map.ram_bytes() - low, 1});
}

void place_board_tables(softmmu::PhysicalMap&, BoardFacts&) {}

} // namespace dragoman::runtime
