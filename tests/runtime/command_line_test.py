"""Command lines as people and programs write them for QEMU: each must start here, and answer by QMP."""

import argparse
import json
import os
import shlex
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

EMULATOR = None

# Name, line, what the lines on standard error must speak of (one word each; nothing else may come there).
# The words that start with "@" are files that the test makes.
LINES = [
    ("readme of a hobby system", "qemu-system-i386 -cdrom @cd.iso -m 256M -serial stdio -d int,cpu_reset -D @log -no-reboot -no-shutdown", ()),
    ("rust hobby system", "qemu-system-x86_64 -drive format=raw,file=@disk.img -device isa-debug-exit,iobase=0xf4,iosize=0x04 "
     "-serial stdio -display none", ()),
    ("multiboot kernel", "qemu-system-i386 -kernel @kernel -append 'test verbose' -m 64 -debugcon file:@debug -monitor none -s", ()),
    ("hobby system with a debug console", "qemu-system-x86_64 -M pc -m 2G -hda @disk.img -boot c -debugcon stdio -vga std "
     "-name osdev -no-reboot -rtc base=localtime -net none", ()),
    ("bare image", "qemu-system-i386 @disk.img", ()),
    ("cloud image with a seed", "qemu-system-x86_64 -m 512 -drive file=@disk.img,format=raw,if=virtio "
     "-nic user,hostfwd=tcp::@PORT-:22 -nographic -no-reboot -smbios 'type=1,serial=ds=nocloud;s=http://10.0.2.2:8000/'", ()),
    ("cloud-init's documentation", "qemu-system-x86_64 -net nic -net user -machine accel=kvm:tcg -m 512 -nographic -hda @disk.qcow2 "
     "-smbios type=1,serial='ds=nocloud;s=http://10.0.2.2:8000/'", ("kvm",)),
    ("ignition", "qemu-system-x86_64 -m 1024 -cpu host -nographic -snapshot -drive if=virtio,file=@disk.qcow2 "
     "-fw_cfg name=opt/com.coreos/config,file=@text -nic user,model=virtio,hostfwd=tcp::@PORT-:22 -enable-kvm", ("kvm",)),
    ("buildroot", "qemu-system-x86_64 -M pc -kernel @kernel -drive file=@disk.img,if=virtio,format=raw -append 'rootwait root=/dev/vda "
     "console=tty1 console=ttyS0' -serial stdio -net nic,model=virtio -net user", ()),
    ("kernel test", "qemu-system-x86_64 -nodefaults -M pc -cpu max -kernel @kernel -append 'console=ttyS0,115200 panic=-1' -no-reboot "
     "-m 512m -nographic -serial stdio -initrd @text", ()),
    ("kernel test with two options dashes", "qemu-system-x86_64 --kernel @kernel --initrd @text --append console=ttyS0 --nographic "
     "--monitor none --serial stdio --accel tcg,thread=multi --no-reboot", ()),
    ("image builder", "qemu-system-x86_64 -name vm -m 1024M -machine type=pc,accel=tcg -smp cpus=1,sockets=1 -display none -boot once=d "
     "-netdev user,id=user.0,hostfwd=tcp::@PORT-:22 -device virtio-net,netdev=user.0 -cdrom @cd.iso "
     "-drive file=@disk.qcow2,if=virtio,cache=writeback,discard=ignore,format=qcow2,detect-zeroes=off -vnc none", ()),
    ("test harness with sockets", "qemu-system-x86_64 -display none -chardev socket,id=mon,path=@mon.sock,server=on,wait=off "
     "-mon chardev=mon,mode=control -chardev ringbuf,id=r,size=4096 -serial chardev:r -chardev null,id=n -parallel chardev:n "
     "-pidfile @pid -uuid 01234567-89ab-cdef-0123-456789abcdef", ()),
    ("rng and memory objects", "qemu-system-x86_64 -display none -object rng-random,id=rng0,filename=/dev/urandom "
     "-object memory-backend-ram,id=ram,size=128M -machine pc,memory-backend=ram -object iothread,id=io0 -object "
     "secret,id=s0,data=abc -overcommit mem-lock=off -msg timestamp=on -k de -L /usr/share/seabios -usb "
     "-device usb-tablet -audiodev none,id=a0 -global PIIX4_PM.disable_s3=1", ()),
    ("tablet for VNC", "qemu-system-x86_64 -vnc unix:@vnc -device qemu-xhci,id=xhci -device usb-tablet,bus=xhci.0 -device usb-kbd",
     ("qemu-xhci", "usb-kbd")),
    ("tablet of old", "qemu-system-x86_64 -display none -usb -usbdevice tablet", ()),
    ("nested JSON", "qemu-system-x86_64 -display none -blockdev '{\"driver\":\"raw\",\"node-name\":\"d\",\"file\":"
     "{\"driver\":\"file\",\"filename\":\"@disk.img\"}}' -device '{\"driver\":\"ide-hd\",\"drive\":\"d\",\"bus\":\"ide.0\",\"unit\":1,"
     "\"bootindex\":1}' -boot strict=on,menu=on,splash-time=0", ()),
    ("virtual machine manager", "qemu-system-x86_64 -cpu kvm64,+kvm_pv_eoi,+kvm_pv_unhalt,vendor=GenuineIntel -L @dir -vga std "
     "-boot menu=on,strict=on,reboot-timeout=1000,splash-time=100 -drive file=@disk.img,if=virtio,format=raw,cache.direct=on,aio=io_uring "
     "-device virtio-rng-pci,addr=0x12.0x0 -machine hpet=off -numa node -option-rom @text -gdb unix:@gdb,server,nowait", ()),
    ("real-time system", "qemu-system-x86_64 -m 32 -cpu qemu64,+x2apic -machine q35 -device isa-debug-exit,iobase=0xf4,iosize=0x04 "
     "-no-reboot -display none -machine acpi=off -net none -icount shift=5,align=off,sleep=off -rtc clock=vm -kernel @kernel -chardev pipe,id=con,mux=on,path=@fifo -serial chardev:con -mon chardev=con,mode=readline",
     ("q35", "icount")),
    ("confined", "qemu-system-x86_64 -display none -serial file:@serial -drive file=@disk.img,format=raw,if=virtio "
     "-nic user -sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny", ()),
]

