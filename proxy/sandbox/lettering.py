"""
Words as a PNG: a small font of our own, 3 by 5 dots, and the standard library's zlib.

Format: https://www.w3.org/TR/png-3/
"""

from __future__ import annotations

import hashlib
import struct
import unicodedata
import zlib

# Five rows of three dots each, as octal digits: 7 is three dots, 5 the two outer ones.
FONT = {
    **{"A": "25755", "B": "65656", "C": "34443", "D": "65556", "E": "74647", "F": "74644"},
    **{"G": "34553", "H": "55755", "I": "72227", "J": "11152", "K": "55655", "L": "44447"},
    **{"M": "57755", "N": "65555", "O": "25552", "P": "65644", "Q": "25563", "R": "65655"},
    **{"S": "34216", "T": "72222", "U": "55557", "V": "55552", "W": "55775", "X": "55255"},
    **{"Y": "55222", "Z": "71247", "0": "75557", "1": "26227", "2": "61247", "3": "61216"},
    **{"4": "55711", "5": "74616", "6": "34757", "7": "71222", "8": "75757", "9": "75716"},
    **{" ": "00000", ".": "00002", ",": "00024", "!": "22202", "?": "61202", "-": "00700"},
    **{":": "02020", ";": "02024", "'": "22000", '"': "55000", "/": "11244", "_": "00007"},
    **{"(": "12221", ")": "42224", "+": "02720", "=": "07070", "*": "05250", "#": "57575"},
}
UNKNOWN = "77777"
CYRILLIC = dict(
    zip(
        "АБВГДЕЁЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯ",
        "A B V G D E E ZH Z I Y K L M N O P R S T U F KH TS CH SH SHCH - Y - E YU YA".split(),
        strict=True,
    )
)
ROWS, ADVANCE, LINE = 5, 4, 7
SMALLEST_DOT, DOTS_A_LINE = 2, 100
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png(words: str, *, width: int, height: int) -> bytes:
    """Return a picture of this size that shows the words; its colour is theirs, too."""
    blank = bytes(1 + width)
    rows: list[bytes] = []
    dot = max(SMALLEST_DOT, width // DOTS_A_LINE)
    margin = 2 * dot
    rows += [blank] * margin
    for line in wrapped(spelled(words), columns=max(1, (width - 2 * margin) // (ADVANCE * dot))):
        for bits in range(ROWS):
            rows += [_row(line, bits, dot=dot, margin=margin, width=width)] * dot
        rows += [blank] * (LINE - ROWS) * dot
    rows = (rows + [blank] * height)[:height]
    return _file(b"".join(rows), width=width, height=height, colour=colour(words))


def spelled(words: str) -> str:
    """Return words in the letters that the font has."""
    letters = (CYRILLIC.get(letter, letter) for letter in words.upper())
    plain = unicodedata.normalize("NFKD", "".join(letters))
    return "".join(letter for letter in plain if not unicodedata.combining(letter))


def wrapped(text: str, *, columns: int) -> list[str]:
    """Break a text into lines; a longer word is cut."""
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > columns:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
        while len(lines[-1]) > columns:
            lines[-1:] = [lines[-1][:columns], lines[-1][columns:]]
    return lines


def colour(words: str) -> bytes:
    """Return a dark colour, the same for the same words."""
    return bytes(byte // 3 for byte in hashlib.sha256(words.encode()).digest()[:3])


def _row(line: str, row: int, *, dot: int, margin: int, width: int) -> bytes:
    dots = [int(FONT.get(letter, UNKNOWN)[row]) for letter in line]
    pixels = b"".join(_letter(three, dot) for three in dots)
    # The first byte of a row says how it is filtered: not at all.
    return (bytes(1 + margin) + pixels).ljust(1 + width, b"\x00")[: 1 + width]


def _letter(three: int, dot: int) -> bytes:
    return b"".join(bytes([three >> bit & 1]) * dot for bit in (2, 1, 0)) + bytes(dot)


def _file(rows: bytes, *, width: int, height: int, colour: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    return b"".join(
        (
            SIGNATURE,
            _chunk(b"IHDR", header),
            _chunk(b"PLTE", colour + b"\xff\xff\xff"),
            _chunk(b"IDAT", zlib.compress(rows, 1)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(name: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + check
