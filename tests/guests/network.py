"""Networks in real use: a guest on the user network, and two guests on a cable between them."""

import ctypes
import hashlib
import http.server
import os
import random
import re
import socket
import subprocess
import threading
import time

from console import Failure, Shell

BYTES = 8 << 20
PORT = 7777  # in the guest
LEASE = ("printf '#!/bin/sh\\n[ \"$1\" = bound ] && ip addr add $ip/$mask dev $interface && echo BOUND $ip $router $dns\\nexit 0\\n' "
         "> /lease; chmod +x /lease")
TAKE = (f"echo 'cat > /tmp/in; md5sum /tmp/in > /tmp/sum.new; mv /tmp/sum.new /tmp/sum' > /take; "
        f"{{ nc -l -p {PORT} -e sh /take & }}")


class Quiet(http.server.BaseHTTPRequestHandler):
    content = b""

    def do_GET(self):  # the name is the library's
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *_):
        pass


def random_bytes():
    seed = random.randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    return random.Random(seed).randbytes(BYTES)


def md5(data):
    return hashlib.md5(data).hexdigest()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(test, *options):
    initrd = os.path.join(test.scratch.name, "initrd")
    with open(initrd, "wb") as joined:
        for part in ("initrd-amd64.cpio", "modules-net-amd64.cpio"):
            with open(test.guest(part), "rb") as source:
                joined.write(source.read())
    console = test.start("-kernel", test.guest("vmlinuz-amd64"), "-initrd", initrd, "-append",
                         "console=ttyS0 quiet dragoman.load=e1000,virtio_pci,virtio_net,8139too,pcnet32", *options, memory="128")
    console.expect(r"DRAGOMAN-INIT ([\d.]+)\n")
    return Shell(console)


def connect(port):
    """To a guest that may not listen yet: its side of a forward ends the connection at once then."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        s = socket.create_connection(("127.0.0.1", port), timeout=60)
        s.setblocking(False)
        time.sleep(0.2)
        try:
            if s.recv(1, socket.MSG_PEEK) == b"":
                s.close()
                continue
        except BlockingIOError:
            pass
        except ConnectionResetError:
            s.close()
            continue
        s.settimeout(60)
        return s
    raise Failure(f"nobody in the guest listens behind port {port}")


def exchange(shell, port, data):
    """Through a forward, both ways."""
    shell.run(TAKE)
    with connect(port) as s:
        s.sendall(data)
    shell.check("for i in $(seq 100); do [ -s /tmp/sum ] && break; sleep 0.1; done; cat /tmp/sum", f"^{md5(data)} ")
    shell.run(f"{{ nc -l -p {PORT} -e cat /tmp/in & }}")
    with connect(port) as s:
        got = bytearray()
        while len(got) < len(data):
            part = s.recv(1 << 16)
            if not part:
                break
            got += part
    if got != data:
        raise Failure(f"{len(got)} of {len(data)} bytes came from the guest" +
                      (", and they are others" if len(got) == len(data) else ""))
    shell.console.say(f"ok: {len(got)} bytes each way through the forward")


def no_complaints(shell):
    output, _ = shell.run("dmesg | grep -E 'Oops|BUG:|Call Trace|NETDEV WATCHDOG|Unit Hang|hw csum failure|eth[0-3].*[Ee]rror'")
    if output.strip():
        raise Failure(f"the kernel complains:\n{output}")


class PageServer:
    """`with PageServer(data) as port`: answers every request on the host's loopback with the data."""

    def __init__(self, data, host="127.0.0.1"):
        self.server = http.server.ThreadingHTTPServer((host, 0), type("Page", (Quiet,), {"content": data}))

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self.server.server_port

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def user(test):
    """Each card on a user network of its own: DHCP, a page from the host's loopback, ports that lead in."""
    data = random_bytes()
    capture = os.path.join(test.scratch.name, "net.pcap")
    ports = [free_port() for _ in range(4)]
    with PageServer(data) as page:
        shell = start(test, "-netdev", f"user,id=a,hostfwd=tcp:127.0.0.1:{ports[0]}-:{PORT}", "-device", "e1000,netdev=a",
                      "-nic", f"user,id=b,model=virtio-net-pci,net=10.0.3.0/24,hostfwd=tcp:127.0.0.1:{ports[1]}-:{PORT}",
                      "-nic", f"user,model=rtl8139,net=10.0.4.0/24,hostfwd=tcp:127.0.0.1:{ports[2]}-:{PORT}",
                      "-nic", f"user,model=pcnet,net=10.0.5.0/24,hostfwd=tcp:127.0.0.1:{ports[3]}-:{PORT}",
                      "-object", f"filter-dump,id=f,netdev=b,file={capture},maxlen=128")
        shell.run(LEASE)
        for n, port in enumerate(ports):
            card, network = f"eth{n}", f"10.0.{n + 2}"
            shell.check(f"ip link set {card} up; udhcpc -i {card} -s /lease -n -q -f 2>&1", f"^BOUND {network}.15 {network}.2 {network}.3$")
            shell.check(f"wget -q -O /tmp/page http://{network}.2:{page}/; md5sum /tmp/page", f"^{md5(data)} ")
            shell.run(f"rm -f /tmp/*; ip route add default via {network}.2 dev {card}")
            exchange(shell, port, data)
            shell.run(f"ip route del default; ip link set {card} down")
        no_complaints(shell)
    test.console.send("poweroff -f\n")
    test.ends()
    with open(capture, "rb") as f:
        captured = f.read()
    if captured[:4] != b"\xd4\xc3\xb2\xa1" or captured.count(b"GET / HTTP/1.1") != 1:
        raise Failure(f"the capture of {len(captured)} bytes does not show the request for the page")


