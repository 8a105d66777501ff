"""Speaks QMP with the emulator from outside: over local and TCP sockets and standard input."""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import unittest

EMULATOR = None


def firmware(code):
    """A BIOS of one page whose reset vector jumps to this code."""
    image = bytearray(b"\xf4" * 4096)  # HLT
    image[:len(code)] = code
    image[0xff0:0xff3] = b"\xe9" + (-0xff3 & 0xffff).to_bytes(2, "little")
    return bytes(image)


HALT = firmware(b"\xfa\xf4\xeb\xfd")  # CLI; HLT; JMP back
RESET = firmware(b"\xba\xf9\x0c\xb0\x06\xee\xeb\xfe")  # port 0xcf9: 6, a hard reset
EXIT = firmware(b"\xba\x01\x05\xb0\x02\xee\xeb\xfe")  # port 0x501: 2


class Client:
    def __init__(self, connection):
        self.connection = connection
        self.file = connection.makefile("rb")
        connection.settimeout(60)
        self.events = []
        self.greeting = self.read()

    def read(self):
        line = self.file.readline()
        return json.loads(line) if line else None

    def send(self, text):
        self.connection.sendall(text if isinstance(text, bytes) else text.encode())

    def answer(self):
        while True:
            message = self.read()
            if message is None or "event" not in message:
                return message
            self.events.append(message)

    def ask(self, command, **arguments):
        self.send(json.dumps({"execute": command, "arguments": arguments} if arguments else {"execute": command}))
        return self.answer()

    def event(self, name):
        """The next event of this name."""
        while True:
            while self.events:
                event = self.events.pop(0)
                if event["event"] == name:
                    return event
            message = self.read()
            assert message and "event" in message, message
            self.events.append(message)


