// A 9P2000.L server (the protocol of Linux's v9fs) for one shared folder. Everything that it is asked comes
// from the guest: lengths, names, numbers of files; it is bounded in what it keeps.
#pragma once

#include "hw/virtio_9p.h"
#include "runtime/folder.h"

#include <map>
#include <optional>
#include <string>

namespace dragoman::runtime {

class NinePReader;
class NinePWriter;

class NineP final : public hw::NinePServer {
  public:
    static constexpr std::size_t max_fids = 16384, max_open = 1024, max_path = 4000;

    explicit NineP(Folder folder) : folder_(std::move(folder)) {}

    std::vector<u8> answer(std::span<const u8> request, std::size_t room) override;
    void reset() override { fids_.clear(); }

    struct Call; // one message: what it says, and its answer
    struct Row;  // of the table of messages

  private:
    struct Fid {
        std::string path; // below the folder
        Descriptor fd;    // when it is open
        bool folder = false, append = false;
    };
    static const Row rows[];

    Fid* find(u32 number);
    int add(u32 number, std::string path);
    int put_qid(NinePWriter& out, const std::string& path);
    int child(const Fid& at, const std::string& name, std::string& path) const;
    void moved(const std::string& from, const std::string& to);
    std::size_t open_count() const;

    // Each reads its arguments, and writes its answer; returns 0 or a negative errno.
    int version(Call& c);
    int attach(Call& c);
    int walk(Call& c);
    int open(Call& c);
    int create(Call& c);
    int read(Call& c);
    int write(Call& c);
    int clunk(Call& c);
    int remove(Call& c);
    int statfs(Call& c);
    int symlink(Call& c);
    int mknod(Call& c);
    int rename(Call& c);
    int readlink(Call& c);
    int getattr(Call& c);
    int setattr(Call& c);
    int readdir(Call& c);
    int fsync(Call& c);
    int lock(Call& c);
    int getlock(Call& c);
    int link(Call& c);
    int mkdir(Call& c);
    int renameat(Call& c);
    int unlinkat(Call& c);
    int flush(Call& c);
    int unsupported(Call& c);

    Folder folder_;
    std::map<u32, Fid> fids_;
    u32 message_bytes_ = 8192; // negotiated
};

} // namespace dragoman::runtime