def queues(test):
    """A virtio card with several pairs of queues: what comes for a conversation comes by the pair it was sent by."""
    data = random_bytes()[:1 << 20]
    with PageServer(data) as page:
        shell = start(test, "-netdev", "user,id=n,queues=4", "-device", "virtio-net-pci,netdev=n,mq=on")
        shell.run(LEASE)
        shell.check("channels eth0", "^1 of 4$")
        shell.check("ip link set eth0 up; udhcpc -i eth0 -s /lease -n -q -f 2>&1", "^BOUND 10.0.2.15 10.0.2.2 10.0.2.3$")
        for pairs in (4, 2, 3):
            shell.check(f"channels eth0 {pairs}; ls -d /sys/class/net/eth0/queues/rx-* | wc -l", f"^{pairs} of 4\n{pairs}$")
            shell.check(f"for i in $(seq 12); do wget -q -O - http://10.0.2.2:{page}/ | md5sum & done; wait",
                        "\n".join([f"^{md5(data)}  -$"] * 12))
        shell.check("grep -c 'virtio0-input.[1-3]$' /proc/interrupts", "^3$")
        shell.check("awk '/virtio0-input/ && $2 > 20 { ++used } END { print (used > 1 ? \"several\" : \"one\") }' /proc/interrupts",
                    "^several$")
        no_complaints(shell)
    test.console.send("poweroff -f\n")
    test.ends()


def own_network():
    """This process gets a network namespace of its own, and may do in it what it likes."""
    new_user, new_network = 0x10000000, 0x40000000
    user, group = os.getuid(), os.getgid()
    if ctypes.CDLL(None, use_errno=True).unshare(new_network | (new_user if user else 0)) != 0:
        return False
    if user:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as f:
                f.write(text)
    return os.access("/dev/net/tun", os.R_OK | os.W_OK)


