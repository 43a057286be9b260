#!/usr/bin/env python3
"""Which page frames a dump level leaves out, by the kernel's types in drgn.

drgn_exclusion.py DUMP LEVEL... [--vmlinux VMLINUX] [--ram GPA:SIZE]... [--expect FILE]

For each LEVEL (makedumpfile's -d; 1 means nothing here) prints a line
"level LEVEL" and below it a line "FIRST COUNT REASON" for each run of page
frames, in ascending order, decimal. A block that is left out counts as a
whole. With --ram only frames of these ranges. With --expect the same lines
must be in FILE, without the reasons; then prints one line, and the exit code
is 0 if all are equal.

VMLINUX is the kernel's image with DWARF: where struct page lies, its members,
its flags and its page types come from there. Without, they come from
VMCOREINFO, and drgn only translates addresses.

What decides (Linux include/linux/page-flags.h and mm_types.h; the order of the
rules is that of makedumpfile(8)): PageTail, PageBuddy, unaccepted memory,
PageLRU or PageSwapCache, PagePrivate, PageAnon, hugetlb, PageHWPoison,
PageOffline, PageSlab.
"""

import argparse
import struct
import sys

import drgn
from drgn.helpers.linux import mm

CACHE, CACHE_PRIVATE, USER, FREE = 2, 4, 8, 16
# PAGE_MAPPING_ANON, and bit 0 of compound_head.
ANON = 1
TAIL = 1
# Formats of struct, by the length.
WORDS = {4: "I", 8: "Q"}
# Frames whose struct pages are read at once.
AT_ONCE = 1 << 15


def vmcoreinfo(program):
    lines = program["VMCOREINFO"].string_().decode().splitlines()
    return dict(line.partition("=")[::2] for line in lines if "=" in line)


def walk_riscv64(program):
    """Has drgn, which knows no page tables of riscv64, read virtual addresses.

    The RISC-V Instruction Set Manual, volume II: Sv39, Sv48 and Sv57.
    """
    note = vmcoreinfo(program)
    offset = int(note["NUMBER(va_kernel_pa_offset)"], 16)
    root = int(note["SYMBOL(swapper_pg_dir)"], 16) - offset & (1 << 64) - 1
    levels = (int(note["NUMBER(VA_BITS)"]) - 12) // 9

    def translate(address):
        """The physical address, and how many bytes from there on are mapped alike."""
        table = root
        for level in reversed(range(levels)):
            shift = 12 + 9 * level
            at = table + (address >> shift & 511) * 8
            entry = int.from_bytes(program.read(at, 8, physical=True), "little")
            table = (entry >> 10 & (1 << 44) - 1) << 12
            if not entry & 1:
                break
            if entry & 0b1110:
                if entry >> 63:  # Svnapot: 64 KiB
                    shift, table = 16, table & ~0xFFFF
                inside = address & (1 << shift) - 1
                return table + inside, (1 << shift) - inside
        raise drgn.FaultError("no page", address)

    def read(address, count, _offset, _physical):
        parts = []
        while count:
            physical, mapped = translate(address)
            length = min(count, mapped)
            parts.append(program.read(physical, length, physical=True))
            address += length
            count -= length
        return b"".join(parts)

    program.add_memory_segment(1 << 63, (1 << 63) - 1, read, False)


class Kernel:
    """What struct page looks like. `offset`, `mask`, `kind`, and `large`
    differ between the two sources."""

    def __init__(self, program):
        self.program = program
        self.order = "<" if program.platform.flags & drgn.PlatformFlags.IS_LITTLE_ENDIAN else ">"
        self.word = 8 if program.platform.flags & drgn.PlatformFlags.IS_64_BIT else 4

    def prepare(self):
        members = {
            self.offset("flags"): ("flags", self.word),
            self.offset("compound_head"): ("compound_head", self.word),
            self.offset("mapping"): ("mapping", self.word),
            self.offset("private"): ("private", self.word),
            self.offset("_mapcount"): ("page_type", 4),
        }
        text, at = self.order, 0
        names = []
        for offset, (name, length) in sorted(members.items()):
            text += f"{offset - at}x" + WORDS[length]
            at = offset + length
            names.append(name)
        self.decoder = struct.Struct(f"{text}{self.size - at}x")
        self.positions = [names.index(name) for name in
                          ("flags", "compound_head", "mapping", "private", "page_type")]
        for flag in ("lru", "private", "swapcache", "swapbacked", "hwpoison", "slab", "head"):
            setattr(self, flag, self.mask(flag))
        for kind in ("buddy", "offline", "slab", "unaccepted", "hugetlb"):
            setattr(self, f"is_{kind}", self.kind(kind))

    def pages(self):
        """(frame, fields of its struct page), and the address of it."""
        for start, end, at in self.ranges():
            while start < end:
                count = min(end - start, AT_ONCE)
                data = self.program.read(at, count * self.size)
                for index, fields in enumerate(self.decoder.iter_unpack(data)):
                    flags, head, mapping, private, kind = (fields[i] for i in self.positions)
                    yield start + index, at + index * self.size, flags, head, mapping, private, kind
                start += count
                at += count * self.size


