#!/usr/bin/env python3
"""Has drgn tell what kernel a dump shows.

drgn_kernel.py DUMP [--vmlinux VMLINUX] [--platform NAME BITS] [--vmcoreinfo TEXT]
               [--write FILE | --expect FILE]

Reads the platform, which must be NAME with words of BITS, and VMCOREINFO, which must be what the
file TEXT says; with VMLINUX (the kernel's image with DWARF) also init_uts_ns,
the task list and where each CPU stands. All of it goes to FILE, or must be
what FILE says. Prints one line; exit code 0 if all could be read and is as
expected.
"""

import argparse
import difflib
import sys

import drgn


def known(program, arguments):
    """Raises ValueError if drgn sees another machine or another note."""
    wide = program.platform.flags & drgn.PlatformFlags.IS_64_BIT
    platform = [program.platform.arch.name, "64" if wide else "32"]
    if arguments.platform not in (None, platform):
        raise ValueError(f"the platform is {platform}, not {arguments.platform}")
    if arguments.vmcoreinfo:
        with open(arguments.vmcoreinfo, "rb") as file:
            expected = file.read().rstrip(b"\0\n")
        if program["VMCOREINFO"].string_().rstrip(b"\n") != expected:
            raise ValueError(f"VMCOREINFO is not {arguments.vmcoreinfo}")


def vmcoreinfo(program):
    """What the note says, and what drgn takes from it."""
    text = program["VMCOREINFO"].string_().decode()
    yield f"platform {program.platform.arch.name} {program.platform.flags}"
    yield f"release {program['UTS_RELEASE'].string_().decode()}"
    yield f"page size {program['PAGE_SIZE'].value_()}"
    for line in text.splitlines():
        yield f"vmcoreinfo {line}"


def kernel(program):
    """What needs the kernel's types and page tables."""
    from drgn.helpers.linux import cpu_curr, for_each_online_cpu, for_each_task

    name = program["init_uts_ns"].name
    for member in ("sysname", "nodename", "release", "version", "machine"):
        yield f"uts {member} {name.member_(member).string_().decode()}"
    for task in for_each_task(program):
        yield f"task {task.pid.value_()} {task.comm.string_().decode()}"
    for cpu in for_each_online_cpu(program):
        task = cpu_curr(program, cpu)
        for frame in program.stack_trace(task):
            yield f"cpu {cpu} {task.comm.string_().decode()} {frame.pc:#x} {frame.name}"


def main():
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
        known(program, arguments)
        facts = list(vmcoreinfo(program))
        if arguments.vmlinux:
            program.load_debug_info([arguments.vmlinux])
            facts += kernel(program)
    except Exception as error:  # drgn has no common base class.
        print(f"drgn: {error}")
        return 1
    report = "".join(f"{fact}\n" for fact in facts)
    if arguments.write:
        with open(arguments.write, "w", encoding="utf-8") as file:
            file.write(report)
    if arguments.expect:
        with open(arguments.expect, encoding="utf-8") as file:
            expected = file.read()
        if report != expected:
            print("drgn: reads something else than expected")
            sys.stdout.writelines(
                difflib.unified_diff(
                    expected.splitlines(True), report.splitlines(True), "expected", "found"
                )
            )
            return 1
    tasks = sum(fact.startswith("task ") for fact in facts)
    cpus = len({fact.split()[1] for fact in facts if fact.startswith("cpu ")})
    symbols = f", {tasks} tasks, {cpus} CPUs" if arguments.vmlinux else ""
    print(f"drgn: {facts[1]}{symbols}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