# As libvirt 9.0 writes it for a domain of type qemu with a disk, a network card, a serial port and a memory balloon.
LIBVIRT = """/usr/bin/qemu-system-x86_64 -name guest=debian,debug-threads=on -S
 -object '{"qom-type":"secret","id":"masterKey0","format":"raw","file":"@text"}'
 -machine pc-i440fx-7.2,usb=off,dump-guest-core=off,memory-backend=pc.ram,acpi=on -accel tcg -cpu qemu64 -m 1024
 -object '{"qom-type":"memory-backend-ram","id":"pc.ram","size":1073741824}' -overcommit mem-lock=off
 -smp 1,sockets=1,cores=1,threads=1 -uuid 8d3c3a3e-5a0c-4b7c-8f0e-3f8f2c1d9a11 -display none -no-user-config -nodefaults
 -chardev socket,id=charmonitor,fd=@FD,server=on,wait=off -mon chardev=charmonitor,id=monitor,mode=control
 -rtc base=utc -no-shutdown -boot strict=on -device '{"driver":"piix3-usb-uhci","id":"usb","bus":"pci.0","addr":"0x1.0x2"}'
 -blockdev '{"driver":"file","filename":"@disk.qcow2","node-name":"libvirt-1-storage","auto-read-only":true,"discard":"unmap"}'
 -blockdev '{"node-name":"libvirt-1-format","read-only":false,"driver":"qcow2","file":"libvirt-1-storage","backing":null}'
 -device '{"driver":"virtio-blk-pci","bus":"pci.0","addr":"0x4","drive":"libvirt-1-format","id":"virtio-disk0","bootindex":1}'
 -netdev '{"type":"user","id":"hostnet0"}'
 -device '{"driver":"virtio-net-pci","netdev":"hostnet0","id":"net0","mac":"52:54:00:6b:3c:58","bus":"pci.0","addr":"0x3"}'
 -chardev pty,id=charserial0 -device '{"driver":"isa-serial","chardev":"charserial0","id":"serial0","index":0}'
 -audiodev '{"id":"audio1","driver":"none"}'
 -sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny -msg timestamp=on"""


