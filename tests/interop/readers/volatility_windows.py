#!/usr/bin/env python3
"""Finds the Windows kernel in a dump as volatility3 does, and follows the kernel's lists.

volatility_windows.py DUMP

volatility3 takes the page tables from the dump's header, the kernel's image from KDBG, and the
name of its symbols from the image. The lists are those that the header names. There are no
symbols: offsets are those of the synthetic guests, 64-bit Windows 10 20H2's and 32-bit Windows
7's. Prints one line; exit code 0 if there is a kernel.
"""

import sys
from collections.abc import Iterator
from typing import NamedTuple

import volatility_crash
from volatility3.framework.automagic import pdbscan, windows
from volatility3.framework.interfaces.layers import DataLayerInterface
from volatility3.framework.layers import intel
from volatility3.framework.symbols import native


class Offsets(NamedTuple):
    """Offsets in the kernel's structures."""

    base_dll_name: int
    active_process_links: int
    image_file_name: int


OFFSETS_64 = Offsets(0x58, 0x448, 0x5A8)
OFFSETS_32 = Offsets(0x2C, 0xB8, 0x16C)
# Offsets in KUSER_SHARED_DATA.
MAJOR_VERSION, MINOR_VERSION = 0x26C, 0x270
# Longer lists than this are damaged.
MOST_ENTRIES = 100


def is_64_bit(layer: DataLayerInterface) -> bool:
    """Returns whether the guest has words of 64 bits."""
    return isinstance(layer, intel.Intel32e)


def offsets(layer: DataLayerInterface) -> Offsets:
    """Returns the offsets of this guest."""
    return OFFSETS_64 if is_64_bit(layer) else OFFSETS_32


def read(layer: DataLayerInterface, address: int, size: int) -> bytes:
    """Reads guest-virtual memory."""
    data: bytes = layer.read(address & layer.address_mask, size)
    return data


def word(layer: DataLayerInterface, address: int) -> int:
    """Reads a pointer."""
    return int.from_bytes(read(layer, address, 8 if is_64_bit(layer) else 4), "little")


def entries(layer: DataLayerInterface, head: int) -> Iterator[int]:
    """Yields the addresses of a list's entries. Raises ValueError if the list does not end."""
    entry = word(layer, head)
    for _ in range(MOST_ENTRIES):
        if entry == head:
            return
        yield entry
        entry = word(layer, entry)
    raise ValueError(f"the list at {head:#x} does not end")


def module_name(layer: DataLayerInterface, entry: int) -> str:
    """Reads the name of a loaded module."""
    name = entry + offsets(layer).base_dll_name
    size = word(layer, name) & 0xFFFF
    buffer = word(layer, name + (8 if is_64_bit(layer) else 4))
    return read(layer, buffer, size).decode("utf-16-le")


def process_name(layer: DataLayerInterface, entry: int) -> str:
    """Reads the name of a process."""
    known = offsets(layer)
    name = entry - known.active_process_links + known.image_file_name
    return read(layer, name, 15).rstrip(b"\0").decode()


def describe(dump: str) -> str:
    """Returns what volatility3 finds. Raises an exception if there is no kernel."""
    crash = volatility_crash.crash_layer(dump)
    context = crash.context
    layer = windows.WindowsIntelStacker.stack(context, crash.name)
    if not isinstance(layer, intel.Intel):
        raise ValueError("no page tables")
    context.add_layer(layer)
    wide = is_64_bit(layer)
    check = windows.Intel64LayerCheck if wide else windows.Intel32LayerCheck
    if not check.check(layer):
        raise ValueError("KUSER_SHARED_DATA is not where it should be")
    context.symbol_space.append(native.NativeTable("pdbscan", native.std_ctypes))
    scanner = pdbscan.KernelPDBScanner(context, "scan")
    found = scanner.method_kdbg_offset(context, layer)
    if not found:
        raise ValueError("no kernel by KDBG")
    _, base, kernel = found
    pdb = kernel["pdb_name"]
    header = crash.get_header()
    modules = [module_name(layer, e) for e in entries(layer, header.PsLoadedModuleList)]
    processes = [process_name(layer, e) for e in entries(layer, header.PsActiveProcessHead)]
    shared = check.KUSER_KERNEL_SPACE_ADDR
    major, minor = (
        int.from_bytes(read(layer, shared + at, 4), "little")
        for at in (MAJOR_VERSION, MINOR_VERSION)
    )
    name = pdb.decode() if isinstance(pdb, bytes) else pdb
    return (
        f"kernel {base | (0xFFFF << 48 if wide else 0):#x} {name},"
        f" modules {' '.join(modules)}, processes {' '.join(processes)},"
        f" Windows {major}.{minor}"
    )


def main(dump: str) -> int:
    """Prints what volatility3 finds."""
    try:
        found = describe(dump)
    except Exception as error:
        print(f"volatility3: {type(error).__name__} {error}")
        return 1
    print(f"volatility3: {found}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
