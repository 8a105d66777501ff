#!/usr/bin/env python3
"""The harness against small programs that play the emulator: it must pass what is right and fail what is wrong."""

import sys
import time
import unittest

from console import Console, Failure, Shell
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


if __name__ == "__main__":
    unittest.main()
