#!/usr/bin/env python3
"""Compares the guest-virtual addresses of two ELF dumps of one stopped guest.

same_mappings.py OURS QEMUS: every page of RAM must have the same guest-virtual
addresses by our `--paging` as by QEMU's `paging=true`. How the pages are joined
into PT_LOADs may differ. Only RAM counts, which is what OURS has by physical
address: QEMU also lists mappings of its ROM.
Two mistakes of QEMU's are known, and undone: on x86_64 it sets the upper bits of
all addresses, also of the lower half; and where it joins a page to the front of a
mapping it lowers the virtual address and leaves the physical one (`mapping_merge`
in system/memory_mapping.c), so that the whole mapping is off by as much.
"""

import sys

sys.dont_write_bytecode = True  # No __pycache__ in the checkout.
import elf

PAGE = 4096
EM_X86_64 = 62


def loads(path):
    """e_machine, and (p_vaddr, p_paddr, p_filesz) of each PT_LOAD."""
    dump = elf.Elf(path)
    loads = (one for one in dump.segments if one.kind == elf.PT_LOAD)
    return dump.machine, [(one.vaddr, one.paddr, one.size) for one in loads]


def canonical(entries):
    """QEMU's entries of x86_64 with the upper bits of the lower half zero."""
    four_levels = all(vaddr >= 0xFFFF << 48 for vaddr, _, _ in entries)
    bits = 48 if four_levels else 57
    for vaddr, paddr, size in entries:
        if vaddr >> (bits - 1) & 1 == 0:
            vaddr &= (1 << bits) - 1
        yield vaddr, paddr, size


def split(ours):
    """Our mappings, and RAM, whose PT_LOADs come behind them and share no memory."""
    ram = []
    for _, paddr, size in reversed(ours):
        if any(paddr < end and start < paddr + size for start, end in ram):
            break
        ram.append((paddr, paddr + size))
    return ours[: len(ours) - len(ram)], ram


def moved_back(entries, ours):
    """QEMU's entries with those that a page in front has moved where they belong."""
    for vaddr, paddr, size in entries:
        first, count, distance = vaddr // PAGE, size // PAGE, (paddr - vaddr) // PAGE
        for moved in range(count):
            found = ours.get(distance - moved, ())
            if first in found and all(page in found for page in range(first, first + count)):
                paddr -= moved * PAGE
                if moved:
                    print(f"QEMU's mapping at {vaddr:#x} is {moved} pages too high")
                break
        yield vaddr, paddr, size


def pages(entries, ram):
    """Virtual page numbers by distance to the physical ones, in RAM only."""
    found = {}
    for vaddr, paddr, size in entries:
        for start, end in ram:
            low, high = max(paddr, start), min(paddr + size, end)
            if low < high:
                first = (vaddr + low - paddr) // PAGE
                distance = (paddr - vaddr) // PAGE
                found.setdefault(distance, set()).update(
                    range(first, first + (high - low) // PAGE)
                )
    return found


def report(what, mappings):
    """Prints the first pages of `mappings` and gives their number."""
    count = sum(map(len, mappings.values()))
    shown = sorted((page, d) for d, found in mappings.items() for page in found)[:8]
    for page, distance in shown:
        print(f"{what}: virtual {page * PAGE:#x}, physical {(page + distance) * PAGE:#x}")
    return count


def minus(a, b):
    """What of `a` is not in `b`."""
    return {d: found - b.get(d, set()) for d, found in a.items()}


def main(ours_path, qemus_path):
    (machine, ours), (_, qemus) = loads(ours_path), loads(qemus_path)
    if machine == EM_X86_64:
        qemus = list(canonical(qemus))
    ours, ram = split(ours)
    ours = pages(ours, ram)
    qemus = pages(moved_back(qemus, ours), ram)
    missing = report("missing in ours", minus(qemus, ours))
    more = report("not in QEMU's", minus(ours, qemus))
    total = sum(map(len, qemus.values()))
    print(f"{total} pages in QEMU's, {missing} missing in ours, {more} only in ours")
    return 1 if missing or more else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
