"""Debian's installer by PXE, unattended, from packages served on the host's loopback, and the system that it installed."""

import http.server
import lzma
import os
import re
import shutil
import subprocess
import threading
import urllib.error
import urllib.request

from console import Failure

DISK_MIB = 3072
PRESEED = """
d-i debian-installer/locale string en_US.UTF-8
d-i keyboard-configuration/xkb-keymap select us
d-i netcfg/choose_interface select auto
d-i netcfg/get_hostname string installed
d-i netcfg/get_domain string dragoman
d-i mirror/country string manual
d-i mirror/http/hostname string {host}
d-i mirror/http/directory string /debian
d-i mirror/http/proxy string
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
  append initrd=initrd.gz auto=true priority=critical url=http://{host}/preseed.cfg console=ttyS0 locale=en_US.UTF-8 keymap=us TERM=dumb DEBIAN_FRONTEND=text --- console=ttyS0
"""


def mirror():
    """The Debian mirror that this machine itself uses."""
    listed = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME) $(COMPONENT)",
                             "Created-By: Packages"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    found = re.search(r"^(\S+?)/? bookworm main$", listed.stdout.decode(), re.MULTILINE)
    return found.group(1) if found else "http://deb.debian.org/debian"


class Packages(http.server.BaseHTTPRequestHandler):
    """/preseed.cfg, and below /debian/ the mirror's files; those that never change are kept in the cache."""

    protocol_version = "HTTP/1.1"
    preseed = ""
    mirror = ""
    kept = ""
    served = 0

    def answer(self, status, data=b""):
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def fetch(self, path):
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
        if self.path == "/preseed.cfg":
            self.answer(200, self.preseed.encode())
            return
        if not self.path.startswith("/debian/") or ".." in self.path:
            self.answer(404)
            return
        try:
            self.answer(200, self.fetch(self.path.removeprefix("/debian")))
            type(self).served += 1
        except urllib.error.HTTPError as error:
            self.answer(error.code)
        except OSError:
            self.answer(502)

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


# What the installer says on its way, and how long each may take on a slow and busy machine.
STAGES = (("Loading additional components", 1200), ("Partitions formatting|Creating ext4", 1800),
          ("Installing the base system", 1800), ("Installing GRUB boot loader", 3600), ("Finishing the installation", 1800))


def has_components(url):
    """Some mirrors hold a distribution's packages but not its installer's (udebs)."""
    with urllib.request.urlopen(url + "/dists/bookworm/main/debian-installer/binary-amd64/Packages.xz", timeout=120) as index:
        path = re.search(r"^Filename: (.*/anna_.*)$", lzma.decompress(index.read()).decode(), re.MULTILINE).group(1)
    try:
        with urllib.request.urlopen(f"{url}/{path}", timeout=120):
            return True
    except urllib.error.HTTPError:
        return False


def run(test, card, interface, disk):
    source = mirror()
    if not has_components(source):
        raise Failure(f"the mirror {source} does not hold the installer's components (udebs): apt needs a source that does")
    kept = os.path.join(os.path.dirname(test.arguments.guests), "mirror")
    os.makedirs(kept, exist_ok=True)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Mirror", (Packages,), {"mirror": source, "kept": kept}))
    host = f"10.0.2.2:{server.server_port}"
    server.RequestHandlerClass.preseed = PRESEED.format(host=host, disk=disk)
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
    try:
        console.expect("PXELINUX")
        console.say("PXELINUX came over the network")
        console.expect("Linux version")
        console.say("the installer's kernel runs")
        for stage, seconds in STAGES:
            console.expect(stage, seconds)
            console.say(stage)
        console.expect("GNU GRUB|Booting `Debian", 1800)
        console.say(f"installed from {server.RequestHandlerClass.served} files; the machine starts again")
        console.expect("installed login: ", 900)
        console.say("login prompt of the installed system")
        console.send("root\n")
        console.expect("Password: ")
        console.send("dragoman\n")
        console.expect(r"root@installed:~# ")
        console.send("echo $(dpkg -l | grep -c ^ii) packages, $(systemctl is-system-running); poweroff\n")
        packages = int(console.expect(r"^(\d+) packages, (running|degraded|starting)").group(1))
        if packages < 100:
            raise Failure(f"only {packages} packages are installed")
        console.say(f"{packages} packages are installed")
        test.ends(timeout=300)
    finally:
        server.shutdown()
        server.server_close()
