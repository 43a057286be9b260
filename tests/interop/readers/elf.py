"""An ELF dump's notes and PT_LOADs, of either class and byte order, by
elf(5). Up to 65,534 program headers."""

import struct

PT_LOAD, PT_NOTE = 1, 4
# Class: e_phoff; e_phentsize and e_phnum; type, offset, address, size in file.
HEADER = {1: ("28xI", "42xHH"), 2: ("32xQ", "54xHH")}
PROGRAM_HEADER = {1: "IIxxxxII", 2: "IxxxxQxxxxxxxxQQ"}


class Elf:
    """An open dump."""

    def __init__(self, path):
        self.file = open(path, "rb")
        ident = self.file.read(64)
        if ident[:4] != b"\x7fELF":
            raise SystemExit(f"{path}: not an ELF file")
        elf_class, self.order = ident[4], "<" if ident[5] == 1 else ">"
        offset, counts = HEADER[elf_class]
        (phoff,) = struct.unpack_from(self.order + offset, ident)
        phentsize, phnum = struct.unpack_from(self.order + counts, ident)
        self.segments = []  # Type, file offset, guest-physical address, size.
        for i in range(phnum):
            self.file.seek(phoff + i * phentsize)
            header = self.file.read(phentsize)
            self.segments.append(
                struct.unpack_from(self.order + PROGRAM_HEADER[elf_class], header)
            )

    def loads(self):
        """Guest-physical address, size and file offset, ascending."""
        return sorted((at, size, offset) for kind, offset, at, size in self.segments if kind == PT_LOAD)

    def notes(self):
        """Name, type and descriptor of each note."""
        result = []
        for kind, offset, _, size in self.segments:
            if kind != PT_NOTE:
                continue
            self.file.seek(offset)
            segment = self.file.read(size)
            at = 0
            while at < len(segment):
                name_len, desc_len, kind = struct.unpack_from(self.order + "III", segment, at)
                name_at = at + 12
                desc_at = name_at + (name_len + 3) // 4 * 4
                at = desc_at + (desc_len + 3) // 4 * 4
                name = segment[name_at : name_at + name_len].rstrip(b"\0").decode()
                result.append((name, kind, segment[desc_at : desc_at + desc_len]))
        return result
