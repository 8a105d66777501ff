// A qcow2 image, versions 2 and 3 (QEMU's docs/interop/qcow2.txt).
//
// Order in the file. Tables change in memory and reach the file at a flush, in the order reference counts, L2
// tables, L1 table, with the host's storage synchronized between them; clusters are given back after that. So
// an image whose writer dies at any moment holds what was flushed, and at worst some clusters that nobody
// uses.
#pragma once

#include "block/qcow2_header.h"
#include "block/qcow2_refcounts.h"
#include "block/table_cache.h"

#include <atomic>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>
#include <vector>

namespace dragoman::block {

struct Qcow2Snapshot {
    std::string id, name;
    u64 l1_offset = 0;
    u32 l1_entries = 0;
    u64 size = 0; // of the disk
    u32 date_seconds = 0, date_nanoseconds = 0;
    u64 vm_clock = 0;
    u64 vm_state_bytes = 0;
    u64 icount = ~u64{0};
};

// What check() found.
struct Qcow2Check {
    u64 corruptions = 0, leaks = 0, corruptions_fixed = 0, leaks_fixed = 0;
    u64 clusters = 0, allocated = 0, compressed = 0, fragmented = 0; // of the active disk
    u64 end_offset = 0;                                              // of the last cluster in use
    std::vector<std::string> messages;
};
enum class Qcow2Repair : u8 { None, Leaks, All };

struct Qcow2CreateOptions {
    u64 size = 0;
    u32 version = 3;
    u32 cluster_bits = 16;
    u32 refcount_order = 4;
    bool lazy_refcounts = false;
    Compression compression = Compression::Zlib;
    std::string backing_file, backing_format;
    bool preallocate_metadata = false;
};

class Qcow2Image final : public Image {
  public:
    // `backing` may be null. Opening for writing repairs an image that is marked dirty.
    static Result<std::unique_ptr<Qcow2Image>> open(std::unique_ptr<HostFile> file, bool read_only,
                                                    const OpenOptions& options);
    // Writes an empty image into `file`.
    static Status create(HostFile& file, const Qcow2CreateOptions& options);
    ~Qcow2Image() override;

    void set_backing(std::shared_ptr<Image> backing) { backing_ = std::move(backing); }
    Image* backing() const override { return backing_.get(); }
    const char* format() const override { return "qcow2"; }
    u64 bytes() const override { return size_; }
    bool read_only() const override { return read_only_; }
    Outcome read(u64 at, u8* to, u64 count) override;
    Outcome write(u64 at, const u8* from, u64 count) override;
    Outcome flush() override;
    Outcome discard(u64 at, u64 count) override;
    Outcome write_zeroes(u64 at, u64 count, bool unmap) override;
    Outcome resize(u64 new_bytes) override;
    Result<Extent> extent(u64 at, u64 limit) override;
    // One whole cluster (or the last part of the disk), compressed if that makes it smaller.
    Outcome write_compressed(u64 at, const u8* from, u64 count);

    const Qcow2Header& header() const { return header_; }
    HostFile& file() { return *file_; }

    // Everything below is for the image tool: nothing else uses the image meanwhile.
    const std::vector<Qcow2Snapshot>& snapshots() const { return snapshots_; }
    Status create_snapshot(const std::string& name);
    Status apply_snapshot(const std::string& id_or_name);
    Status delete_snapshot(const std::string& id_or_name);
    Result<Qcow2Check> check(Qcow2Repair repair);
    // Names another backing file in the header; the data stay as they are.
    Status set_backing_name(const std::string& file, const std::string& format);
    Status make_empty(); // gives all data clusters back: the disk is its backing file again

  private:
    Qcow2Image(std::unique_ptr<HostFile> file, const Qcow2Header& header, bool read_only);

