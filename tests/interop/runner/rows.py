"""The guests of the suite: one row each."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """How the readers know this guest. `guest/machines/NAME` has the rest."""

    name: str
    platform: str  # drgn's name of the architecture.
    bits: int = 64
    symbols: bool = False  # With the kernel's DWARF, some hundred MB to download.
    gdb: str = "gdb-multiarch"
    paging: bool = True  # `--paging` knows its page tables.
    core: bool = True  # Also out of a core file of QEMU.
    crash: bool = False  # Debian's crash knows this machine's architecture only.


ROWS = [
    Row("x86_64", "X86_64", symbols=True, core=False, gdb="gdb", crash=True),
    Row("x86_64-nokaslr", "X86_64", symbols=True, gdb="gdb", crash=True),
    Row("x86_64-la57", "X86_64", symbols=True, gdb="gdb", crash=True),
    Row("i386", "I386", 32),
    Row("i386-nopae", "I386", 32),
    Row("arm64", "AARCH64", symbols=True),
    Row("s390x", "S390X", symbols=True),
    Row("ppc64el", "PPC64", symbols=True),
    Row("riscv64", "RISCV64"),
]