def kernel():
    """An ELF file with a multiboot header that stops at once."""
    header = struct.pack("<III", 0x1badb002, 0, -0x1badb002 & 0xffffffff)
    body = header + b"\xfa\xf4\xeb\xfd"  # CLI; HLT; JMP back
    elf = struct.pack("<16sHHIIIIIHHHHHH", b"\x7fELF\x01\x01\x01", 2, 3, 1, 0x10000c, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    return elf + struct.pack("<8I", 1, 84, 0x100000, 0x100000, len(body), len(body), 5, 4) + body


def qcow2(size):
    """An empty image: header, one level 1 table, refcount table and block."""
    cluster = 1 << 16
    header = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 2, 0, 0, 16, size, 0, 1, cluster, 2 * cluster, 1, 0, 0)
    refcounts = struct.pack(">4H", 1, 1, 1, 1)
    return b"".join(part.ljust(cluster, b"\0") for part in (header, b"", struct.pack(">Q", 3 * cluster), refcounts))


class CommandLines(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        for end in ("in", "out"):
            os.mkfifo(os.path.join(self.directory, "fifo." + end))
        for name, content in (("disk.img", bytes(1 << 20)), ("cd.iso", bytes(1 << 16)), ("kernel", kernel()), ("text", b"text"),
                              ("disk.qcow2", qcow2(1 << 20))):
            with open(os.path.join(self.directory, name), "wb") as f:
                f.write(content)

    def words(self, line, **more):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            line = line.replace("@PORT", str(free.getsockname()[1]))
        for word, value in more.items():
            line = line.replace("@" + word, value)
        return [word.replace("@", self.directory + "/") if "http" not in word else word for word in shlex.split(line)][1:]

    def run_line(self, words, warnings, pass_fds=(), connect=None, use=lambda ask: None):
        address = os.path.join(self.directory, "qmp")
        environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
        command = [EMULATOR, *words] + ([] if connect else ["-qmp", f"unix:{address},server,nowait"])
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
                                   pass_fds=pass_fds)
        try:
            end = time.monotonic() + 60
            while True:
                s = socket.socket(socket.AF_UNIX)
                try:
                    s.connect(connect or address)
                    break
                except OSError:
                    s.close()
                    if process.poll() is not None or time.monotonic() > end:
                        self.fail(f"did not start: {process.stderr.read().decode()}")
                    time.sleep(0.02)
            with s:
                s.settimeout(60)
                file = s.makefile("rb")
                self.assertIn("QMP", json.loads(file.readline()))

                def ask(name, **arguments):
                    s.sendall(json.dumps({"execute": name, "arguments": arguments}).encode())
                    while True:
                        answer = json.loads(file.readline())
                        if "event" not in answer:
                            return answer.get("return", answer)

                ask("qmp_capabilities")
                self.assertIn(ask("query-status")["status"], ("running", "prelaunch"))
                use(ask)
                ask("quit")
            self.assertEqual(process.wait(60), 0)
            lines = [line for line in process.stderr.read().decode().splitlines() if "char device redirected" not in line]
            self.assertEqual(len(lines), len(warnings), lines)
            for line, word in zip(lines, warnings):
                self.assertIn(word, line)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
            process.stderr.close()

    def test_lines_start(self):
        for name, line, warnings in LINES:
            with self.subTest(name):
                self.run_line(self.words(line), warnings)

    def test_sandbox(self):
        """What names something outside fails once the machine runs; the machine goes on."""
        def use(ask):
            for command, arguments in (("screendump", {"filename": os.path.join(self.directory, "screen.png")}),
                                       ("blockdev-change-medium", {"device": "ide1-cd0", "filename": os.path.join(self.directory, "cd.iso")})):
                answer = ask(command, **arguments)
                self.assertIn("not permitted", answer["error"]["desc"])
            self.assertEqual(ask("query-status")["status"], "running")

        self.run_line(self.words("x -sandbox on -display none -drive index=2,media=cdrom -serial file:@serial"), (), use=use)

    def test_screen_with_a_password(self):
        def use(ask):
            def attempt(*says):
                with socket.socket(socket.AF_UNIX) as s:
                    s.settimeout(60)
                    s.connect(os.path.join(self.directory, "vnc"))
                    heard = b""
                    for expected, say in says:
                        while len(heard) < expected:
                            heard += s.recv(expected - len(heard))
                        s.sendall(say)
                        if say:
                            last, heard = heard, b""
                    while part := s.recv(4096):
                        heard += part
                    return last, heard
            offer, refusal = attempt((12, b"RFB 003.008\n"), (2, b"\x02"), (16, bytes(16)))
            self.assertIn(b"the password is wrong", refusal)
            self.assertEqual(len(offer), 16)
            self.assertEqual((ask("query-vnc")["family"], ask("query-vnc")["auth"]), ("unix", "vnc"))
            self.assertIn("VNC at", ask("human-monitor-command", **{"command-line": "info vnc"}))

        with open(os.path.join(self.directory, "password"), "w", encoding="ascii") as f:
            f.write("c2VjcmV0\n")
        self.run_line(self.words("x -object secret,id=v,file=@password,format=base64 -vnc unix:@vnc,password-secret=v -sandbox on"), (), use=use)

    def test_screen_for_browsers(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]

        def use(_):
            with socket.create_connection(("127.0.0.1", port), timeout=60) as s:
                s.sendall(b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Protocol: binary\r\n\r\n")
                file = s.makefile("rb")
                while file.readline() != b"\r\n":
                    pass

                def hear():
                    self.assertEqual(file.read(1), b"\x82")
                    return file.read(file.read(1)[0])

                def say(data):
                    s.sendall(bytes((0x82, 0x80 | len(data), 0, 0, 0, 0)) + data)
                self.assertEqual(hear(), b"RFB 003.008\n")
                say(b"RFB 003.008\n")
                self.assertEqual(hear(), b"\x01\x01")
                say(b"\x01")
                self.assertEqual(hear(), bytes(4))
                say(b"\x01")
                self.assertIn(b"Dragoman", hear())

        self.run_line(self.words(f"x -vnc 127.0.0.1:70,to=99,websocket={port} -sandbox on"), (), use=use)

    def test_screen_whose_password_comes_later(self):
        with socket.socket() as taken:
            for display in range(80, 100):
                try:
                    taken.bind(("127.0.0.1", 5900 + display))
                    break
                except OSError:
                    pass
            taken.listen()

            def use(ask):
                port = int(ask("query-vnc")["service"])
                self.assertGreater(port, 5900 + display)

                def attempt():
                    """What the server says to a response that no password gives."""
                    with socket.create_connection(("127.0.0.1", port), timeout=60) as s:
                        file = s.makefile("rb")
                        file.read(12)
                        s.sendall(b"RFB 003.008\n")
                        self.assertEqual(file.read(2), b"\x01\x02")
                        s.sendall(b"\x02")
                        file.read(16)
                        s.sendall(bytes(16))
                        return file.read()
                self.assertIn(b"no password yet", attempt())
                self.assertEqual(ask("change-vnc-password", password="one"), {})
                self.assertIn(b"wrong", attempt())
                self.assertEqual(ask("expire_password", protocol="vnc", time="now"), {})
                self.assertIn(b"not any more", attempt())
                self.assertEqual(ask("set_password", protocol="vnc", password="two"), {})
                self.assertIn(b"wrong", attempt())
                for line, said in (("set_password vnc three", ""), ("expire_password vnc +60", ""), ("change vnc password four", ""),
                                   ("expire_password vnc soon", "expected"), ("set_password spice x", "expected")):
                    answer = ask("human-monitor-command", **{"command-line": line})
                    self.assertTrue(answer.startswith(said) and bool(answer) == bool(said), answer)

            self.run_line(self.words(f"x -vnc 127.0.0.1:{display},to=99,password=on"), (), use=use)

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_another_user(self):
        def use(_):
            with open(os.path.join(self.directory, "pid"), encoding="ascii") as f, \
                    open(f"/proc/{f.read().strip()}/status", encoding="ascii") as status:
                self.assertIn("Uid:\t65534\t65534\t65534\t65534", status.read())

        self.run_line(self.words("x -display none -runas 65534:65534 -pidfile @pid"), (), use=use)

    def test_libvirt(self):
        path = os.path.join(self.directory, "monitor")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen(1)
            words = self.words(LIBVIRT, FD=str(listener.fileno()))
            self.run_line(words, (), pass_fds=(listener.fileno(),), connect=path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--emulator", required=True)
    arguments, rest = parser.parse_known_args()
    EMULATOR = arguments.emulator
    unittest.main(argv=[sys.argv[0], *rest])
