"""Disks and network: bench/guest/io.c in each emulator, in turn, on the same images and the same host sockets."""

import os
import socket
import tempfile
import threading

from lib import emulators as machines
from lib.programs import kernels

AREA = 64 << 20
MIB = 1 << 20
# Each disk has a size of its own, by which the guest knows it.
DISKS = {"ide": (80, ["-drive", "file={},format=raw,if=ide"]),
         "ahci": (81, ["-drive", "file={},format=raw,if=none,id=a", "-device", "ahci,id=ahci", "-device",
                       "ide-hd,drive=a,bus=ahci.0"]),
         "virtio-blk": (82, ["-drive", "file={},format=raw,if=none,id=v", "-device", "virtio-blk-pci,drive=v"])}
CARDS = {"e1000": ("52:54:00:00:00:01", "10.0.2"), "virtio-net": ("52:54:00:00:00:02", "10.0.3")}
MODULES = "ata_piix,ahci,sd_mod,virtio_pci,virtio_blk,e1000,virtio_net"


def script(port):
    lines = ["sleep 1"]
    for name, (size, _) in DISKS.items():
        lines.append(f"for d in /sys/block/*; do [ $(cat $d/size) = {size * 2048} ] && io disk {name} /dev/${{d##*/}}; done")
    for name, (mac, network) in CARDS.items():
        lines.append(f"for d in /sys/class/net/*; do grep -q {mac} $d/address && c=${{d##*/}}; done; ip link set $c up; "
                     f"ip addr add {network}.15/24 dev $c; io net {name} {network}.2 {port} || exit 1; ip link set $c down")
    return "\n".join([*lines, "exit 0"])


class Peer:
    """Gives 64 MiB to whoever connects, takes as much, and says so."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        part = bytes(MIB)
        while True:
            connection, _ = self.listener.accept()
            with connection:
                try:
                    for _ in range(AREA // MIB):
                        connection.sendall(part)
                    left = AREA
                    while left > 0:
                        got = len(connection.recv(MIB))
                        if not got:
                            break
                        left -= got
                    connection.sendall(b"!")
                except OSError:
                    pass  # the guest's program says what went wrong


def measure(chosen, rounds, timeout):
    """{"dragoman": [{"seconds": {"ide-read": s, ...}}, ...], "qemu": ...}"""
    results = {name: [] for name in chosen}
    peer = Peer()
    with tempfile.TemporaryDirectory(prefix="dragoman-bench.") as folder:
        images = {}
        for name, (size, _) in DISKS.items():
            images[name] = os.path.join(folder, name)
            with open(images[name], "wb") as image:
                for n in range(size):
                    image.write(bytes([n + 1]) * MIB)
                image.flush()
                os.fsync(image.fileno())  # else the first guest that flushes pays for this
        for n in range(rounds):
            for name, command in chosen.items():
                options = [word.format(images[disk]) for disk, (_, words) in DISKS.items() for word in words]
                for card, (mac, network) in CARDS.items():
                    model = "virtio-net-pci" if card == "virtio-net" else card
                    options += ["-netdev", f"user,id={card},net={network}.0/24", "-device", f"{model},netdev={card},mac={mac}"]
                command = [word for word in command if word not in ("-nic", "none")]
                run = machines.Run(machines.guest_command(command, script(peer.port), initrd="initrd-io-amd64.cpio",
                                                          load=MODULES, options=options),
                                   {"done": rb"DRAGOMAN-EXIT 0"}, timeout)
                seconds, _ = kernels(run.output)
                results[name].append({"seconds": seconds})
                machines.progress(f"io {n + 1}/{rounds} {name}: {sum(seconds.values()):.2f} s")
    return results
