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

BIOS, VGA_BIOS = "/usr/share/bochs/BIOS-bochs-latest", "/usr/share/bochs/VGABIOS-lgpl-latest"
PERCENT = {"integer": 3, "classes": 10}
SHORTEST = 0.1  # seconds; what ends sooner is lost in the serial port's buffer
# Debian's is built with its debugger, which waits for "c". Nobody connects to its screen.
CONFIGURATION = """\
megs: 512
cpu: model=corei7_haswell_4770, ips=50000000, reset_on_triple_fault=0
clock: sync=realtime, time0=utc
romimage: file={bios}
vgaromimage: file={vga_bios}
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
    return all(os.path.exists(path) for path in (shutil.which("bochs") or "", BIOS, VGA_BIOS))


def command(folder):
    """Makes the CD and what else Bochs needs in `folder`. Without a network, so that nobody reaches its screen."""
    script = "\n".join(["echo begin", *(f"{name} {percent}" for name, percent in PERCENT.items()), "sleep 2"])
    subprocess.run([os.path.join(machines.ROOT, "scripts/make-cd"), "--output", f"{folder}/cd", "--initrd",
                    os.path.join(machines.GUESTS, "initrd-bench-amd64.cpio"), "--append", machines.append(script)],
                   check=True, stdout=sys.stderr)
    with open(f"{folder}/configuration", "w", encoding="utf-8") as file:
        file.write(CONFIGURATION.format(folder=folder, bios=BIOS, vga_bios=VGA_BIOS))
    with open(f"{folder}/commands", "w", encoding="utf-8") as file:
        file.write("c\n")
    return ["unshare", "--map-root-user", "--net", "bochs", "-q", "-f", f"{folder}/configuration", "-rc", f"{folder}/commands"]


def on_host():
    """{program: {kernel: seconds}}, medians of nine runs, for with so little work each is short; {kernel: checksum}."""
    seconds, sums = {}, {}
    for program, percent in PERCENT.items():
        runs = [programs.host_run(program, [str(percent)]) for _ in range(9)]
        seconds[program] = {kernel: statistics.median(run[0][kernel] for run in runs) for kernel in runs[0][0]}
        sums |= runs[0][1]
    return seconds, sums


def measure(timeout):
    """{"to_init": s, "peak_kib": n, "host": {program: {kernel: s}}, "bochs": {program: {kernel: s}}}: of kernels, those that
    took Bochs long enough."""
    host, sums = on_host()
    patterns = {"init": rb"DRAGOMAN-INIT [\d.]+", "begin": rb"^begin\r*$"}
    for kernel in (kernel for seconds in host.values() for kernel in seconds):
        patterns[kernel] = rf"kernel {kernel} [\d.]+ [0-9a-f]{{8}}".encode()
    with tempfile.TemporaryDirectory(prefix="dragoman-bochs.") as folder:
        machines.progress("bochs: a start takes two minutes, the programs one")
        run = machines.Run(command(folder), {**patterns, "done": rb"DRAGOMAN-EXIT 0"}, timeout, POWERED_OFF)
    programs.compare_sums("bochs", programs.kernels(run.output)[1], sums)
    seconds, before = {}, run.marks["begin"]
    for program, kernels in host.items():
        seconds[program] = {}
        for kernel in kernels:
            took, before = run.marks[kernel] - before, run.marks[kernel]
            if took >= SHORTEST:
                seconds[program][kernel] = took
    machines.progress(f"bochs: {run.marks['init']:.0f} s to init, {run.seconds:.0f} s in all")
    return {"to_init": run.marks["init"], "peak_kib": run.peak_kib, "host": host, "bochs": seconds}
