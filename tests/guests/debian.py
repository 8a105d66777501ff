"""An installed Debian (scripts/make-debian): BIOS, GRUB, systemd, ssh from the host, apt, and a clean end."""

import functools
import glob
import hashlib
import http.server
import os
import shutil
import subprocess
import threading

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

    def run(self, command, wanted=None):
        done = subprocess.run(self.command + [command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=300, check=False)
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


def run(test, controller):
    image = os.path.join(test.scratch.name, "debian.img")
    subprocess.run(["cp", "--sparse=always", test.guest("debian-amd64.img"), image], check=True)
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
    console.expect("GNU GRUB")
    console.expect("Linux version", timeout=120)
    console.say("Linux starts")
    console.expect("login: ", timeout=600)
    console.say("login prompt")
    remote = Remote(test, port)
    remote.run("until systemctl is-system-running | grep -Eq 'running|degraded'; do sleep 1; done; "
               "systemctl is-active multi-user.target", "active")
    remote.run("systemctl --failed --no-pager", "0 loaded units")
    remote.run("uname -m", "x86_64")
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
