#!/usr/bin/env python3
"""The harness against small programs that play the emulator: it must pass what is right and fail what is wrong."""

import os
import struct
import sys
import tempfile
import time
import unittest
import zlib

import installer
from console import Console, Failure, Shell
from picture import VGA_BIOS, Picture, glyphs, read_png
from screen import Screen

# A guest whose shell answers the harness. BREAK is what goes wrong with it.
SHELL = r'''
import re, sys
BREAK = "%s"
print("Linux version\r\nDRAGOMAN-INIT 1.5")
if BREAK == "silent": import time; time.sleep(60)
if BREAK == "dies": sys.exit(3)
while True:
    print("\x1b[6ndragoman# ", end="", flush=True)
    line = sys.stdin.readline()
    if not line or line.startswith("poweroff"): break
    command = re.search(r'@"begin"; (.*); echo @"end"', line).group(1)
    print("@begin")
    print({"uname -m": "x86_64"}.get(command, ""))
    print("@end", 1 if BREAK == "status" else 0, flush=True)
sys.exit(4 if BREAK == "exit" else 0)
'''


class Harness(unittest.TestCase):
    def guest(self, what="", deadline=20.0):
        console = Console([sys.executable, "-c", SHELL % what], None, deadline)
        self.addCleanup(console.close)
        return console

    def test_commands_and_exit_status(self):
        console = self.guest()
        self.assertEqual(console.expect(r"DRAGOMAN-INIT ([\d.]+)").group(1), "1.5")
        shell = Shell(console)
        shell.check("uname -m", "^x86_64$")
        console.send("poweroff -f\n")
        self.assertEqual(console.wait(10), 0)

    def test_wrong_output_fails(self):
        shell = Shell(self.guest())
        with self.assertRaisesRegex(Failure, "wanted"):
            shell.check("uname -m", "^i686$")

    def test_wrong_status_fails(self):
        console = self.guest("status")
        shell = Shell(console)
        with self.assertRaisesRegex(Failure, "exit status 1"):
            shell.check("uname -m", "^x86_64$")

    def test_silence_fails_in_time(self):
        start = time.monotonic()
        with self.assertRaisesRegex(Failure, "within"):
            Shell(self.guest("silent", deadline=2.0))
        self.assertLess(time.monotonic() - start, 10)

    def test_death_fails_at_once(self):
        start = time.monotonic()
        with self.assertRaisesRegex(Failure, "exit status 3"):
            Shell(self.guest("dies"))
        self.assertLess(time.monotonic() - start, 10)

    def test_a_question_of_the_installer_fails(self):
        text = "print('Loading components 100%\\nDownload failed\\n  1: Retry\\nPrompt: \\'?\\' for help> ', end='', flush=True); input()"
        console = Console([sys.executable, "-c", text], None, 20.0)
        self.addCleanup(console.close)
        installer.stage(console, "Loading components", 10)
        with self.assertRaisesRegex(Failure, "asks before 'Partitions'(.|\n)*Download failed"):
            installer.stage(console, "Partitions", 10)

    def test_exit_status_is_seen(self):
        console = self.guest("exit")
        Shell(console)
        console.send("poweroff -f\n")
        self.assertEqual(console.wait(10), 4)

    def test_an_emulator_that_stays_fails(self):
        console = self.guest("silent")
        console.expect("Linux")
        with self.assertRaisesRegex(Failure, "still runs"):
            console.wait(1)


class ScreenTest(unittest.TestCase):
    def test_cursor_and_text(self):
        screen = Screen()
        screen.feed(b"\x1b[2J\x1b[2;5Hab\x1b[1")
        screen.feed(b";1Hc\x1b[0;37;44md\r\ne")
        lines = screen.text().split("\n")
        self.assertEqual(lines[0], "cd")
        self.assertEqual(lines[1], "e   ab")

    def test_positions_out_of_range_stay_inside(self):
        screen = Screen()
        screen.feed(b"\x1b[99;99Hx\x1b[0;0Hy" + b"\n" * 60 + b"z" * 200)
        self.assertEqual(len(screen.text().split("\n")), 25)


class Pictures(unittest.TestCase):
    def draw(self, text):
        shapes = {letter: shape for shape, letter in glyphs().items()}
        return Picture(8 * len(text), 16, [b"".join(
            bytes([200, 100, 50] if shapes[letter][y] >> (7 - x) & 1 else [0, 0, 7]) for letter in text
            for x in range(8)) for y in range(16)])

    def write_png(self, path, picture, kind):
        """Every line by the same filter of the PNG specification, section 9."""
        packed, above = b"", bytes(3 * picture.width)
        for row in picture.rows:
            left, corner = bytes(3) + row, bytes(3) + above
            packed += bytes([kind])
            for x, value in enumerate(row):
                a, b, c = left[x], above[x], corner[x]
                p = a + b - c
                paeth = min((a, b, c), key=lambda n, p=p: abs(p - n))
                packed += bytes([(value - (0, a, b, (a + b) // 2, paeth)[kind]) & 255])
            above = row
        with open(path, "wb") as file:
            file.write(b"\x89PNG\r\n\x1a\n")
            for name, chunk in ((b"IHDR", struct.pack(">IIBBBBB", picture.width, picture.height, 8, 2, 0, 0, 0)),
                                (b"IDAT", zlib.compress(packed)), (b"IEND", b"")):
                file.write(struct.pack(">I", len(chunk)) + name + chunk)
                file.write(struct.pack(">I", zlib.crc32(name + chunk)))

    @unittest.skipUnless(os.path.exists(VGA_BIOS), "no " + VGA_BIOS)
    def test_text_of_png(self):
        picture = self.draw("GNU GRUB 2.06 {~}")
        self.assertEqual(picture.text(), "GNU GRUB 2.06 {~}")
        with tempfile.TemporaryDirectory() as folder:
            for kind in range(5):
                path = os.path.join(folder, f"{kind}.png")
                self.write_png(path, picture, kind)
                self.assertEqual(read_png(path), picture, f"filter {kind}")
            with open(path, "r+b") as file:
                file.seek(60)
                file.write(b"\xff\x00")
            self.assertRaises(ValueError, read_png, path)


if __name__ == "__main__":
    unittest.main()
