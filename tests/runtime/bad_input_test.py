"""What a user may get wrong on the command line: exit status 1, one line on standard error that names what was wrong,
nothing on standard output."""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import unittest

EMULATOR = None


class BadInput(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name

    def file(self, name, content=b""):
        path = os.path.join(self.directory, name)
        with open(path, "wb") as f:
            f.write(content)
        return path

    def refused(self, *options, saying=(), user=None):
        """Each of `saying` must be in the line."""
        with self.subTest(options=options):
            environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
            result = subprocess.run([EMULATOR, *options], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
                                    env=environment, user=user)
            self.assertEqual(result.returncode, 1, result)
            self.assertEqual(result.stdout, "", result)
            self.assertTrue(result.stderr.startswith("dragoman: ") and result.stderr.endswith("\n"), result)
            self.assertEqual(result.stderr.count("\n"), 1, result)
            for text in saying:
                self.assertIn(text, result.stderr)

    def test_files(self):
        missing = os.path.join(self.directory, "missing")
        text, empty = self.file("text", b"hello\n"), self.file("empty")
        for option in ("-kernel", "-hda", "-hdd", "-cdrom", "-bios"):
            self.refused(option, missing, saying=(option, missing, "o such file"))
            self.refused(option, self.directory, saying=(option, "is a directory"))
            self.refused(option, empty, saying=(option, empty))
            self.refused(option, "", saying=(option, "expected"))
        self.refused("-kernel", text, saying=("not a kernel", "expected"))
        self.refused("-bios", text, saying=("expected a multiple of 4096",))
        self.refused("-drive", "file=" + missing, saying=("-drive file=" + missing,))
        self.refused(missing, saying=(missing, "o such file"))
        self.refused("-D", os.path.join(missing, "log"), saying=("-D", "o such file"))
        self.refused("-serial", "file:" + os.path.join(missing, "x"), saying=("-serial file:", "o such file"))

    def test_unreadable_file(self):
        path = self.file("secret", b"x" * 4096)
        os.chmod(path, 0)
        user = None
        if os.geteuid() == 0:  # may read everything
            user = 65534
            os.chmod(self.directory, 0o755)
            try:
                subprocess.run([EMULATOR, "-version"], user=user, check=True, capture_output=True)
            except (PermissionError, subprocess.CalledProcessError):
                self.skipTest("the emulator cannot be run by another user")
        for option in ("-kernel", "-hda", "-bios"):
            self.refused(option, path, saying=(option, path, "ermission denied"), user=user)

    def test_sizes(self):
        for size in ("0", "3M", "99999G", "99999999999999999999", "abc", "-5", "1.5.5G", "", "12X"):
            self.refused("-m", size, saying=("-m " + size, "expected"))

    def test_unknown_options(self):
        self.refused("-frobnicate", saying=("-frobnicate", "unknown option"))
        self.refused("--frobnicate", saying=("-frobnicate", "unknown option"))
        self.refused("-S", "-frobnicate", "x", saying=("-frobnicate", "unknown option"))
        self.refused("-m", saying=("-m", "value is missing"))
        self.refused("-S=3", saying=("-S",))

    def test_devices_and_drives(self):
        self.refused("-device", "nosuch", saying=("-device nosuch", "expected"))
        self.refused("-device", "isa-debug-exit,iobase=0x10000", saying=("expected iobase=PORT",))
        image = self.file("image", bytes(512 * 64))
        for drive in ("", "file", "file=", image, "foo=bar", f"file={image},format=qcow2", f"file={image},index=4",
                      f"file={image},if=scsi", f"file={image},media=tape", f"file={image},readonly=maybe", f"file={image},unit=2"):
            self.refused("-drive", drive, saying=("-drive " + drive, "expected"))
        self.refused("-hda", image, "-hda", image, saying=("taken",))
        self.refused(*["-drive", f"file={image}"] * 5, saying=("four",))

    def test_connections(self):
        with socket.socket() as busy:
            busy.bind(("127.0.0.1", 0))
            busy.listen()
            port = busy.getsockname()[1]
            self.refused("-gdb", f"tcp::{port}", saying=(f"-gdb tcp::{port}", "in use"))
            for option in ("-serial", "-monitor", "-debugcon"):
                self.refused(option, f"tcp::{port},server,nowait", saying=(option, str(port), "in use"))
        self.refused("-gdb", "tcp::99999", saying=("expected tcp:[HOST]:PORT",))
        self.refused("-gdb", "tcp::1234,arch=vax", saying=("expected tcp:[HOST]:PORT",))
        self.refused("-serial", "unix:" + os.path.join(self.directory, "a", "b") + ",server,nowait", saying=("-serial unix:",))
        self.refused("-serial", "stdio", "-monitor", "stdio", saying=("stdio", "expected"))

    def test_networks(self):
        with socket.socket() as busy:
            busy.bind(("127.0.0.1", 0))
            busy.listen()
            port = busy.getsockname()[1]
            forward = f"tcp:127.0.0.1:{port}-:22"
            self.refused("-nic", f"user,hostfwd={forward}", saying=("-nic user", forward, "in use"))
            self.refused("-nic", f"socket,listen=127.0.0.1:{port}", saying=(str(port), "in use"))
        self.refused("-nic", f"socket,connect=127.0.0.1:{port}", saying=("cannot connect", "refused"))
        missing = os.path.join(self.directory, "missing", "x")
        self.refused("-nic", f"stream,addr.type=unix,addr.path={missing}", saying=(missing, "o such file"))
        self.refused("-nic", f"user,romfile={missing}", saying=("ROM", missing, "o such file"))
        self.refused("-nic", "user,id=n", "-object", f"filter-dump,id=f,netdev=n,file={missing}", saying=(missing, "o such file"))
        self.refused("-nic", "user,model=nosuch", saying=("model=", "nearest"))
        self.refused("-nic", "user,net=10.0.2.0/24,dhcpstart=192.168.7.7", saying=("dhcpstart",))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--emulator", required=True)
    arguments, rest = parser.parse_known_args()
    EMULATOR = arguments.emulator
    unittest.main(argv=[sys.argv[0], *rest])
