"""The guests of the suite: one row each."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """How the readers know this guest. `guest/boot OUT NAME` knows the rest."""

    name: str
    platform: str  # drgn's name of the architecture.
    symbols: bool = False  # With the kernel's DWARF, for crash, drgn and gdb.
    every: bool = False  # Every format from every source, not from RAM only.
    gdb: str = "gdb-multiarch"
    makedumpfile: str | None = None  # Debian architecture of the one that knows it.


ROWS = [
    Row("x86_64", "X86_64", symbols=True, every=True, gdb="gdb"),
    Row("x86_64-nokaslr", "X86_64", symbols=True, gdb="gdb"),
    Row("x86_64-la57", "X86_64", symbols=True, gdb="gdb"),
    Row("i386", "I386", makedumpfile="i386"),
    Row("arm64", "AARCH64", makedumpfile="arm64"),
    Row("s390x", "S390X", makedumpfile="s390x"),
    Row("ppc64el", "PPC64", makedumpfile="ppc64el"),
    Row("riscv64", "RISCV64", makedumpfile="riscv64"),
]
