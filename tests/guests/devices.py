"""The devices besides disks, networks and display, used by an unmodified kernel."""

import json
import os
import socket
import time

from console import Failure, Shell
from rfb import Viewer

MODULES = "virtio_pci,virtio-rng,virtio_console,virtio_balloon,9p,9pnet_virtio,pvpanic-mmio,parport_pc,lp,uhci_hcd,usbhid,hid_generic,evdev"


class Qmp:
    """One session; events are kept."""

    def __init__(self, path):
        self.events = []
        self.socket = socket.socket(socket.AF_UNIX)
        end = time.monotonic() + 30
        while True:
            try:
                self.socket.connect(path)
                break
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)
        self.socket.settimeout(60)
        self.file = self.socket.makefile("rb")
        self.file.readline()
        self.ask("qmp_capabilities")

    def read(self):
        message = json.loads(self.file.readline())
        if "event" in message:
            self.events.append(message)
        return message

    def ask(self, command, **arguments):
        self.socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        while True:
            message = self.read()
            if "error" in message:
                raise Failure(f"{command}: {message['error']}")
            if "return" in message:
                return message["return"]

    def wait(self, name):
        while not any(event["event"] == name for event in self.events):
            self.read()
        return next(event for event in self.events if event["event"] == name)


def wait_for(what, test, seconds=30):
    end = time.monotonic() + seconds
    while not test():
        if time.monotonic() > end:
            raise Failure(f"not within {seconds} s: {what}")
        time.sleep(0.1)


def content(path):
    with open(path, "rb") as f:
        return f.read()


def shared_folder(shell, folder):
    with open(os.path.join(folder, "from-host"), "w", encoding="ascii") as f:
        f.write("written on the host\n")
    os.symlink("../secret", os.path.join(folder, "link"))
    shell.check("mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 share /mnt && cat /mnt/from-host", "^written on the host$")
    shell.check("mkdir /mnt/sub && seq 1 50000 > /mnt/sub/numbers && md5sum < /mnt/sub/numbers && ln -s numbers /mnt/sub/again && "
                "mv /mnt/sub /mnt/moved && md5sum < /mnt/moved/again | uniq", "  -$")
    if content(os.path.join(folder, "moved", "numbers")) != b"".join(b"%d\n" % n for n in range(1, 50001)):
        raise Failure("what the guest wrote into the shared folder arrived otherwise")
    shell.check("cat /mnt/link 2>&1; cat /mnt/../mnt/link 2>&1; readlink /mnt/link", "No such file(.|\n)*secret")
    shell.check("for i in $(seq 1 100); do echo $i > /mnt/n$i; done; ls /mnt | wc -l; rm /mnt/n*; ls /mnt | xargs echo",
                "^103\nfrom-host link moved$")
    shell.check("dd if=/dev/zero of=/mnt/big bs=65536 count=64 2>/dev/null; stat -c %s /mnt/big; chmod 600 /mnt/big; stat -c %a /mnt/big; "
                "truncate -s 5 /mnt/big; stat -c %s /mnt/big; umount /mnt", "^4194304\n600\n5$")


def ports(shell, agent):
    shell.check("echo to the terminal > /dev/hvc0; cat /sys/class/virtio-ports/vport*p1/name", "^org.example.agent$")
    agent.settimeout(60)
    shell.check("sh -c 'echo ping; read line; echo got $line >&2' <> /dev/$(basename /sys/class/virtio-ports/vport*p1) >&0 2>/tmp/got & "
                "sleep 1; echo started", "^started$")
    if agent.recv(4096) != b"ping\n":
        raise Failure("the port did not bring the guest's line")
    agent.sendall(b"pong\n")
    shell.check("wait; cat /tmp/got", "^got pong$")


def tablet(shell, qmp, viewer):
    """A viewer's pointer is where it is in the guest, too."""
    wait_for("the guest uses the tablet", lambda: [m["name"] for m in qmp.ask("query-mice") if m["current"]] == ["USB tablet"])
    shell.check("cat /sys/bus/usb/devices/1-1/product; cat /sys/class/input/event*/device/name | grep -c Tablet", "^USB Tablet\n1$")
    shell.run("event=$(grep -l Tablet /sys/class/input/event*/device/name | cut -d/ -f5)")
    shell.check("{ dd if=/dev/input/$event of=/tmp/events bs=24 count=5 2>/dev/null & } ; sleep 1; echo listening", "^listening$")
    viewer.point(viewer.width - 1, viewer.height - 1, 1)
    shell.check("wait; for n in 0 1 2 3 4; do dd if=/tmp/events bs=1 skip=$((24 * n + 16)) count=8 2>/dev/null | "
                "hexdump -v -e '8/1 \"%02x\"'; echo; done | sort",
                "^0000000000000000\n0100100101000000\n03000000ff7f0000\n03000100ff7f0000\n")
    shell.check("{ dd if=/dev/input/$event of=/tmp/events bs=24 count=3 2>/dev/null & } ; sleep 1; echo listening", "^listening$")
    qmp.ask("input-send-event", events=[{"type": "abs", "data": {"axis": axis, "value": 0x1234}} for axis in ("x", "y")] +
            [{"type": "btn", "data": {"down": True, "button": "left"}}])
    shell.check("wait; dd if=/tmp/events bs=1 skip=16 count=8 2>/dev/null | hexdump -v -e '8/1 \"%02x\"'; echo", "^0300000034120000$")
    viewer.point(0, 0, 0)


