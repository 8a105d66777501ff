"""The GDB stub, by a small client of the remote serial protocol and by the gdb program, on a guest that goes through
real, protected and long mode (modes_rom.S)."""

import argparse
import os
import pathlib
import re
import shutil
import socket
import struct
import subprocess
import sys
import time
import unittest

ARGS = None
SYMBOLS = {}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Emulator:
    def __init__(self, *options, arch=None):
        self.port = free_port()
        address = f"tcp::{self.port}" + (f",arch={arch}" if arch else "")
        command = [ARGS.emulator, "-bios", ARGS.rom, "-m", "32", "-display", "none", "-gdb", address, *ARGS.options, *options]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for _ in range(500):
            with open("/proc/net/tcp") as table:
                if f"0100007F:{self.port:04X} 00000000:0000 0A" in table.read():
                    return
            if self.process.poll() is not None:
                raise AssertionError(f"the emulator ended: {self.process.stdout.read()}")
            time.sleep(0.01)
        raise AssertionError("the emulator does not listen")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Client:
    """Speaks the protocol. Registers by the names of the description that the stub gives."""

    def __init__(self, emulator, acknowledge=False):
        self.socket = socket.create_connection(("127.0.0.1", emulator.port), timeout=20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.acknowledge = True
        self.pending = b""
        features = self.ask("qSupported:multiprocess+;swbreak+;hwbreak+;xmlRegisters=i386")
        assert "PacketSize=" in features and "qXfer:features:read+" in features, features
        if not acknowledge:
            assert self.ask("QStartNoAckMode") == "OK"
            self.acknowledge = False
        xml = ""
        while True:
            part = self.ask(f"qXfer:features:read:target.xml:{len(xml):x},400")
            xml += part[1:]
            if part[0] == "l":
                break
        self.arch = re.search("<architecture>(.*)</architecture>", xml).group(1)
        self.registers = re.findall(r'<reg name="(\w+)" bitsize="(\d+)"', xml)

    def close(self):
        self.socket.close()

    def byte(self):
        while not self.pending:
            self.pending = self.socket.recv(65536)
            assert self.pending, "the stub closed the connection"
        first, self.pending = self.pending[:1], self.pending[1:]
        return first

    def send(self, data):
        if isinstance(data, str):
            data = data.encode("latin1")
        escaped = b"".join(bytes([0x7D, b ^ 0x20]) if b in b"}$#*" else bytes([b]) for b in data)
        self.socket.sendall(b"$" + escaped + b"#%02x" % (sum(escaped) & 255))
        if self.acknowledge:
            answer = self.byte()
            assert answer == b"+", answer

    def receive(self):
        while (first := self.byte()) != b"$":
            assert first in b"+", first
        data = b""
        while (b := self.byte()) != b"#":
            data += b
        digits = self.byte() + self.byte()
        assert int(digits, 16) == sum(data) & 255, (data, digits)
        if self.acknowledge:
            self.socket.sendall(b"+")
        return re.sub(b"}(.)", lambda m: bytes([m.group(1)[0] ^ 0x20]), data, flags=re.S).decode("latin1")

    def ask(self, data):
        self.send(data)
        return self.receive()

    def all_registers(self):
        data = bytes.fromhex(self.ask("g"))
        values, at = {}, 0
        for name, bits in self.registers:
            size = int(bits) // 8
            values[name] = int.from_bytes(data[at:at + size], "little")
            at += size
        assert at == len(data), (at, len(data))
        return values

    def number(self, name):
        return [n for n, _ in self.registers].index(name)

    def register(self, name):
        return int.from_bytes(bytes.fromhex(self.ask(f"p{self.number(name):x}")), "little")

    def set_register(self, name, value):
        size = int(dict(self.registers)[name]) // 8
        return self.ask(f"P{self.number(name):x}={value.to_bytes(size, 'little').hex()}")

    @property
    def pc(self):
        return self.register("rip" if self.arch == "i386:x86-64" else "eip")

    def read(self, address, size=4):
        return int.from_bytes(bytes.fromhex(self.ask(f"m{address:x},{size:x}")), "little")

    def monitor(self, words):
        """What the monitor prints: packets of output (O...) up to OK."""
        self.send("qRcmd," + words.encode().hex())
        text = ""
        while (part := self.receive()) != "OK":
            text += bytes.fromhex(part.removeprefix("O")).decode()
        return text

    def write(self, address, value, size=1):
        answer = self.ask(f"M{address:x},{size:x}:{value.to_bytes(size, 'little').hex()}")
        assert answer == "OK", answer

    def run_to(self, symbol):
        """With a breakpoint of its own."""
        address = SYMBOLS[symbol]
        assert self.ask(f"Z1,{address:x},1") == "OK"
        stop = self.ask("c")
        assert stop.startswith("T05"), stop
        assert self.pc == address, (hex(self.pc), symbol)
        assert self.ask(f"z1,{address:x},1") == "OK"
        return stop

    def enter(self, mode):
        """Runs to the step function of a mode."""
        for number, name in ((1, "pm_step"), (2, "lm_step")):
            if mode == "real":
                break
            self.write(0x600, number)
            self.run_to(name)
            if mode == name[:2]:
                return
        self.run_to("real_step")


MODES = {  # mode: architecture, step function, loop, counter
    "real": ("i8086", "real_step", "real_loop", 0x500),
    "pm": ("i386", "pm_step", "pm_loop", 0x504),
    "lm": ("x86-64", "lm_step", "lm_loop", 0x508),
}


class Protocol(unittest.TestCase):
    def started(self, mode, **how):
        emulator = Emulator("-S", arch=MODES[mode][0], **how)
        self.addCleanup(emulator.__exit__)
        client = Client(emulator)
        self.addCleanup(client.close)
        client.enter(mode)
        return emulator, client

    def test_at_reset(self):
        with Emulator("-S") as emulator:
            client = Client(emulator, acknowledge=True)
            self.assertEqual(client.arch, "i8086")
            self.assertTrue(client.ask("?").startswith("T05"))
            registers = client.all_registers()
            self.assertEqual(registers["eip"], 0xFFFFFFF0, "the linear address")
            self.assertEqual(registers["cs"], 0xF000)
            self.assertEqual(registers["cr0"], 0x60000010)
            self.assertEqual(client.read(0xFFFFFFF0, 5), 0xF0000000EA)
            client.close()

    def test_architecture_follows_the_mode(self):
        for mode in MODES:
            with Emulator("-S", arch="x86-64") as emulator:
                first = Client(emulator)
                first.enter(mode)
                first.close()
            with self.subTest(mode=mode):
                self.assertEqual(first.arch, "i386:x86-64")
        with Emulator("-S") as emulator:
            client = Client(emulator)
            client.enter("lm")
            self.assertEqual(client.ask("D"), "OK")
            client.close()
            client = Client(emulator)
            self.assertEqual(client.arch, "i386:x86-64")
            self.assertEqual(client.register("rbx"), 0x123456789ABCDEF0)
            client.close()

    def test_breakpoint_counts_exactly(self):
        """Every pass is seen, whichever way control comes to the breakpoint: call, jump, return."""
        for mode, (_, step, loop, counter) in MODES.items():
            _, client = self.started(mode)
            after_call = client.read(client.register("rsp" if mode == "lm" else "esp"), 2) | 0xF0000
            for address in (SYMBOLS[step], SYMBOLS[loop], after_call):
                with self.subTest(mode=mode, address=hex(address)):
                    self.assertEqual(client.ask(f"Z0,{address:x},1"), "OK")
                    client.ask("c")
                    before = client.read(counter)
                    for n in range(1, 200):
                        stop = client.ask("c")
                        self.assertIn("swbreak", stop)
                        self.assertEqual(client.pc, address)
                        self.assertEqual(client.read(counter), before + n)
                    self.assertEqual(client.ask(f"z0,{address:x},1"), "OK")

    def test_code_runs_at_speed_between_breakpoints(self):
        """A breakpoint that is never reached must not slow the guest to single steps. Counted, not timed: steps and blocks
        cut short come back to the run loop more often for each round of the guest's loop."""
        def returns_a_round(points):
            _, client = self.started("lm")
            for address in points:
                self.assertEqual(client.ask(f"Z0,{address:x},1"), "OK")

            def counts():
                returns = re.search(r"(\d+) lookups", client.monitor("info jit"))
                return int(returns.group(1)), client.read(0x508, 8)

            returns, rounds = counts()
            client.send("c")
            while client.read(0x508, 8) < rounds + 10000:
                time.sleep(0.01)
            client.socket.sendall(b"\x03")
            self.assertTrue(client.receive().startswith("T02"))
            last_returns, last_rounds = counts()
            return (last_returns - returns) / (last_rounds - rounds)
        free, held = returns_a_round([]), returns_a_round([SYMBOLS["start"], 0x12345])
        self.assertLess(held, free + 0.05, "returns to the run loop for a round of the loop")

    def test_steps(self):
        for mode, (_, step, loop, counter) in MODES.items():
            with self.subTest(mode=mode):
                _, client = self.started(mode)
                before = client.read(counter)
                self.assertTrue(client.ask("s").startswith("T05"))
                self.assertEqual(client.read(counter), before + 1, "inc")
                self.assertTrue(client.ask("vCont;s:1;c").startswith("T05"), "ret")
                stack = "rsp" if mode == "lm" else "esp"
                self.assertEqual(client.register(stack), 0x7000)
                client.ask("s")  # cmp
                client.ask("s")  # jne
                self.assertEqual(client.pc, SYMBOLS[loop])
                client.ask("s")  # call
                self.assertEqual(client.pc, SYMBOLS[step])

    def test_watchpoints(self):
        for mode, (_, step, _, counter) in MODES.items():
            with self.subTest(mode=mode):
                _, client = self.started(mode)
                self.assertEqual(client.ask(f"Z2,{counter:x},4"), "OK")
                for n in range(3):
                    before = client.read(counter)
                    self.assertIn(f"watch:{counter:x};", client.ask("c"))
                    self.assertEqual(client.read(counter), before + 1)
                self.assertEqual(client.ask(f"z2,{counter:x},4"), "OK")
                self.assertEqual(client.ask("Z3,600,1"), "OK")
                self.assertIn("rwatch:600;", client.ask("c"))
                self.assertEqual(client.ask("z3,600,1"), "OK")
                self.assertEqual(client.ask("Z4,600,1"), "OK")
                self.assertIn("awatch:600;", client.ask("c"))
                self.assertEqual(client.ask("z4,600,1"), "OK")

    def test_interrupt_and_continue(self):
        _, client = self.started("pm")
        for _ in range(5):
            before = client.read(0x504)
            client.send("c")
            time.sleep(0.05)
            client.socket.sendall(b"\x03")
            self.assertTrue(client.receive().startswith("T02"))
            after = client.read(0x504)
            self.assertNotEqual(after, before)
            time.sleep(0.02)
            self.assertEqual(client.read(0x504), after, "stopped means stopped")

    def test_registers_are_written(self):
        _, client = self.started("lm")
        for name, _ in client.registers:
            if name in ("cs", "ss", "ds", "es", "fs", "gs", "rip", "eflags", "fstat") or name.startswith("cr") or name == "efer":
                continue
            with self.subTest(register=name):
                bits = int(dict(client.registers)[name])
                value = {"mxcsr": 0x1FA0, "ftag": 0x5555, "fop": 0x123}.get(name, 0x1112131415161718191A1B1C1D1E1F200102030405060708090A0B0C0D0E0F10 & ((1 << bits) - 1))
                if name in ("fctrl", "fiseg", "foseg"):
                    value &= 0xFFFF
                if name in ("fs_base", "gs_base", "k_gs_base"):
                    value = 0xFFFF800012345678
                if name == "ftag":
                    value = client.register(name)
                self.assertEqual(client.set_register(name, value), "OK")
                self.assertEqual(client.register(name), value)
        wide = {"ymm3h": (4, "ymm4h"), "zmm3h": (4, "zmm4h"), "k1": (1, "k2")}  # neighbours stay apart
        for name, (value, other) in wide.items():
            if name in dict(client.registers):
                before = client.register(other)
                self.assertEqual(client.set_register(name, value), "OK")
                self.assertEqual((client.register(name), client.register(other)), (value, before))
        self.assertEqual(client.set_register("fs_base", 1 << 62), "E16", "not canonical")
        self.assertEqual(client.set_register("mxcsr", 1 << 20), "E16", "reserved bits")
        self.assertEqual(client.set_register("cr0", 0x80000000), "E16", "PG without PE")
        self.assertEqual(client.set_register("cs", 0x30), "E16")
        everything = client.ask("g")
        self.assertEqual(client.ask("G" + everything), "OK")
        self.assertEqual(client.ask("g"), everything)

    def test_pc_is_linear_and_may_be_set(self):
        _, client = self.started("real")
        self.assertEqual(client.set_register("eip", SYMBOLS["real_loop"]), "OK")
        self.assertEqual(client.pc, SYMBOLS["real_loop"])
        client.ask("s")
        self.assertEqual(client.pc, SYMBOLS["real_step"])
        self.assertTrue(client.ask(f"s{SYMBOLS['real_loop']:x}").startswith("T05"))
        self.assertEqual(client.pc, SYMBOLS["real_step"])

    def test_code_written_by_the_debugger_runs(self):
        _, client = self.started("lm")
        # inc qword [0x508]; jmp $-8
        code = bytes.fromhex("48ff042508050000" + "ebf6")
        self.assertEqual(client.ask(f"X9000,{len(code):x}:" + code.decode("latin1")), "OK")
        client.set_register("rip", 0x9000)
        client.send("c")
        time.sleep(0.05)
        client.socket.sendall(b"\x03")
        client.receive()
        # Now it counts by 2: the translations made before are stale.
        code = bytes.fromhex("4883042508050000" + "02" + "ebf5")
        self.assertEqual(client.ask(f"X9000,{len(code):x}:" + code.decode("latin1")), "OK")
        client.set_register("rip", 0x9000)
        before = client.read(0x508, 8)
        self.assertEqual(client.ask("Z0,9009,1"), "OK")
        client.ask("c")
        self.assertEqual(client.read(0x508, 8), before + 2)
        client.ask("c")
        self.assertEqual(client.read(0x508, 8), before + 4)

    def test_memory_errors(self):
        _, client = self.started("lm")
        self.assertEqual(client.ask("m40000000,4"), "E0e", "not mapped by the guest")
        self.assertEqual(client.ask("m8000000000000000,4"), "E0e", "not canonical")
        self.assertEqual(client.ask("M40000000,1:00"), "E0e")
        self.assertEqual(client.ask("Mf0000,1:00"), "E0e", "ROM")
        self.assertEqual(len(client.ask("m1ffe,4")), 8, "across a page")
        self.assertEqual(client.ask("m1fffffe,4"), "0000", "as much as there is")

    def test_bad_packets(self):
        _, client = self.started("real")
        for packet in ("m", "mzz,1", "m0", "m0,", "m0,fffffff", "M0,1", "M0,2:00", "M0,1:0", "M0,1:zz", "X0,4:a", "p", "pffff", "P",
                       "P0", "P0=", "P0=00", "Pffff=00", "G0", "Gzz", "Z0", "Z0,", "Z0,0", "Z0,zz,1", "Z2,0,0", "Z2,0,10000", "vCont;x",
                       "vCont;", "cxyz", "qXfer:features:read:target.xml:", "qXfer:features:read:target.xml:fffff,10", "qRcmd,0", "T7",
                       "m" + "f" * 17 + ",1"):
            self.assertRegex(client.ask(packet), "^E[0-9a-f]{2}$", packet)
        for packet in ("", "Q", "qUnknown", "vMustReplyEmpty", "Z9,0,1", "~", "\0"):
            self.assertEqual(client.ask(packet), "", packet)
        self.assertRegex(client.ask("m0," + "0" * 70000), "^E", "longer than PacketSize")
        for _ in range(1100):
            answer = client.ask(f"Z0,{0x100000 + _:x},1")
        self.assertEqual(answer, "E1c", "breakpoints are bounded")
        self.assertEqual(client.ask("qC"), "QC1")
        # Noise, and half a packet when the connection ends.
        client.socket.sendall(bytes(b for b in os.urandom(5000) if b not in b"$\x03"))
        self.assertEqual(client.ask("qC"), "QC1")
        client.socket.sendall(b"$m0,")

    def test_bad_checksum_is_asked_for_again(self):
        with Emulator("-S") as emulator:
            client = Client(emulator, acknowledge=True)
            client.socket.sendall(b"$qC#00")
            self.assertEqual(client.byte(), b"-")
            self.assertEqual(client.ask("qC"), "QC1")
            client.socket.sendall(b"-")
            self.assertEqual(client.receive(), "QC1", "the last answer again")
            client.close()

    def test_detach_and_hanging_up_let_the_machine_go_on(self):
        for how in ("detach", "hang up"):
            with self.subTest(how=how):
                emulator, client = self.started("real")
                self.assertEqual(client.ask(f"Z0,{SYMBOLS['real_step']:x},1"), "OK")
                if how == "detach":
                    self.assertEqual(client.ask("D"), "OK")
                client.close()
                time.sleep(0.1)
                client = Client(emulator)
                first = client.read(0x500)
                client.send("c")
                time.sleep(0.1)
                client.socket.sendall(b"\x03")
                self.assertTrue(client.receive().startswith("T02"), "the breakpoint has gone with its debugger")
                self.assertGreater(client.read(0x500), first)
                client.close()

    def test_monitor_commands_and_kill(self):
        emulator, client = self.started("pm")
        self.assertEqual(client.monitor("print $ebx"), "0x12345678\n")
        client.send("k")
        self.assertEqual(emulator.process.wait(10), 0)

    def test_attach_stops_a_running_machine(self):
        with Emulator() as emulator:
            time.sleep(0.2)
            client = Client(emulator)
            count = client.read(0x500)
            self.assertGreater(count, 0)
            time.sleep(0.05)
            self.assertEqual(client.read(0x500), count)
            client.close()


class WithGdb(unittest.TestCase):
    def gdb(self, emulator, *commands):
        command = [ARGS.gdb, "-nx", "-batch", "-ex", "set pagination off", "-ex", f"target remote :{emulator.port}"]
        for c in commands:
            command += ["-ex", c]
        result = subprocess.run(command, capture_output=True, text=True, timeout=120)
        for line in result.stderr.splitlines():
            self.assertRegex(line, "warning|of GDB|determining executable|^$|[0-9a-f]+  |VM status", result.stderr)
        return result.stdout

    def test_each_mode(self):
        if not ARGS.gdb:
            self.skipTest("there is no gdb here")
        for mode, (arch, step, loop, counter) in MODES.items():
            sp, pc = ("rsp", "rip") if mode == "lm" else ("esp", "eip")
            with self.subTest(mode=mode), Emulator("-S", arch=arch) as emulator:
                ways = {"real": [], "pm": [1], "lm": [1, 2]}[mode]
                prepare = []
                # GDB puts YMM and ZMM together from their parts.
                wide = "avx512f" in pathlib.Path("/proc/cpuinfo").read_text() and mode == "lm"
                vectors = ["set $ymm3h=0x55", "set $k1=0x1234", "p $ymm3.v2_int128[1]", "p $k1", "p sizeof($zmm17)"] if wide else []
                show = f'printf "count %d\\n", *(int*){counter:#x}'
                for number, name in zip(ways, ("pm_step", "lm_step")):
                    prepare += [f"set {{char}}0x600={number}", f"tbreak *{SYMBOLS[name]:#x}", "continue"]
                out = self.gdb(emulator, *prepare, f"break *{SYMBOLS[loop]:#x}", "continue", show,
                               "continue", show, "x/2i $pc", "stepi", f"printf \"at %#x\\n\", ${pc}",
                               "x/2i $pc", "delete", f"watch *(int*){counter:#x}", "continue", "delete", f"info registers {sp} cs cr0",
                               f"set ${'rax' if mode == 'lm' else 'eax'}=42", f"p ${'rax' if mode == 'lm' else 'eax'}", "p $xmm1", "p $st0",
                               *vectors,
                               "monitor info status", "detach")
                counts = [int(c) for c in re.findall("count (\\d+)", out)]
                self.assertEqual(len(counts), 2, out)
                self.assertEqual(counts[1], counts[0] + 1, out)
                self.assertRegex(out, f"=> {SYMBOLS[loop]:#x}:\\s+call\\s+{SYMBOLS[step]:#x}", out)
                self.assertIn(f"at {SYMBOLS[step]:#x}", out)
                self.assertRegex(out, f"=> {SYMBOLS[step]:#x}:\\s+inc", out)
                self.assertIn("New value = ", out)
                self.assertIn(" = 42", out)
                self.assertIn("detached", out)
                if wide:
                    self.assertRegex(out, " = 85\\n.* = 4660\\n.* = 64\\n", out)


def main():
    global ARGS
    parser = argparse.ArgumentParser()
    parser.add_argument("--emulator", required=True)
    parser.add_argument("--rom", required=True, help="image of modes_rom.S")
    parser.add_argument("--symbols", required=True, help="output of nm for it")
    parser.add_argument("--option", dest="options", action="append", default=[], help="for the emulator, as --option=-verify")
    ARGS, rest = parser.parse_known_args()
    ARGS.options = [word for option in ARGS.options for word in option.split()]
    ARGS.gdb = shutil.which("gdb")
    with open(ARGS.symbols) as symbols:
        for line in symbols:
            address, _, name = line.rpartition(" ")
            if address.split()[:1] and name:
                try:
                    SYMBOLS[name.strip()] = int(address.split()[0], 16)
                except ValueError:
                    pass
    unittest.main(argv=[sys.argv[0], *rest])


if __name__ == "__main__":
    main()
