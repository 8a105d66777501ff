#!/usr/bin/env python3
"""Boot an unmodified guest in an emulator and use it like a person would. One scenario per run; see SCENARIOS.

    boot.py --emulator build/release/dragoman --guests ~/.cache/dragoman/guests linux-amd64 [-- more emulator options]
"""

import argparse
import base64
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time

import debian
import devices
import display
import firmware
import hotplug
import installer
import memtest
import network
import storage
import userland
from console import Console, Failure, Shell, report

NUMBERS_MD5 = "8d55a91d434e1a8fa7b9322ecfa3f70b"  # of the file "numbers" that scripts/lib.sh puts on the images


class Test:
    """What a scenario works with: how to start the emulator, and where the guest files are."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.console = None
        self.scratch = tempfile.TemporaryDirectory(prefix="dragoman-test.")

    def guest(self, name):
        path = os.path.join(self.arguments.guests, name)
        if not os.path.exists(path):
            raise Failure(f"no {path}: run scripts/guest-packages, scripts/make-initramfs, scripts/make-disk and "
                          "scripts/make-cd (scripts/test does all of it)")
        return path

    def start(self, *options, memory="256"):
        command = [self.arguments.emulator, "-m", self.arguments.memory or memory, "-nographic",
                   *options, *self.arguments.options]
        print("command: " + " ".join(command), flush=True)
        self.console = Console(command, self.arguments.log, self.arguments.timeout)
        return self.console

    def linux(self, arch, command_line="", *options, initrd=None, kernel="vmlinuz"):
        return self.start("-kernel", self.guest(f"{kernel}-{arch}"),
                          "-initrd", self.guest(initrd or f"initrd-{arch}.cpio"),
                          "-append", f"console=ttyS0 {command_line}".strip(), *options)

    def ends(self, wanted=0, timeout=30.0):
        status = self.console.wait(timeout)
        if status != wanted:
            raise Failure(f"the emulator's exit status is {status}, not {wanted}")
        self.console.say(f"ended with exit status {status}")


def md5(data):
    return hashlib.md5(data).hexdigest()


def floating():
    x = 1.0
    for _ in range(100):
        x = x * 1.25 / 1.125 + 0.5
    return f"{x:.4f}"


def use_shell(shell, machine):
    """What every Linux guest must be able to do."""
    shell.check("uname -m", f"^{machine}$")
    shell.check("cat /proc/cpuinfo", r"^processor\s*: 0$")
    shell.check("echo $((6 * 7 * 1000003 - 1))", "^42000125$")
    shell.check("echo $(( (1 << 62) / 3 % 1000007 ))", f"^{(1 << 62) // 3 % 1000007}$")
    shell.check("awk 'BEGIN { x = 1; for (i = 0; i < 100; i++) x = x * 1.25 / 1.125 + 0.5; printf \"%.4f\\n\", x }'",
                f"^{re.escape(floating())}$")
    shell.check("dd if=/dev/zero bs=1024 count=4096 2>/dev/null | md5sum", f"^{md5(bytes(4 << 20))} ")
    shell.check("seq 1 20000 | sha512sum", "^" + hashlib.sha512(
        "".join(f"{n}\n" for n in range(1, 20001)).encode()).hexdigest())
    shell.check("seq 1 20000 | gzip -9 | gunzip | tail -n 1", "^20000$")
    shell.check("seq 1 2000 | sort -rn | head -n 3 | xargs echo", "^2000 1999 1998$")
    shell.check("ls /sys", "^.*kernel.*$")
    shell.check("cat /proc/interrupts", "timer|Local")
    shell.check("a=$(cut -d. -f1 /proc/uptime); sleep 2; b=$(cut -d. -f1 /proc/uptime); "
                "test $((b - a)) -ge 1 -a $((b - a)) -le 20 && echo clock goes", "^clock goes$")
    output, _ = shell.run("date +%s")
    if abs(int(output) - time.time()) > 900:
        raise Failure(f"the guest's clock says {output.strip()}, the host's {time.time():.0f}")
    shell.console.say("ok: date")
    typed = "".join(f"{n:04} the quick brown fox jumps over the lazy dog {n * n}\n" for n in range(60))
    output, _ = shell.run("head -n 60 | md5sum", typed=typed)
    if md5(typed.encode()) not in output:
        raise Failure(f"{len(typed)} bytes typed quickly did not arrive as they were:\n{output}")
    shell.console.say(f"ok: {len(typed)} bytes typed quickly")
    output, status = shell.run("(exit 7)")
    if status != 7:
        raise Failure(f"(exit 7) gave exit status {status}")
    output, _ = shell.run("dmesg | grep -E 'Oops|BUG:|Call Trace|segfault|general protection|trap '")
    if output.strip():
        raise Failure(f"the kernel complains:\n{output}")


def linux(test, arch, machine, initrd=None, more=None):
    console = test.linux(arch, initrd=initrd)
    console.expect(r"DRAGOMAN-INIT ([\d.]+)\n")
    console.say("init runs")
    shell = Shell(console)
    use_shell(shell, machine)
    if more:
        more(shell)
    console.send("poweroff -f\n")
    test.ends()


def use_32_bit_programs(shell):
    """Compatibility mode: a 32-bit program on the 64-bit kernel."""
    shell.check("head -c 5 /bin/busybox32 | tail -c 1 | od -An -tx1", r"^\s*01$")
    shell.check("seq 1 20000 | busybox32 sha512sum", "^" + hashlib.sha512(
        "".join(f"{n}\n" for n in range(1, 20001)).encode()).hexdigest())
    shell.check("busybox32 awk 'BEGIN { printf \"%.3f\\n\", 355 / 113 * 1000000 }'", f"^{355 / 113 * 1000000:.3f}$")
    shell.check("busybox32 sh -c 'echo $((1 << 40)); busybox32 uname -m'", "^1099511627776$")


def use_checked_programs(test, shell):
    """The same program must print the same on the host and in the guest."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return
    programs = [("integer", "5"), ("floating", "")]
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as cpuinfo:
        features = set(cpuinfo.read().split())
        if "-cpu" in test.arguments.options:  # a model that may have fewer
            features &= set(shell.run("cat /proc/cpuinfo")[0].split())
        if {"avx2", "fma", "f16c"} <= features:
            programs.append(("vectors", ""))
        if {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"} <= features:
            programs.append(("vectors512", ""))
    for program, argument in programs:
        wanted, got = (re.findall(r"^(?:kernel (\w+) [\d.]+|float (\S+)) ([0-9a-f]+)$", text, re.MULTILINE) for text in (
            subprocess.run([test.guest(program), argument], stdout=subprocess.PIPE, check=True).stdout.decode(),
            shell.run(f"{program} {argument}")[0]))
        if not wanted or wanted != got:
            lines = "\n".join(f"  {' '.join(w).strip()} on the host, {' '.join(g).strip()} in the guest"
                              for w, g in zip(wanted, got) if w != g)
            raise Failure(f"{program} computes {len(wanted)} results on the host, {len(got)} in the guest; "
                          f"those that differ:\n{lines}")
        shell.console.say(f"ok: {program} computes the same {len(wanted)} results as on the host")


def use_signals(test, shell, program="signals"):
    """Faults and traps of a program have to be those that it has on the host (signals.c, signals32.c)."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return
    wanted, got = ([line.strip() for line in text.splitlines() if line.strip() and not line.startswith("dragoman:")] for text in (
        subprocess.run([test.guest(program)], stdout=subprocess.PIPE, check=True).stdout.decode(), shell.run(program)[0]))
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as cpuinfo:
        amd = re.search("AuthenticAMD|HygonGenuine", cpuinfo.read())
    if amd:  # under a hypervisor an AMD host's INT1 is reported at itself, though it is a trap
        wanted, got = ([line for line in lines if not line.startswith("icebp:")] for lines in (wanted, got))
    if "-cpu" in test.arguments.options or amd:  # whether FDP changes without an exception goes with the model
        wanted, got = ([re.sub(r" fdp \S+", "", line) for line in lines] for lines in (wanted, got))
    if wanted != got:
        lines = "\n".join(f"  host:  {w}\n  guest: {g}" for w, g in zip(wanted, got) if w != g)
        raise Failure(f"{program} prints {len(wanted)} lines on the host, {len(got)} in the guest; those that differ:\n{lines}")
    shell.console.say(f"ok: {program} meets the same {len(wanted)} faults and traps as on the host")


def linux_amd64(test):
    def more(shell):
        use_32_bit_programs(shell)
        use_checked_programs(test, shell)
        use_signals(test, shell)

    linux(test, "amd64", "x86_64", "initrd-test-amd64.cpio", more)


def passes_one_off(test):
    """The same with one optimisation off, for each of them."""
    emulator, options = test.arguments.emulator, test.arguments.options
    listed = subprocess.run([emulator, "-passes", "help"], stdout=subprocess.PIPE, check=True).stdout.decode()
    names = re.findall(r"^(\S+) +\S", listed, re.MULTILINE)
    if len(names) < 2:
        raise Failure(f"-passes help lists no optimisations:\n{listed}")
    for name in names:
        if test.console:
            test.console.close()
        test.arguments.options = [*options, "-passes", f"{name}=off"]
        linux_amd64(test)
    test.arguments.options = options


def smp(test):
    """Two processors: both come up, and both are given work."""
    console = test.linux("amd64", "", "-smp", "2")
    shell = Shell(console)
    shell.check("nproc", "^2$")
    wanted = hashlib.sha512("".join(f"{n}\n" for n in range(1, 20001)).encode()).hexdigest()
    for processor in (0, 1):
        shell.check(f"seq 1 20000 | taskset {1 << processor} sha512sum", f"^{wanted}")
    shell.check("for i in 1 2 3 4; do (seq 1 5000 | gzip | gunzip | md5sum > /tmp/$i) & done; wait; "
                "cat /tmp/[1-4] | sort -u | wc -l", "^1$")
    console.send("poweroff -f\n")
    test.ends()


def linux_i386(test):
    linux(test, "i386", "i686", "initrd-test-i386.cpio", lambda shell: use_signals(test, shell, "signals32"))


def script(test, arch="amd64", kernel="vmlinuz"):
    """A boot without a terminal's input: commands from the kernel's command line, then power off."""
    commands = "uname -m; dd if=/dev/zero bs=1024 count=512 2>/dev/null | md5sum; exit 5"
    encoded = base64.b64encode(commands.encode()).decode().rstrip("=")
    console = test.linux(arch, f"quiet dragoman.run={encoded}", kernel=kernel)
    console.expect(r"DRAGOMAN-INIT ([\d.]+)\n")
    console.say("init runs")
    console.expect(f"^{md5(bytes(512 << 10))} ")
    console.expect(r"^DRAGOMAN-EXIT 5$")
    test.ends()


def script_i386(test):
    script(test, "i386")


def script_pvh(test):
    """The same kernel without its decompressor, entered through PVH."""
    script(test, kernel="vmlinux")


def kept_translations(test):
    """Boots with the same -tb-cache: those after the first one take nearly everything from the file, also from one that was
    written in the sandbox."""
    file = os.path.join(test.scratch.name, "translations")
    for share, sandbox in ((0, "off"), (90, "on"), (90, "on")):
        if test.console:
            test.console.close()
        console = test.linux("amd64", "", "-tb-cache", file, "-sandbox", sandbox, kernel="vmlinux")
        console.expect(r"DRAGOMAN-INIT ([\d.]+)\n")
        shell = Shell(console)
        shell.check("seq 1 2000 | sort -rn | head -n 3 | xargs echo", "^2000 1999 1998$")
        console.send("\x01c")
        console.expect("monitor")
        console.send("info jit\n")
        got = float(console.expect(r"-tb-cache +\d+ blocks from the file \(([\d.]+)%\)").group(1))
        console.say(f"{got}% of the blocks are from the file")
        if got < share or (not share and got):
            raise Failure(f"{got}% of the blocks come from the file, expected {'none' if not share else 'over 90%'}")
        console.send("quit\n")
        test.ends()


def reboot(test):
    """A reset by the guest boots again; with -no-reboot it ends the emulator."""
    encoded = base64.b64encode(b"reboot -f").decode().rstrip("=")
    console = test.linux("amd64", f"quiet dragoman.run={encoded}")
    for boot in (1, 2):
        console.expect(r"DRAGOMAN-INIT ([\d.]+)\n")
        console.say(f"boot {boot}")
    console.send("\x01x")
    test.ends()
    console.close()
    test.linux("amd64", f"quiet dragoman.run={encoded}", "-no-reboot").expect(r"DRAGOMAN-INIT ([\d.]+)\n")
    test.ends(timeout=60)


def escape_key(test):
    """Ctrl-A h explains, Ctrl-A x quits, also while the guest is busy booting."""
    console = test.linux("amd64")
    console.expect(r"Linux version")
    console.send("\x01h")
    console.expect(r"(?i)exit|quit", 20)
    console.send("\x01x")
    test.ends()


def xen(test):
    """A multiboot kernel with modules that asks the BIOS, and a Linux in ring 3 under it."""
    console = test.start(
        "-kernel", test.guest("xen"), "-append", "com1=115200,8n1 console=com1 noreboot dom0_mem=512M",
        "-initrd", ",".join([test.guest("vmlinuz-amd64") + " console=hvc0", test.guest("initrd-amd64.cpio")]),
        memory="1024")
    console.expect(r"Xen version ([\d.]+)")
    console.say("the hypervisor runs")
    console.expect(r"DRAGOMAN-INIT ([\d.]+)\n")
    shell = Shell(console)
    shell.check("cat /sys/hypervisor/type", "^xen$")
    shell.check("seq 1 20000 | sha512sum", "^" + hashlib.sha512(
        "".join(f"{n}\n" for n in range(1, 20001)).encode()).hexdigest())
    console.send("poweroff -f\n")
    test.ends()


def ipxe(test):
    """A bzImage that is entered by its setup code, in real mode behind the BIOS."""
    console = test.start("-kernel", test.guest("ipxe.lkrn"), memory="64")
    console.expect("Open Source Network Boot Firmware")
    console.expect("Features:")
    console.send("\x01x")
    test.ends()


def boots_through_grub(test, *options):
    console = test.start(*options)
    console.expect("SeaBIOS")
    console.say("BIOS runs")
    console.expect("GNU GRUB")
    console.say("GRUB's menu")
    console.send("\n")
    console.expect("Linux version")
    console.say("Linux starts")
    console.expect(r"DRAGOMAN-INIT ([\d.]+)\n")
    shell = Shell(console)
    shell.check("uname -m", "^x86_64$")
    return shell


def disk(test, controller="ide"):
    image = os.path.join(test.scratch.name, "disk.img")
    shutil.copyfile(test.guest("disk-amd64.img"), image)
    shell = boots_through_grub(test, *storage.drive(controller, f"{image},format=raw"))
    name = storage.CONTROLLERS[controller][2]
    part = name + ("p1" if name[-1].isdigit() else "1")
    # The kernel looks for disks while the shell is there already.
    shell.check(f"for i in $(seq 60); do [ -b /dev/{part} ] && break; sleep 1; done; mount /dev/{part} /mnt && "
                "echo mounted", "^mounted$")
    shell.check("md5sum /mnt/numbers", f"^{NUMBERS_MD5} ")
    shell.check(f"seq 1 50000 > /mnt/written; sync; umount /mnt; mount -o ro /dev/{part} /mnt; md5sum /mnt/written",
                "^" + md5("".join(f"{n}\n" for n in range(1, 50001)).encode()))
    shell.check("umount /mnt && echo unmounted", "^unmounted$")
    test.console.send("poweroff -f\n")
    test.ends()
    # What the guest wrote is in the image.
    debugfs = shutil.which("debugfs", path=os.environ.get("PATH", "") + ":/sbin:/usr/sbin")
    if debugfs:
        written = subprocess.run([debugfs, "-R", "cat /written", f"{image}?offset=1048576"],
                                 stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False).stdout
        if written != "".join(f"{n}\n" for n in range(1, 50001)).encode():
            raise Failure(f"the image does not hold what the guest wrote ({len(written)} bytes read back)")
        test.console.say("ok: the image holds what the guest wrote")


def cd(test, *options):
    shell = boots_through_grub(test, *(options or ("-cdrom", test.guest("cd-amd64.iso"))))
    shell.check("for i in $(seq 60); do mount -t iso9660 -o ro /dev/sr0 /mnt 2>/dev/null && break; sleep 1; done; "
                "md5sum /mnt/numbers", f"^{NUMBERS_MD5} ")
    test.console.send("poweroff -f\n")
    test.ends()


SCENARIOS = {
    **{f"debian{name}-{controller}": (lambda test, a=arch, c=controller: debian.run(test, a, c))
       for name, arch in (("", "amd64"), ("-i386", "i386")) for controller in storage.CONTROLLERS},
    "debian-cable": debian.cable,
    "installer-e1000": lambda test: installer.run(test, "e1000", "ide", "/dev/sda"),
    "installer-virtio": lambda test: installer.run(test, "virtio-net-pci", "virtio", "/dev/vda"),
    "passes-one-off": passes_one_off,
    "kept-translations": kept_translations,
    "linux-amd64": linux_amd64,
    "linux-i386": linux_i386,
    "smp": smp,
    "script-amd64": script,
    "script-i386": script_i386,
    "script-pvh": script_pvh,
    "reboot": reboot,
    "escape-key": escape_key,
    "xen": xen,
    "ipxe": ipxe,
    "disk": disk,
    "disk-ahci": lambda test: disk(test, "ahci"),
    "disk-nvme": lambda test: disk(test, "nvme"),
    "cd": cd,
    "floppy": storage.floppy,
    "cd-ahci": lambda test: cd(test, "-device", "ahci,id=ahci", "-drive",
                               f"file={test.guest('cd-amd64.iso')},if=none,id=c0,media=cdrom", "-device",
                               "ide-cd,drive=c0,bus=ahci.2"),
    "devices": devices.run,
    "hotplug": hotplug.run,
    "firmware": firmware.run,
    "network": network.user,
    "queues": network.queues,
    "cable": network.cable,
    "tap": network.tap,
    "network-boot": network.boot,
    "images": storage.images,
    "folder-disk": storage.folder_disks,
    "kill": lambda test: storage.kill(test, 20),
    "screendump": display.screendump,
    "window": display.window,
    "vnc": display.vnc,
    "memtest-x64": lambda test: memtest.run(test, "memtest86+x64.bin", fade=False),
    "memtest-ia32": lambda test: memtest.run(test, "memtest86+ia32.bin", fade=False),
    "userland": userland.run,
    "memtest-fade": lambda test: memtest.run(test, "memtest86+x64.bin", fade=True),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--emulator", required=True)
    parser.add_argument("--guests", default=os.path.join(
        os.environ.get("DRAGOMAN_CACHE") or os.path.join(
            os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "dragoman"), "guests"))
    parser.add_argument("--timeout", type=float, default=300, help="seconds for the whole scenario")
    parser.add_argument("--memory", help="MiB for the guest, when the scenario's own choice does not do")
    parser.add_argument("--log", help="write all that the emulator writes to this file")
    parser.add_argument("--repeat", type=int, default=1, help="run the scenario so many times; each must succeed")
    parser.add_argument("scenario", choices=sorted(SCENARIOS))
    parser.add_argument("options", nargs="*", help="more options for the emulator, after --")
    arguments = parser.parse_args()
    if arguments.log:
        os.makedirs(os.path.dirname(os.path.abspath(arguments.log)), exist_ok=True)

    for count in range(1, arguments.repeat + 1):
        test = Test(arguments)
        try:
            if not shutil.which(arguments.emulator):
                raise Failure(f"no emulator {arguments.emulator}: build it first")
            SCENARIOS[arguments.scenario](test)
        except Failure as error:
            report(test.console, error)
            if arguments.repeat > 1:
                print(f"in run {count} of {arguments.repeat}")
            return 1
        finally:
            if test.console:
                test.console.close()
            test.scratch.cleanup()
        if arguments.repeat > 1:
            print(f"run {count} of {arguments.repeat} passed", flush=True)
    print(f"{arguments.scenario}: passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
