"""The same virtual machine in Dragoman and in QEMU, and one run of it."""

import base64
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CACHE = os.environ.get("DRAGOMAN_CACHE") or os.path.join(
    os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "dragoman")
GUESTS = os.path.join(CACHE, "guests")

# QEMU without a network card: the card's boot ROM would cost it time.
MACHINE = ["-m", "512", "-cpu", "max", "-nographic", "-no-reboot"]
QEMU_OPTIONS = ["-accel", "tcg", "-nic", "none"]


def add_arguments(parser):
    parser.add_argument("--timeout", type=float, default=600, help="seconds for one run")
    parser.add_argument("--dragoman", default=os.path.join(ROOT, "build/release/dragoman"))
    parser.add_argument("--dragoman-options", default="", help="more options for Dragoman, separated by spaces")
    parser.add_argument("--against", metavar="PROGRAM", help="another build of Dragoman, measured as well")
    parser.add_argument("--qemu", default="qemu-system-x86_64")
    parser.add_argument("--only", choices=["dragoman", "qemu"], help="measure one of the two")


def chosen(arguments):
    """Name and command of each emulator to measure."""
    emulators = {}
    if arguments.only != "qemu":
        emulators["dragoman"] = [arguments.dragoman, *arguments.dragoman_options.split()]
    if arguments.against:
        emulators["against"] = [arguments.against, *arguments.dragoman_options.split()]
    if arguments.only != "dragoman":
        emulators["qemu"] = [arguments.qemu, *QEMU_OPTIONS]
    for name, command in emulators.items():
        if not shutil.which(command[0]):
            sys.exit(f"bench/compare: no {name} at {command[0]} (build it with scripts/build, or name it with --{name})")
    return emulators


def append(script, load=""):
    """The kernel command line by which the initramfs's /init loads the modules `load` and runs `script`."""
    return f"console=ttyS0 dragoman.load={load} dragoman.run={base64.b64encode(script.encode()).decode().rstrip('=')}"


def guest_command(emulator, script, arch="amd64", initrd=None, load="", options=(), kernel=None):
    """Debian's unmodified kernel with the benchmark's initramfs."""
    return [*emulator, *MACHINE, "-kernel", os.path.join(GUESTS, kernel or f"vmlinuz-{arch}"),
            "-initrd", os.path.join(GUESTS, initrd or f"initrd-bench-{arch}.cpio"), *options, "-append",
            append(script, load)]


def proportional_kib(pid):
    """Memory that the process has, what it maps twice counted once (PSS)."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as memory:
        return int(re.search(r"^Pss: +(\d+) kB", memory.read(), re.MULTILINE).group(1))


class Run:
    """One run of an emulator from start to power-off; ends the program when that does not come."""

    def __init__(self, command, patterns, timeout, expected_status=0, weighed_at=None):
        self.marks = {}  # first time (seconds from start) at which a pattern was in the output
        self.pss_kib = 0  # when the pattern `weighed_at` was
        start = time.monotonic()
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors)
            watchdog = threading.Timer(timeout, lambda: os.kill(process.pid, signal.SIGKILL))
            watchdog.start()
            raw = b""
            while True:
                data = os.read(process.stdout.fileno(), 65536)
                at = time.monotonic() - start
                if not data:
                    break
                raw += data
                for name, pattern in patterns.items():
                    if name not in self.marks and re.search(pattern, raw, re.MULTILINE):
                        self.marks[name] = at
                        if name == weighed_at:
                            self.pss_kib = proportional_kib(process.pid)
            # The process is not reaped before this, so the watchdog cannot hit another one.
            _, status, usage = os.wait4(process.pid, 0)
            watchdog.cancel()
            process.returncode = status = os.waitstatus_to_exitcode(status)
            process.stdout.close()
            errors.seek(0)
            self.output = (raw + errors.read()).decode("utf-8", "replace").replace("\r", "")
        self.seconds = time.monotonic() - start
        self.peak_kib = usage.ru_maxrss
        self.cpu_seconds = usage.ru_utime + usage.ru_stime
        missing = [name for name in patterns if name not in self.marks]
        if status != expected_status or missing:
            tail = "\n".join(self.output.splitlines()[-25:])
            sys.exit(f"bench/compare: {' '.join(command)}\nexit status {status}, not seen: "
                     f"{', '.join(missing) or 'nothing'}; the end of its output:\n{tail}")


def progress(text):
    print(f"    {text}", file=sys.stderr, flush=True)
