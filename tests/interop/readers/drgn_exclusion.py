#!/usr/bin/env python3
"""Tells which page frames a dump level excludes, by each `struct page` that drgn reads.

drgn_exclusion.py DUMP LEVEL... [--vmlinux VMLINUX] [--ram GPA:SIZE]... [--expect FILE]

For each LEVEL of makedumpfile's -d it prints a line "level LEVEL". Under that line is a line
"FIRST COUNT REASON" for each run of page frames, in ascending order, decimal. Level 1 excludes
nothing here. A block that is excluded counts as a whole. With --ram only frames of these ranges
count. With --expect the same lines must be in FILE, without the reasons; then one line is printed,
and the exit code is 0 if all are equal.

VMLINUX is the kernel's image with DWARF, which tells where struct pages lie, their members, flags
and page types. Without VMLINUX, VMCOREINFO tells them, and drgn only translates addresses.

The rules are in the order of makedumpfile(8): PageTail, PageBuddy, unaccepted memory, PageLRU or
PageSwapCache, PagePrivate, PageAnon, hugetlb, PageHWPoison, PageOffline, PageSlab. The sources are
Linux include/linux/page-flags.h and mm_types.h.
"""

import argparse
import pathlib
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import drgn
from drgn.helpers.linux import mm

CACHE, CACHE_PRIVATE, USER, FREE = 2, 4, 8, 16
# PAGE_MAPPING_ANON, and bit 0 of compound_head.
ANON = 1
TAIL = 1
# A larger order is a damaged struct page.
ORDERS = 32
# Formats of struct, by the length.
WORDS = {4: "I", 8: "Q"}
# Frames whose struct pages are read at once.
AT_ONCE = 1 << 15
# So many page frames of a difference are shown.
SHOWN = 8

# First page frame, number of page frames, and why they are excluded.
Run = tuple[int, int, str]
# Whether a page type, the word of `_mapcount`, is of one kind.
IsKind = Callable[[int], bool]


class Page(NamedTuple):
    """A page frame, with the address and the fields of its struct page."""

    frame: int
    address: int
    flags: int
    compound_head: int
    mapping: int
    private: int
    page_type: int


def vmcoreinfo(program: drgn.Program) -> dict[str, str]:
    """Returns the values of VMCOREINFO."""
    lines = program["VMCOREINFO"].string_().decode().splitlines()
    return dict(line.partition("=")[::2] for line in lines if "=" in line)


def walk_riscv64(program: drgn.Program) -> None:
    """Has drgn, which knows no page tables of riscv64, read virtual addresses.

    The tables are Sv39, Sv48 or Sv57 of the RISC-V Instruction Set Manual, volume II.
    """
    note = vmcoreinfo(program)
    offset = int(note["NUMBER(va_kernel_pa_offset)"], 16)
    root = int(note["SYMBOL(swapper_pg_dir)"], 16) - offset & (1 << 64) - 1
    levels = (int(note["NUMBER(VA_BITS)"]) - 12) // 9

    def translate(address: int) -> tuple[int, int]:
        """Returns the physical address, and how many bytes from there on are mapped alike."""
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

    def read(address: int, count: int, _offset: int, _physical: bool) -> bytes:  # noqa: FBT001 - drgn calls it so.
        parts = []
        while count:
            physical, mapped = translate(address)
            length = min(count, mapped)
            parts.append(program.read(physical, length, physical=True))
            address += length
            count -= length
        return b"".join(parts)

    program.add_memory_segment(1 << 63, (1 << 63) - 1, read, physical=False)


