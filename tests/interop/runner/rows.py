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
    few: bool = False  # Of the formats one of each kind, and converted only into the raw form.
    # What must be in its /proc/meminfo when it is dumped.
    memory: tuple = ("MemFree", "Cached", "Slab", "AnonPages")
    planted: bool = False  # Secrets, by guest/memory.c.
    # drgn finds each struct page, by the kernel's types or by VMCOREINFO.
    drgn_frames: bool = True


# What guest/memory.c sees to.
ALL_KINDS = (
    *Row.memory,
    *("Buffers", "Dirty", "SwapCached", "Mlocked", "KsmPages"),
    *("AnonHugePages", "ShmemHugePages", "HugePages_Free", "HugePages_Used"),
)
X86_64 = {
    "platform": "X86_64",
    "symbols": True,
    "gdb": "gdb",
    "crash": True,
    "memory": ALL_KINDS,
}


ROWS = [
    Row("x86_64", **X86_64, core=False, planted=True),
    Row("x86_64-nokaslr", **X86_64, few=True),
    Row("x86_64-la57", **X86_64, few=True),
    Row("x86_64-6.12", **X86_64, core=False, paging=False, few=True, planted=True),
    Row("i386", "I386", 32, drgn_frames=False),
    Row("i386-nopae", "I386", 32, few=True, drgn_frames=False),
    Row("arm64", "AARCH64", symbols=True),
    Row("s390x", "S390X", symbols=True),
    Row("ppc64el", "PPC64", symbols=True),
    Row("riscv64", "RISCV64"),
]
