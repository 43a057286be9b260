"""The rows of the suite: a guest each, with the steps that are run on it."""

from . import formats
from .exclusion import (
    as_drgn,
    as_makedumpfile,
    dump_at_levels,
    has_memory,
    secrets,
    the_kernel_at_31,
)
from .row import Row
from .steps import (
    VIDEO_MEMORY,
    compare_repaired_dumps,
    compare_what_is_excluded,
    convert_makedumpfiles_dumps,
    convert_qemus_dumps,
    dump_core,
    dump_ram,
    dump_with_mappings,
    encode_notes_again,
    fill_a_disk,
    read_live_dump,
    read_qemus_dumps,
)

# Memory that guest/init takes in every guest, by the names of /proc/meminfo.
SOME_KINDS = ("MemFree", "Cached", "Slab", "AnonPages")
# Memory that guest/memory.c takes besides, in guests of this machine's architecture.
ALL_KINDS = (
    *SOME_KINDS,
    *("Buffers", "Dirty", "SwapCached", "Mlocked", "KsmPages"),
    *("AnonHugePages", "ShmemHugePages", "HugePages_Free", "HugePages_Used"),
)

# Every format of guestdump's.
ALL_FORMATS = (
    read_qemus_dumps,
    encode_notes_again,
    dump_ram(formats.ALL),
    convert_qemus_dumps(formats.FEW),
    convert_makedumpfiles_dumps,
    read_live_dump,
)
# One format of each kind, and QEMU's dumps converted only into the raw form.
FEW_FORMATS = (
    read_qemus_dumps,
    encode_notes_again,
    dump_ram(formats.FEW),
    convert_qemus_dumps(),
    convert_makedumpfiles_dumps,
    read_live_dump,
)
# Dump levels. drgn finds each struct page by the kernel's types or by VMCOREINFO.
LEVELS = dump_at_levels(as_makedumpfile, as_drgn, the_kernel_at_31)
# For i386, where VMCOREINFO does not say where drgn finds struct pages.
LEVELS_WITHOUT_DRGN = dump_at_levels(as_makedumpfile, the_kernel_at_31)
LEVELS_AND_SECRETS = dump_at_levels(as_makedumpfile, as_drgn, the_kernel_at_31, secrets)

# What follows, for guests of another architecture than this machine's.
OTHER_ARCHITECTURE = (
    dump_core(),
    dump_with_mappings,
    has_memory(*SOME_KINDS),
    LEVELS,
    compare_what_is_excluded(core=True),
    compare_repaired_dumps,
)
# What follows, for guests of 32 bits.
I386 = (
    dump_core(VIDEO_MEMORY),
    dump_with_mappings,
    has_memory(*SOME_KINDS),
    LEVELS_WITHOUT_DRGN,
    compare_what_is_excluded(core=True),
    compare_repaired_dumps,
)
# What follows, for guests of this machine's architecture.
X86_64 = (
    dump_core(VIDEO_MEMORY),
    dump_with_mappings,
    has_memory(*ALL_KINDS),
    LEVELS,
    compare_what_is_excluded(core=True),
    compare_repaired_dumps,
)

ROWS = (
    Row(
        "x86_64",
        "X86_64",
        64,
        steps=(
            *ALL_FORMATS,
            dump_with_mappings,
            has_memory(*ALL_KINDS),
            LEVELS_AND_SECRETS,
            compare_what_is_excluded(),
            fill_a_disk,
            compare_repaired_dumps,
        ),
        symbols=True,
        gdb="gdb",
    ),
    Row(
        "x86_64-nokaslr",
        "X86_64",
        64,
        steps=(*FEW_FORMATS, *X86_64),
        symbols=True,
        gdb="gdb",
        rotates=True,
        stopped=("core",),
    ),
    Row(
        "x86_64-la57",
        "X86_64",
        64,
        steps=(*FEW_FORMATS, *X86_64),
        symbols=True,
        gdb="gdb",
        rotates=True,
        stopped=("core",),
    ),
    Row(
        "x86_64-6.12",
        "X86_64",
        64,
        steps=(
            *FEW_FORMATS,
            has_memory(*ALL_KINDS),
            LEVELS_AND_SECRETS,
            compare_what_is_excluded(),
            compare_repaired_dumps,
        ),
        symbols=True,
        gdb="gdb",
        rotates=True,
    ),
    Row("i386", "I386", 32, steps=(*ALL_FORMATS, *I386), stopped=("core",)),
    Row(
        "i386-nopae",
        "I386",
        32,
        steps=(*FEW_FORMATS, *I386),
        stopped=("core",),
        rotates=True,
    ),
    Row(
        "arm64",
        "AARCH64",
        64,
        steps=(*ALL_FORMATS, *OTHER_ARCHITECTURE),
        symbols=True,
        stopped=("core",),
    ),
    Row(
        "s390x",
        "S390X",
        64,
        steps=(*ALL_FORMATS, *OTHER_ARCHITECTURE),
        symbols=True,
        stopped=("core",),
    ),
    Row(
        "ppc64el",
        "PPC64",
        64,
        steps=(*ALL_FORMATS, *OTHER_ARCHITECTURE),
        symbols=True,
        stopped=("core",),
    ),
    Row("riscv64", "RISCV64", 64, steps=(*ALL_FORMATS, *OTHER_ARCHITECTURE), stopped=("core",)),
)
