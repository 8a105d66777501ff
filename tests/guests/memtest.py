"""memtest86+ on the first serial line: run until a pass is complete, and read its verdict off its screen."""

import re

from console import Failure
from screen import Screen


class MemTest:
    def __init__(self, console):
        self.console = console
        self.screen = Screen()
        self.fed = 0
        self.last = -1

    def until(self, pattern, what, timeout=None):
        """Wait until the screen shows this; fails as soon as it shows an error of the memory."""
        while True:
            text = self.screen.text()
            errors = re.search(r"Errors:\s*(\d+)", text)
            if errors and int(errors.group(1)):
                raise Failure(f"memtest86+ found errors:\n{text}")
            running = re.search(r"Test #(\d+)\s+\[", text)
            if running and int(running.group(1)) > self.last:
                self.last = int(running.group(1))
                self.console.say(f"test {self.last}")
            match = re.search(pattern, text)
            if match:
                return match
            try:
                # Any output will do: the screen is redrawn in pieces.
                self.console.expect(r"(?s).+", timeout)
            except Failure as error:
                raise Failure(f"{what}: {error}; its screen:\n{text}") from None
            finally:
                self.screen.feed(self.console.raw[self.fed:])
                self.fed = len(self.console.raw)
            if self.console.overdue():
                raise Failure(f"{what}: not within {self.console.elapsed():.0f} s; its screen:\n{text}")

    def leave_out(self, number):
        """Deselect a test in the configuration menu."""
        self.console.send("1")
        self.until("Test selection", "configuration menu")
        self.console.send("1")
        self.until("Remove one test", "test selection menu")
        self.console.send("2")
        self.until("Enter test #", "question which test")
        self.console.send(f"{number}\r")
        self.until(r"0-+10\s+[*.]+\.\s", f"test {number} is not selected any more")
        self.console.send("0")
        self.until("Address range", "configuration menu")
        self.console.send("0")


def run(test, image, fade):
    """One pass. The fade test waits minutes for memory to forget, which only real memory does, so it is optional."""
    console = test.start("-kernel", test.guest(image), "-append", "console=ttyS0,115200 nosmp", "-no-reboot",
                         memory="24")
    memtest = MemTest(console)
    memtest.until(r"Memtest86\+ v", "start")
    memtest.until(r"Test #\d", "first test")
    if not fade:
        memtest.leave_out(10)
    memtest.until(r"Pass:\s+[1-9]\d*\s+Errors: 0", "end of the first pass")
    console.say("first pass complete, no errors")
    console.send("\x1b")
    test.ends()