def tap(test):
    """An interface of the host, with several queues."""
    if not own_network():
        print("skipped: no network namespaces, or no /dev/net/tun", flush=True)
        return
    for words in ("tuntap add dev tap0 mode tap multi_queue", "addr add 192.168.93.1/24 dev tap0", "link set tap0 up"):
        subprocess.run(["ip", *words.split()], check=True)
    data = random_bytes()[:1 << 20]
    with PageServer(data, "192.168.93.1") as page:
        shell = start(test, "-netdev", "tap,id=n,ifname=tap0,script=no,downscript=no,vhost=on,queues=2", "-device", "virtio-net-pci,netdev=n,mq=on")
        shell.run("ip link set eth0 up; ip addr add 192.168.93.2/24 dev eth0")
        shell.check("channels eth0 2; ping -c 3 192.168.93.1", "^2 of 2\n(.|\n)* 0% packet loss")
        shell.check(f"for i in $(seq 8); do wget -q -O - http://192.168.93.1:{page}/ | md5sum & done; wait", "\n".join([f"^{md5(data)}  -$"] * 8))
        no_complaints(shell)
    test.console.send("poweroff -f\n")
    test.ends()


def cable(test):
    """Two emulators on a cable, with a card of each kind."""
    path = os.path.join(test.scratch.name, "cable")
    address = f"addr.type=unix,addr.path={path}"
    one = start(test, "-nic", f"stream,server=on,{address},model=e1000")
    first = test.console
    try:
        two = start(test, "-nic", f"stream,{address},model=virtio-net-pci,mac=52:54:00:12:34:99")
        for shell, number in ((one, 1), (two, 2)):
            shell.run(f"ip link set eth0 up; ip addr add 192.168.7.{number}/24 dev eth0")
        two.check("for i in $(seq 10); do ping -c 1 -W 1 192.168.7.1 > /dev/null && break; done; ping -c 3 192.168.7.1", "0% packet loss")
        for sender, receiver, number in ((one, two, 2), (two, one, 1)):
            receiver.run(TAKE)
            output, _ = sender.run(f"dd if=/dev/urandom of=/tmp/out bs=1048576 count={BYTES >> 20} 2>/dev/null; md5sum /tmp/out")
            total = re.search("[0-9a-f]{32}", output)
            sender.check(f"for i in $(seq 50); do nc 192.168.7.{number} {PORT} < /tmp/out && break; sleep 0.1; done; echo sent", "^sent$")
            receiver.check("for i in $(seq 100); do [ -s /tmp/sum ] && break; sleep 0.1; done; cat /tmp/sum; rm -f /tmp/*",
                           f"^{total.group() if total else 'no sum'} ")
        no_complaints(one)
        no_complaints(two)
        first.send("poweroff -f\n")
        if first.wait(30) != 0:
            raise Failure("the first emulator does not end well")
        two.check("for i in $(seq 20); do [ $(cat /sys/class/net/eth0/carrier) = 0 ] && break; sleep 0.2; done; "
                  "cat /sys/class/net/eth0/carrier", "^0$")
        test.console.send("poweroff -f\n")
        test.ends()
    finally:
        if test.console is not first:
            first.close()


def boot(test):
    """Firmware, the card's ROM, DHCP, a script and a kernel by TFTP: once with each card."""
    models = ("e1000", "pcnet", "rtl8139", "virtio-net-pci")
    for model in models:
        folder = os.path.join(test.scratch.name, model)
        os.mkdir(folder)
        for name in ("vmlinuz-amd64", "initrd-amd64.cpio"):
            os.symlink(test.guest(name), os.path.join(folder, name))
        with open(os.path.join(folder, "boot.ipxe"), "w", encoding="ascii") as script:
            script.write("#!ipxe\nkernel vmlinuz-amd64 console=ttyS0 quiet initrd=initrd-amd64.cpio\n"
                         "initrd initrd-amd64.cpio\nboot\n")
        sandbox = ("-sandbox", "on") if model == "virtio-net-pci" else ()
        console = test.start("-boot", "n", "-nic", f"user,model={model},tftp={folder},bootfile=boot.ipxe", *sandbox)
        console.expect("iPXE initialising devices")
        console.say(f"the ROM of {model} runs")
        console.expect(r"DRAGOMAN-INIT ([\d.]+)\n")
        console.say("the kernel came over the network")
        shell = Shell(console)
        shell.check("uname -m", "^x86_64$")
        console.send("poweroff -f\n")
        test.ends()
        if model != models[-1]:
            console.close()
