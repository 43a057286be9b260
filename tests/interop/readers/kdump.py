"""A raw kdump file: which page frames it has, and their contents. By the
description of the format in makedumpfile's IMPLEMENTATION file, for machines of
32 and 64 bits and of both byte orders."""

import struct
import zlib

SIGNATURE = b"KDUMP   "
UTSNAME_AT, UTSNAME_FIELD = 12, 65
MACHINE = 4  # The field of utsname that names it.
WORDS_32 = ("i386", "i486", "i586", "i686", "arm")
# Behind utsname, on 64-bit machines aligned to 8: a timeval of two longs, then
# status, block_size, sub_hdr_size, bitmap_blocks.
TIMEVAL = {32: (404, 8), 64: (408, 16)}
COUNTS = "IiiI"
DESCRIPTOR = "QIIQ"  # offset, size, flags, page_flags
ZLIB = 1


class Kdump:
    """An open dump."""

    def __init__(self, path):
        self.file = open(path, "rb")
        head = self.file.read(512)
        if head[:8] != SIGNATURE:
            raise SystemExit(f"{path}: not a raw kdump file")
        self.order = "<" if struct.unpack_from("<i", head, 8)[0] < 256 else ">"
        at = UTSNAME_AT + MACHINE * UTSNAME_FIELD
        machine = head[at : at + UTSNAME_FIELD].split(b"\0")[0].decode()
        start, size = TIMEVAL[32 if machine in WORDS_32 else 64]
        counts = struct.unpack_from(self.order + COUNTS, head, start + size)
        _, self.block_size, sub_header, blocks = counts
        half = blocks * self.block_size // 2
        at = (1 + sub_header) * self.block_size
        self.file.seek(at)
        # A bit for each page frame: RAM, and what is in the dump.
        self.ram, self.there = (int.from_bytes(self.file.read(half), "little") for _ in range(2))
        self.descriptors_at = at + 2 * half

    def missing(self):
        """The page frames of RAM that the dump does not have, as bits."""
        return self.ram & ~self.there

    def pages(self):
        """Each page frame and its contents, of dumps in zlib."""
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


def frames(bits):
    """The numbers of the bits that are set, ascending."""
    for byte, value in enumerate(bits.to_bytes((bits.bit_length() + 7) // 8, "little")):
        for bit in range(8):
            if value >> bit & 1:
                yield byte * 8 + bit
