// Words that monitors elsewhere know and this one has not: what there is instead.
#include "runtime/monitor_commands.h"

#include <algorithm>

namespace dragoman::runtime {

namespace {

constexpr const char* kNoState =
    "the state of a machine is not saved; the nearest is -snapshot, or dragoman-img snapshot";
constexpr const char* kNoMigration = "machines are not moved from one emulator to another";
constexpr const char* kNoJobs = "images are worked on with dragoman-img, while no machine runs on them";
constexpr const char* kNoSound = "there is no sound";

struct Word {
    const char* name;
    const char* about;
};
constexpr Word words[] = {
    {"savevm", kNoState},
    {"loadvm", kNoState},
    {"delvm", kNoState},
    {"snapshot_blkdev", kNoState},
    {"snapshot_blkdev_internal", kNoState},
    {"migrate", kNoMigration},
    {"migrate_cancel", kNoMigration},
    {"migrate_set_parameter", kNoMigration},
    {"migrate_incoming", kNoMigration},
    {"commit", kNoJobs},
    {"block_stream", kNoJobs},
    {"block_job_cancel", kNoJobs},
    {"drive_backup", kNoJobs},
    {"drive_mirror", kNoJobs},
    {"nbd_server_start", kNoJobs},
    {"wavcapture", kNoSound},
    {"stopcapture", kNoSound},
    {"chardev-add", "character devices are made at the start (-chardev)"},
    {"chardev-change", "character devices are made at the start (-chardev)"},
    {"chardev-remove", "character devices are made at the start (-chardev)"},
    {"cpu", "there is one processor"},
    {"dump-guest-memory", "the nearest is pmemsave"},
    {"gdbserver", "the nearest is -gdb at the start"},
    {"gpa2hva", "the nearest is gva2gpa"},
    {"logfile", "the nearest is -D at the start"},
    {"mouse_set", "there is one mouse"},
    {"object_add", "the nearest is -object at the start"},
    {"object_del", "the nearest is -object at the start"},
    {"qemu-io", "the nearest is dragoman-img"},
    {"qom-list", "the nearest is info qtree"},
    {"ringbuf_write", "the nearest is QMP's ringbuf-write"},
    {"singlestep", "the nearest is -gdb"},
    {"one-insn-per-tb", "the nearest is -gdb"},
    {"system_wakeup", "the machine does not sleep"},
    {"trace-event", "the nearest is log"},
    // With "info": not an error.
    {"info block-jobs", "no active jobs"},
    {"info blockstats", "transfers are not counted"},
    {"info capture", "there is no sound"},
    {"info hotpluggable-cpus", "there are none"},
    {"info history", "there is none"},
    {"info iothreads", "there are none"},
    {"info irq", "interrupts are not counted; info pic, info ioapic and info lapic tell their state"},
    {"info kvm", "kvm support: disabled"},
    {"info memdev", "there are none"},
    {"info memory-devices", "there are none"},
    {"info migrate", "machines are not moved from one emulator to another"},
    {"info numa", "0 nodes"},
    {"info opcount", "info jit tells what is counted"},
    {"info profile", "info jit tells what is counted"},
    {"info qdm", "-device help lists the devices"},
    {"info qom-tree", "info qtree lists the devices"},
    {"info replay", "runs are not recorded"},
    {"info roms", "info mtree lists what is mapped"},
    {"info spice", "there is none; info vnc"},
    {"info tpm", "there is no TPM"},
    {"info usbhost", "there is no USB"},
};

} // namespace

std::string monitor_foreign_word(const std::string& name) {
    const auto* word =
        std::find_if(std::begin(words), std::end(words), [&](const Word& w) { return name == w.name; });
    return word == std::end(words) ? "" : word->about;
}

} // namespace dragoman::runtime
