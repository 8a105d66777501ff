"""A viewer for -vnc (RFC 6143), as small as one can be: the picture, and keys."""

import socket
import struct
import time
import zlib

from picture import Picture

RAW, ZLIB, DESKTOP_SIZE = 0, 6, -223
KEYS = {"\n": 0xFF0D, "esc": 0xFF1B, "down": 0xFF54}


class Viewer:
    def __init__(self, port, host="127.0.0.1", encodings=(ZLIB, RAW, DESKTOP_SIZE)):
        self.socket = socket.create_connection((host, port), timeout=60)
        assert self.take(12) == b"RFB 003.008\n"
        self.socket.sendall(b"RFB 003.008\n")
        self.security = self.take(self.take(1)[0])
        self.encodings = encodings
        self.inflate = zlib.decompressobj()

    def enter(self):
        """Without a password."""
        self.socket.sendall(b"\x01")
        assert self.take(4) == bytes(4)
        self.socket.sendall(b"\x01")
        width, height = struct.unpack(">HH", self.take(4))
        self.take(16)
        self.name = self.take(struct.unpack(">I", self.take(4))[0]).decode()
        self.resize(width, height)
        self.socket.sendall(struct.pack(f">BxH{len(self.encodings)}i", 2, len(self.encodings), *self.encodings))
        self.ask(False)
        self.update()
        return self

    def take(self, count):
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            if not part:
                raise EOFError(f"the server hung up after {data!r}")
            data += part
        return data

    def resize(self, width, height):
        self.width, self.height = width, height
        self.pixels = bytearray(4 * width * height)

    def ask(self, incremental):
        self.socket.sendall(struct.pack(">BBHHHH", 3, incremental, 0, 0, self.width, self.height))

    def update(self):
        kind, count = struct.unpack(">BxH", self.take(4))
        assert kind == 0
        for _ in range(count):
            x, y, width, height, encoding = struct.unpack(">HHHHi", self.take(12))
            if encoding == DESKTOP_SIZE:
                self.resize(width, height)
                continue
            if encoding == RAW:
                data = self.take(4 * width * height)
            else:
                assert encoding == ZLIB
                data = self.inflate.decompress(self.take(struct.unpack(">I", self.take(4))[0]))
            assert len(data) == 4 * width * height
            for row in range(height):
                at = 4 * ((y + row) * self.width + x)
                self.pixels[at:at + 4 * width] = data[4 * row * width:4 * (row + 1) * width]
        self.ask(True)

    def picture(self):
        """As it is now: takes the updates that have come."""
        while True:
            self.socket.settimeout(0.1)
            try:
                if not self.socket.recv(1, socket.MSG_PEEK):
                    raise EOFError("the server hung up")
            except (TimeoutError, socket.timeout):
                break
            self.socket.settimeout(60)
            self.update()
        rows = []
        for y in range(self.height):
            line = self.pixels[4 * y * self.width:4 * (y + 1) * self.width]
            rgb = bytearray(3 * self.width)
            rgb[0::3], rgb[1::3], rgb[2::3] = line[2::4], line[1::4], line[0::4]
            rows.append(bytes(rgb))
        return Picture(self.width, self.height, rows)

    def press(self, key):
        symbol = KEYS.get(key) or ord(key)
        for down in (1, 0):
            self.socket.sendall(struct.pack(">BBxxI", 4, down, symbol))

    def type(self, text):
        for key in text:
            self.press(key)
            time.sleep(0.03)  # a keyboard holds a few keys only

    def point(self, x, y, buttons):
        self.socket.sendall(struct.pack(">BBHH", 5, buttons, x, y))

    def close(self):
        self.socket.close()