def balloon(shell, qmp, pid):
    def used():  # of the file in memory that is the guest's RAM
        for name in os.listdir(f"/proc/{pid}/fd"):
            path = f"/proc/{pid}/fd/{name}"
            if "memfd:guest RAM" in os.readlink(path):
                return os.stat(path).st_blocks * 512
        raise Failure("the emulator holds no file of RAM")

    shell.check("mount -t tmpfs -o size=90% none /mnt && dd if=/dev/zero of=/mnt/x bs=1M count=100 2>/dev/null; echo filled", "^filled$")
    full = used()
    shell.check("rm /mnt/x; umount /mnt; echo freed", "^freed$")
    wait_for("free pages are given to the host", lambda: used() < full - (64 << 20))
    before = qmp.ask("query-balloon")["actual"]
    qmp.ask("balloon", value=before - (64 << 20))
    wait_for("the balloon inflates", lambda: qmp.ask("query-balloon")["actual"] == before - (64 << 20))
    qmp.wait("BALLOON_CHANGE")
    qmp.ask("balloon", value=before)
    wait_for("the balloon deflates", lambda: qmp.ask("query-balloon")["actual"] == before)


def run(test):
    scratch = test.scratch.name
    path = lambda name: os.path.join(scratch, name)
    os.mkdir(path("shared"))
    with open(path("secret"), "w", encoding="ascii") as f:
        f.write("secret")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        display = free.getsockname()[1] - 5900
    initrd = path("initrd")
    with open(initrd, "wb") as joined:
        for part in ("initrd-amd64.cpio", "modules-devices-amd64.cpio"):
            joined.write(content(test.guest(part)))
    console = test.start(
        "-kernel", test.guest("vmlinuz-amd64"), "-initrd", initrd, "-append",
        f"console=ttyS0 quiet panic=0 dragoman.load={MODULES}", "-qmp", f"unix:{path('qmp')},server,nowait",
        "-device", "virtio-rng-pci", "-virtfs", f"local,path={path('shared')},mount_tag=share,security_model=none",
        "-device", "virtio-balloon-pci,free-page-reporting=on", "-device", "virtio-serial-pci,id=vs",
        "-chardev", f"file,id=t,path={path('terminal')}", "-device", "virtconsole,chardev=t",
        "-chardev", f"socket,id=a,path={path('agent')},server=on,wait=off",
        "-device", "virtserialport,chardev=a,name=org.example.agent,bus=vs.0,id=agent",
        "-device", "i6300esb", "-watchdog-action", "none", "-device", "pvpanic", "-action", "panic=exit-failure",
        "-vnc", f"127.0.0.1:{display}", "-usb", "-device", "usb-tablet",
        "-parallel", f"file:{path('printed')}", "-smbios", "type=1,serial=ds=nocloud;s=http://10.0.2.2/",
        "-uuid", "01234567-89ab-cdef-0123-456789abcdef", "-sandbox", "on")
    console.expect(r"DRAGOMAN-INIT ([\d.]+)\n")
    shell = Shell(console)
    qmp = Qmp(path("qmp"))
    with socket.socket(socket.AF_UNIX) as agent:
        agent.connect(path("agent"))
        shell.check("cat /sys/class/dmi/id/product_serial /sys/class/dmi/id/product_uuid",
                    "^ds=nocloud;s=http://10.0.2.2/\n01234567-89ab-cdef-0123-456789abcdef$")
        shell.check("cat /sys/class/misc/hw_random/rng_current; dd if=/dev/hwrng bs=64 count=4 2>/dev/null | wc -c", "^virtio_rng.0\n256$")
        shell.check("echo on paper > /dev/lp0; echo printed", "^printed$")
        shared_folder(shell, path("shared"))
        ports(shell, agent)
        balloon(shell, qmp, console.pid)
        viewer = Viewer(display + 5900).enter()
        tablet(shell, qmp, viewer)
        viewer.close()
    for name, wanted in (("printed", b"on paper\n"), ("terminal", b"to the terminal\r\n")):
        if content(path(name)) != wanted:
            raise Failure(f"{name}: {content(path(name))}")
    shell.check("modprobe i6300esb heartbeat=2 && echo 1 > /dev/watchdog; echo started", "^started$")
    if qmp.wait("WATCHDOG")["data"] != {"action": "none"}:
        raise Failure(f"the watchdog's event: {qmp.events}")
    console.say("ok: the watchdog ran out")
    console.send("echo c > /proc/sysrq-trigger\n")
    if qmp.wait("GUEST_PANICKED")["data"]["action"] != "poweroff":
        raise Failure(f"the panic's event: {qmp.events}")
    console.say("ok: the kernel's panic was told")
    test.ends(1)
