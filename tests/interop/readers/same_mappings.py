#!/usr/bin/env python3
"""Compares the guest-virtual addresses in two ELF dumps of one stopped guest.

same_mappings.py OURS QEMUS

Every page of RAM must have the same guest-virtual addresses by our `--paging` as by QEMU's
`paging=true`. The PT_LOADs may be joined differently. RAM is what OURS has by physical address;
QEMU also lists mappings of its ROM. Prints one line; exit code 0 if all are equal.

Two mistakes of QEMU's are undone:

- On x86_64 QEMU sets the upper bits of all addresses, also of the lower half.
- Where QEMU joins a page to the front of a mapping, it lowers the virtual address and not the
  physical one, so that the whole mapping is off by as much (`mapping_merge` in
  system/memory_mapping.c).
"""

import sys
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import elf

PAGE = 4096
EM_X86_64 = 62
# So many pages of a difference are shown.
SHOWN = 8


class Mapping(NamedTuple):
    """A PT_LOAD."""

    vaddr: int
    paddr: int
    size: int


# Virtual page numbers by distance to the physical ones.
Pages = dict[int, set[int]]
# Begin and end of each range of RAM.
Ram = list[tuple[int, int]]


def loads(path: str) -> tuple[int, list[Mapping]]:
    """Returns e_machine, and each PT_LOAD."""
    dump = elf.Elf(path)
    loads = (one for one in dump.segments if one.kind == elf.PT_LOAD)
    return dump.machine, [Mapping(one.vaddr, one.paddr, one.size) for one in loads]


def canonical(entries: list[Mapping]) -> Iterator[Mapping]:
    """Yields QEMU's entries of x86_64 with the upper bits of the lower half zero."""
    four_levels = all(entry.vaddr >= 0xFFFF << 48 for entry in entries)
    bits = 48 if four_levels else 57
    for entry in entries:
        if entry.vaddr >> (bits - 1) & 1:
            yield entry
        else:
            yield entry._replace(vaddr=entry.vaddr & (1 << bits) - 1)


def split(ours: list[Mapping]) -> tuple[list[Mapping], Ram]:
    """Returns our mappings, and RAM, whose PT_LOADs come after them and share no memory."""
    ram: Ram = []
    for _, paddr, size in reversed(ours):
        if any(paddr < end and start < paddr + size for start, end in ram):
            break
        ram.append((paddr, paddr + size))
    return ours[: len(ours) - len(ram)], ram


def moved_back(entries: Iterable[Mapping], ours: Pages) -> Iterator[Mapping]:
    """Yields QEMU's entries, with those that a page in front has moved where they belong."""
    for vaddr, paddr, size in entries:
        back = 0
        first, count, distance = vaddr // PAGE, size // PAGE, (paddr - vaddr) // PAGE
        for moved in range(count):
            found = ours.get(distance - moved, set())
            if first in found and all(page in found for page in range(first, first + count)):
                back = moved
                if moved:
                    print(f"QEMU's mapping at {vaddr:#x} is {moved} pages too high")
                break
        yield Mapping(vaddr, paddr - back * PAGE, size)


def pages(entries: Iterable[Mapping], ram: Ram) -> Pages:
    """Returns the pages of the entries that are in RAM."""
    found: Pages = {}
    for vaddr, paddr, size in entries:
        for start, end in ram:
            low, high = max(paddr, start), min(paddr + size, end)
            if low < high:
                first = (vaddr + low - paddr) // PAGE
                distance = (paddr - vaddr) // PAGE
                numbers = range(first, first + (high - low) // PAGE)
                found.setdefault(distance, set()).update(numbers)
    return found


def report(what: str, mappings: Pages) -> int:
    """Prints the first pages of `mappings` and returns their number."""
    shown = sorted((page, d) for d, found in mappings.items() for page in found)[:SHOWN]
    for page, distance in shown:
        print(f"{what}: virtual {page * PAGE:#x}, physical {(page + distance) * PAGE:#x}")
    return sum(map(len, mappings.values()))


def minus(a: Pages, b: Pages) -> Pages:
    """Returns the pages of `a` that are not in `b`."""
    return {d: found - b.get(d, set()) for d, found in a.items()}


def main(ours_path: str, qemus_path: str) -> int:
    """Compares the dumps."""
    (machine, our_loads), (_, qemus_loads) = loads(ours_path), loads(qemus_path)
    if machine == EM_X86_64:
        qemus_loads = list(canonical(qemus_loads))
    mappings, ram = split(our_loads)
    ours = pages(mappings, ram)
    qemus = pages(moved_back(qemus_loads, ours), ram)
    missing = report("missing in ours", minus(qemus, ours))
    more = report("not in QEMU's", minus(ours, qemus))
    total = sum(map(len, qemus.values()))
    print(f"{total} pages in QEMU's, {missing} missing in ours, {more} only in ours")
    return 1 if missing or more else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
