"""Bochs, an interpreter: one start of Debian's kernel, and the programs with little of their work, for it takes a hundred times
the host's time.

It has no way to load a kernel, so it starts from a CD, through its BIOS and GRUB. The guest's clock counts instructions;
what took how long is told by when the lines come out of its serial port.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile

from lib import emulators as machines, programs

PERCENT = {"integer": 3, "classes": 10}
SHORTEST = 0.1  # seconds; what ends sooner is lost in the serial port's buffer
# Debian's is built with its debugger, which waits for "c". Nobody connects to its screen.
CONFIGURATION = """\
megs: 512
cpu: model=corei7_haswell_4770, ips=50000000, reset_on_triple_fault=0
clock: sync=realtime, time0=utc
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
ata0-master: type=cdrom, path={folder}/cd, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=/dev/stdout
display_library: rfb, options="timeout=0"
log: {folder}/log
panic: action=fatal
error: action=report
"""
POWERED_OFF = 1  # its exit status: to Bochs this is a panic


def installed():
    return all(os.path.exists(path) for path in (shutil.which("bochs") or "", "/usr/share/bochs/BIOS-bochs-latest"))


def command(folder):
    """Makes the CD and what else Bochs needs in `folder`. Without a network, so that nobody reaches its screen."""
    script = "\n".join(["echo begin", *(f"{name} {percent}" for name, percent in PERCENT.items()), "sleep 2"])
    subprocess.run([os.path.join(machines.ROOT, "scripts/make-cd"), "--output", f"{folder}/cd", "--initrd",
                    os.path.join(machines.GUESTS, "initrd-bench-amd64.cpio"), "--append", machines.append(script)],
                   check=True, stdout=sys.stderr)
    with open(f"{folder}/configuration", "w", encoding="utf-8") as file:
        file.write(CONFIGURATION.format(folder=folder))
    with open(f"{folder}/commands", "w", encoding="utf-8") as file:
        file.write("c\n")
    return ["unshare", "--map-root-user", "--net", "bochs", "-q", "-f", f"{folder}/configuration", "-rc", f"{folder}/commands"]


def host_seconds():
    """Medians of nine runs: with so little work each is short."""
    runs = [{name: programs.host_run(name, [str(percent)])[0] for name, percent in PERCENT.items()} for _ in range(9)]
    return {program: {kernel: statistics.median(run[program][kernel] for run in runs) for kernel in runs[0][program]}
            for program in PERCENT}


def measure(timeout):
    """{"to_init": s, "peak_kib": n, "host": {program: {kernel: s}}, "bochs": {program: {kernel: s}}}: of kernels, those that
    took Bochs long enough."""
    host = host_seconds()
    patterns = {"init": rb"DRAGOMAN-INIT [\d.]+", "begin": rb"^begin\r*$"}
    for kernel in (kernel for seconds in host.values() for kernel in seconds):
        patterns[kernel] = rf"kernel {kernel} [\d.]+ [0-9a-f]{{8}}".encode()
    with tempfile.TemporaryDirectory(prefix="dragoman-bochs.") as folder:
        machines.progress("bochs: a start takes two minutes, the programs one")
        run = machines.Run(command(folder), {**patterns, "done": rb"DRAGOMAN-EXIT 0"}, timeout, POWERED_OFF)
    seconds, before = {}, run.marks["begin"]
    for program, kernels in host.items():
        seconds[program] = {}
        for kernel in kernels:
            took, before = run.marks[kernel] - before, run.marks[kernel]
            if took >= SHORTEST:
                seconds[program][kernel] = took
    machines.progress(f"bochs: {run.marks['init']:.0f} s to init, {run.seconds:.0f} s in all")
    return {"to_init": run.marks["init"], "peak_kib": run.peak_kib, "host": host, "bochs": seconds}
