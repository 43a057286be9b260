#!/usr/bin/env python3
"""Has drgn walk everything that a dump must have at any dump level.

drgn_walk.py DUMP VMLINUX --write FILE | --expect FILE

Reads each task with its stack, each slab cache and all slab memory, each module, and each struct
page. A missing page is an error. What was read goes to FILE, in digests, or must be what FILE
says. VMLINUX is the kernel's image with DWARF.
"""

import hashlib
import sys
from collections.abc import Iterator

import drgn
import expected
from drgn.helpers.linux import mm, module, pid, slab


def digest(data: bytes) -> str:
    """Returns the beginning of the SHA-256 in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()[:16]


def stack(program: drgn.Program, task: drgn.Object) -> Iterator[str]:
    """Yields the kernel's frames. drgn guesses frames after them from a process's own memory."""
    try:
        for frame in program.stack_trace(task):
            frame.symbol()
            yield f"{frame.pc:#x} {frame.name}"
    except LookupError:
        pass
    except ValueError as error:  # It runs, on a CPU whose registers are elsewhere.
        yield str(error)


def task_size(program: drgn.Program) -> int:
    """Returns the bytes of a task.

    On x86 they are fewer than those of its type, because the registers at its end take as many as
    the CPU has.
    """
    sizes: list[int] = [
        cache.object_size.value_()
        for cache in slab.for_each_slab_cache(program)
        if cache.name.string_() == b"task_struct"
    ]
    of_type: int = drgn.sizeof(program.type("struct task_struct"))
    return min([of_type, *sizes])


def tasks(program: drgn.Program) -> Iterator[str]:
    """Yields each task with its stack."""
    size = task_size(program)
    for task in pid.for_each_task(program):
        whole = digest(program.read(task.value_(), size))
        yield f"task {task.pid.value_()} {task.comm.string_().decode()} {whole}"
        yield from stack(program, task)


def caches(program: drgn.Program) -> Iterator[str]:
    """Yields each slab cache."""
    for cache in slab.for_each_slab_cache(program):
        yield f"cache {cache.name.string_().decode()} {cache.object_size.value_()}"


def slab_memory(program: drgn.Program) -> Iterator[str]:
    """Yields a digest of the memory of all slabs, and how many have their first object in use.

    For the latter drgn walks the lists of free objects.
    """
    page_size = program["PAGE_SIZE"].value_()
    hashed = hashlib.sha256()
    slabs = size = used = 0
    for page in mm.for_each_page(program):
        if not mm.PageSlab(page):
            continue
        memory = mm.page_to_virt(page)
        data = program.read(memory.value_(), page_size << mm.compound_order(page).value_())
        first = slab.slab_object_info(program, memory.value_())
        hashed.update(data)
        slabs, size = slabs + 1, size + len(data)
        used += bool(first and first.allocated)
    if slabs == 0:
        raise ValueError("no slab was found")
    yield f"slabs {slabs}, {size} bytes, first object in use in {used}, {hashed.hexdigest()}"


def modules(program: drgn.Program) -> Iterator[str]:
    """Yields each module."""
    for one in module.for_each_module(program):
        yield f"module {one.name.string_().decode()}"


def page_structs(program: drgn.Program) -> Iterator[str]:
    """Yields a digest of all struct pages."""
    hashed = hashlib.sha256()
    size = drgn.sizeof(program.type("struct page"))
    for start, end, pages in mm.for_each_valid_page_range(program):
        hashed.update(program.read((pages + start).value_(), (end - start) * size))
    yield f"struct pages {hashed.hexdigest()}"


def main(dump: str, vmlinux: str, option: str, path: str) -> int:
    """Walks the kernel and writes or compares the report."""
    try:
        program = drgn.Program()
        program.set_core_dump(dump)
        program.load_debug_info([vmlinux])
        facts = [
            fact
            for part in (tasks, caches, slab_memory, modules, page_structs)
            for fact in part(program)
        ]
    except Exception as error:
        print(f"drgn: {error!r}")
        return 1
    report = "".join(f"{fact}\n" for fact in facts)
    if option == "--write":
        expected.write(path, report)
    elif not expected.is_same(path, report, "drgn: walks to something else than expected"):
        return 1
    counts = [sum(fact.startswith(f"{kind} ") for fact in facts) for kind in ("task", "cache")]
    slabs = next(fact for fact in facts if fact.startswith("slabs "))
    print(f"drgn: {counts[0]} tasks with stacks, {counts[1]} slab caches, {slabs.split(', ')[0]}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