class Kernel:
    """What the struct pages of a kernel look like.

    Symbols and Note tell `size`, `orders`, `page_shift` and the methods that raise
    NotImplementedError, each from its own source.
    """

    size: int  # Of a struct page.
    orders: int  # Of blocks of free pages.
    page_shift: int

    def __init__(self, program: drgn.Program) -> None:
        """Takes the byte order and the word size from drgn."""
        if program.platform is None:
            raise ValueError("no platform")
        flags = program.platform.flags
        self.program = program
        self.order = "<" if flags & drgn.PlatformFlags.IS_LITTLE_ENDIAN else ">"
        self.word = 8 if flags & drgn.PlatformFlags.IS_64_BIT else 4

    def prepare(self) -> None:
        """Looks up everything that does not differ from page to page."""
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
        self.positions = [names.index(name) for name in Page._fields[2:]]
        self.lru = self.mask("lru")
        self.private = self.mask("private")
        self.swapcache = self.mask("swapcache")
        self.swapbacked = self.mask("swapbacked")
        self.hwpoison = self.mask("hwpoison")
        self.slab = self.mask("slab")
        self.head = self.mask("head")
        self.is_buddy = self.kind("buddy")
        self.is_offline = self.kind("offline")
        self.is_slab = self.kind("slab")
        self.is_unaccepted = self.kind("unaccepted")
        self.is_hugetlb = self.kind("hugetlb")

    def pages(self) -> Iterator[Page]:
        """Yields each page frame that has a struct page."""
        for first, end, where in self.ranges():
            start, at = first, where
            while start < end:
                count = min(end - start, AT_ONCE)
                data = self.program.read(at, count * self.size)
                for index, fields in enumerate(self.decoder.iter_unpack(data)):
                    values = (fields[i] for i in self.positions)
                    yield Page(start + index, at + index * self.size, *values)
                start += count
                at += count * self.size

    def offset(self, member: str) -> int:
        """Returns the offset of a member of struct page."""
        raise NotImplementedError

    def mask(self, name: str) -> int:
        """Returns the bit of a page flag, or 0 if this kernel does not have the flag."""
        raise NotImplementedError

    def kind(self, name: str) -> IsKind:
        """Returns what tells pages of one type, or `never` if this kernel does not have it."""
        raise NotImplementedError

    def ranges(self) -> Iterator[tuple[int, int, int]]:
        """Yields runs of struct pages: first page frame, end, and address of the first one."""
        raise NotImplementedError

    def large(self, page: Page) -> tuple[int, bool]:
        """Returns the order of a large page, and whether hugetlb has it."""
        raise NotImplementedError


def never(_page_type: int) -> bool:
    """Tells pages of a type that a kernel does not have."""
    return False


class Symbols(Kernel):
    """A kernel's struct pages by DWARF and drgn's helpers."""

    def __init__(self, program: drgn.Program) -> None:
        """Looks the types up."""
        super().__init__(program)
        self.page = program.type("struct page")
        self.size = drgn.sizeof(self.page)
        self.page_flags = numbers_of(program.type("enum pageflags"))
        try:
            self.page_types = numbers_of(program.type("enum pagetype"))
        except LookupError:
            self.page_types = {}
        zone = program.type("struct zone")
        member = next(m for m in zone.members or () if m.name == "free_area")
        if member.type.length is None:
            raise ValueError("free_area has no length")
        self.orders = member.type.length
        self.page_shift = program["PAGE_SHIFT"].value_()
        self.prepare()

    def offset(self, member: str) -> int:
        """Returns the offset of a member of struct page."""
        offset: int = drgn.offsetof(self.page, member)
        return offset

    def mask(self, name: str) -> int:
        """Returns the bit of a page flag, or 0 if this kernel does not have the flag."""
        number = self.page_flags.get(f"PG_{name}")
        return 0 if number is None else 1 << number

    def kind(self, name: str) -> IsKind:
        """Returns what tells pages of one type.

        Since 6.12 the type is the highest byte. Before, it is a cleared bit below PAGE_TYPE_BASE,
        which is a macro in kernels before 6.10.
        """
        if f"PGTY_{name}" in self.page_types:
            value = self.page_types[f"PGTY_{name}"]
            return lambda page_type: page_type >> 24 == value
        bit = self.page_types.get(f"PG_{name}")
        if bit is None and not self.page_types:
            bit = {"buddy": 0x80, "offline": 0x100}.get(name)
        if bit is None:
            return never
        base = 0xF0000000
        mask = base | bit
        return lambda page_type: page_type & mask == base

    def ranges(self) -> Iterator[tuple[int, int, int]]:
        """Yields runs of struct pages: first page frame, end, and address of the first one."""
        for start, end, pages in mm.for_each_valid_page_range(self.program):
            yield start, end, (pages + start).value_()

    def large(self, page: Page) -> tuple[int, bool]:
        """Returns the order of a large page, and whether hugetlb has it."""
        of_kernel = drgn.Object(self.program, "struct page *", value=page.address)
        order: int = mm.compound_order(of_kernel).value_()
        return order, self.hugetlb(of_kernel, page.page_type)

    def hugetlb(self, page: drgn.Object, page_type: int) -> bool:
        """Returns whether hugetlb has a large page."""
        if self.is_hugetlb is not never:
            return self.is_hugetlb(page_type)
        if "PG_hugetlb" in self.page_flags:  # 6.6 to 6.8
            flags = drgn.cast("struct folio *", page).member_("_flags_1").value_()
            return bool(flags & self.mask("hugetlb"))
        constant = self.program.constant("HUGETLB_PAGE_DTOR").value_()
        if self.page.has_member("compound_dtor"):
            return bool(page[1].compound_dtor.value_() == constant)
        return bool(drgn.cast("struct folio *", page).member_("_folio_dtor").value_() == constant)


