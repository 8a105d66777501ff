"""An installed Debian (scripts/make-debian): BIOS, GRUB, systemd, ssh from the host, apt, and a clean end; two on a cable."""

import functools
import glob
import hashlib
import http.server
import json
import os
import shutil
import subprocess
import threading
import time

from console import Failure
from network import free_port
from storage import drive

PARTITION = 1 << 20


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class Remote:
    """Commands over ssh through a forwarded port."""

    def __init__(self, test, port):
        self.test = test
        key = os.path.join(test.scratch.name, "key")
        shutil.copyfile(test.guest("ssh-key"), key)
        os.chmod(key, 0o600)
        self.command = ["ssh", "-p", str(port), "-i", key, "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR",
                        "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=120", "root@127.0.0.1"]

    def wait(self, seconds=300):
        """The login prompt may be there before the server listens."""
        end = time.monotonic() + seconds
        while subprocess.run(self.command + ["true"], stdin=subprocess.DEVNULL, capture_output=True, timeout=300, check=False).returncode:
            if time.monotonic() > end:
                raise Failure("no answer by ssh")
            time.sleep(1)

    def run(self, command, wanted=None, timeout=300):
        done = subprocess.run(self.command + [command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=timeout, check=False)
        text = done.stdout.decode(errors="replace")
        if wanted is not None and (done.returncode or wanted not in text):
            raise Failure(f"{command}: status {done.returncode}, expected {wanted!r} in:\n{text}")
        self.test.console.say(f"ok: {command}")
        return text


def repository(folder, deb):
    """A flat repository of one package, and the package's name."""
    name = "package.deb"  # the real name may hold characters that URLs escape
    shutil.copyfile(deb, os.path.join(folder, name))
    with open(deb, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    control = subprocess.run(["dpkg-deb", "-f", deb], stdout=subprocess.PIPE, check=True, text=True).stdout.strip()
    with open(os.path.join(folder, "Packages"), "w", encoding="utf-8") as index:
        index.write(f"{control}\nFilename: ./{name}\nSize: {os.path.getsize(deb)}\nSHA256: {digest}\n\n")
    return control.split("Package: ", 1)[1].split("\n", 1)[0]


MACHINES = {"amd64": "x86_64", "i386": "i686"}


def wait_for_login(console):
    console.expect("GNU GRUB")
    console.expect("Linux version", timeout=120)
    console.say("Linux starts")
    console.expect("login: ", timeout=600)
    console.say("login prompt")


def run(test, arch, controller):
    image = os.path.join(test.scratch.name, "debian.img")
    subprocess.run(["cp", "--sparse=always", test.guest(f"debian-{arch}.img"), image], check=True)
    port = free_port()
    served = os.path.join(test.scratch.name, "repository")
    os.mkdir(served)
    debs = sorted(glob.glob(os.path.join(os.path.dirname(test.arguments.guests), "debs", "ipxe_*.deb")))
    if not debs:
        raise Failure("no ipxe package in the cache: run scripts/guest-packages")
    package = repository(served, debs[-1])
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=served))
    threading.Thread(target=server.serve_forever, daemon=True).start()

    console = test.start(*drive(controller, f"{image},format=raw"), "-nic", f"user,model=virtio-net-pci,hostfwd=tcp:127.0.0.1:{port}-:22", memory="512")
    wait_for_login(console)
    remote = Remote(test, port)
    remote.wait()
    remote.run("until systemctl is-system-running | grep -Eq 'running|degraded'; do sleep 1; done; "
               "systemctl is-active multi-user.target", "active")
    remote.run("systemctl --failed --no-pager", "0 loaded units")
    remote.run("uname -m", MACHINES[arch])
    remote.run(f"echo 'deb [trusted=yes] http://10.0.2.2:{server.server_address[1]} ./' > /etc/apt/sources.list && "
               "apt-get update && echo updated", "updated")
    remote.run(f"apt-get install -y {package} && ls /boot/ipxe.lkrn", "/boot/ipxe.lkrn")
    remote.run("systemctl poweroff")
    test.ends(timeout=180)

    partition = os.path.join(test.scratch.name, "partition.img")
    subprocess.run(["dd", f"if={image}", f"of={partition}", f"bs={PARTITION}", "skip=1", "conv=sparse", "status=none"],
                   check=True)
    checked = subprocess.run(["/sbin/e2fsck", "-f", "-n", partition], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             check=False)
    if checked.returncode:
        raise Failure(f"e2fsck finds {checked.stdout.decode(errors='replace')}")
    console.say("ok: the file system is clean")


