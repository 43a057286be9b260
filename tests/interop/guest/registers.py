"""Registers by name, as in a map for guestdump, from QEMU's CPU notes.

A decoder takes the notes of one CPU, a dict from (name, type) to descriptor.
It knows nothing of guestdump: the layouts are QEMU's and the Linux kernel's.
"""

import struct


def x86_64(notes):
    """QEMUCPUState, version 1."""
    general = "rax rbx rcx rdx rsi rdi rsp rbp r8 r9 r10 r11 r12 r13 r14 r15 rip rflags"
    state = notes["QEMU", 0]
    version, size = struct.unpack_from("<II", state)
    if version != 1:
        raise SystemExit(f"notes.py: QEMU CPU state version {version}")
    values = struct.unpack_from("<18Q", state, 8)
    result = {name: hex(value) for name, value in zip(general.split(), values)}
    for i, name in enumerate("cs ds es fs gs ss ldt tr gdt idt".split()):
        selector, limit, flags, _, base = struct.unpack_from("<IIIIQ", state, 152 + 24 * i)
        result[name] = {"base": hex(base), "limit": limit}
        if name not in ("gdt", "idt"):  # Base and limit only.
            result[name] |= {"selector": selector, "flags": hex(flags)}
    for i, value in enumerate(struct.unpack_from("<5Q", state, 392)):
        if i != 1:  # There is no cr1; QEMU keeps a slot for it.
            result[f"cr{i}"] = hex(value)
    if size >= 440:
        result["kernel_gs_base"] = hex(struct.unpack_from("<Q", state, 432)[0])
    return result


DECODERS = {"x86_64": x86_64}