def numbers_of(kind: drgn.Type) -> dict[str, int]:
    """Returns the values of an enumeration."""
    return {one.name: one.value for one in kind.enumerators or ()}


class Note(Kernel):
    """A kernel's struct pages by VMCOREINFO."""

    def __init__(self, program: drgn.Program) -> None:
        """Looks the numbers up."""
        super().__init__(program)
        self.note = vmcoreinfo(program)
        self.size = self.number("SIZE(page)")
        self.orders = self.number("LENGTH(zone.free_area)")
        self.page_shift = self.number("PAGESIZE").bit_length() - 1
        self.prepare()

    def number(self, name: str) -> int:
        """Returns a number of the note."""
        return int(self.note[name])

    def offset(self, member: str) -> int:
        """Returns the offset of a member of struct page."""
        return self.number(f"OFFSET(page.{member})")

    def mask(self, name: str) -> int:
        """Returns the bit of a page flag, or 0 if this kernel does not have the flag."""
        if name == "head":
            return self.number("NUMBER(PG_head_mask)")
        number = self.note.get(f"NUMBER(PG_{name})")
        return 0 if number is None else 1 << int(number)

    def kind(self, name: str) -> IsKind:
        """Returns what tells pages of one type."""
        text = self.note.get(f"NUMBER(PAGE_{name.upper()}_MAPCOUNT_VALUE)")
        if text is None:
            return never
        value = int(text) & 0xFFFFFFFF
        return lambda page_type: page_type == value

    def word_at(self, address: int) -> int:
        """Reads a word."""
        data = self.program.read(address, self.word)
        return int.from_bytes(data, "little" if self.order == "<" else "big")

    def words(self, address: int, count: int) -> Iterator[tuple[int, int]]:
        """Yields index and value of each word of an array."""
        for first in range(0, count, AT_ONCE):
            piece = min(AT_ONCE, count - first)
            data = self.program.read(address + first * self.word, piece * self.word)
            decoded = struct.unpack(f"{self.order}{piece}{WORDS[self.word]}", data)
            yield from enumerate(decoded, first)

    def ranges(self) -> Iterator[tuple[int, int, int]]:
        """Yields runs of struct pages by SPARSEMEM_EXTREME, which Debian's 64-bit kernels have."""
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

    def large(self, page: Page) -> tuple[int, bool]:
        """Returns the order of a large page, and whether hugetlb has it."""
        following = page.address + self.size
        if self.is_hugetlb is not never or "NUMBER(PG_hugetlb)" in self.note:
            flags = self.word_at(following + self.offset("flags"))
            hugetlb = self.is_hugetlb(page.page_type) or bool(flags & self.mask("hugetlb"))
            return flags & 0xFF, hugetlb
        order, dtor = (
            self.program.read(following + self.offset(member), 1)[0]
            for member in ("compound_order", "compound_dtor")
        )
        return order, dtor == self.number("NUMBER(HUGETLB_PAGE_DTOR)")


class Facts(NamedTuple):
    """What the rules ask about a page."""

    page: Page
    slab: bool
    buddy: bool
    anonymous: bool
    cache: bool
    hugetlb: bool
    order: int  # Of a large page, else 0.


def facts_of(kernel: Kernel, page: Page) -> Facts:
    """Decodes the flags and the type of a page."""
    flags = page.flags
    slab = bool(flags & kernel.slab) or kernel.is_slab(page.page_type)
    buddy = kernel.is_buddy(page.page_type) and not slab
    swapcache = flags & kernel.swapcache and (not kernel.swapbacked or flags & kernel.swapbacked)
    anonymous = bool(page.mapping & ANON) and not slab
    cache = bool(flags & kernel.lru or swapcache) and not anonymous
    order, hugetlb = 0, False
    if flags & kernel.head and not buddy:
        order, hugetlb = kernel.large(page)
        if order >= ORDERS or page.frame & (1 << order) - 1:
            order = 0
    return Facts(page, slab, buddy, anonymous, cache, hugetlb, order)


