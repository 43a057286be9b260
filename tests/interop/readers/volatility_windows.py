#!/usr/bin/env python3
"""Finds the Windows kernel in a dump as volatility3 does: page tables from the
dump's header, the kernel's image from KDBG, its symbols' name from the image;
and follows the lists that the header names.

volatility_windows.py DUMP

There are no symbols: the offsets of names are those of the synthetic guests,
64-bit Windows 10 20H2's and 32-bit Windows 7's. Prints one line; exit code 0 if there is a kernel.
"""

import sys

from volatility3.framework.automagic import pdbscan, windows
from volatility3.framework.layers import intel
from volatility3.framework.symbols import native

sys.dont_write_bytecode = True  # No __pycache__ in the checkout.
import volatility_crash


# BaseDllName, ActiveProcessLinks, ImageFileName.
OFFSETS_64 = 0x58, 0x448, 0x5A8
OFFSETS_32 = 0x2C, 0xB8, 0x16C


def is_64_bit(layer):
    return isinstance(layer, intel.Intel32e)


def offsets(layer):
    return OFFSETS_64 if is_64_bit(layer) else OFFSETS_32


def word(layer, address):
    size = 8 if is_64_bit(layer) else 4
    return int.from_bytes(layer.read(address & layer.address_mask, size), "little")


def text(layer, address, size):
    return layer.read(address & layer.address_mask, size)


def entries(layer, head):
    """The addresses of a list's entries; a ring of more than 100 is none."""
    entry = word(layer, head)
    for _ in range(100):
        if entry == head:
            return
        yield entry
        entry = word(layer, entry)
    raise ValueError(f"the list at {head:#x} does not end")


def module_name(layer, entry):
    base_name, _, _ = offsets(layer)
    name = entry + base_name
    size = word(layer, name) & 0xFFFF
    buffer = word(layer, name + (8 if is_64_bit(layer) else 4))
    return text(layer, buffer, size).decode("utf-16-le")


def process_name(layer, entry):
    _, links, name = offsets(layer)
    return text(layer, entry - links + name, 15).rstrip(b"\0").decode()


def main(dump):
    try:
        crash = volatility_crash.crash_layer(dump)
        context = crash.context
        layer = windows.WindowsIntelStacker.stack(context, crash.name)
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
        header = crash.get_header()
        modules = [module_name(layer, e) for e in entries(layer, header.PsLoadedModuleList)]
        processes = [process_name(layer, e) for e in entries(layer, header.PsActiveProcessHead)]
        shared = check.KUSER_KERNEL_SPACE_ADDR
        major, minor = (int.from_bytes(text(layer, shared + o, 4), "little") for o in (0x26C, 0x270))
    except Exception as error:  # volatility3's have no common base class.
        print(f"volatility3: {type(error).__name__} {error}")
        return 1
    print(
        f"volatility3: kernel {base | (0xffff << 48 if wide else 0):#x} {kernel['pdb_name']},"
        f" modules {' '.join(modules)}, processes {' '.join(processes)},"
        f" Windows {major}.{minor}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
