"""An ELF dump's notes and PT_LOADs, of either class and byte order, by elf(5)."""

import struct
from typing import Any, NamedTuple

PT_LOAD, PT_NOTE = 1, 4
PN_XNUM = 0xFFFF
# By class: e_phoff and e_shoff; e_phentsize and e_phnum; sh_info; the fields of a
# program header that Segment has.
OFFSETS = {1: "28xII", 2: "32xQQ"}
COUNTS = {1: "42xHH", 2: "54xHH"}
SH_INFO = {1: "28xI", 2: "44xI"}
PROGRAM_HEADER = {1: "IIIII", 2: "I4xQQQQ"}


class Segment(NamedTuple):
    """A program header."""

    kind: int
    offset: int
    vaddr: int
    paddr: int
    size: int  # p_filesz

    def read_at(self, elf: "Elf", at: int, size: int) -> bytes:
        """Reads bytes of the segment, from its byte `at` on."""
        return elf.read(self.offset + at, size)


class Note(NamedTuple):
    """A note."""

    name: str
    kind: int
    descriptor: bytes


class Elf:
    """An open dump."""

    def __init__(self, path: str) -> None:
        """Reads the headers. Ends the program if the file is not ELF."""
        self.file = open(path, "rb")  # noqa: SIM115 - Open as long as the program runs.
        head = self.file.read(64)
        if head[:4] != b"\x7fELF":
            raise SystemExit(f"{path}: not an ELF file")
        elf_class, self.order = head[4], "<" if head[5] == 1 else ">"
        self.machine: int
        (self.machine,) = self._unpack("18xH", head)
        phoff, shoff = self._unpack(OFFSETS[elf_class], head)
        phentsize, phnum = self._unpack(COUNTS[elf_class], head)
        if phnum == PN_XNUM:
            (phnum,) = self._unpack(SH_INFO[elf_class], self.read(shoff, 64))
        self.segments = []
        for i in range(phnum):
            header = self.read(phoff + i * phentsize, phentsize)
            self.segments.append(Segment(*self._unpack(PROGRAM_HEADER[elf_class], header)))

    def _unpack(self, form: str, data: bytes) -> tuple[Any, ...]:
        return struct.unpack_from(self.order + form, data)

    def read(self, offset: int, size: int) -> bytes:
        """Reads bytes of the file."""
        self.file.seek(offset)
        return self.file.read(size)

    def loads(self) -> list[Segment]:
        """Returns the PT_LOADs, ascending by guest-physical address."""
        loads = (segment for segment in self.segments if segment.kind == PT_LOAD)
        return sorted(loads, key=lambda segment: segment.paddr)

    def notes(self) -> list[Note]:
        """Returns all notes."""
        result = []
        for segment in self.segments:
            if segment.kind != PT_NOTE:
                continue
            data = self.read(segment.offset, segment.size)
            at = 0
            while at < len(data):
                name_len, desc_len, kind = self._unpack(f"{at}xIII", data)
                name_at = at + 12
                desc_at = name_at + (name_len + 3) // 4 * 4
                at = desc_at + (desc_len + 3) // 4 * 4
                name = data[name_at : name_at + name_len].rstrip(b"\0").decode()
                result.append(Note(name, kind, data[desc_at : desc_at + desc_len]))
        return result
