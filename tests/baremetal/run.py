#!/usr/bin/env python3
"""Runs a ROM of cases: run.py --emulator PROGRAM --rom FILE [--one-off] [emulator option...]

The status is 0 if every case ended as the manual says. The differences are printed. With --one-off it is run once for
each of the emulator's optimisations, with that one off.
"""
import argparse
import pathlib
import re
import subprocess
import sys
import tempfile

PASSED = 0x10 << 1 | 1  # what console.c writes to the exit port


def passes(emulator):
    listed = subprocess.run([emulator, "-passes", "help"], stdout=subprocess.PIPE, check=True).stdout.decode()
    names = re.findall(r"^(\S+) +\S", listed, re.MULTILINE)
    if not names:
        sys.exit(f"{emulator} -passes help lists nothing:\n{listed}")
    return names


def run(emulator, rom, options):
    """Did all cases pass? Says so if not."""
    with tempfile.TemporaryDirectory() as folder:
        said, errors = pathlib.Path(folder, "said"), pathlib.Path(folder, "errors")
        command = [emulator, "-m", "16", "-display", "none", "-vga", "none", "-serial", "none", "-monitor", "none",
                   "-bios", rom, "-debugcon", f"file:{said}", "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04", *options]
        try:
            with open(errors, "w") as stderr:
                status = subprocess.run(command, stdin=subprocess.DEVNULL, stderr=stderr, timeout=120).returncode
        except subprocess.TimeoutExpired:
            status = "none: it did not end"
        text = said.read_text(errors="replace") if said.exists() else ""
        print(text, end="")
        if status == PASSED and text.endswith("baremetal: passed\n"):
            return True
        print(f"exit status {status}, expected {PASSED}\n{' '.join(command)}")
        print(errors.read_text(errors="replace")[-2000:], end="")
        return False


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--emulator", required=True)
    parser.add_argument("--rom", required=True)
    parser.add_argument("--one-off", action="store_true")
    parser.add_argument("--coverage", help="where to leave the list of the cases, if all passed")
    args, options = parser.parse_known_args()
    runs = [options]
    if args.one_off:  # what is run once is compiled too
        runs = [["-passes", f"cold=off,{name}=off", *options] for name in passes(args.emulator)]
    failed = sum(not run(args.emulator, args.rom, each) for each in runs)
    if not failed and args.coverage:
        pathlib.Path(args.coverage).write_text(pathlib.Path(args.rom + ".list").read_text())
    return 1 if failed else 0


sys.exit(main())