def never(_):
    return False


class Symbols(Kernel):
    """By DWARF and drgn's helpers."""

    def __init__(self, program):
        super().__init__(program)
        self.page = program.type("struct page")
        self.size = drgn.sizeof(self.page)
        self.page_flags = dict(program.type("enum pageflags").enumerators)
        try:
            self.page_types = dict(program.type("enum pagetype").enumerators)
        except LookupError:
            self.page_types = {}
        self.head_address = None
        zone = program.type("struct zone")
        member = next(m for m in zone.members if m.name == "free_area")
        self.orders = member.type.length
        self.page_shift = program["PAGE_SHIFT"].value_()
        self.prepare()

    def offset(self, member):
        return drgn.offsetof(self.page, member)

    def mask(self, name):
        number = self.page_flags.get(f"PG_{name}")
        return 0 if number is None else 1 << number

    def kind(self, name):
        # Since 6.12 the type is the highest byte; before, a cleared bit below
        # PAGE_TYPE_BASE, which is a macro in kernels before 6.10.
        if f"PGTY_{name}" in self.page_types:
            value = self.page_types[f"PGTY_{name}"]
            return lambda page_type: page_type >> 24 == value
        bit = self.page_types.get(f"PG_{name}")
        if bit is None and not self.page_types:
            bit = {"buddy": 0x80, "offline": 0x100}.get(name)
        if bit is None:
            return never
        base = 0xF0000000
        return lambda page_type: page_type & (base | bit) == base

    def ranges(self):
        for start, end, pages in mm.for_each_valid_page_range(self.program):
            yield start, end, (pages + start).value_()

    def large(self, address, page_type):
        page = drgn.Object(self.program, "struct page *", value=address)
        order = mm.compound_order(page).value_()
        return order, self.hugetlb(page, page_type)

    def hugetlb(self, page, page_type):
        if self.is_hugetlb is not never:
            return self.is_hugetlb(page_type)
        if "PG_hugetlb" in self.page_flags:  # 6.6 to 6.8
            flags = drgn.cast("struct folio *", page)._flags_1.value_()
            return bool(flags & self.mask("hugetlb"))
        constant = self.program.constant("HUGETLB_PAGE_DTOR").value_()
        if self.page.has_member("compound_dtor"):
            return page[1].compound_dtor.value_() == constant
        return drgn.cast("struct folio *", page)._folio_dtor.value_() == constant


class Note(Kernel):
    """By VMCOREINFO."""

    def __init__(self, program):
        super().__init__(program)
        self.note = vmcoreinfo(program)
        self.size = self.number("SIZE(page)")
        self.orders = self.number("LENGTH(zone.free_area)")
        self.page_shift = self.number("PAGESIZE").bit_length() - 1
        self.prepare()

    def number(self, name):
        return int(self.note[name])

    def offset(self, member):
        return self.number(f"OFFSET(page.{member})")

    def mask(self, name):
        if name == "head":
            return self.number("NUMBER(PG_head_mask)")
        number = self.note.get(f"NUMBER(PG_{name})")
        return 0 if number is None else 1 << int(number)

    def kind(self, name):
        value = self.note.get(f"NUMBER(PAGE_{name.upper()}_MAPCOUNT_VALUE)")
        if value is None:
            return never
        value = int(value) & 0xFFFFFFFF
        return lambda page_type: page_type == value

    def word_at(self, address):
        data = self.program.read(address, self.word)
        return int.from_bytes(data, "little" if self.order == "<" else "big")

    def words(self, address, count):
        """(index, word) of an array."""
        for first in range(0, count, AT_ONCE):
            piece = min(AT_ONCE, count - first)
            data = self.program.read(address + first * self.word, piece * self.word)
            decoded = struct.unpack(f"{self.order}{piece}{WORDS[self.word]}", data)
            yield from enumerate(decoded, first)

    def ranges(self):
        """Of SPARSEMEM_EXTREME, as all of Debian's 64-bit kernels have it."""
        bits = self.number("NUMBER(SECTION_SIZE_BITS)")
        frames = 1 << bits - self.page_shift
        entry = self.number("SIZE(mem_section)")
        in_root = (1 << self.page_shift) // entry
        roots = int(self.note["SYMBOL(mem_section)"], 16)
        for root, table in self.words(roots, self.number("LENGTH(mem_section)")):
            for index in range(in_root if table else 0):
                section = table + index * entry + self.number("OFFSET(mem_section.section_mem_map)")
                coded = self.word_at(section)
                if coded & 2:  # SECTION_HAS_MEM_MAP
                    first = (root * in_root + index) * frames
                    yield first, first + frames, (coded & ~0x3F) + first * self.size

    def large(self, address, page_type):
        following = address + self.size
        if self.is_hugetlb is not never or "NUMBER(PG_hugetlb)" in self.note:
            flags = self.word_at(following + self.offset("flags"))
            hugetlb = self.is_hugetlb(page_type) or bool(flags & self.mask("hugetlb"))
            return flags & 0xFF, hugetlb
        order, dtor = (self.program.read(following + self.offset(member), 1)[0]
                       for member in ("compound_order", "compound_dtor"))
        return order, dtor == self.number("NUMBER(HUGETLB_PAGE_DTOR)")


