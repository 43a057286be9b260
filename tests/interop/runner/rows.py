"""The guests of the suite: one row each."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """How the readers know this guest. `guest/machines/NAME` has the rest."""

    name: str
    platform: str  # drgn's name of the architecture.
    bits: int = 64
    symbols: bool = False  # With the kernel's DWARF, some hundred MB to download.
    every: bool = False  # Every format from every source, not only from RAM.
    gdb: str = "gdb-multiarch"
    crash: bool = False  # Debian's crash knows this machine's architecture only.


ROWS = [
    Row("x86_64", "X86_64", symbols=True, every=True, gdb="gdb", crash=True),
    Row("x86_64-nokaslr", "X86_64", symbols=True, gdb="gdb", crash=True),
    Row("x86_64-la57", "X86_64", symbols=True, gdb="gdb", crash=True),
    Row("i386", "I386", 32),
    Row("i386-nopae", "I386", 32),
    Row("arm64", "AARCH64", symbols=True),
    Row("s390x", "S390X"),
    Row("ppc64el", "PPC64"),
    Row("riscv64", "RISCV64"),
]
