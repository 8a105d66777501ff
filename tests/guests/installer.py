"""Debian's installer by PXE, unattended, from packages served on the host's loopback, and the system that it installed."""

import hashlib
import http.server
import os
import re
import shutil
import subprocess
import threading
import urllib.error
import urllib.request

from console import Failure

DISK_MIB = 3072
# The components are a suite of our own, without a signature; the packages are the mirror's, and their signature is checked.
PRESEED = """
d-i debian-installer/locale string en_US.UTF-8
d-i keyboard-configuration/xkb-keymap select us
d-i mirror/country string manual
d-i mirror/http/hostname string {host}
d-i mirror/http/directory string /debian
d-i mirror/http/proxy string
d-i mirror/suite string bookworm
d-i mirror/udeb/suite string components
d-i debian-installer/allow_unauthenticated boolean true
d-i partman/early_command string debconf-set debian-installer/allow_unauthenticated false
d-i passwd/root-password password dragoman
d-i passwd/root-password-again password dragoman
d-i passwd/make-user boolean false
d-i clock-setup/utc boolean true
d-i time/zone string Etc/UTC
d-i clock-setup/ntp boolean false
d-i partman-auto/disk string {disk}
d-i partman-auto/method string regular
d-i partman-auto/choose_recipe select atomic
d-i partman-partitioning/confirm_write_new_label boolean true
d-i partman/choose_partition select finish
d-i partman/confirm boolean true
d-i partman/confirm_nooverwrite boolean true
d-i base-installer/install-recommends boolean false
d-i base-installer/initramfs-tools/driver-policy select dep
d-i apt-setup/services-select multiselect
d-i apt-setup/enable-source-repositories boolean false
d-i apt-setup/disable-cdrom-entries boolean true
tasksel tasksel/first multiselect
d-i pkgsel/run_tasksel boolean false
d-i pkgsel/upgrade select none
popularity-contest popularity-contest/participate boolean false
d-i grub-installer/only_debian boolean true
d-i grub-installer/bootdev string {disk}
d-i finish-install/reboot_in_progress note
"""
MENU = """serial 0 115200
default install
prompt 0
timeout 1
label install
  kernel linux
  append initrd=initrd.gz auto=true priority=critical url=http://{host}/preseed.cfg console=ttyS0 locale=en_US.UTF-8 keymap=us interface=auto hostname=installed domain=dragoman TERM=dumb DEBIAN_FRONTEND=text --- console=ttyS0
"""


def mirror():
    """The Debian mirror that this machine itself uses."""
    listed = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME) $(COMPONENT)",
                             "Created-By: Packages"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    found = re.search(r"^(\S+?)/? bookworm main$", listed.stdout.decode(), re.MULTILINE)
    return found.group(1) if found else "http://deb.debian.org/debian"


class Packages(http.server.BaseHTTPRequestHandler):
    """/preseed.cfg, and below /debian/ the suite of components and the mirror's files; those that never change are kept in
    the cache."""

    protocol_version = "HTTP/1.1"
    ours = {}
    components = ""
    mirror = ""
    kept = ""
    served = 0
    bytes = 0

    def answer(self, status, data=b""):
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def fetch(self, path):
        if path in self.ours:
            return self.ours[path]
        if path.startswith("/debian/components/"):
            kept = os.path.join(self.components, os.path.basename(path))
        else:
            path = path.removeprefix("/debian")
            kept = os.path.join(self.kept, path.strip("/").replace("/", "_"))
        if os.path.exists(kept):
            with open(kept, "rb") as file:
                return file.read()
        with urllib.request.urlopen(self.mirror + path, timeout=120) as remote:
            data = remote.read()
        if path.endswith("deb"):
            temporary = f"{kept}.{threading.get_ident()}"
            with open(temporary, "wb") as file:
                file.write(data)
            os.replace(temporary, kept)
        return data

    def do_GET(self):  # the name is the library's
        if self.path not in self.ours and not self.path.startswith("/debian/") or ".." in self.path:
            self.answer(404)
            return
        try:
            data = self.fetch(self.path)
        except urllib.error.HTTPError as error:
            self.answer(error.code)
        except OSError as error:
            print(f"{self.path}: {error}", flush=True)
            self.answer(502)
        else:
            self.answer(200, data)
            type(self).served += 1
            type(self).bytes += len(data)

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


