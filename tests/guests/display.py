"""What the guest's screen shows: as screendump writes it, and in a window of an X server that nobody sees."""

import os
import re
import shutil
import socket
import subprocess
import time

from console import Console, Failure
from picture import read_png, read_xwd
from rfb import Viewer


def until(console, look, pattern, what):
    """Look at the screen until it shows this; returns the match."""
    text = ""
    while not console.overdue():
        text = look()
        match = re.search(pattern, text)
        if match:
            console.say(what)
            return match
        if not console.read(0.2):
            raise Failure(f"{what}: the emulator ended (exit status {console.wait(5)}); its screen:\n{text}")
    raise Failure(f"{what}: no {pattern!r} within {console.elapsed():.0f} s; its screen:\n{text}")


def screendump(test):
    """The firmware's boot menu and GRUB by the screen and the keyboard alone, through the monitor."""
    image = os.path.join(test.scratch.name, "disk.img")
    shutil.copyfile(test.guest("disk-amd64.img"), image)
    console = test.start("-drive", f"file={image},format=raw,if=ide", "-boot", "menu=on", "-no-reboot")
    console.send("\x01c")
    console.expect(r"\(dragoman\) ")

    def command(line):
        console.send(line + "\n")
        console.expect(r"\(dragoman\) ", 30)

    def look():
        command(f"screendump {test.scratch.name}/screen.png")
        return read_png(f"{test.scratch.name}/screen.png").text()

    until(console, look, "Press ESC for boot menu", "the firmware runs")
    command("sendkey esc")
    menu = until(console, look, r"Select boot device:\s+(\d)\. .*DRAGOMAN", "the firmware's boot menu")
    command(f"sendkey {menu.group(1)}")
    until(console, look, r"GNU GRUB[^\0]*\*Dragoman guest\s", "GRUB's menu")
    command("sendkey down")
    until(console, look, r"\*Reboot\s", "the other entry is selected")
    console.send("sendkey ret\n")
    test.ends()


def vnc(test):
    """Linux' console through VNC, in the sandbox: what it shows, and what a viewer types."""
    for display in range(100):
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", 5900 + display)) != 0:
                break
    command = [test.arguments.emulator, "-m", "256", "-vnc", f"127.0.0.1:{display}", "-serial", "stdio", "-sandbox", "on",
               "-name", "console", "-kernel", test.guest("vmlinuz-amd64"), "-initrd", test.guest("initrd-amd64.cpio"),
               "-append", "console=ttyS0 console=tty0 quiet", *test.arguments.options]
    print("command: " + " ".join(command), flush=True)
    console = test.console = Console(command, test.arguments.log, test.arguments.timeout)
    while True:
        try:
            viewer = Viewer(5900 + display).enter()
            break
        except ConnectionRefusedError:
            if not console.read(0.1):
                raise Failure("the emulator ended before a viewer could look")
    if viewer.name != "Dragoman (console)":
        raise Failure(f"the screen has the name {viewer.name!r}")
    until(console, lambda: viewer.picture().text(), r"(?m)^dragoman# ?", "the shell's prompt is on the screen")
    viewer.type("echo Typed $((6 * 7)) {with} \"shift\" | tee /dev/ttyS0\n")
    console.expect(r"^Typed 42 \{with\} shift\n")
    console.say("what a viewer types arrives on the serial line")
    until(console, lambda: viewer.picture().text(), r"(?m)^Typed 42 \{with\} shift$", "and is on the screen")
    second = Viewer(5900 + display, encodings=(0,)).enter()
    above = [v.picture().text().rstrip().rsplit("\n", 1)[0] for v in (viewer, second)]  # the line of the cursor, which blinks
    if above[0] != above[1]:
        raise Failure(f"two viewers see two pictures:\n{above[0]}\n---\n{above[1]}")
    second.close()
    viewer.type("poweroff -f\n")
    test.ends()


class Window:
    """An X server in memory, and the emulator's window on it."""

    def __init__(self, test):
        self.folder = test.scratch.name
        read, write = os.pipe()
        with open(os.path.join(self.folder, "xvfb.log"), "wb") as log:
            self.server = subprocess.Popen(
                ["Xvfb", "-displayfd", str(write), "-screen", "0", "1024x768x24", "-fbdir", self.folder, "-nolisten",
                 "tcp"], pass_fds=[write], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        os.close(write)
        with os.fdopen(read) as file:
            number = file.readline().strip()
        if not number:
            raise Failure("Xvfb does not start")
        os.environ["DISPLAY"] = f":{number}"
        os.environ.pop("SDL_VIDEODRIVER", None)

    def tool(self, *arguments):
        return subprocess.run(["xdotool", *arguments], stdout=subprocess.PIPE, check=True, timeout=60).stdout.decode()

    def type(self, line):
        self.tool("type", "--delay", "40", line)
        self.tool("key", "Return")

    def find(self):
        window = self.tool("search", "--sync", "--onlyvisible", "--name", "Dragoman").split()[0]
        self.tool("windowfocus", "--sync", window)
        return window

    def picture(self, window):
        place = dict(re.findall(r"(\w+)=(\d+)", self.tool("getwindowgeometry", "--shell", window)))
        x, y, width, height = (int(place[name]) for name in ("X", "Y", "WIDTH", "HEIGHT"))
        return read_xwd(os.path.join(self.folder, "Xvfb_screen0")).cut(x, y, width, height)

    def close(self):
        self.server.terminate()
        self.server.wait()


def window(test):
    """Linux' console in a window: what it shows is read off the X server, what is typed goes through the X server."""
    for program in ("Xvfb", "xdotool"):
        if not shutil.which(program):
            raise Failure(f"no {program} on this host (packages xvfb and xdotool)")
    server = Window(test)
    try:
        command = [test.arguments.emulator, "-m", "256", "-display", "sdl", "-serial", "stdio",
                   "-kernel", test.guest("vmlinuz-amd64"), "-initrd", test.guest("initrd-amd64.cpio"),
                   "-append", "console=ttyS0 console=tty0 quiet", *test.arguments.options]
        print("command: " + " ".join(command), flush=True)
        console = test.console = Console(command, test.arguments.log, test.arguments.timeout)
        name = server.find()
        console.say("the window is there")
        until(console, lambda: server.picture(name).text(), r"(?m)^dragoman# ?", "the shell's prompt is in the window")
        server.type("echo Typed $((6 * 7)) {with} \"shift\" | tee /dev/ttyS0")
        console.expect(r'^Typed 42 \{with\} shift\n')
        console.say("what is typed into the window arrives on the serial line")
        until(console, lambda: server.picture(name).text(), r"(?m)^Typed 42 \{with\} shift$", "and is in the window")
        server.type("poweroff -f")
        test.ends()
    finally:
        server.close()
