"""How long a start takes to show that the guest runs: its first instruction, the boot sector behind the BIOS, and /init of
a kernel that is entered through PVH, or that finds its translations of the run before (-tb-cache). The plain boot is in boot.py."""

import os
import tempfile

from lib import emulators as machines

# The guest of the first two, 16-bit code: "!" to the first serial port, and out by -device isa-debug-exit, which ends with 1.
CODE = bytes.fromhex("ba f8 03"   # mov dx, 0x3f8
                     "b0 21"      # mov al, '!'
                     "ee"         # out dx, al
                     "31 c0"      # xor ax, ax
                     "e6 f4"      # out 0xf4, al
                     "f4 eb fd")  # hlt, for ever
EXIT = ["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]
WARM = "-tb-cache warm"


def write_rom(path):
    """64 KiB that end at 4 GiB and 1 MiB; the processor begins 16 bytes before the end."""
    far_jump = bytes.fromhex("ea 00 00 00 f0")  # jmp 0xf000:0
    with open(path, "wb") as rom:
        rom.write(CODE.ljust(0xfff0, b"\0") + far_jump.ljust(16, b"\0"))


def write_disk(path):
    with open(path, "wb") as disk:
        disk.write(CODE.ljust(510, b"\0") + b"\x55\xaa")
        disk.truncate(1 << 20)


def measure(chosen, rounds, timeout):
    """{emulator: [{"start": seconds} for each round]}; -tb-cache is Dragoman's only."""
    results = {name: [{} for _ in range(rounds)] for name in chosen}
    with tempfile.TemporaryDirectory() as directory:
        rom, disk = os.path.join(directory, "rom"), os.path.join(directory, "disk")
        write_rom(rom)
        write_disk(disk)

        def run(command, pattern, status):
            return machines.Run(command, {"seen": pattern}, timeout, status).marks["seen"]

        def firmware(command, options):
            return run([*command, *machines.MACHINE, *EXIT, *options], rb"!$", 1)

        def kernel(command, file, options=()):
            return run(machines.guest_command(command, "exit 0", kernel=file, options=options), rb"DRAGOMAN-INIT [\d.]+", 0)

        def warm(name, command, file):
            kept = ["-tb-cache", os.path.join(directory, f"{name}-{file}")]
            if not os.path.exists(kept[1]):
                kernel(command, file, kept)
            return kernel(command, file, kept)

        for n in range(rounds):
            for name, command in chosen.items():
                took = results[name][n]
                took["first instruction"] = firmware(command, ["-bios", rom])
                took["boot sector, by SeaBIOS"] = firmware(command, ["-drive", f"file={disk},format=raw"])
                took["/init, by PVH"] = kernel(command, "vmlinux-amd64")
                if name != "qemu":
                    took[f"/init, by bzImage, {WARM}"] = warm(name, command, "vmlinuz-amd64")
                    took[f"/init, by PVH, {WARM}"] = warm(name, command, "vmlinux-amd64")
                machines.progress(f"startup {n + 1}/{rounds} {name}: " +
                                  ", ".join(f"{seconds:.3f}" for seconds in took.values()) + " s")
    return results
