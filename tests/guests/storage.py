"""Disks in real use: images of several kinds behind several controllers, and what is left when the emulator is killed."""

import base64
import hashlib
import os
import random
import shutil
import subprocess
import time

from console import Failure, Shell

CONTROLLERS = {  # name: interface of its -drive, -device options, the disk in the guest, modules
    "ide": ("ide", (), "sda", "ata_piix,sd_mod,ext4"),
    "virtio": ("virtio", (), "vda", "virtio_pci,virtio_blk,ext4"),
    "nvme": ("none,id=d0", ("nvme,drive=d0,serial=D0",), "nvme0n1", "nvme,ext4"),
    "ahci": ("none,id=d0", ("ahci,id=ahci", "ide-hd,drive=d0,bus=ahci.0"), "sda", "ahci,sd_mod,ext4"),
}


def drive(controller, image):
    """Options that put an image ("FILE,format=...") behind a controller."""
    interface, devices, _, _ = CONTROLLERS[controller]
    options = ["-drive", f"file={image},if={interface}"]
    for device in devices:
        options += ["-device", device]
    return options


def tool(test):
    return os.path.join(os.path.dirname(os.path.abspath(test.arguments.emulator)), "dragoman-img")


def img(test, *words, status=(0,)):
    result = subprocess.run([tool(test), *words], capture_output=True, text=True, check=False)
    if result.returncode not in status:
        raise Failure(f"dragoman-img {' '.join(words)}: {result}")
    return result.stdout


def check_clean(test, image):
    """By ourselves and by qemu-img, if it is here. Leaks (3) are what a killed writer may leave."""
    img(test, "check", image, status=(0, 3))
    if shutil.which("qemu-img"):
        result = subprocess.run(["qemu-img", "check", image], capture_output=True, text=True, check=False)
        if result.returncode not in (0, 3):
            raise Failure(f"qemu-img check: {result}")


def join(test, initrd, modules="modules-amd64.cpio"):
    """The archive of the shell, followed by the one of modules."""
    with open(initrd, "wb") as joined:
        for part in ("initrd-amd64.cpio", modules):
            with open(test.guest(part), "rb") as source:
                joined.write(source.read())


def start(test, controller, image, more="", script=None):
    initrd = os.path.join(test.scratch.name, "initrd")
    join(test, initrd)
    _, _, disk, modules = CONTROLLERS[controller]
    run = f" dragoman.run={base64.b64encode(script.encode()).decode().rstrip('=')}" if script else ""
    console = test.start("-kernel", test.guest("vmlinuz-amd64"), "-initrd", initrd, "-append",
                         f"console=ttyS0 quiet dragoman.load={modules}{run}",
                         *drive(controller, f"{image},format=qcow2{more}"), memory="128")
    console.expect(r"DRAGOMAN-INIT ([\d.]+)\n")
    return console, disk


