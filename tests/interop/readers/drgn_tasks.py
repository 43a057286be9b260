#!/usr/bin/env python3
"""Counts the tasks that drgn reads from a dump before it comes to a page that the dump lacks.

drgn_tasks.py DUMP VMLINUX

VMLINUX is the kernel's image with DWARF. Prints the number. The first missing page goes to stderr.
"""

import sys

import drgn
from drgn.helpers.linux.pid import for_each_task


def main(dump: str, vmlinux: str) -> None:
    """Prints the number of tasks."""
    program = drgn.Program()
    program.set_core_dump(dump)
    program.load_debug_info([vmlinux])
    count = 0
    try:
        for task in for_each_task(program):
            task.comm.string_()
            count += 1
    except drgn.FaultError as error:
        print(f"then: {error}", file=sys.stderr)
    print(count)


if __name__ == "__main__":
    main(*sys.argv[1:])