def suite(folder):
    """The index of the components, and the release file that names it."""
    with open(os.path.join(folder, "Packages"), "rb") as file:
        index = file.read().replace(b"Filename: pool/", b"Filename: components/")
    name = "main/debian-installer/binary-amd64/Packages"
    release = f"Components: main\nSHA256:\n {hashlib.sha256(index).hexdigest()} {len(index)} {name}\n"
    return {"/debian/dists/components/Release": release.encode(), f"/debian/dists/components/{name}": index}


# What the installer says on its way, and how long each may take on a slow and busy machine.
STAGES = (("Loading additional components", 1200), ("Partitions formatting|Creating ext4", 1800),
          ("Installing the base system", 1800), ("Installing GRUB boot loader", 3600), ("Finishing the installation", 1800))
QUESTION = r"Prompt: '\?' for help|\[Press enter to continue\]"


def stage(console, pattern, seconds):
    """Wait for the installer to say this; a question means that it will wait for ever."""
    found = console.expect(f"{pattern}|(?P<question>{QUESTION})", seconds)
    if found.group("question"):
        raise Failure(f"the installer asks before {pattern!r}: {console.tail(12)}")
    console.say(found.group())


class Progress(threading.Thread):
    """A line each minute: what was fetched so far, and what the guest wrote last."""

    def __init__(self, console, packages):
        super().__init__(daemon=True)
        self.console, self.packages, self.done = console, packages, threading.Event()

    def run(self):
        while not self.done.wait(60):
            self.console.say(f"  {self.packages.served} files, {self.packages.bytes >> 20} MiB; "
                             f"...{self.console.tail(1).strip()[-60:]}")


def run(test, card, interface, disk):
    components = test.guest("installer-components")
    kept = os.path.join(os.path.dirname(test.arguments.guests), "mirror")
    os.makedirs(kept, exist_ok=True)
    packages = type("Served", (Packages,), {"mirror": mirror(), "kept": kept, "components": os.path.join(components, "pool")})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), packages)
    host = f"10.0.2.2:{server.server_port}"
    packages.ours = {"/preseed.cfg": PRESEED.format(host=host, disk=disk).encode(), **suite(components)}
    threading.Thread(target=server.serve_forever, daemon=True).start()

    tftp = os.path.join(test.scratch.name, "tftp")
    shutil.copytree(test.guest("installer-amd64"), tftp)
    os.mkdir(os.path.join(tftp, "pxelinux.cfg"))
    with open(os.path.join(tftp, "pxelinux.cfg", "default"), "w", encoding="ascii") as menu:
        menu.write(MENU.format(host=host))
    image = os.path.join(test.scratch.name, "installed.img")
    with open(image, "wb") as file:
        file.truncate(DISK_MIB << 20)

    console = test.start("-boot", "once=n", "-drive", f"file={image},format=raw,if={interface},cache=unsafe",
                         "-nic", f"user,model={card},tftp={tftp},bootfile=pxelinux.0", memory="1024")
    progress = Progress(console, packages)
    progress.start()
    try:
        console.expect("PXELINUX")
        console.say("PXELINUX came over the network")
        console.expect("Linux version")
        console.say("the installer's kernel runs")
        for pattern, seconds in STAGES:
            stage(console, pattern, seconds)
        stage(console, "GNU GRUB|Booting `Debian", 3600)
        console.say(f"installed from {packages.served} files, {packages.bytes >> 20} MiB; the machine starts again")
        console.expect("installed login: ", 900)
        console.say("login prompt of the installed system")
        console.send("root\n")
        console.expect("Password: ")
        console.send("dragoman\n")
        console.expect(r"root@installed:~# ")
        console.send("echo $(dpkg -l | grep -c ^ii) packages, $(systemctl is-system-running); poweroff\n")
        count = int(console.expect(r"^(\d+) packages, (running|degraded|starting)").group(1))
        if count < 100:
            raise Failure(f"only {count} packages are installed")
        console.say(f"{count} packages are installed")
        test.ends(timeout=300)
    finally:
        progress.done.set()
        server.shutdown()
        server.server_close()
