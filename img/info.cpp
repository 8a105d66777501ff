// dragoman-img info, check and snapshot: what is inside an image.
#include "img/command.h"

#include <cstdio>
#include <ctime>

namespace dragoman::img {

namespace {

using ull = unsigned long long;

std::string quoted(const std::string& text) {
    std::string out = "\"";
    for (const char c : text) {
        char escape[8];
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (static_cast<unsigned char>(c) < 0x20) {
            std::snprintf(escape, sizeof escape, "\\u%04x", unsigned(c));
            out += escape;
        } else {
            out += c;
        }
    }
    return out + "\"";
}

void print_snapshots(const block::Qcow2Image& image) {
    if (image.snapshots().empty()) return;
    std::printf("Snapshot list:\n%-10s%-17s%8s%20s%13s%11s\n", "ID", "TAG", "VM SIZE", "DATE", "VM CLOCK",
                "ICOUNT");
    for (const block::Qcow2Snapshot& s : image.snapshots()) {
        const std::time_t seconds = s.date_seconds;
        std::tm local{};
        localtime_r(&seconds, &local);
        char date[32], clock[32];
        std::strftime(date, sizeof date, "%Y-%m-%d %H:%M:%S", &local);
        const u64 ms = s.vm_clock / 1000000;
        std::snprintf(clock, sizeof clock, "%02llu:%02llu:%02llu.%03llu", ull(ms / 3600000),
                      ull(ms / 60000 % 60), ull(ms / 1000 % 60), ull(ms % 1000));
        const std::string icount = s.icount == ~u64{0} ? "" : std::to_string(s.icount);
        std::printf("%-9s %-16s %8s%20s%13s%11s\n", s.id.c_str(), s.name.c_str(),
                    human_size(s.vm_state_bytes).c_str(), date, clock, icount.c_str());
    }
}

u64 host_bytes(const std::string& file) {
    auto host = block::HostFile::open(file, true, false, false);
    return host ? (*host)->host_bytes() : 0;
}

void print_text(const std::string& file, block::Image& image) {
    const block::Qcow2Image* q = as_qcow2(image);
    std::printf("image: %s\nfile format: %s\nvirtual size: %s (%llu bytes)\ndisk size: %s\n", file.c_str(),
                image.format(), human_size(image.bytes()).c_str(), ull(image.bytes()),
                human_size(host_bytes(file)).c_str());
    if (!q) return;
    const block::Qcow2Header& h = q->header();
    if (h.incompatible & block::kQcow2Dirty) std::printf("cleanly shut down: no\n");
    std::printf("cluster_size: %llu\n", ull(h.cluster()));
    if (!h.backing_file.empty()) {
        std::printf("backing file: %s\n", h.backing_file.c_str());
        if (!h.backing_format.empty()) std::printf("backing file format: %s\n", h.backing_format.c_str());
    }
    print_snapshots(*q);
    std::printf("Format specific information:\n    compat: %s\n    compression type: %s\n",
                h.version >= 3 ? "1.1" : "0.10", h.compression_name());
    if (h.version >= 3)
        std::printf("    lazy refcounts: %s\n", h.compatible & block::kQcow2LazyRefcounts ? "true" : "false");
    std::printf("    refcount bits: %u\n", 1u << h.refcount_order);
    if (h.version >= 3)
        std::printf("    corrupt: %s\n    extended l2: false\n",
                    h.incompatible & block::kQcow2Corrupt ? "true" : "false");
}

void print_json(const std::string& file, block::Image& image) {
    const block::Qcow2Image* q = as_qcow2(image);
    std::printf("{\n    \"virtual-size\": %llu,\n    \"filename\": %s,\n", ull(image.bytes()),
                quoted(file).c_str());
    if (q) {
        const block::Qcow2Header& h = q->header();
        std::printf("    \"cluster-size\": %llu,\n", ull(h.cluster()));
        if (!h.backing_file.empty()) {
            std::printf("    \"backing-filename\": %s,\n", quoted(h.backing_file).c_str());
            if (!h.backing_format.empty())
                std::printf("    \"backing-filename-format\": %s,\n", quoted(h.backing_format).c_str());
        }
        std::printf("    \"format-specific\": {\n        \"type\": \"qcow2\",\n        \"data\": {\n"
                    "            \"compat\": \"%s\",\n            \"compression-type\": \"%s\",\n",
                    h.version >= 3 ? "1.1" : "0.10", h.compression_name());
        if (h.version >= 3)
            std::printf("            \"lazy-refcounts\": %s,\n            \"corrupt\": %s,\n"
                        "            \"extended-l2\": false,\n",
                        h.compatible & block::kQcow2LazyRefcounts ? "true" : "false",
                        h.incompatible & block::kQcow2Corrupt ? "true" : "false");
        std::printf("            \"refcount-bits\": %u\n        }\n    },\n", 1u << h.refcount_order);
    }
    std::printf("    \"format\": \"%s\",\n    \"actual-size\": %llu,\n    \"dirty-flag\": %s\n}\n",
                image.format(), ull(host_bytes(file)),
                q && q->header().incompatible & block::kQcow2Dirty ? "true" : "false");
}

} // namespace

int info(const std::vector<std::string>& words) {
    const auto a = Arguments::parse(words, "f:U", {"output=", "backing-chain", "force-share"});
    if (!a) return 1;
    if (a->operands().size() != 1) return complain("expected info [options] FILE");
    const std::string output = a->has("output") ? a->value("output") : "human";
    if (output != "human" && output != "json")
        return complain("--output=" + output + ": expected human or json");
    std::string file = a->operands()[0], format = a->value("f");
    block::OpenOptions options;
    options.read_only = true;
    options.lock = !a->has("U") && !a->has("force-share");
    options.backing = false;
    bool first = true;
    if (output == "json" && a->has("backing-chain")) std::printf("[\n");
    for (unsigned depth = 0; depth < 64; ++depth) {
        options.format = format;
        auto image = block::open_image(file, options);
        if (!image) return complain("Could not open '" + file + "': " + image.error().message);
        if (!first) std::printf(output == "json" ? ",\n" : "\n");
        first = false;
        output == "json" ? print_json(file, **image) : print_text(file, **image);
        const block::Qcow2Image* q = as_qcow2(**image);
        if (!a->has("backing-chain") || !q || q->header().backing_file.empty()) break;
        const std::string below = q->header().backing_file;
        format = q->header().backing_format;
        file = below[0] == '/' || file.find('/') == std::string::npos
                   ? below
                   : file.substr(0, file.rfind('/') + 1) + below;
    }
    if (output == "json" && a->has("backing-chain")) std::printf("]\n");
    return 0;
}

int check(const std::vector<std::string>& words) {
    const auto a = Arguments::parse(words, "qf:r:U", {"output=", "force-share"});
    if (!a) return 1;
    if (a->operands().size() != 1) return complain("expected check [options] FILE");
    auto repair = block::Qcow2Repair::None;
    if (a->has("r")) {
        if (a->value("r") != "leaks" && a->value("r") != "all")
            return complain("-r " + a->value("r") + ": expected leaks or all");
        repair = a->value("r") == "all" ? block::Qcow2Repair::All : block::Qcow2Repair::Leaks;
    }
    block::OpenOptions options;
    options.format = a->value("f");
    options.read_only = repair == block::Qcow2Repair::None;
    options.lock = !a->has("U") && !a->has("force-share");
    options.backing = options.repair = false;
    const std::string& file = a->operands()[0];
    auto image = block::open_image(file, options);
    if (!image) return complain("Could not open '" + file + "': " + image.error().message);
    block::Qcow2Image* q = as_qcow2(**image);
    if (!q) {
        complain("This image format does not support checks");
        return 63;
    }
    auto result = q->check(repair);
    if (!result) return complain(result.error().message);
    block::Qcow2Check r = *result;
    const bool quiet = a->has("q"), json = a->value("output") == "json";
    if (!quiet && !json)
        for (const std::string& message : r.messages)
            std::printf("%s\n", message.c_str());
    if (r.corruptions_fixed || r.leaks_fixed) {
        if (!quiet && !json)
            std::printf("The following inconsistencies were found and repaired:\n\n    %llu leaked clusters\n"
                        "    %llu corruptions\n\nDouble checking the fixed image now...\n",
                        ull(r.leaks_fixed), ull(r.corruptions_fixed));
        auto again = q->check(block::Qcow2Repair::None);
        if (!again) return complain(again.error().message);
        r = *again;
    }
    if (json) {
        std::printf("{\n    \"image-end-offset\": %llu,\n    \"total-clusters\": %llu,\n    "
                    "\"allocated-clusters\": %llu,\n"
                    "    \"fragmented-clusters\": %llu,\n    \"compressed-clusters\": %llu,\n    "
                    "\"corruptions\": %llu,\n"
                    "    \"leaks\": %llu,\n    \"check-errors\": 0,\n    \"filename\": %s,\n    \"format\": "
                    "\"qcow2\"\n}\n",
                    ull(r.end_offset), ull(r.clusters), ull(r.allocated), ull(r.fragmented),
                    ull(r.compressed), ull(r.corruptions), ull(r.leaks), quoted(file).c_str());
    } else if (!quiet) {
        if (!r.corruptions && !r.leaks) std::printf("No errors were found on the image.\n");
        if (r.corruptions)
            std::printf("\n%llu errors were found on the image.\n"
                        "Data may be corrupted, or further writes to the image may corrupt it.\n",
                        ull(r.corruptions));
        if (r.leaks)
            std::printf("\n%llu leaked clusters were found on the image.\n"
                        "This means waste of disk space, but no harm to data.\n",
                        ull(r.leaks));
        if (r.clusters && r.allocated)
            std::printf("%llu/%llu = %0.2f%% allocated, %0.2f%% fragmented, %0.2f%% compressed clusters\n",
                        ull(r.allocated), ull(r.clusters), double(r.allocated) * 100 / double(r.clusters),
                        double(r.fragmented) * 100 / double(r.allocated),
                        double(r.compressed) * 100 / double(r.allocated));
        if (r.end_offset) std::printf("Image end offset: %llu\n", ull(r.end_offset));
    }
    return r.corruptions ? 2 : r.leaks ? 3 : 0;
}

int snapshot(const std::vector<std::string>& words) {
    const auto a = Arguments::parse(words, "qf:Ulc:a:d:");
    if (!a) return 1;
    if (a->operands().size() != 1)
        return complain("expected snapshot [-l | -c NAME | -a SNAPSHOT | -d SNAPSHOT] FILE");
    const bool list = !a->has("c") && !a->has("a") && !a->has("d");
    const std::string& file = a->operands()[0];
    auto image = open(file, a->value("f"), list, a->has("U"));
    if (!image) return 1;
    block::Qcow2Image* q = as_qcow2(*image);
    if (!q && list) return 0;
    if (!q) return complain("'" + file + "': a raw image holds no snapshots (expected qcow2)");
    if (list) {
        print_snapshots(*q);
        return 0;
    }
    const Status done = a->has("c")   ? q->create_snapshot(a->value("c"))
                        : a->has("a") ? q->apply_snapshot(a->value("a"))
                                      : q->delete_snapshot(a->value("d"));
    if (!done) return complain(done.error().message);
    if (block::Outcome o = q->flush(); o.failed()) return complain(o.message);
    return 0;
}

} // namespace dragoman::img
