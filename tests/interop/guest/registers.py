"""Registers by name, as in a map for guestdump, from QEMU's CPU notes.

The layouts are those of QEMU's target/*/arch_dump.c and of the Linux headers that these follow.
They owe nothing to guestdump.
"""

import struct
from collections.abc import Sequence
from typing import Literal

# The notes of one CPU: descriptors by name and type.
CpuNotes = dict[tuple[str, int], bytes]
# Registers by name, as JSON has them.
Value = str | list[str] | dict[str, str | int] | dict[str, int | str | list[str]]
Registers = dict[str, Value]

NT_PRSTATUS = 1
NT_PRFPREG = 2
NT_ARM_SVE = 0x405

# For each machine its byte order, and for each note the registers in it, each as
# REGISTER:COUNT and a letter as in Python's struct, where O is 128 bits. "4x" skips
# bytes, as there. A register without a count is a single one.
LAYOUTS: dict[str, tuple[str, dict[tuple[str, int], str]]] = {
    "aarch64": (
        "<",
        {
            ("CORE", NT_PRSTATUS): "112x x:31Q sp:Q pc:Q pstate:Q",
            ("CORE", NT_PRFPREG): "v:32O fpsr:I fpcr:I",
        },
    ),
    "ppc64le": (
        "<",
        {
            ("CORE", NT_PRSTATUS): "112x gpr:32Q nip:Q msr:Q orig_gpr3:Q ctr:Q link:Q xer:Q"
            " ccr:Q softe:Q trap:Q dar:Q dsisr:Q result:Q",
            ("CORE", NT_PRFPREG): "fpr:32Q fpscr:Q",
            ("CORE", 0x100): "vr:32O 12x vscr:I vrsave:I",
            ("CORE", 0x102): "vsr_low:32Q",
            ("CORE", 0x101): "evr:32I spe_acc:Q spefscr:I",
        },
    ),
    "riscv64": (
        "<",
        {
            ("CORE", NT_PRSTATUS): "112x pc:Q ra:Q sp:Q gp:Q tp:Q t0:Q t1:Q t2:Q s0:Q s1:Q"
            " a0:Q a1:Q a2:Q a3:Q a4:Q a5:Q a6:Q a7:Q s2:Q s3:Q s4:Q s5:Q s6:Q s7:Q s8:Q"
            " s9:Q s10:Q s11:Q t3:Q t4:Q t5:Q t6:Q",
        },
    ),
    "s390x": (
        ">",
        {
            ("CORE", NT_PRSTATUS): "112x psw_mask:Q psw_addr:Q gprs:16Q acrs:16I orig_gpr2:Q",
            ("CORE", NT_PRFPREG): "fpc:I 4x fprs:16Q",
            ("LINUX", 0x304): "ctrs:16Q",
            ("LINUX", 0x305): "prefix:I",
            ("LINUX", 0x301): "timer:Q",
            ("LINUX", 0x302): "todcmp:Q",
            ("LINUX", 0x303): "todpreg:I",
            ("LINUX", 0x309): "vxrs_low:16Q",
            ("LINUX", 0x30A): "vxrs_high:16O",
            ("LINUX", 0x30B): "gs_cb:4Q",
        },
    ),
}


def from_layout(order: str, layout: str, descriptor: bytes) -> Registers:
    """Decodes the registers of one note."""
    byteorder: Literal["little", "big"] = "little" if order == "<" else "big"
    result: Registers = {}
    at = 0
    for item in layout.split():
        name, _, kind = item.rpartition(":")
        count, letter = kind[:-1], kind[-1]
        size = {"x": 1, "I": 4, "Q": 8, "O": 16}[letter]
        end = at + size * int(count or 1)
        if end > len(descriptor):
            raise SystemExit(f"notes.py: a note of {len(descriptor)} bytes has no {item}")
        if name:
            values = [
                hex(int.from_bytes(descriptor[i : i + size], byteorder))
                for i in range(at, end, size)
            ]
            result[name] = values if count else values[0]
        at = end
    return result


def sve(descriptor: bytes) -> dict[str, int | str | list[str]]:
    """Decodes struct user_sve_header, and the registers after it."""
    _, _, vl, max_vl, _, _ = struct.unpack_from("<IIHHHH", descriptor)
    predicate = vl // 8
    z = 16
    p = z + 32 * vl
    ffr = p + 16 * predicate
    return {
        "vl": vl,
        "max_vl": max_vl,
        "z": [descriptor[z + i * vl :][:vl].hex() for i in range(32)],
        "p": [descriptor[p + i * predicate :][:predicate].hex() for i in range(16)],
        "ffr": descriptor[ffr : ffr + predicate].hex(),
    }


X86_64 = "rax rbx rcx rdx rsi rdi rsp rbp r8 r9 r10 r11 r12 r13 r14 r15 rip rflags".split()
# None for registers that 32-bit CPUs do not have.
I386 = (*"eax ebx ecx edx esi edi esp ebp".split(), *[None] * 8, "eip", "eflags")
SEGMENTS = "cs ds es fs gs ss ldt tr gdt idt".split()
# From this size on QEMUCPUState has kernel_gs_base.
WITH_KERNEL_GS_BASE = 440


def x86(state: bytes, general: Sequence[str | None]) -> Registers:
    """Decodes QEMUCPUState, version 1, which is the same for x86_64 and i386."""
    version, size = struct.unpack_from("<II", state)
    if version != 1:
        raise SystemExit(f"notes.py: QEMU CPU state version {version}")
    values = struct.unpack_from("<18Q", state, 8)
    pairs = zip(general, values, strict=True)
    result: Registers = {name: hex(value) for name, value in pairs if name}
    for i, name in enumerate(SEGMENTS):
        selector, limit, flags, _, base = struct.unpack_from("<IIIIQ", state, 152 + 24 * i)
        segment: dict[str, str | int] = {"base": hex(base), "limit": limit}
        if name not in ("gdt", "idt"):  # These have base and limit only.
            segment |= {"selector": selector, "flags": hex(flags)}
        result[name] = segment
    for i, value in enumerate(struct.unpack_from("<5Q", state, 392)):
        if i != 1:  # There is no cr1; QEMU keeps a slot for it.
            result[f"cr{i}"] = hex(value)
    if general is X86_64 and size >= WITH_KERNEL_GS_BASE:
        result["kernel_gs_base"] = hex(struct.unpack_from("<Q", state, 432)[0])
    return result


def decode(machine: str, notes: CpuNotes) -> Registers:
    """Returns the registers of one CPU from its notes."""
    if machine in ("x86_64", "i386"):
        return x86(notes["QEMU", 0], X86_64 if machine == "x86_64" else I386)
    order, layouts = LAYOUTS[machine]
    result: Registers = {}
    for key, layout in layouts.items():
        result |= from_layout(order, layout, notes[key])
    if ("LINUX", NT_ARM_SVE) in notes:
        result["sve"] = sve(notes["LINUX", NT_ARM_SVE])
    return result
