#!/usr/bin/env python3
"""Has drgn walk all that a dump without pages of no interest must have.

drgn_walk.py DUMP VMLINUX --write FILE | --expect FILE

Reads each task with its stack, each slab cache and all slab memory, each module,
and each struct page. A page that is not there is an error. What was read goes to
FILE, in digests, or must be what FILE says. VMLINUX is the kernel's image with
DWARF.
"""

import difflib
import hashlib
import sys

import drgn
from drgn.helpers.linux import mm, module, pid, slab


def digest(data):
    return hashlib.sha256(data).hexdigest()[:16]


def stack(program, task):
    """The kernel's frames. What lies behind them, drgn guesses from a process's
    own memory."""
    try:
        for frame in program.stack_trace(task):
            frame.symbol()
            yield f"{frame.pc:#x} {frame.name}"
    except LookupError:
        pass
    except ValueError as error:  # It runs, on a CPU whose registers are elsewhere.
        yield str(error)


def task_size(program):
    """Bytes of a task: on x86 fewer than its type has, for the registers at its
    end take as many as the CPU has."""
    sizes = [
        cache.object_size.value_()
        for cache in slab.for_each_slab_cache(program)
        if cache.name.string_() == b"task_struct"
    ]
    return min([drgn.sizeof(program.type("struct task_struct")), *sizes])


def tasks(program):
    size = task_size(program)
    for task in pid.for_each_task(program):
        whole = digest(program.read(task, size))
        yield f"task {task.pid.value_()} {task.comm.string_().decode()} {whole}"
        yield from stack(program, task)


def caches(program):
    for cache in slab.for_each_slab_cache(program):
        yield f"cache {cache.name.string_().decode()} {cache.object_size.value_()}"


def slab_memory(program):
    """Of each slab the memory of all its objects, and whether the first one is
    in use: for that drgn walks the lists of free ones."""
    page_size = program["PAGE_SIZE"].value_()
    hashed = hashlib.sha256()
    slabs = size = used = 0
    for page in mm.for_each_page(program):
        if not mm.PageSlab(page):
            continue
        memory = mm.page_to_virt(page)
        data = program.read(memory, page_size << mm.compound_order(page).value_())
        first = slab.slab_object_info(program, memory)
        hashed.update(data)
        slabs, size = slabs + 1, size + len(data)
        used += bool(first and first.allocated)
    if slabs == 0:
        raise ValueError("no slab was found")
    yield f"slabs {slabs}, {size} bytes, first object in use in {used}, {hashed.hexdigest()}"


def modules(program):
    for one in module.for_each_module(program):
        yield f"module {one.name.string_().decode()}"


def page_structs(program):
    hashed = hashlib.sha256()
    size = drgn.sizeof(program.type("struct page"))
    for start, end, pages in mm.for_each_valid_page_range(program):
        hashed.update(program.read((pages + start).value_(), (end - start) * size))
    yield f"struct pages {hashed.hexdigest()}"


def main(dump, vmlinux, option, path):
    try:
        program = drgn.Program()
        program.set_core_dump(dump)
        program.load_debug_info([vmlinux])
        facts = [
            fact
            for part in (tasks, caches, slab_memory, modules, page_structs)
            for fact in part(program)
        ]
    except Exception as error:  # drgn has no common base class.
        print(f"drgn: {error!r}")
        return 1
    report = "".join(f"{fact}\n" for fact in facts)
    if option == "--write":
        with open(path, "w", encoding="utf-8") as file:
            file.write(report)
    else:
        with open(path, encoding="utf-8") as file:
            expected = file.read()
        if report != expected:
            print("drgn: walks to something else than expected")
            sys.stdout.writelines(
                difflib.unified_diff(expected.splitlines(True), report.splitlines(True))
            )
            return 1
    counts = [sum(fact.startswith(f"{kind} ") for fact in facts) for kind in ("task", "cache")]
    slabs = next(fact for fact in facts if fact.startswith("slabs "))
    print(f"drgn: {counts[0]} tasks with stacks, {counts[1]} slab caches, {slabs.split(', ')[0]}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