class Qmp(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name

    def path(self, name, content=None):
        path = os.path.join(self.directory, name)
        if content is not None:
            with open(path, "wb") as f:
                f.write(content)
        return path

    def start(self, *options, bios=HALT, qmp=None, negotiate=True):
        path = self.path("qmp")
        self.emulator = subprocess.Popen(
            [EMULATOR, "-display", "none", *(() if "-serial" in options else ("-serial", "none")), "-m", "16", "-bios", self.path("bios", bios),
             *(qmp or ("-qmp", f"unix:{path},server,nowait")), *options], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.addCleanup(self.emulator.stderr.close)
        self.addCleanup(self.emulator.wait)
        self.addCleanup(self.emulator.kill)
        client = self.connect(path)
        if negotiate:
            self.assertEqual(client.ask("qmp_capabilities"), {"return": {}})
        return client

    def connect(self, address):
        end = time.monotonic() + 30
        while True:
            s = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
            try:
                s.connect(address)
                break
            except OSError:
                s.close()
                if time.monotonic() > end or self.emulator.poll() is not None:
                    raise
                time.sleep(0.02)
        self.addCleanup(s.close)
        return Client(s)

    def fails(self, answer, kind="GenericError", saying=""):
        self.assertEqual(answer["error"]["class"], kind, answer)
        self.assertIn(saying, answer["error"]["desc"])

    def test_negotiation(self):
        client = self.start(negotiate=False)
        self.assertIn("qemu", client.greeting["QMP"]["version"])
        self.assertEqual(client.greeting["QMP"]["capabilities"], [])
        self.fails(client.ask("query-status"), "CommandNotFound", "qmp_capabilities")
        self.fails(client.ask("qmp_capabilities", enable=["oob"]))
        self.fails(client.ask("query-status"), "CommandNotFound")
        self.assertEqual(client.ask("qmp_capabilities"), {"return": {}})
        self.fails(client.ask("qmp_capabilities"), "CommandNotFound", "already")
        self.assertTrue(client.ask("query-status")["return"]["running"])

    def test_forms_and_ids(self):
        client = self.start()
        for id_ in (1, "x", None, [1, {"a": 2}], {"k": "v"}, 1.5):
            client.send(json.dumps({"execute": "query-version", "id": id_}))
            answer = client.answer()
            self.assertEqual(answer["id"], id_)
            self.assertIn("package", answer["return"])
        client.send('{"execute":"query-version"}' * 3 + '\n\n\t{ "execute" : "query-version",\n"id":"}\\"{" }')
        for _ in range(3):
            self.assertNotIn("id", client.answer())
        self.assertEqual(client.answer()["id"], '}"{')
        for text in ("{]", "17 ", "nonsense ", "[]", '""\n', "{}", '{"execute": 5}', '{"execute":"stop","arguments":[]}',
                     '{"execute":"stop","argument":{}}', b"\xff\xfe ", "}", '{"execute":"stop" "id":1}'):
            client.send(text)
            self.fails(client.answer())
        self.fails(client.ask("nosuch"), "CommandNotFound", "nosuch")
        self.fails(client.ask("stop", x=1), saying="'x'")
        self.fails(client.ask("screendump"), saying="filename")
        self.fails(client.ask("screendump", filename=5), saying="a string")
        self.fails(client.ask("set_link", name="x", up=True), "DeviceNotFound")
        client.send(b'{"execute":"query-status","id":"' + b"x" * (1 << 20) + b'"}\n')
        self.fails(client.answer())
        client.send(b"[" * 100000 + b"\n")
        self.fails(client.answer())
        self.assertTrue(client.ask("query-status")["return"]["running"], "it goes on")

    def test_cards_come_and_go(self):
        image = self.path("image", bytes(1 << 20))
        client = self.start("-nodefaults", "-netdev", "user,id=n", "-device", "e1000,netdev=n,id=nic")
        ask = lambda command, **arguments: self.assertEqual(client.ask(command, **arguments), {"return": {}})
        ask("blockdev-add", **{"driver": "raw", "node-name": "d", "file": {"driver": "file", "filename": image}})
        self.fails(client.ask("blockdev-add", **{"driver": "raw", "node-name": "d", "file": {"driver": "file", "filename": image}}))
        self.fails(client.ask("blockdev-add", **{"driver": "file", "node-name": "x", "filename": image + "no"}), saying="no such file")
        self.fails(client.ask("device_add", driver="virtio-blk-pci", drive="x"), saying="'x' is neither")
        self.fails(client.ask("device_add", driver="virtio-blk-pci", drive="d", addr="2"), saying="PCI slot")
        ask("device_add", driver="virtio-blk-pci", drive="d", id="disk")
        self.fails(client.ask("device_add", driver="nvme", drive="d", serial="s"), saying="in use")
        self.fails(client.ask("device_add", driver="virtio-rng-pci", id="nic"), saying="'nic' is taken")
        self.fails(client.ask("device_add", driver="virtio-balloon-pci"), saying="from the start")
        self.fails(client.ask("device_add", driver="isa-serial"), saying="from the start")
        self.fails(client.ask("device_add", driver="nosuch"), saying="nosuch")
        self.fails(client.ask("blockdev-del", **{"node-name": "d"}), saying="in use")
        self.fails(client.ask("netdev_del", id="n"), saying="in use")
        self.fails(client.ask("device_del", id="nosuch"), "DeviceNotFound", "nosuch")
        for n in range(26):
            ask("device_add", driver="virtio-rng-pci", id=f"r{n}")
        self.fails(client.ask("device_add", driver="virtio-rng-pci"), saying="28 PCI cards")
        # No guest is there to let go; the reset does it.
        for card in ("disk", "nic", "r3"):
            ask("device_del", id=card)
        ask("system_reset")
        self.assertEqual({client.event("DEVICE_DELETED")["data"]["device"] for _ in range(3)}, {"disk", "nic", "r3"})
        ask("netdev_del", id="n")
        self.fails(client.ask("blockdev-del", **{"node-name": "d"}), saying="no drive")
        ask("device_add", driver="e1000", id="nic")

    def test_a_guest_that_throws_out_its_cards(self):
        eject = firmware(b"\x66\xb8\xff\xff\xff\xff\xba\x08\xae\x66\xef\xeb\xfc")  # port 0xae08: all ones, again and again
        client = self.start(
            "-S", "-netdev", "user,id=n", "-device", "e1000,netdev=n", "-device", "virtio-rng-pci", "-device", "virtio-balloon-pci",
            "-drive", f"if=none,id=a,format=raw,file={self.path('a', bytes(1 << 20))}", "-device", "virtio-blk-pci,drive=a,id=blk",
            "-drive", f"if=none,id=b,format=raw,file={self.path('b', bytes(1 << 20))}", "-device", "ahci,id=ahci",
            "-device", "ide-hd,bus=ahci.0,drive=b", "-device", "virtio-serial", "-chardev", "null,id=c", "-device",
            "virtconsole,chardev=c", "-device", "i6300esb", bios=eject)
        self.assertEqual(client.ask("cont"), {"return": {}})
        deleted = [client.event("DEVICE_DELETED")["data"] for _ in range(3)]
        self.assertEqual([d["device"] for d in deleted if "device" in d], ["blk"])
        self.assertEqual(client.ask("query-balloon")["return"]["actual"], 16 << 20, "what others hold on to stays")
        self.assertEqual(["b"], [b["device"] for b in client.ask("query-block")["return"] if "inserted" in b])
        for n in range(20):
            self.assertEqual(client.ask("device_add", driver="virtio-rng-pci", id=f"x{n}"), {"return": {}})
        self.assertEqual(client.ask("set_link", name="n", up=False), {"return": {}})
        self.assertTrue(client.ask("query-status")["return"]["running"])

    def test_what_clients_ask_at_their_start(self):
        """The probes of libvirt and of management scripts, and the form of their answers."""
        client = self.start("-uuid", "01234567-89ab-cdef-0123-456789abcdef", "-device", "virtio-rng-pci,id=rng7")
        self.assertEqual(client.ask("query-uuid")["return"], {"UUID": "01234567-89ab-cdef-0123-456789abcdef"})
        schema = {entry["name"]: entry for entry in client.ask("query-qmp-schema")["return"]}
        for command in client.ask("query-commands")["return"]:
            entry = schema[command["name"]]
            self.assertEqual(entry["meta-type"], "command")
            for member in schema[entry["arg-type"]]["members"]:
                self.assertIn(member["type"], schema)
        self.assertIn("default", [m for m in schema["screendump-arg"]["members"] if m["name"] == "format"][0])
        self.assertLessEqual({"STOP", "RESUME", "SHUTDOWN", "POWERDOWN", "RESET", "WATCHDOG", "GUEST_PANICKED"},
                             {e["name"] for e in client.ask("query-events")["return"]})
        self.assertEqual([m["name"] for m in client.ask("query-machines")["return"]], ["pc"])
        self.assertIn("Haswell", [m["name"] for m in client.ask("query-cpu-definitions")["return"]])
        self.assertIn("drive", [o["option"] for o in client.ask("query-command-line-options")["return"]])
        self.fails(client.ask("query-command-line-options", option="nosuch"))
        types = {t["name"] for t in client.ask("qom-list-types")["return"]}
        self.assertLessEqual({"virtio-blk-pci", "isa-serial", "i6300esb"}, types)
        self.assertIn("return", client.ask("device-list-properties", typename="virtio-blk-pci"))
        self.fails(client.ask("device-list-properties", typename="nosuch"), "DeviceNotFound")
        self.assertIn("rng7", [n["name"] for n in client.ask("qom-list", path="/machine/peripheral")["return"]])
        self.assertIn("machine", [n["name"] for n in client.ask("qom-list", path="/")["return"]])
        self.fails(client.ask("qom-list", path="/nosuch"), "DeviceNotFound")
        self.assertIn("cpu", client.ask("qom-get", path="/machine/unattached/device[0]", property="type")["return"])
        self.fails(client.ask("qom-get", path="/machine", property="nosuch"))
        self.fails(client.ask("balloon", value=1 << 20), "DeviceNotActive")
        client.send('{"exec-oob": "query-status"}')
        self.fails(client.answer(), saying="execute")

    def test_ring_buffers(self):
        client = self.start("-chardev", "ringbuf,id=r,size=64", "-debugcon", "chardev:r",
                            bios=firmware(b"\xb0\x41\xe6\xe9\xfa\xf4\xeb\xfd"))  # 'A' to port 0xe9
        self.assertIn({"label": "r", "filename": "ringbuf:64", "frontend-open": True}, client.ask("query-chardev")["return"])
        end = time.monotonic() + 30
        text = ""
        while text != "A" and time.monotonic() < end:
            text += client.ask("ringbuf-read", device="r", size=10)["return"]
        self.assertEqual(text, "A")
        self.assertEqual(client.ask("ringbuf-write", device="r", data="x"), {"return": {}})
        self.fails(client.ask("ringbuf-read", device="nosuch", size=1), saying="query-chardev")
        self.fails(client.ask("ringbuf-read", device="r", size=-1), saying="size")

    # Port 0x3fd until bit 0: port 0x3f8 to port 0xe9.
    ECHO = firmware(b"\xba\xfd\x03\xec\xa8\x01\x74\xf8\xba\xf8\x03\xec\xe6\xe9\xeb\xf0")

    def test_input_waits_for_the_guest(self):
        """More than anything on the way holds."""
        data = bytes(range(256)) * 256
        for serial in (("-serial", "stdio"), ("-serial", "mon:stdio")):
            heard = self.path("heard" + serial[1].replace(":", "-"))
            expected = data if serial[1] == "stdio" else data.replace(b"\x01\x02", b"")  # Ctrl-A and what is no command
            with subprocess.Popen([EMULATOR, "-display", "none", "-m", "16", "-bios", self.path("bios", self.ECHO), *serial,
                                   "-debugcon", f"file:{heard}"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as emulator:
                try:
                    emulator.stdin.write(data)
                    emulator.stdin.flush()
                    end = time.monotonic() + 60
                    while not os.path.exists(heard) or os.path.getsize(heard) < len(expected):
                        self.assertLess(time.monotonic(), end, os.path.exists(heard) and os.path.getsize(heard))
                        time.sleep(0.05)
                    with open(heard, "rb") as f:
                        self.assertEqual(f.read(), expected)
                finally:
                    emulator.kill()

    def test_monitor_shares_a_socket(self):
        path, heard = self.path("line"), self.path("heard")
        for options in (("-serial", f"mon:unix:{path},server,nowait"),
                        ("-chardev", f"socket,id=c,path={path},server=on,wait=off,mux=on,logfile={path}.log", "-serial", "chardev:c", "-mon", "chardev=c")):
            with self.subTest(options):
                client = self.start("-debugcon", f"file:{heard}", *options, bios=self.ECHO)
                with socket.socket(socket.AF_UNIX) as line:
                    line.connect(path)
                    line.settimeout(60)
                    line.sendall(b"one\x01\x01two\x01cinfo name\n")
                    text = b""
                    while b"has no name" not in text:
                        text += line.recv(4096)
                    line.sendall(b"\x01cthree")
                    end = time.monotonic() + 60
                    while open(heard, "rb").read() != b"one\x01twothree":
                        self.assertLess(time.monotonic(), end, open(heard, "rb").read())
                    line.sendall(b"\x01x")
                    self.assertEqual(self.emulator.wait(60), 0)
        with open(path + ".log", "rb") as f:
            self.assertIn(b"has no name", f.read())

    def test_flashes(self):
        # Byte 0x10 of the flash below the firmware: the command to program, and what.
        code = self.path("code", firmware(b"\x2e\xc6\x06\x10\xe0\x10\x2e\xc6\x06\x10\xe0\x5a\xfa\xf4\xeb\xfd"))
        for how, after in ((("-drive", "if=pflash,unit=1,format=raw,file={}"), 0x5a), (("-drive", "if=pflash,unit=1,readonly=on,file={}"), 0xff),
                           (("-drive", "if=pflash,unit=1,snapshot=on,file={}"), 0xff),
                           (("-blockdev", "driver=file,node-name=v,filename={}", "-machine", "pflash1=v"), 0x5a)):
            kept = self.path("kept", b"\xff" * 4096)
            client = self.start("-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={code}", *(word.format(kept) for word in how))
            end = time.monotonic() + 30
            while "halted" not in client.ask("human-monitor-command", **{"command-line": "info status"})["return"]:
                self.assertLess(time.monotonic(), end)
            client.ask("quit")
            self.emulator.wait(60)
            with open(kept, "rb") as f:
                self.assertEqual(f.read(), b"\xff" * 16 + bytes([after]) + b"\xff" * 4079, how)

    def flash_that_programs_itself(self):
        """Firmware in one flash says a byte of its own, programs it from RAM, and says it again."""
        image = bytearray(firmware(
            b"\x2e\x66\x0f\x01\x16\x00\xf1"  # lgdt cs:[0xf100]
            b"\x0f\x20\xc0\x0c\x01\x0f\x22\xc0"  # CR0.PE
            b"\xb8\x08\x00\x8e\xd8\x8e\xc0"  # ds, es: flat
            b"\xe8\xe7\x08"  # call 0xf900
            b"\xbe\x00\xf2\xbf\x00\x10\xb9\x00\x01\x2e\xf3\xa4"  # 0xf200 to 0x1000
            b"\xea\x00\x10\x10\x00"))  # jmp 0x10:0x1000
        image[0x100:0x106] = b"\x1f\x00\x08\xf1\xff\xff"
        image[0x108:0x128] = bytes.fromhex("0000000000000000 ffff00000093cf00 ffff0000009b0000 ffff0000ff9b00ff")
        at = b"\x01\xf9\xff\xff"  # 0xfffff901
        image[0x200:0x227] = (b"\x67\xc6\x05" + at + b"\x10" b"\x67\xc6\x05" + at + b"\x41"  # program
                              b"\x67\xf6\x05" + at + b"\x80" b"\x74\xf6"  # until it is ready
                              b"\x67\xc6\x05" + at + b"\xff" b"\xea\x00\xf3\x18\x00")  # array; jmp 0x18:0xf300
        image[0x300:0x307] = b"\xe8\xfd\x05\xfa\xf4\xeb\xfd"  # call 0xf900; CLI; HLT
        image[0x900:0x905] = b"\xb0\xff\xe6\xe9\xc3"  # mov al, 0xff; out 0xe9, al; ret
        return bytes(image)

    def test_firmware_programs_its_own_flash(self):
        before = self.flash_that_programs_itself()
        after = before[:0x901] + b"\x41" + before[0x902:]
        for how, said, kept in (("", b"\xffA", after), (",snapshot=on", b"\xffA", before), (",readonly=on", b"\xff\xff", before)):
            flash, heard = self.path("flash", before), self.path("heard")
            client = self.start("-drive", f"if=pflash,format=raw,file={flash}{how}", "-debugcon", f"file:{heard}")
            end = time.monotonic() + 30
            while "halted" not in client.ask("human-monitor-command", **{"command-line": "info status"})["return"]:
                self.assertLess(time.monotonic(), end)
            client.ask("quit")
            self.emulator.wait(60)
            with open(flash, "rb") as f, open(heard, "rb") as h:
                self.assertEqual((h.read(), f.read()), (said, kept), how)

    def test_panic_and_watchdog_actions(self):
        panic = firmware(b"\xba\x05\x05\xb0\x01\xee\xfa\xf4\xeb\xfd")  # port 0x505: 1
        for action, word, status in (("pause", "pause", None), ("none", "run", None), ("shutdown", "poweroff", 0), ("exit-failure", "poweroff", 1)):
            client = self.start("-S", "-device", "pvpanic", "-action", "panic=" + action, bios=panic)
            client.ask("cont")
            self.assertEqual(client.event("GUEST_PANICKED")["data"], {"action": word})
            if status is not None:
                self.assertEqual(self.emulator.wait(60), status)
                continue
            wanted = "guest-panicked" if action == "pause" else "running"
            self.assertEqual(client.ask("query-status")["return"]["status"], wanted)
            self.assertEqual(client.ask("watchdog-set-action", action="pause"), {"return": {}})
            self.fails(client.ask("watchdog-set-action", action="nosuch"))
            self.assertEqual(client.ask("set-action", panic="none", watchdog="reset"), {"return": {}})
            self.fails(client.ask("set-action", panic="nosuch"))
            client.ask("quit")
            self.emulator.wait(60)

    def test_queries(self):
        disc = self.path("disc.iso", bytes(65536))
        client = self.start("-name", "fred", "-cdrom", disc, "-nic", "user,id=lan", "-device", "virtio-balloon-pci")
        self.assertEqual(client.ask("query-name")["return"], {"name": "fred"})
        names = {c["name"] for c in client.ask("query-commands")["return"]}
        self.assertLessEqual({"qmp_capabilities", "query-commands", "quit", "stop", "cont", "screendump"}, names)
        for name in sorted(n for n in names if n.startswith("query-")):
            self.assertIn("return", client.ask(name), name)
        self.assertEqual(client.ask("query-balloon")["return"], {"actual": 16 << 20})
        self.assertEqual(client.ask("balloon", value=8 << 20), {"return": {}})
        self.fails(client.ask("balloon", value=0), saying="'value'")
        self.assertEqual(client.ask("query-kvm")["return"], {"enabled": False, "present": False})
        self.assertEqual([c["cpu-index"] for c in client.ask("query-cpus-fast")["return"]], [0])
        drive = client.ask("query-block")["return"][0]
        self.assertEqual((drive["removable"], drive["inserted"]["file"], drive["inserted"]["ro"]), (True, disc, True))
        self.assertEqual(client.ask("eject", device=drive["device"]), {"return": {}})
        self.assertNotIn("inserted", client.ask("query-block")["return"][0])
        self.assertEqual(client.ask("blockdev-change-medium", device=drive["device"], filename=disc), {"return": {}})
        self.assertIn("inserted", client.ask("query-block")["return"][0])
        devices = client.ask("query-pci")["return"][0]["devices"]
        self.assertIn({"vendor": 0x8086, "device": 0x100e}, [d["id"] for d in devices])
        self.assertEqual(client.ask("set_link", name="lan", up=False), {"return": {}})
        self.assertIn("link down", client.ask("human-monitor-command", **{"command-line": "info network"})["return"])
        self.assertIn("expected", client.ask("human-monitor-command", **{"command-line": "nosuch"})["return"])
        picture = self.path("screen.png")
        self.assertEqual(client.ask("screendump", filename=picture), {"return": {}})
        with open(picture, "rb") as f:
            self.assertEqual(f.read(8), b"\x89PNG\r\n\x1a\n")
        memory = self.path("memory")
        self.assertEqual(client.ask("pmemsave", val=0xfffffff0, size=3, filename=memory), {"return": {}})
        with open(memory, "rb") as f:
            self.assertEqual(f.read()[:1], b"\xe9")
        self.fails(client.ask("pmemsave", val=1 << 40, size=3, filename=memory), saying="no memory")
        self.assertEqual(client.ask("object-add", **{"qom-type": "rng-random", "id": "r1", "filename": "/dev/urandom"}), {"return": {}})
        self.fails(client.ask("object-add", **{"qom-type": "nosuch", "id": "r2"}), saying="nosuch")
        self.assertEqual(client.ask("device_add", driver="virtio-rng-pci", rng="r1", id="late"), {"return": {}})
        self.fails(client.ask("change-vnc-password", password="x"), saying="no VNC")
        for name, format, start in (("screen.ppm", {}, b"P6\n720 400\n255\n"), ("screen.png", {"format": "ppm"}, b"P6\n"),
                                    ("screen", {"format": "png"}, b"\x89PNG")):
            self.assertEqual(client.ask("screendump", filename=self.path(name), **format), {"return": {}})
            with open(self.path(name), "rb") as f:
                self.assertEqual(f.read(len(start)), start)
        self.fails(client.ask("screendump", filename=picture, format="gif"), saying="gif")
        self.fails(client.ask("screendump", filename=os.path.join(self.directory, "no", "x")))
        self.assertEqual(client.ask("send-key", keys=[{"type": "qcode", "data": "ret"}]), {"return": {}})
        self.fails(client.ask("send-key", keys=[{"type": "qcode", "data": "nosuch"}]))
        event = lambda type, **data: {"type": type, "data": data}
        good = [event("key", down=True, key={"type": "qcode", "data": "a"}), event("btn", down=True, button="left"),
                event("rel", axis="x", value=5), event("abs", axis="y", value=100), event("btn", down=True, button="wheel-up")]
        self.assertEqual(client.ask("input-send-event", events=good), {"return": {}})
        for bad in (5, {}, event("key", down=True), event("btn", down=True, button="nosuch"), event("rel", axis="z", value=1),
                    event("abs", axis="x", value=-1), event("rel", axis="x", value="1"), event("nosuch", axis="x", value=1)):
            self.fails(client.ask("input-send-event", events=[bad]), saying="events")

    def test_life(self):
        client = self.start("-S")
        status = lambda: client.ask("query-status")["return"]["status"]
        self.assertEqual(status(), "prelaunch")
        for command, event, after in (("cont", "RESUME", "running"), ("stop", "STOP", "paused"), ("cont", "RESUME", "running")):
            self.assertEqual(client.ask(command), {"return": {}})
            stamp = client.event(event)["timestamp"]
            self.assertLess(abs(stamp["seconds"] - time.time()), 600)
            self.assertEqual(status(), after)
        client.ask("system_reset")
        self.assertEqual(client.event("RESET")["data"], {"guest": False, "reason": "host-qmp-system-reset"})
        client.ask("system_powerdown")
        client.event("POWERDOWN")
        self.assertEqual(client.ask("quit"), {"return": {}})
        self.assertEqual(client.event("SHUTDOWN")["data"], {"guest": False, "reason": "host-qmp-quit"})
        self.assertIsNone(client.read())
        self.assertEqual(self.emulator.wait(30), 0)

    def test_the_guest_resets(self):
        client = self.start("-no-reboot", "-S", bios=RESET)
        client.ask("cont")
        self.assertEqual(client.event("SHUTDOWN")["data"], {"guest": True, "reason": "guest-reset"})
        self.assertEqual(self.emulator.wait(30), 0)

    def test_the_guest_ends(self):
        client = self.start("-device", "isa-debug-exit", "-S", bios=EXIT)
        client.ask("cont")
        self.assertEqual(client.event("SHUTDOWN")["data"], {"guest": True, "reason": "guest-shutdown"})
        self.assertEqual(self.emulator.wait(30), 5)

    def test_one_client_after_another(self):
        client = self.start()
        client.send('{"execute": "query-sta')
        client.file.close()
        client.connection.close()
        second = self.connect(self.path("qmp"))
        self.fails(second.ask("query-status"), "CommandNotFound")
        self.assertEqual(second.ask("qmp_capabilities"), {"return": {}})
        self.assertTrue(second.ask("query-status")["return"]["running"])

    def test_tcp_and_two_sessions(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        one = self.start("-qmp", f"tcp:127.0.0.1:{port},server,nowait",
                         qmp=("-chardev", f"socket,id=c,path={self.path('qmp')},server=on,wait=off", "-mon", "chardev=c,mode=control"))
        two = self.connect(("127.0.0.1", port))
        one.ask("stop")
        one.event("STOP")
        self.assertEqual(two.ask("qmp_capabilities"), {"return": {}})
        self.assertEqual(two.ask("query-status")["return"]["status"], "paused")
        two.ask("cont")
        one.event("RESUME")
        two.event("RESUME")

    def test_standard_input(self):
        result = subprocess.run([EMULATOR, "-display", "none", "-serial", "none", "-S", "-qmp", "stdio"], capture_output=True, timeout=60,
                                input=b'{"execute":"qmp_capabilities"}{"execute":"quit"}', check=True)
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        self.assertEqual([next(iter(sorted(line))) for line in lines], ["QMP", "return", "return", "data"])

    def test_monitor_commands_that_wait_already(self):
        result = subprocess.run([EMULATOR, "-display", "none", "-serial", "none", "-S", "-monitor", "stdio"], capture_output=True,
                                timeout=60, input=b"info status\nquit\n", check=True)
        self.assertIn(b"VM status: paused", result.stdout)

    def test_a_monitor_of_its_own_beside_nographic(self):
        with tempfile.TemporaryDirectory(prefix="dragoman-test.") as folder:
            for serial in ([], ["-serial", "mon:stdio"]):
                path = os.path.join(folder, f"monitor{len(serial)}")
                process = subprocess.Popen([EMULATOR, "-nographic", "-S", *serial, "-monitor", f"unix:{path},server=on,wait=off"],
                                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
                end = time.monotonic() + 60
                while not os.path.exists(path) and time.monotonic() < end:
                    time.sleep(0.05)
                with socket.socket(socket.AF_UNIX) as s:
                    s.connect(path)
                    s.sendall(b"quit\n")
                    self.assertEqual(process.wait(60), 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--emulator", required=True)
    arguments, rest = parser.parse_known_args()
    EMULATOR = arguments.emulator
    unittest.main(argv=[sys.argv[0], *rest])
