#!/usr/bin/env python3
"""Runs a ROM of cases: run.py --emulator PROGRAM --rom FILE [emulator option...]

The status is 0 if every case ended as the manual says. The differences are printed.
"""
import argparse
import pathlib
import subprocess
import sys
import tempfile

PASSED = 0x10 << 1 | 1  # what console.c writes to the exit port


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--emulator", required=True)
    parser.add_argument("--rom", required=True)
    parser.add_argument("--coverage", help="where to leave the list of the cases, if all passed")
    args, options = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        said, errors = pathlib.Path(folder, "said"), pathlib.Path(folder, "errors")
        command = [args.emulator, "-m", "16", "-display", "none", "-vga", "none", "-serial", "none", "-monitor", "none",
                   "-bios", args.rom, "-debugcon", f"file:{said}", "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04", *options]
        try:
            with open(errors, "w") as stderr:
                status = subprocess.run(command, stdin=subprocess.DEVNULL, stderr=stderr, timeout=120).returncode
        except subprocess.TimeoutExpired:
            status = "none: it did not end"
        text = said.read_text(errors="replace") if said.exists() else ""
        print(text, end="")
        if status == PASSED and text.endswith("baremetal: passed\n"):
            if args.coverage:
                pathlib.Path(args.coverage).write_text(pathlib.Path(args.rom + ".list").read_text())
            return 0
        print(f"exit status {status}, expected {PASSED}\n{' '.join(command)}")
        print(errors.read_text(errors="replace")[-2000:], end="")
        return 1


sys.exit(main())
