"""Drive an emulator through its first serial line on a terminal: start it, wait for text, type, see how it ends."""

import ctypes
import errno
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[c()=>78][0-9A-Z]?")
PR_SET_PDEATHSIG = 1


class Failure(Exception):
    """What the guest or the emulator did that it should not have done."""


class Console:
    """An emulator in a pseudo-terminal. `text` is all that it wrote so far, without the terminal's escape sequences;
    `raw` is the same as bytes."""

    def __init__(self, command, log=None, deadline=300.0):
        self.command = command
        self.raw = b""
        self.text = ""
        self.pending = ""
        self.seen = 0  # text before this was matched already
        self.started = time.monotonic()
        self.deadline = self.started + deadline
        self.log = open(log, "wb") if log else None
        self.status = None
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 25, 80, 0, 0))

        def child():
            # The emulator ends with us, however we end.
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, preexec_fn=child)
        self.pid = self.process.pid
        os.close(slave)

    def elapsed(self):
        return time.monotonic() - self.started

    def overdue(self):
        return time.monotonic() >= self.deadline

    def say(self, what):
        print(f"[{self.elapsed():7.1f}s] {what}", flush=True)

    def read(self, seconds):
        """Take in what arrives within so many seconds; False when the emulator closed its side."""
        ready, _, _ = select.select([self.master], [], [], max(0.0, seconds))
        if not ready:
            return True
        try:
            data = os.read(self.master, 65536)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            data = b""
        if not data:
            return False
        if self.log:
            self.log.write(data)
            self.log.flush()
        self.raw += data
        # An escape sequence that is cut by the end of a read waits for the rest of it.
        fresh = self.pending + data.decode("latin-1")
        cut = fresh.rfind("\x1b")
        if cut < 0 or len(fresh) - cut > 16 or ESCAPES.match(fresh, cut):
            cut = len(fresh)
        self.pending = fresh[cut:]
        self.text += ESCAPES.sub("", fresh[:cut]).replace("\r", "")
        return True

    def expect(self, pattern, timeout=None):
        """Wait for a regular expression in what was not matched yet; returns the match."""
        end = self.deadline if timeout is None else min(self.deadline, time.monotonic() + timeout)
        alive = True
        while True:
            match = re.compile(pattern, re.MULTILINE).search(self.text, self.seen)
            if match:
                self.seen = match.end()
                return match
            if not alive:
                raise Failure(f"the emulator ended before {pattern!r} (exit status {self.wait(5)})")
            left = end - time.monotonic()
            if left <= 0:
                raise Failure(f"no {pattern!r} within {self.elapsed():.0f} s")
            alive = self.read(min(left, 1.0))

    def send(self, text):
        """Type this, taking in what is written meanwhile, so that neither side waits for the other for ever."""
        data = text.encode()
        while data:
            readable, writable, _ = select.select([self.master], [self.master], [], 5.0)
            if readable and not self.read(0):
                raise Failure(f"the emulator ended while we typed (exit status {self.wait(5)})")
            if writable:
                data = data[os.write(self.master, data[:64]):]
            elif self.overdue():
                raise Failure("the emulator does not take what is typed")

    def wait(self, timeout):
        """The exit status of the emulator (negative: killed by that signal)."""
        end = min(self.deadline, time.monotonic() + timeout) if self.status is None else 0
        while self.status is None:
            self.status = self.process.poll()
            if self.status is not None:
                while self.read(0.1) and select.select([self.master], [], [], 0)[0]:
                    pass
                break
            if time.monotonic() >= end:
                raise Failure(f"the emulator still runs, {timeout:.0f} s after it should have ended")
            if not self.read(0.1):
                time.sleep(0.05)
        return self.status

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.master >= 0:
            os.close(self.master)
            self.master = -1
        if self.log:
            self.log.close()

    def tail(self, lines=40):
        return "\n".join(self.text.splitlines()[-lines:])


class Shell:
    """The guest's shell behind a Console, once its prompt has appeared."""

    PROMPT = r"dragoman# "

    def __init__(self, console, timeout=None):
        self.console = console
        console.expect(self.PROMPT, timeout)
        self.run("dmesg -n 1")

    def run(self, command, timeout=120.0, typed=""):
        """Run a command, type this at it; returns (output, exit status)."""
        # The quotes keep the echo of what we type from looking like the result.
        self.console.send(f'echo @"begin"; {command}; echo @"end" $?\n')
        self.console.expect(r"^@begin\n", timeout)
        start = self.console.seen
        self.console.send(typed)
        match = self.console.expect(r"^@end (\d+)\n", timeout)
        # What we type before the prompt would be echoed twice.
        self.console.expect(self.PROMPT, timeout)
        return self.console.text[start:match.start()], int(match.group(1))

    def check(self, command, wanted, timeout=120.0):
        """Run a command that must succeed with output that matches this regular expression as a whole line."""
        output, status = self.run(command, timeout)
        if status != 0:
            raise Failure(f"{command!r}: exit status {status}, output:\n{output}")
        if not re.search(wanted, output, re.MULTILINE):
            raise Failure(f"{command!r}: wanted {wanted!r}, got:\n{output}")
        self.console.say(f"ok: {command}")


def report(console, error):
    """Print why a test failed, with the end of what the guest wrote."""
    print(f"FAILED: {error}", flush=True)
    if console:
        print("command: " + " ".join(console.command))
        print(f"---- the last lines of {len(console.text.splitlines())} from the emulator ----")
        print(console.tail())
        print("----", flush=True)
    sys.stdout.flush()