FILE_BYTES = 2 << 30
STREAM_SECONDS = 60


def cable(test):
    """Two Debians on a cable: a stream for a minute, then a file of 2 GiB."""
    path = os.path.join(test.scratch.name, "cable")
    consoles, remotes = [], []
    try:
        for number, (card, server) in enumerate((("e1000", "server=on,"), ("virtio-net-pci", "")), 1):
            mac = f"52:54:00:12:36:0{number}"
            data = os.path.join(test.scratch.name, f"data{number}")
            with open(data, "wb") as image:
                image.truncate(FILE_BYTES + (256 << 20))
            port = free_port()
            consoles.append(test.start(
                "-drive", f"file={test.guest('debian-amd64.img')},format=raw,if=virtio,snapshot=on",
                "-drive", f"file={data},format=raw,if=virtio",
                "-nic", f"user,model=virtio-net-pci,mac=52:54:00:12:35:0{number},hostfwd=tcp:127.0.0.1:{port}-:22",
                "-nic", f"stream,{server}addr.type=unix,addr.path={path},model={card},mac={mac}", memory="512"))
            wait_for_login(consoles[-1])
            remotes.append(Remote(test, port))
            remotes[-1].wait()
            remotes[-1].run(f"printf '[Match]\\nMACAddress={mac}\\n[Network]\\nAddress=192.168.7.{number}/24\\n' > /run/systemd/network/10-cable.network && "
                            "networkctl reload && mkfs.ext4 -q /dev/vdb && mount /dev/vdb /mnt && echo ready", "ready")
        one, two = remotes
        two.run("until ping -c 1 -W 1 192.168.7.1; do sleep 1; done; ping -c 3 192.168.7.1", " 0% packet loss")
        one.run("iperf3 -s -D && echo listens", "listens")
        report = json.loads(two.run(f"iperf3 -c 192.168.7.1 -t {STREAM_SECONDS} -J", '"end"', timeout=STREAM_SECONDS + 120))
        seconds = [interval["sum"]["bits_per_second"] / 8e6 for interval in report["intervals"]]
        total = report["end"]["sum_received"]
        test.console.say(f"{total['seconds']:.0f} s, {total['bits_per_second'] / 8e6:.0f} MB/s, in the slowest second {min(seconds):.0f}")
        if "error" in report or total["seconds"] < STREAM_SECONDS - 1 or len(seconds) < STREAM_SECONDS or min(seconds) == 0:
            raise Failure(f"the stream does not last: {report.get('error')} {seconds}")
        digest = two.run(f"openssl enc -aes-128-ctr -pass pass:x -nosalt -pbkdf2 < /dev/zero 2>/dev/null | head -c {FILE_BYTES} > /mnt/file; "
                         "stat -c %s /mnt/file; sha256sum < /mnt/file", str(FILE_BYTES), timeout=900).split()[-2]
        one.run("systemd-run -q --unit take systemd-socket-activate --accept --inetd -l 9000 sh -c 'cat > /mnt/new && mv /mnt/new /mnt/file' "
                "&& echo listens", "listens")
        two.run("time cat /mnt/file > /dev/tcp/192.168.7.1/9000 && echo sent", "sent", timeout=900)
        one.run("until [ -e /mnt/file ]; do sleep 1; done; sha256sum < /mnt/file", digest, timeout=900)
        for console, remote in zip(consoles, remotes):
            remote.run("systemctl poweroff")
            if console.wait(180) != 0:
                raise Failure("an emulator does not end well")
    finally:
        for console in consoles:
            if console is not test.console:
                console.close()
