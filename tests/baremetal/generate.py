#!/usr/bin/env python3
"""Makes the ROM of one group of cases: generate.py GROUP EXECUTOR RESET OUTPUT

EXECUTOR and RESET are flat binaries; OUTPUT becomes the ROM, OUTPUT.list the names and bytes of the cases.
"""
import importlib
import pathlib
import struct
import subprocess
import sys
import tempfile

import manual

IMAGE, HEADER = 0x200000, 4


def assemble(snippets):
    """Bytes of each (bits, text), by one run of the assembler."""
    lines = [".intel_syntax noprefix"]
    lines += [f".long s{i}, e{i} - s{i}" for i in range(len(snippets))]
    for i, (bits, text) in enumerate(snippets):
        lines += [f".code{bits}", f"s{i}:", text, f"e{i}:"]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder)
        (path / "s.s").write_text("\n".join(lines) + "\n")
        subprocess.run(["as", "--32", "-o", path / "s.o", path / "s.s"], check=True)
        subprocess.run(["ld", "-m", "elf_i386", "-Ttext=0", "-e", "0", "--oformat=binary", "-o", path / "s.bin",
                        path / "s.o"], check=True)
        image = (path / "s.bin").read_bytes()
    table = struct.iter_unpack("<II", image[:8 * len(snippets)])
    return {key: image[at:at + size] for key, (at, size) in zip(snippets, table)}


def main():
    group, executor, reset, output = sys.argv[1:5]
    cases = sorted(importlib.import_module("cases_" + group).cases(),
                   key=lambda c: (c.mode.number, c.ring))  # tables are built anew where these change
    texts = list(dict.fromkeys((c.mode.bits, c.code) for c in cases if isinstance(c.code, str)))
    code = assemble(texts)
    records, listing, names = [], [], set()
    for c in cases:
        data = code[c.mode.bits, c.code] if isinstance(c.code, str) else bytes(c.code)
        assert c.title() not in names, c.title()
        names.add(c.title())
        records.append(c.record(data))
        outcome = next((struct.unpack_from("<Q", e, 8)[0] for e in c.outcome if not callable(e) and e[0] == 9), 3)
        listing.append(f"{c.mode.name} {c.ring} {data.hex() or '-'} {outcome} {c.title()}")
    image = bytearray(pathlib.Path(executor).read_bytes())
    image += bytes(-len(image) % 16)
    struct.pack_into("<II", image, HEADER, IMAGE + len(image), len(records))
    image += b"".join(records)
    image += bytes(-len(image) % 4)
    tail = bytearray(pathlib.Path(reset).read_bytes())
    size = (len(image) + len(tail) + 0xffff) & ~0xffff
    struct.pack_into("<II", tail, 0, (1 << 32) - size, len(image))
    pathlib.Path(output).write_bytes(image + bytes(size - len(image) - len(tail)) + tail)
    pathlib.Path(output + ".list").write_text("\n".join(listing) + "\n")


main()
