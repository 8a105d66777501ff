"""The programs of bench/guest: on the host, and in each emulator, in turn.

"work" is a script that runs Debian's programs in the tree of scripts/make-userland, by chroot on either side; the others
are static programs. "integer-i386" is "integer" for the i386, under Debian's i386 kernel.
"""

import os
import re
import subprocess
import sys

from lib import emulators as machines


NAMES = ("integer", "integer-i386", "classes", "work")
TREE = os.path.join(machines.GUESTS, "userland-amd64")
WORK = "/usr/share/dragoman/work.sh"
# On the host a private mount namespace gives the tree what the guest has: devices, /proc and a /tmp in memory.
ENTER_TREE = ("mount --rbind /dev $0/dev && mount -t tmpfs tmpfs $0/tmp && mount --rbind /proc $0/proc && "
              f"exec chroot $0 /usr/bin/env -i {WORK} $*")
MOUNT_TREE = ("for i in 1 2 3 4 5 6 7 8 9 10; do [ -b /dev/sda ] && break; sleep 0.2; done; mount -o ro /dev/sda /mnt && "
              "mount -t devtmpfs devtmpfs /mnt/dev && mount -t tmpfs tmpfs /mnt/tmp && mount -t proc proc /mnt/proc && "
              f"exec chroot /mnt /usr/bin/env -i {WORK}")


def on_one_processor():
    """The guest has one vCPU; two processes of the host, or threads, on two processors are another comparison."""
    os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])


def host_command(program, arguments):
    if program == "work":
        return ["unshare", "--map-root-user", "--mount", "sh", "-c", ENTER_TREE, TREE, *arguments]
    return [os.path.join(machines.GUESTS, program), *arguments]


def guest_command(program, emulator, arguments):
    if program == "work":
        return machines.guest_command(
            emulator, " ".join([MOUNT_TREE, *arguments]), initrd="initrd-work-amd64.cpio",
            load="ata_piix,sd_mod,ext4", options=["-drive", f"file={TREE}.img,format=raw,if=ide,snapshot=on"])
    if program.endswith("-i386"):
        return machines.guest_command(emulator, " ".join([program, *arguments]), arch="i386")
    return machines.guest_command(emulator, " ".join([program, *arguments]))


def kernels(text, program="", names=()):
    """What a program printed: seconds and checksum of each of its kernels."""
    found = re.findall(r"^kernel ([\w-]+) ([\d.]+) ([0-9a-f]{8})$", text, re.MULTILINE)
    unknown = set(names) - {name for name, _, _ in found}
    if unknown:
        sys.exit(f"bench/compare: {program} has no kernel {', '.join(sorted(unknown))}")
    if not found:
        sys.exit(f"bench/compare: no figures in:\n{text[-2000:]}")
    return {name: float(seconds) for name, seconds, _ in found}, {name: check for name, _, check in found}


def host_run(program, arguments):
    """Seconds and checksums of the kernels of one run on the host."""
    text = subprocess.run(host_command(program, arguments), stdout=subprocess.PIPE, check=True,
                          preexec_fn=on_one_processor).stdout.decode()
    return kernels(text, program, arguments[1:])


def compare_sums(name, sums, expected):
    if sums != expected:
        sys.exit(f"bench/compare: {name} computes something else than the host:\n{sums}\n{expected}")


def measure(program, chosen, rounds, timeout, percent, names):
    """program, e.g. "integer" -> {"host": [{"seconds": {kernel: s}, "peak_kib": n}, ...], "dragoman": ...}"""
    arguments = [str(percent), *names]
    results = {"host": [], **{name: [] for name in chosen}}
    checks = None
    for n in range(rounds):
        for name, runs in results.items():
            if name == "host":
                (seconds, sums), peak = host_run(program, arguments), None
            else:
                run = machines.Run(guest_command(program, chosen[name], arguments), {"done": rb"DRAGOMAN-EXIT 0"}, timeout)
                (seconds, sums), peak = kernels(run.output, program, names), run.peak_kib
            checks = checks or sums
            compare_sums(name, sums, checks)
            runs.append({"seconds": seconds, "peak_kib": peak})
            machines.progress(f"{program} {n + 1}/{rounds} {name}: {sum(seconds.values()):.2f} s")
    return results
