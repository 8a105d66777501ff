"""The programs of bench/guest: on the host, and in each emulator, in turn."""

import os
import re
import subprocess
import sys

from lib import emulators as machines


def kernels(text):
    """What a program printed: seconds and checksum of each of its kernels."""
    found = re.findall(r"^kernel ([\w-]+) ([\d.]+) ([0-9a-f]{8})$", text, re.MULTILINE)
    if not found:
        sys.exit(f"bench/compare: no figures in:\n{text[-2000:]}")
    return {name: float(seconds) for name, seconds, _ in found}, {name: check for name, _, check in found}


def measure(program, chosen, rounds, timeout, percent, names):
    """program, e.g. "integer" -> {"host": [{"seconds": {kernel: s}, "peak_kib": n}, ...], "dragoman": ...}"""
    arguments = " ".join([str(percent), *names])
    results = {"host": [], **{name: [] for name in chosen}}
    checks = None
    for n in range(rounds):
        for name, runs in results.items():
            if name == "host":
                text = subprocess.run([os.path.join(machines.GUESTS, program), *arguments.split()],
                                      stdout=subprocess.PIPE, check=True).stdout.decode()
                peak = None
            else:
                run = machines.Run(machines.guest_command(chosen[name], f"{program} {arguments}"),
                                   {"done": rb"DRAGOMAN-EXIT 0"}, timeout)
                text, peak = run.output, run.peak_kib
            seconds, sums = kernels(text)
            checks = checks or sums
            if sums != checks:
                sys.exit(f"bench/compare: {name} computes something else than the host:\n{sums}\n{checks}")
            runs.append({"seconds": seconds, "peak_kib": peak})
            machines.progress(f"{program} {n + 1}/{rounds} {name}: {sum(seconds.values()):.2f} s")
    return results