    // --- where clusters are (qcow2_map.cpp)
    enum class Kind : u8 { Absent, Zero, Data, Compressed };
    struct Place {
        Kind kind = Kind::Absent;
        bool ours = false; // Data, or Zero with a cluster: nobody else refers to the cluster
        u64 host = 0;      // of the cluster, 0: none; of Compressed: of its first byte
        u64 host_bytes = 0;
    };
    Result<Place> place_of(u64 guest_cluster);
    Result<Place> decode(u64 entry);
    Result<u8*> l2_for_reading(u64 l1_index); // null: there is none
    Result<u64> l2_for_writing(u64 l1_index); // its offset; made or copied if need be
    // What was there before is given back; `punch`: the host's storage, too.
    Outcome set_entry(u64 guest_cluster, u64 entry, bool punch = false);
    Outcome release(u64 entry, bool punch);
    bool overlaps_metadata(u64 host, u64 bytes) const;
    Result<u64> allocate(u64 clusters); // for data: the offset in the file
    Outcome grow_l1(u64 entries);
    Outcome corrupt(const std::string& what);
    Outcome prepare_change();
    // Bytes from `at` on that have the same kind and, if data, lie in a row.
    struct Run {
        Place place; // of the first cluster
        u64 bytes = 0;
    };
    Result<Run> run_at(u64 at, u64 count);

    // --- reading and writing (qcow2_io.cpp)
    Outcome read_run(const Run& run, u64 at, u8* to);
    Outcome read_below(u64 at, u8* to, u64 count);
    Outcome read_compressed(const Place& place, u64 skip, u8* to, u64 count);
    Outcome write_new(u64 at, const u8* from, u64 count); // into clusters that are allocated for it
    u64 new_clusters(u64 first, u64 most);                // how many from `first` on need one
    Outcome read_locked(u64 at, u8* to, u64 count);
    Outcome zero_cluster(u64 guest_cluster, bool unmap);
    Outcome discard_cluster(u64 guest_cluster);
    Outcome write_locked(u64 at, const u8* from, u64 count);

    // --- tables to the file (qcow2.cpp)
    Outcome write_tables();
    Outcome drop_released();
    bool tables_dirty() const;
    Outcome write_l1();
    Outcome set_incompatible(u64 bits);
    Status load_tables(const OpenOptions& options);

    // --- snapshots (qcow2_snapshots.cpp)
    Status load_snapshots();
    Status write_snapshots();
    Result<std::vector<u64>> read_l1(u64 offset, u32 entries);
    Status count_references(const std::vector<u64>& l1, bool up);
    Status update_copied_flags();
    Result<std::size_t> find_snapshot(const std::string& id_or_name) const;
    friend class Qcow2Checker;

    Outcome fault(const Error& error) const { return {BlockStatus::IoError, error.message}; }
    std::string about(const std::string& what) const { return "disk image '" + file_->path() + "': " + what; }

    std::unique_ptr<HostFile> file_;
    std::shared_ptr<Image> backing_;
    Qcow2Header header_;
    std::atomic<u64> size_;
    bool read_only_;
    std::atomic<bool> failed_{false}; // found corrupt: nothing is written any more

    // Requests hold this shared, those that change tables exclusively.
    std::shared_mutex lock_;
    std::mutex tables_; // the L2 cache, among readers
    TableCache l2_;
    Qcow2Refcounts refcounts_;
    std::vector<u64> l1_;
    bool l1_dirty_ = false;
    struct Clusters {
        u64 first = 0, count = 0;
        bool punch = false; // and give the host its storage back
    };
    std::vector<Clusters>
        released_; // since the last flush: one reference less each, once the tables are written
    struct {
        u64 at = 0, left = 0; // where the next compressed cluster goes
    } tail_;
    std::mutex unpacked_; // the cluster last decompressed
    u64 unpacked_at_ = ~u64{0};
    std::vector<u8> unpacked_bytes_;
    std::vector<Qcow2Snapshot> snapshots_;
};

} // namespace dragoman::block
