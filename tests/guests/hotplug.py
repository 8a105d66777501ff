"""Cards that come and go while an unmodified kernel runs."""

import hashlib
import os
import random

from console import Failure, Shell
from devices import Qmp, content

UNTIL = "for i in $(seq 100); do {} && break; sleep 0.1; done; "
ROUNDS = 3


def run(test):
    path = lambda name: os.path.join(test.scratch.name, name)
    seed = random.randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    data = random.Random(seed).randbytes(1 << 20)
    with open(path("disk"), "wb") as disk:
        disk.write(data)
    initrd = path("initrd")
    with open(initrd, "wb") as joined:
        for part in ("initrd-amd64.cpio", "modules-net-amd64.cpio", "modules-amd64.cpio"):
            joined.write(content(test.guest(part)))
    console = test.start("-kernel", test.guest("vmlinuz-amd64"), "-initrd", initrd, "-append",
                         "console=ttyS0 quiet dragoman.load=e1000,virtio_pci,virtio_blk", "-nic", "none", "-qmp",
                         f"unix:{path('qmp')},server,nowait")
    console.expect(r"DRAGOMAN-INIT ([\d.]+)\n")
    shell = Shell(console)
    qmp = Qmp(path("qmp"))
    for n in range(ROUNDS):
        qmp.ask("blockdev-add", **{"driver": "raw", "node-name": "d", "file": {"driver": "file", "filename": path("disk")}})
        qmp.ask("device_add", driver="virtio-blk-pci", id="v", drive="d", addr="1f" if n else "9")
        shell.check(UNTIL.format("[ -b /dev/vda ]") + "md5sum < /dev/vda; cat /sys/bus/pci/slots/*/address | xargs echo",
                    f"^{hashlib.md5(data).hexdigest()}  -\n")
        qmp.ask("netdev_add", type="user", id="n")
        qmp.ask("device_add", driver="e1000", id="e", netdev="n", mac="52:54:00:00:00:77")
        shell.check(UNTIL.format("grep -q 00:77 /sys/class/net/*/address") + "d=$(basename $(dirname $(grep -l 00:77 /sys/class/net/*/address))); "
                    "ip link set $d up; ip addr add 10.0.2.15/24 dev $d; sleep 0.5; ping -c 1 -w 20 10.0.2.2 | grep -o '1 packets received'",
                    "^1 packets received$")
        qmp.events.clear()
        for card in ("v", "e"):
            qmp.ask("device_del", id=card)
        while sum(event["event"] == "DEVICE_DELETED" for event in qmp.events) < 2:
            qmp.read()
        qmp.ask("netdev_del", id="n")
        shell.check("ls /dev/vda /sys/class/net 2>&1 | xargs echo", "^ls: /dev/vda: No such file or directory /sys/class/net: lo$")
        if qmp.ask("query-block"):
            raise Failure("the disk is still there")
    console.send("poweroff -f\n")
    test.ends(0)
