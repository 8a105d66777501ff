"""What Dragoman's translator says of itself (the monitor's `info jit`) when a program has ended: a run more, not timed."""

import os
import re
import socket
import subprocess
import sys
import tempfile
import threading

from lib import emulators as machines, programs

KINDS = ["registers", "loads", "stores", "reads and writes", "jumps", "vectors", "x87", "calls of C++"]
RETURNS = ["lookups", "events", "faults", "restarts", "halts"]


def ask(command, timeout):
    """The answer to `info jit` behind the guest's last line; the machine stays when it has switched itself off."""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "monitor")
        process = subprocess.Popen([*command, "-no-shutdown", "-monitor", f"unix:{path},server=on,wait=off"],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        watchdog = threading.Timer(timeout, process.kill)
        watchdog.start()
        try:
            output = b""
            while b"DRAGOMAN-EXIT 0" not in output:
                data = os.read(process.stdout.fileno(), 65536)
                if not data:
                    sys.exit(f"bench/compare: {' '.join(command)}\nended early; the end of its output:\n"
                             f"{output[-2000:].decode('utf-8', 'replace')}")
                output += data
            with socket.socket(socket.AF_UNIX) as monitor:
                monitor.connect(path)
                monitor.sendall(b"info jit\nquit\n")
                answer = b""
                while data := monitor.recv(65536):
                    answer += data
            process.communicate()
        finally:
            watchdog.cancel()
            process.kill()
            process.wait()
    return answer.decode().replace("\r", "")


def figures(answer):
    """Of `info jit`, by name; of kinds, only those that there were."""
    def number(pattern):
        text = re.search(pattern, answer).group(1)
        return int(text) if text.isdigit() else float(text)
    return {
        "host instructions for a guest's": number(r"host code +([\d.]+)"),
        **{f"  {kind}": number(rf"of them.*?\b{re.escape(kind)} ([\d.]+)") for kind in KINDS},
        "host bytes for a guest's": number(r"([\d.]+) bytes in all"),
        "translation, us a block": number(r"translation +([\d.]+) us"),
        "translation, ns an instruction": number(r"us a block, ([\d.]+) ns"),
        "blocks made": number(r"(\d+) made"),
        "KiB of code": number(r"translated code +(\d+)"),
        **{f"left for {kind}": number(rf"(\d+) {kind}") for kind in RETURNS},
        "interrupts": number(r"interrupts +(\d+)"),
    }


def measure(command, timeout, percent):
    """{"boot": {figure: value}, "integer": ...}"""
    results = {}
    for program in ("boot", *programs.NAMES):
        guest = (machines.guest_command(command, "exit 0") if program == "boot" else
                 programs.guest_command(program, command, [str(percent)]))
        results[program] = figures(ask(guest, timeout))
        machines.progress(f"info jit behind {program}")
    return results
