// Frames into a file that tcpdump and Wireshark read (pcap, draft-ietf-opsawg-pcap: microseconds, Ethernet).
#pragma once

#include "base/result.h"
#include "base/types.h"

#include <cstdio>
#include <memory>
#include <span>
#include <string>

namespace dragoman::runtime {

class NetCapture {
  public:
    // Keeps the first `snap_bytes` of each frame. The error does not name the file.
    static Result<std::unique_ptr<NetCapture>> create(const std::string& file, u32 snap_bytes);

    void write(std::span<const u8> frame); // stamped with the host's time of day

  private:
    NetCapture(std::FILE* file, u32 snap_bytes) : file_(file, std::fclose), snap_bytes_(snap_bytes) {}
    std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
    u32 snap_bytes_;
};

} // namespace dragoman::runtime
