"""The page frames of a raw kdump file, and their contents.

The source is the description of the format in makedumpfile's IMPLEMENTATION file. It reads dumps of
machines of 32 and 64 bits and of both byte orders.
"""

import struct
import zlib
from collections.abc import Iterator

SIGNATURE = b"KDUMP   "
UTSNAME_AT, UTSNAME_FIELD = 12, 65
MACHINE = 4  # The field of utsname that names it.
WORDS_32 = ("i386", "i486", "i586", "i686", "arm")
# After utsname, on 64-bit machines aligned to 8: a timeval of two longs, then
# status, block_size, sub_hdr_size, bitmap_blocks.
TIMEVAL = {32: (404, 8), 64: (408, 16)}
COUNTS = "IiiI"
DESCRIPTOR = "QIIQ"  # offset, size, flags, page_flags
# A larger header_version was read in the wrong byte order.
VERSIONS = 256
ZLIB = 1
# For each byte, which of its bits are set.
BITS = [[bit for bit in range(8) if byte >> bit & 1] for byte in range(256)]


class Kdump:
    """An open dump."""

    def __init__(self, path: str) -> None:
        """Reads headers and bitmaps. Ends the program if the file is no raw kdump."""
        self.file = open(path, "rb")  # noqa: SIM115 - Open as long as the program runs.
        head = self.file.read(512)
        if head[:8] != SIGNATURE:
            raise SystemExit(f"{path}: not a raw kdump file")
        self.order = "<" if struct.unpack_from("<i", head, 8)[0] < VERSIONS else ">"
        at = UTSNAME_AT + MACHINE * UTSNAME_FIELD
        machine = head[at : at + UTSNAME_FIELD].split(b"\0")[0].decode()
        word = 32 if machine in WORDS_32 else 64
        start, size = TIMEVAL[word]
        counts = struct.unpack_from(self.order + COUNTS, head, start + size)
        self.block_size: int
        _, self.block_size, sub_header, blocks = counts
        half = blocks * self.block_size // 2
        # The sub-header begins with phys_base, of one word, and dump_level.
        self.file.seek(self.block_size + word // 8)
        self.dump_level: int
        (self.dump_level,) = struct.unpack(self.order + "i", self.file.read(4))
        at = (1 + sub_header) * self.block_size
        self.file.seek(at)
        # A bit for each page frame: RAM, and what is in the dump.
        self.ram, self.there = (int.from_bytes(self.file.read(half), "little") for _ in range(2))
        self.descriptors_at = at + 2 * half

    def missing(self) -> int:
        """Returns the page frames of RAM that the dump does not have, as bits."""
        return self.ram & ~self.there

    def pages(self) -> Iterator[tuple[int, bytes]]:
        """Yields each page frame and its contents, of dumps in zlib."""
        size = struct.calcsize(self.order + DESCRIPTOR)
        for number, frame in enumerate(frames(self.there)):
            self.file.seek(self.descriptors_at + number * size)
            descriptor = struct.unpack(self.order + DESCRIPTOR, self.file.read(size))
            offset, length, flags, _ = descriptor
            self.file.seek(offset)
            data = self.file.read(length)
            if flags not in (0, ZLIB):
                raise SystemExit(f"frame {frame:#x}: flags {flags}, not zlib")
            yield frame, zlib.decompress(data) if flags == ZLIB else data


def frames(bits: int) -> Iterator[int]:
    """Yields the numbers of the bits that are set, ascending."""
    for first, count in runs(bits):
        yield from range(first, first + count)


def runs(bits: int) -> Iterator[tuple[int, int]]:
    """Yields runs of bits that are set: the first one's number, and how many."""
    # The bits that differ from the one before.
    edges = bits ^ bits << 1
    start = None
    for index, byte in enumerate(edges.to_bytes((edges.bit_length() + 7) // 8, "little")):
        for bit in BITS[byte]:
            if start is None:
                start = index * 8 + bit
            else:
                yield start, index * 8 + bit - start
                start = None
