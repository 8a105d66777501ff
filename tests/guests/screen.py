"""The picture that a program draws on a terminal of 80 by 25: enough of a VT100 to read firmware menus and memtest86+."""

import re


class Screen:
    def __init__(self, columns=80, rows=25):
        self.columns = columns
        self.rows = rows
        self.cells = [[" "] * columns for _ in range(rows)]
        self.row = 0
        self.column = 0
        self.rest = ""

    def feed(self, data):
        """Draw these bytes; a sequence that is cut off is kept until the rest arrives."""
        text = self.rest + data.decode("latin-1")
        self.rest = ""
        at = 0
        while at < len(text):
            if text[at] == "\x1b":
                match = re.compile(r"\x1b(?:\[([0-9;?]*)([A-Za-z])|([^\[]))").match(text, at)
                if not match:
                    if len(text) - at < 16:
                        self.rest = text[at:]
                        return
                    at += 1
                    continue
                at = match.end()
                if match.group(2):
                    self.control(match.group(2), [int(n) for n in re.findall(r"\d+", match.group(1))])
            else:
                self.put(text[at])
                at += 1

    def control(self, letter, numbers):
        if letter in "Hf":
            row, column = (numbers + [1, 1])[:2] if len(numbers) != 1 else (numbers[0], 1)
            self.row = min(max(row, 1), self.rows) - 1
            self.column = min(max(column, 1), self.columns) - 1
        elif letter == "J":
            self.cells = [[" "] * self.columns for _ in range(self.rows)]
        elif letter == "K":
            for column in range(self.column, self.columns):
                self.cells[self.row][column] = " "

    def put(self, char):
        if char == "\r":
            self.column = 0
        elif char == "\n":
            if self.row + 1 < self.rows:
                self.row += 1
            else:
                self.cells = self.cells[1:] + [[" "] * self.columns]
        elif char == "\b":
            self.column = max(0, self.column - 1)
        elif char >= " ":
            self.cells[self.row][self.column] = char
            self.column = min(self.column + 1, self.columns - 1)

    def text(self):
        return "\n".join("".join(row).rstrip() for row in self.cells)