def excluded(kernel, levels):
    """For each level, its runs (first frame, frames, reason)."""
    runs = {level: [] for level in levels}
    behind = dict.fromkeys(levels, 0)

    def leave_out(level, first, count, reason):
        behind[level] = first + count
        list_ = runs[level]
        if list_ and list_[-1][0] + list_[-1][1] == first and list_[-1][2] == reason:
            list_[-1] = (list_[-1][0], list_[-1][1] + count, reason)
        else:
            list_.append((first, count, reason))

    for frame, address, flags, head, mapping, private, page_type in kernel.pages():
        if head & TAIL:
            continue
        slab = bool(flags & kernel.slab) or kernel.is_slab(page_type)
        buddy = kernel.is_buddy(page_type) and not slab
        swapcache = flags & kernel.swapcache and (not kernel.swapbacked or flags & kernel.swapbacked)
        anonymous = bool(mapping & ANON) and not slab
        cache = (flags & kernel.lru or swapcache) and not anonymous
        order, hugetlb = 0, False
        if flags & kernel.head and not buddy:
            order, hugetlb = kernel.large(address, page_type)
            if order >= 32 or frame & (1 << order) - 1:
                order = 0
        for level in levels:
            if frame < behind[level]:
                continue
            if level & FREE and buddy:
                if private < kernel.orders:
                    leave_out(level, frame, 1 << private, "free")
            elif level & FREE and kernel.is_unaccepted(page_type):
                leave_out(level, frame, 1 << kernel.orders - 1, "free")
            elif level & CACHE and cache and not flags & kernel.private:
                leave_out(level, frame, 1 << order, "cache")
            elif level & CACHE_PRIVATE and cache:
                reason = "cache-private" if flags & kernel.private else "cache"
                leave_out(level, frame, 1 << order, reason)
            elif level & USER and (anonymous or hugetlb):
                leave_out(level, frame, 1 << order, "user")
            elif flags & kernel.hwpoison:
                leave_out(level, frame, 1 << order, "hwpoison")
            elif kernel.is_offline(page_type) and not slab:
                leave_out(level, frame, 1 << order, "offline")
    return runs


def clipped(runs, ram):
    """What of the runs is in the ranges of frames, which ascend."""
    for first, count, reason in runs:
        for start, end in ram:
            low, high = max(first, start), min(first + count, end)
            if low < high:
                yield low, high - low, reason


def frames(runs):
    return {frame for first, count, *_ in runs for frame in range(first, first + count)}


def read_runs(path):
    """As main() prints them: level -> runs."""
    runs, level = {}, None
    with open(path, encoding="ascii") as file:
        for line in file:
            words = line.split()
            if words[0] == "level":
                level = runs.setdefault(int(words[1]), [])
            else:
                level.append((int(words[0]), int(words[1])))
    return runs


def compare(runs, expected):
    """Prints one line; whether all is equal."""
    total = 0
    for level, found in runs.items():
        ours, theirs = frames(found), frames(expected.get(level, []))
        if ours != theirs:
            here, there = sorted(ours - theirs), sorted(theirs - ours)
            print(f"drgn: level {level}: {len(here)} frames more than expected, as {here[:8]}, "
                  f"{len(there)} fewer, as {there[:8]}")
            return False
        total += len(ours)
    print(f"drgn: levels {', '.join(map(str, runs))}: {total} excluded frames equal")
    return True


def main():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("dump")
    parser.add_argument("levels", type=int, nargs="+")
    parser.add_argument("--vmlinux")
    parser.add_argument("--ram", action="append", default=[])
    parser.add_argument("--expect")
    arguments = parser.parse_args()
    try:
        program = drgn.Program()
        program.set_core_dump(arguments.dump)
        if program.platform.arch == drgn.Architecture.RISCV64:
            walk_riscv64(program)
        if arguments.vmlinux:
            program.load_debug_info([arguments.vmlinux])
            kernel = Symbols(program)
        else:
            kernel = Note(program)
        runs = excluded(kernel, arguments.levels)
    except Exception as error:  # drgn has no common base class.
        print(f"drgn: {error!r}")
        return 1
    if arguments.ram:
        ram = (tuple(int(n, 0) for n in text.split(":")[:2]) for text in arguments.ram)
        ram = [(gpa >> kernel.page_shift, (gpa + size) >> kernel.page_shift) for gpa, size in ram]
        runs = {level: list(clipped(found, sorted(ram))) for level, found in runs.items()}
    if arguments.expect:
        return 0 if compare(runs, read_runs(arguments.expect)) else 1
    for level, found in runs.items():
        print(f"level {level}")
        for first, count, reason in found:
            print(first, count, reason)
    return 0


if __name__ == "__main__":
    sys.exit(main())