def images(test):
    """The disk image as qcow2 with an overlay, from each controller; with -snapshot nothing of it changes."""
    base, top = (os.path.join(test.scratch.name, name) for name in ("base.qcow2", "top.qcow2"))
    img(test, "convert", "-f", "raw", "-O", "qcow2", "-c", test.guest("disk-amd64.img"), base)
    img(test, "create", "-f", "qcow2", "-b", base, "-F", "qcow2", top)
    for controller in CONTROLLERS:
        for more, kept in (("", True), (",snapshot=on", False)):
            with open(top, "rb") as f:
                before = f.read()
            console, disk = start(test, controller, top, more)
            shell = Shell(console)
            part = disk + ("p1" if disk[-1].isdigit() else "1")
            shell.check(f"for i in $(seq 60); do [ -b /dev/{part} ] && break; sleep 1; done; mount /dev/{part} /mnt; "
                        f"rm -f /mnt/{controller}; seq 1 30000 > /mnt/{controller}; sync; umount /mnt; "
                        f"mount -o ro /dev/{part} /mnt; tail -n 1 /mnt/{controller}", "^30000$")
            console.send("umount /mnt; poweroff -f\n")
            test.ends()
            check_clean(test, top)
            with open(top, "rb") as f:
                if (f.read() != before) != kept:
                    raise Failure(f"{controller}{more}: the image {'did not change' if kept else 'changed'}")
    flat = os.path.join(test.scratch.name, "flat.img")
    img(test, "convert", "-O", "raw", top, flat)
    for controller in CONTROLLERS:
        debugfs = shutil.which("debugfs", path=os.environ.get("PATH", "") + ":/sbin:/usr/sbin")
        if debugfs:
            written = subprocess.run([debugfs, "-R", f"cat /{controller}", f"{flat}?offset=1048576"], check=False,
                                     stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
            if written != "".join(f"{n}\n" for n in range(1, 30001)).encode():
                raise Failure(f"the image does not hold what the guest wrote by {controller}")


def grub_floppy(test, path, mark):
    """A 1.44 MB image that boots into GRUB's command line, with `mark` in sector 2000."""
    core = os.path.join(test.scratch.name, "core.img")
    config = os.path.join(test.scratch.name, "core.cfg")
    with open(config, "w", encoding="utf-8") as file:
        file.write("serial --unit=0\nterminal_output serial\nterminal_input serial\n")
    grub = "/usr/lib/grub/i386-pc"
    subprocess.run(["grub-mkimage", "-d", grub, "-O", "i386-pc", "-p", "(fd0)", "-c", config, "-o", core,
                    "biosdisk", "serial", "terminal", "echo", "cat", "normal", "halt"], check=True)
    with open(path, "wb") as image, open(os.path.join(grub, "boot.img"), "rb") as boot, open(core, "rb") as rest:
        image.write(boot.read(512))
        image.write(rest.read())
        image.seek(2000 * 512)
        image.write(f"{mark}\n".encode().ljust(512))
        image.truncate(2880 * 512)


def floppy(test):
    """A floppy disk boots by the BIOS; Linux formats nothing, but reads one drive and writes the other."""
    boot, other = (os.path.join(test.scratch.name, name) for name in ("boot.img", "other.img"))
    mark = f"MARK-{random.randrange(1 << 40):x}"
    grub_floppy(test, boot, mark)
    console = test.start("-fda", boot, memory="64")
    console.expect("grub>")
    console.say("GRUB from the floppy disk")
    console.send("cat (fd0)2000+1\n")
    console.expect(f"^{mark}")
    console.send("\x01x")
    test.ends()

    data = random.randbytes(1440 * 512)
    with open(other, "wb") as image:
        image.write(data)
    initrd = os.path.join(test.scratch.name, "initrd")
    join(test, initrd)
    console = test.start("-kernel", test.guest("vmlinuz-amd64"), "-initrd", initrd, "-append",
                         "console=ttyS0 quiet dragoman.load=floppy", "-drive", f"file={boot},if=floppy,format=raw",
                         "-drive", f"file={other},if=floppy,index=1,format=raw", memory="128")
    console.expect(r"DRAGOMAN-INIT ([\d.]+)\n")
    shell = Shell(console)
    shell.check("md5sum /dev/fd1", f"^{hashlib.md5(data).hexdigest()} ")
    with open(boot, "rb") as image:
        shell.check("md5sum /dev/fd0", f"^{hashlib.md5(image.read()).hexdigest()} ")
    shell.check("seq 1 40000 | dd of=/dev/fd0 bs=18432 count=11 iflag=fullblock conv=fsync 2>/dev/null && echo written",
                "^written$")
    console.send("poweroff -f\n")
    test.ends()
    numbers = "".join(f"{n}\n" for n in range(1, 40001)).encode()[:11 * 18432]
    with open(boot, "rb") as image:
        if image.read(len(numbers)) != numbers:
            raise Failure("the floppy image does not hold what the guest wrote")
    console.say("ok: the image holds what the guest wrote")


def numbers(last):
    return "".join(f"{n}\n" for n in range(1, last + 1)).encode()


def tree(folder):
    """What is in a folder: contents by path, None for a folder."""
    found = {}
    for path, folders, files in os.walk(folder):
        below = os.path.relpath(path, folder)
        found.update({os.path.normpath(os.path.join(below, name)): None for name in folders})
        for name in files:
            with open(os.path.join(path, name), "rb") as file:
                found[os.path.normpath(os.path.join(below, name))] = file.read()
    return found


def folder_disk(test, disk="sda", options=("ide",), more=()):
    """A folder of the host as a FAT disk: the guest reads it, and what it writes and deletes happens in the folder."""
    folder = os.path.join(test.scratch.name, disk)
    os.makedirs(os.path.join(folder, "sub", "deep one"))
    before = {"README.TXT": b"from the host\n", "a name that is long.text": numbers(30000), "gone.txt": b"x", "kept.bin": b"\0\xff" * 999,
              "moved.txt": numbers(9), "sub/deep one/c": b"c\n", "sub/\u00e4\u00f6 \u20ac.txt": b"euro\n"}
    for name, text in before.items():
        with open(os.path.join(folder, name), "wb") as file:
            file.write(text)
    initrd = os.path.join(test.scratch.name, "initrd")
    join(test, initrd, "modules-devices-amd64.cpio")
    console = test.start("-kernel", test.guest("vmlinuz-amd64"), "-initrd", initrd, "-append",
                         "console=ttyS0 quiet dragoman.load=ata_piix,sd_mod,virtio_pci,virtio_blk,nls_cp437,nls_ascii,nls_utf8,vfat",
                         "-drive", ",".join((f"file=fat:rw:{folder}", "format=raw", "if=" + options[0], *options[1:])), *more, memory="128")
    console.expect(r"DRAGOMAN-INIT ([\d.]+)\n")
    shell = Shell(console)
    shell.check(f"for i in $(seq 60); do [ -b /dev/{disk}1 ] && break; sleep 1; done; "
                f"mount -t vfat -o iocharset=utf8 /dev/{disk}1 /mnt && cat /mnt/README.TXT", "^from the host$")
    shell.check("md5sum < '/mnt/a name that is long.text'", "^" + hashlib.md5(before["a name that is long.text"]).hexdigest())
    shell.check("cat '/mnt/sub/deep one/c' /mnt/sub/*.txt; ls /mnt | wc -l", "^c\neuro\n6$")
    shell.check("rm /mnt/gone.txt; mv /mnt/moved.txt '/mnt/sub/Moved Here.txt'; rm -r '/mnt/sub/deep one'; echo more >> /mnt/README.TXT; "
                "mkdir -p '/mnt/new folder/deeper'; seq 1 50000 > '/mnt/new folder/deeper/Numbers of the guest'; : > /mnt/empty; "
                "dd if=/dev/zero of=/mnt/BIG bs=65536 count=300 2>/dev/null; seq 1 5 > '/mnt/a name that is long.text'; umount /mnt && echo done",
                "^done$")
    console.send("poweroff -f\n")
    test.ends()
    wanted = {"README.TXT": b"from the host\nmore\n", "a name that is long.text": numbers(5), "kept.bin": before["kept.bin"], "sub": None,
              "sub/\u00e4\u00f6 \u20ac.txt": b"euro\n", "sub/Moved Here.txt": numbers(9), "new folder": None, "new folder/deeper": None,
              "new folder/deeper/Numbers of the guest": numbers(50000), "empty": b"", "BIG": bytes(300 * 65536)}
    found = tree(folder)
    if found != wanted:
        different = [name for name in sorted({*wanted, *found}) if wanted.get(name, 0) != found.get(name, 0)]
        raise Failure(f"the folder holds {sorted(found)}; not as the guest left it: {different}")
    console.say("ok: the folder holds what the guest left")


def folder_disks(test):
    folder_disk(test)
    test.console.close()
    folder_disk(test, "vda", ("virtio", "cache=writeback"), ("-sandbox", "on"))


BLOCK = 65536
BLOCKS = 600
UNHEARD = 8  # so many writes may have ended whose messages died with the emulator


def kill(test, kills):
    """The guest writes numbered blocks to the bare disk, flushes, and says so. The emulator is killed at a random moment:
    each block holds what was flushed last, or parts of a later write that was cut off, and the image has no corruption."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    rng = random.Random(seed)
    image = os.path.join(test.scratch.name, "kill.qcow2")
    img(test, "create", "-f", "qcow2", image, f"{BLOCKS * BLOCK}")
    flushed = {}  # block: number of the write
    cut_off = {}  # block: numbers of later writes that nobody heard the end of; those may have happened, or in part
    number = 0
    for round_ in range(kills):
        controller = list(CONTROLLERS)[round_ % len(CONTROLLERS)]
        disk = CONTROLLERS[controller][2]
        script = (f"for i in 1 2 3 4 5 6 7 8 9; do [ -b /dev/{disk} ] && break; sleep 1; done; n={number}; "
                  f"while true; do n=$((n + 1)); b=$((n * 7919 % {BLOCKS})); "
                  f"yes $(printf %07d $n) | dd of=/dev/{disk} bs={BLOCK} count=1 iflag=fullblock seek=$b conv=notrunc,fsync "
                  "2>/dev/null && echo FLUSHED $n; done")
        console, _ = start(test, controller, image, script=script)
        console.expect(r"FLUSHED (\d+)\n")
        end = time.monotonic() + rng.uniform(0.0, 2.0)
        while time.monotonic() < end:
            console.read(max(0.0, end - time.monotonic()))
        console.process.kill()
        console.process.wait()
        while console.read(0.2):
            if console.overdue():
                raise Failure("the console of a killed emulator does not end")
        first = number
        for line in console.text.split("\n")[:-1]:
            if line.startswith("FLUSHED "):
                number = int(line.split()[1])
                flushed[number * 7919 % BLOCKS] = number
                cut_off.pop(number * 7919 % BLOCKS, None)
        for late in range(number + 1, number + 1 + UNHEARD):
            cut_off.setdefault(late * 7919 % BLOCKS, set()).add(late)
        console.close()
        check_clean(test, image)
        flat = os.path.join(test.scratch.name, "flat.img")
        img(test, "convert", "-O", "raw", image, flat)
        with open(flat, "rb") as f:
            for block, wanted in flushed.items():
                f.seek(block * BLOCK)
                data = f.read(BLOCK)
                lines = set(data.decode("latin-1").split("\n"))
                held = {int(line) for line in lines if line.isdigit()}
                allowed = {wanted} | cut_off.get(block, set())
                if not held or not held <= allowed:
                    raise Failure(f"round {round_}: block {block} holds {sorted(held)[:5]}, flushed was {wanted}, "
                                  f"allowed are {sorted(allowed)}")
        print(f"round {round_} ({controller}): {number - first} flushed writes, {len(flushed)} blocks are right", flush=True)
        number += 1  # the write that was cut off
