"""Pictures of the guest's screen, from PNG files or from an X server's frame buffer, and the text that they show."""

import struct
import zlib

VGA_BIOS = "/usr/share/seabios/vgabios-stdvga.bin"
LETTER_A = bytes([0, 0, 0x10, 0x38, 0x6C, 0xC6, 0xC6, 0xFE, 0xC6, 0xC6, 0xC6, 0xC6, 0, 0, 0, 0])


class Picture:
    """`rows` holds for each line of dots three bytes for each dot: red, green, blue."""

    def __init__(self, width, height, rows):
        self.width = width
        self.height = height
        self.rows = rows

    def __eq__(self, other):
        return (self.width, self.height, self.rows) == (other.width, other.height, other.rows)

    def cut(self, x, y, width, height):
        return Picture(width, height, [row[3 * x:3 * (x + width)] for row in self.rows[y:y + height]])

    def text(self):
        """What a text mode of 16-dot characters shows; what is not in the font is a question mark."""
        font = glyphs()
        cell = 9 if self.width == 720 else 8
        lines = []
        for top in range(0, self.height - 15, 16):
            line = ""
            for left in range(0, self.width - cell + 1, cell):
                dots = [[self.rows[top + y][3 * (left + x):3 * (left + x) + 3] for x in range(8)] for y in range(16)]
                first = dots[0][0]
                shape = bytes(sum((dot != first) << (7 - x) for x, dot in enumerate(row)) for row in dots)
                line += font.get(shape) or font.get(bytes(255 - b for b in shape)) or "?"
            lines.append(line.rstrip())
        return "\n".join(lines)


def glyphs():
    with open(VGA_BIOS, "rb") as file:
        rom = file.read()
    start = rom.index(LETTER_A) - 16 * ord("A")
    return {rom[start + 16 * n:start + 16 * n + 16]: chr(n) for n in range(126, 31, -1)}


def read_png(path):
    """8-bit RGB without interlace, which is what the emulator writes."""
    with open(path, "rb") as file:
        data = file.read()
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        raise ValueError(f"{path} is no PNG file")
    at, body, header = 8, b"", None
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        chunk = data[at + 8:at + 8 + length]
        if zlib.crc32(kind + chunk) != struct.unpack_from(">I", data, at + 8 + length)[0]:
            raise ValueError(f"{path}: wrong checksum of {kind}")
        if kind == b"IHDR":
            header = struct.unpack(">IIBBBBB", chunk)
        elif kind == b"IDAT":
            body += chunk
        at += 12 + length
    width, height, depth, colour, _, _, interlace = header
    if (depth, colour, interlace) != (8, 2, 0):
        raise ValueError(f"{path}: expected 8-bit RGB, got depth {depth}, colour type {colour}")
    packed = zlib.decompress(body)
    stride = 3 * width
    rows, above = [], bytes(stride)
    for y in range(height):
        kind = packed[y * (stride + 1)]
        line = bytearray(packed[y * (stride + 1) + 1:(y + 1) * (stride + 1)])
        for x in range(stride) if kind else ():
            a = line[x - 3] if x >= 3 else 0
            b, c = above[x], above[x - 3] if x >= 3 else 0
            if kind == 4:  # Paeth: the neighbour that is nearest to a + b - c
                p = min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))[2]
            else:
                p = {1: a, 2: b, 3: (a + b) // 2}[kind]
            line[x] = (line[x] + p) & 255
        above = bytes(line)
        rows.append(above)
    return Picture(width, height, rows)


def read_xwd(path):
    """An X window dump of 32 bits a dot, such as the frame buffer file of Xvfb -fbdir."""
    with open(path, "rb") as file:
        data = file.read()
    fields = struct.unpack_from(">25I", data)
    width, height, little, bits, stride, colours = fields[4], fields[5], fields[7] == 0, fields[11], fields[12], fields[19]
    if bits != 32 or not little:
        raise ValueError(f"{path}: expected 32 bits a dot, little-endian")
    start = fields[0] + 12 * colours
    rows = []
    for y in range(height):
        line = data[start + y * stride:start + y * stride + 4 * width]
        row = bytearray(3 * width)
        row[0::3], row[1::3], row[2::3] = line[2::4], line[1::4], line[0::4]
        rows.append(bytes(row))
    return Picture(width, height, rows)