def excluded_block(kernel: Kernel, level: int, facts: Facts) -> tuple[int, str] | None:
    """Returns how many page frames from this one on a level excludes, and why."""
    page = facts.page
    large = 1 << facts.order
    private = page.flags & kernel.private
    result = None
    if level & FREE and facts.buddy:
        if page.private < kernel.orders:
            result = 1 << page.private, "free"
    elif level & FREE and kernel.is_unaccepted(page.page_type):
        result = 1 << kernel.orders - 1, "free"
    elif level & CACHE and facts.cache and not private:
        result = large, "cache"
    elif level & CACHE_PRIVATE and facts.cache:
        result = large, "cache-private" if private else "cache"
    elif level & USER and (facts.anonymous or facts.hugetlb):
        result = large, "user"
    elif page.flags & kernel.hwpoison:
        result = large, "hwpoison"
    elif kernel.is_offline(page.page_type) and not facts.slab:
        result = large, "offline"
    return result


def excluded(kernel: Kernel, levels: list[int]) -> dict[int, list[Run]]:
    """Returns the runs that each level excludes."""
    runs: dict[int, list[Run]] = {level: [] for level in levels}
    ends = dict.fromkeys(levels, 0)  # Of the blocks so far.
    for page in kernel.pages():
        if page.compound_head & TAIL:
            continue
        facts = facts_of(kernel, page)
        for level in levels:
            if page.frame < ends[level]:
                continue
            block = excluded_block(kernel, level, facts)
            if block:
                count, reason = block
                ends[level] = page.frame + count
                add(runs[level], (page.frame, count, reason))
    return runs


def add(runs: list[Run], run: Run) -> None:
    """Appends a run, joined with the last one if they touch and have the same reason."""
    first, count, reason = run
    if runs:
        last_first, last_count, last_reason = runs[-1]
        if last_first + last_count == first and last_reason == reason:
            runs[-1] = (last_first, last_count + count, reason)
            return
    runs.append(run)


def clipped(runs: Iterable[Run], ram: list[tuple[int, int]]) -> Iterator[Run]:
    """Yields the parts of the runs that are in ranges of frames, which ascend."""
    for first, count, reason in runs:
        for start, end in ram:
            low, high = max(first, start), min(first + count, end)
            if low < high:
                yield low, high - low, reason


def read_runs(path: str) -> dict[int, set[int]]:
    """Reads page frames by level, in the form in which main() prints them."""
    result: dict[int, set[int]] = {}
    frames: set[int] = set()
    for line in pathlib.Path(path).read_text(encoding="ascii").splitlines():
        words = line.split()
        if words[0] == "level":
            frames = result.setdefault(int(words[1]), set())
        else:
            first, count = int(words[0]), int(words[1])
            frames.update(range(first, first + count))
    return result


def compare(runs: dict[int, list[Run]], expected: dict[int, set[int]]) -> bool:
    """Prints one line, and returns whether all is equal."""
    total = 0
    for level, found in runs.items():
        ours = {frame for first, count, _ in found for frame in range(first, first + count)}
        theirs = expected.get(level, set())
        if ours != theirs:
            here, there = sorted(ours - theirs), sorted(theirs - ours)
            print(
                f"drgn: level {level}: {len(here)} frames more than expected, as {here[:SHOWN]}, "
                f"{len(there)} fewer, as {there[:SHOWN]}"
            )
            return False
        total += len(ours)
    print(f"drgn: levels {', '.join(map(str, runs))}: {total} excluded frames equal")
    return True


def ranges_of(texts: list[str], page_shift: int) -> list[tuple[int, int]]:
    """Reads GPA:SIZE, and returns first page frame and end of each, in ascending order."""
    result = []
    for text in texts:
        gpa, size = (int(number, 0) for number in text.split(":")[:2])
        result.append((gpa >> page_shift, (gpa + size) >> page_shift))
    return sorted(result)


def main() -> int:
    """Prints or compares the runs."""
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
        if program.platform and program.platform.arch == drgn.Architecture.RISCV64:
            walk_riscv64(program)
        kernel: Kernel
        if arguments.vmlinux:
            program.load_debug_info([arguments.vmlinux])
            kernel = Symbols(program)
        else:
            kernel = Note(program)
        runs = excluded(kernel, arguments.levels)
    except Exception as error:
        print(f"drgn: {error!r}")
        return 1
    if arguments.ram:
        ram = ranges_of(arguments.ram, kernel.page_shift)
        runs = {level: list(clipped(found, ram)) for level, found in runs.items()}
    if arguments.expect:
        return 0 if compare(runs, read_runs(arguments.expect)) else 1
    for level, found in runs.items():
        print(f"level {level}")
        for first, count, reason in found:
            print(first, count, reason)
    return 0


if __name__ == "__main__":
    sys.exit(main())
