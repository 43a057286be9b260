#!/usr/bin/env python3
"""Has drgn tell which kernel a dump shows.

drgn_kernel.py DUMP [--vmlinux VMLINUX] [--platform NAME BITS] [--vmcoreinfo TEXT]
               [--write FILE | --expect FILE]

Reads the platform, which must be NAME with words of BITS, and VMCOREINFO, which must be what the
file TEXT says. With VMLINUX, the kernel's image with DWARF, it also reads init_uts_ns, the task
list and where each CPU stands. All of it goes to FILE, or must be what FILE says. Prints one line;
exit code 0 if all could be read and is as expected.
"""

import argparse
import pathlib
import sys
from collections.abc import Iterator

import drgn
import expected
from drgn.helpers.linux.cpumask import for_each_online_cpu
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.sched import cpu_curr


def platform_of(program: drgn.Program) -> drgn.Platform:
    """Returns the platform. Raises ValueError if drgn knows none."""
    if program.platform is None:
        raise ValueError("no platform")
    return program.platform


def compare_known(program: drgn.Program, arguments: argparse.Namespace) -> None:
    """Raises ValueError if drgn sees another machine or another note."""
    found = platform_of(program)
    wide = found.flags & drgn.PlatformFlags.IS_64_BIT
    platform = [found.arch.name, "64" if wide else "32"]
    if arguments.platform not in (None, platform):
        raise ValueError(f"the platform is {platform}, not {arguments.platform}")
    if arguments.vmcoreinfo:
        text = pathlib.Path(arguments.vmcoreinfo).read_bytes().rstrip(b"\0\n")
        if program["VMCOREINFO"].string_().rstrip(b"\n") != text:
            raise ValueError(f"VMCOREINFO is not {arguments.vmcoreinfo}")


def vmcoreinfo(program: drgn.Program) -> Iterator[str]:
    """Yields what the note says, and what drgn takes from it."""
    text = program["VMCOREINFO"].string_().decode()
    platform = platform_of(program)
    yield f"platform {platform.arch.name} {platform.flags}"
    yield f"release {program['UTS_RELEASE'].string_().decode()}"
    yield f"page size {program['PAGE_SIZE'].value_()}"
    for line in text.splitlines():
        yield f"vmcoreinfo {line}"


def kernel(program: drgn.Program) -> Iterator[str]:
    """Yields what needs the kernel's types and page tables."""
    name = program["init_uts_ns"].name
    for member in ("sysname", "nodename", "release", "version", "machine"):
        yield f"uts {member} {name.member_(member).string_().decode()}"
    for task in for_each_task(program):
        yield f"task {task.pid.value_()} {task.comm.string_().decode()}"
    for cpu in for_each_online_cpu(program):
        task = cpu_curr(program, cpu)
        for frame in program.stack_trace(task):
            yield f"cpu {cpu} {task.comm.string_().decode()} {frame.pc:#x} {frame.name}"


def main() -> int:
    """Reads the dump and writes or compares the report."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("dump")
    parser.add_argument("--vmlinux")
    parser.add_argument("--platform", nargs=2)
    parser.add_argument("--vmcoreinfo")
    parser.add_argument("--write")
    parser.add_argument("--expect")
    arguments = parser.parse_args()
    try:
        program = drgn.Program()
        program.set_core_dump(arguments.dump)
        compare_known(program, arguments)
        facts = list(vmcoreinfo(program))
        if arguments.vmlinux:
            program.load_debug_info([arguments.vmlinux])
            facts += kernel(program)
    except Exception as error:
        print(f"drgn: {error}")
        return 1
    report = "".join(f"{fact}\n" for fact in facts)
    if arguments.write:
        expected.write(arguments.write, report)
    complaint = "drgn: reads something else than expected"
    if arguments.expect and not expected.is_same(arguments.expect, report, complaint):
        return 1
    tasks = sum(fact.startswith("task ") for fact in facts)
    cpus = len({fact.split()[1] for fact in facts if fact.startswith("cpu ")})
    symbols = f", {tasks} tasks, {cpus} CPUs" if arguments.vmlinux else ""
    print(f"drgn: {facts[1]}{symbols}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
