#!/usr/bin/env python3
"""Measures the rows of benches/peers, while the guest of $QMP is paused.

benches/peers sets the environment: RUNS, WORK, GUESTDUMP, GUESTDUMP_MINILZO, CODEC_ALONE,
BARE_LOOP, TABLE, which is the file to which the table goes, and PYTHONPATH, which has qmp.py.
"""

import ctypes
import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from io import FileIO
from pathlib import Path
from statistics import median
from typing import NamedTuple

from qmp import Qmp

RUNS = int(os.environ["RUNS"])
WORK = Path(os.environ["WORK"])
GUESTDUMP = os.environ["GUESTDUMP"]
BY_MINILZO = ["--compressor", "minilzo"]
GUEST_RAM = WORK / "guest/ram"
RAM = WORK / "ram"  # A copy with the same holes.
MAP = WORK / "map.json"
OUT = WORK / "out"
# Those for a Linux guest.
LISTED = subprocess.run([GUESTDUMP, "formats", "--json"], capture_output=True, check=True)
FORMATS = [entry["name"] for entry in json.loads(LISTED.stdout)["formats"]]
FORMATS = [name for name in FORMATS if not name.startswith("win-dmp")]
CORES = len(os.sched_getaffinity(0))
TIB = 1 << 40
LIBC = ctypes.CDLL(None, use_errno=True)
# What fallocate(2) takes: FALLOC_FL_KEEP_SIZE and FALLOC_FL_PUNCH_HOLE.
KEEP_SIZE_AND_PUNCH_HOLE = 3

Word = str | Path
Measure = Callable[[], float]  # Returns seconds.


def timed(command: list[Word]) -> float:
    """Runs a command that writes OUT, and returns its seconds."""
    OUT.unlink(missing_ok=True)
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begun


def ours(file_format: str, *more: str) -> list[Word]:
    """Returns the command of a dump from RAM."""
    source: list[Word] = ["--from", f"raw:{RAM}", "--map", MAP]
    return [GUESTDUMP, "dump", *source, "--to", OUT, "--format", file_format, *more]


def resize(size: int) -> None:
    """Makes the guest's RAM so many bytes long, by untouched memory.

    MAP says where VMCOREINFO lies, which QEMU knows too.
    """
    os.truncate(RAM, size)
    guest: dict[str, object] = {"regions": [{"gpa": 0, "size": size, "offset": 0}]}
    if MAP.exists():
        guest["vmcoreinfo"] = json.loads(MAP.read_text())["vmcoreinfo"]
    else:
        MAP.write_text(json.dumps(guest))
        OUT.unlink(missing_ok=True)
        result = subprocess.run([*ours("elf"), "--json"], capture_output=True, check=True)
        found = json.loads(result.stdout)["vmcoreinfo"]
        guest["vmcoreinfo"] = {"gpa": found["address"], "size": 4096}
    MAP.write_text(json.dumps(guest))


def extents(file: FileIO) -> Iterator[tuple[int, int]]:
    """Yields where a file has data: begin and end of each extent."""
    end = 0
    while True:
        try:
            begin = os.lseek(file.fileno(), end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # There is no more data.
                return
            raise
        end = os.lseek(file.fileno(), begin, os.SEEK_HOLE)
        yield begin, end


def copy_with_holes(source: Path, target: Path) -> None:
    """Copies a file with the same holes.

    `cp --sparse=auto` would make a hole of every zero page.
    """
    with source.open("rb", 0) as read, target.open("wb", 0) as write:
        write.truncate(source.stat().st_size)
        for begin, end in extents(read):
            at = begin
            while at < end:
                piece = os.pread(read.fileno(), min(end - at, 1 << 20), at)
                at += os.pwrite(write.fileno(), piece, at)


def punch_all_but(file: FileIO, kept: list[tuple[int, int]]) -> None:
    """Makes holes of everything between the extents that are kept."""
    size = os.fstat(file.fileno()).st_size
    ends = [0, *(end for _, end in kept)]
    begins = [*(begin for begin, _ in kept), size]
    for begin, end in zip(ends, begins, strict=True):
        if begin < end:
            offset, length = ctypes.c_int64(begin), ctypes.c_int64(end - begin)
            if LIBC.fallocate(file.fileno(), KEEP_SIZE_AND_PUNCH_HOLE, offset, length):
                sys.exit(f"fallocate: {os.strerror(ctypes.get_errno())}")


class Filled:
    """How large dumps of QEMU's make the guest's RAM file."""

    mebibytes = 0


def qemu(file_format: str) -> float:
    """Has QEMU dump the guest, and returns the seconds.

    QEMU's dump fills the RAM file. Guests are mostly dumped once, so the holes are made again
    before the guest goes on.
    """
    OUT.unlink(missing_ok=True)
    qmp = Qmp(os.environ["QMP"], 600)
    qmp.command("stop")
    with GUEST_RAM.open("r+b", 0) as ram:
        touched = list(extents(ram))
        begun = time.perf_counter()
        qmp.command("dump-guest-memory", paging=False, protocol=f"file:{OUT}", format=file_format)
        seconds = time.perf_counter() - begun
        Filled.mebibytes = os.fstat(ram.fileno()).st_blocks * 512 >> 20
        punch_all_but(ram, touched)
    return seconds


def seconds_of(command: list[Word]) -> float:
    """Returns the number that a command prints."""
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(result.stdout)


def codec_alone(compressor: str) -> float:
    """Compresses RAM by a library, and does nothing else."""
    return seconds_of([os.environ["CODEC_ALONE"], RAM, compressor, str(CORES)])


def bare_loop(compressor: str) -> float:
    """Reads RAM, compresses it by a library, and writes that."""
    OUT.unlink(missing_ok=True)
    return seconds_of([os.environ["BARE_LOOP"], RAM, compressor, str(CORES), OUT])


def standstill(*more: str) -> float:
    """Returns the seconds for which a running guest is paused for our dump."""
    OUT.unlink(missing_ok=True)
    Qmp(os.environ["QMP"], 60).command("cont")
    time.sleep(0.5)
    source: list[Word] = ["--from", f"qmp:{os.environ['QMP']}"]
    options: list[Word] = ["--to", OUT, "--format", "kdump-raw-snappy", *more, "--json"]
    result = subprocess.run(
        [GUESTDUMP, "dump", *source, *options], capture_output=True, text=True, check=True
    )
    return float(json.loads(result.stdout)["standstill_seconds"])


def medians(*measures: Measure) -> list[float]:
    """Returns the median of each measure.

    All take turns, so that what disturbs one disturbs the others too.
    """
    taken: list[list[float]] = [[] for _ in measures]
    for _ in range(RUNS):
        for measure, times in zip(measures, taken, strict=True):
            times.append(measure())
    return [median(times) for times in taken]


def anonymous_peak(command: list[Word]) -> int:
    """Returns the most anonymous memory, in bytes, that a command had at any time."""
    OUT.unlink(missing_ok=True)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = 0
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        for line in status.read_text().splitlines():
            if line.startswith("RssAnon:"):
                peak = max(peak, int(line.split()[1]) << 10)
        time.sleep(0.002)
    if process.returncode:
        sys.exit(f"{command}: exit code {process.returncode}")
    return peak


class Goal(NamedTuple):
    """The ratios that a row must reach, and should."""

    reach: float
    aim: float


class Table:
    """The rows so far."""

    def __init__(self) -> None:
        """Makes a table without rows."""
        self.rows: list[str] = []

    def add(self, row: str) -> None:
        """Appends a row, and prints it."""
        self.rows.append(row)
        print(row, file=sys.stderr, flush=True)

    def told(self, work: str, peer: str, figures: str, ratio: float) -> None:
        """Appends a ratio that has no goal."""
        self.add(f"| {work} | {peer} | {figures} | {ratio:.2f} × | – | – | |")

    def faster(self, work: str, peer: str, theirs: Measure, mine: Measure, goal: Goal) -> None:
        """Measures how many times faster than its peer the work is."""
        peer_s, own_s = medians(theirs, mine)
        ratio = peer_s / own_s
        verdict = "aim" if ratio >= goal.aim else "PASS" if ratio >= goal.reach else "FAIL"
        figures = f"{own_s:.3f} s, {peer_s:.3f} s | {ratio:.2f} ×"
        self.add(f"| {work} | {peer} | {figures} | ≥ {goal.reach} × | ≥ {goal.aim} × | {verdict} |")

    def no_slower(self, work: str, peer: str, own_s: float, peer_s: float, goal: Goal) -> None:
        """Appends how many times as long as its peer the work takes."""
        ratio = own_s / peer_s
        verdict = "aim" if ratio <= goal.aim else "PASS" if ratio <= goal.reach else "FAIL"
        figures = f"{own_s:.3f} s, {peer_s:.3f} s | {ratio:.2f} ×"
        self.add(f"| {work} | {peer} | {figures} | ≤ {goal.reach} × | ≤ {goal.aim} × | {verdict} |")

    def megabytes(self, work: str, size: int, reach: int, aim: int) -> None:
        """Appends a number of bytes, which should be small."""
        verdict = "aim" if size <= aim else "PASS" if size <= reach else "FAIL"
        self.add(
            f"| {work} | – | {size / (1 << 20):.1f} MiB | – |"
            f" ≤ {reach >> 20} MiB | ≤ {aim >> 20} MiB | {verdict} |"
        )

    def write(self, path: Path, heading: str) -> None:
        """Writes the table as Markdown."""
        head = "| work | peer in the same run | ours, peer | ratio | reach | aim | |"
        path.write_text("\n".join([heading, "", head, "|---" * 7 + "|", *self.rows]) + "\n")


def dump_of(file_format: str, *more: str) -> Measure:
    """Returns the measure of a dump from RAM."""
    return lambda: timed(ours(file_format, *more))


def available_memory() -> int:
    """Returns the bytes that the system can still give to programs."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return 0


def not_zero(path: Path) -> int:
    """Returns the bytes of the file's pages that are not zero."""
    subprocess.run(["cp", "--sparse=always", path, OUT], check=True)
    return OUT.stat().st_blocks * 512


def compression(table: Table) -> None:
    """Measures formats that compress, beside QEMU, makedumpfile and the libraries."""
    for file_format in "kdump-raw-zlib", "kdump-zlib":
        theirs = partial(qemu, file_format)
        table.faster(file_format, f"QEMU {file_format}", theirs, dump_of(file_format), Goal(5, 8))
    timed(ours("elf"))
    source = OUT.rename(WORK / "source.elf")

    def makedumpfile(level: str) -> Measure:
        return lambda: timed(["makedumpfile", "-l", "-d", level, source, OUT])

    for work, options in ("kdump-raw-lzo", []), ("kdump-raw-lzo (minilzo)", BY_MINILZO):
        peer = "makedumpfile -l -d 0 from ELF"
        mine = dump_of("kdump-raw-lzo", *options)
        table.faster(work, peer, makedumpfile("0"), mine, Goal(3, 5))
    for codec in "snappy", "lzo":
        work = f"kdump-raw-{codec} with --dump-level 31"
        peer = "makedumpfile -l -d 31 from ELF"
        mine = dump_of(f"kdump-raw-{codec}", "--dump-level", "31")
        table.faster(work, peer, makedumpfile("31"), mine, Goal(1, 2))
    source.unlink()
    for codec, library, options, by in (
        ("snappy", "snap", [], ""),
        ("lzo", "minilzo", [], ""),
        ("lzo", "minilzo", BY_MINILZO, " (minilzo)"),
        ("zstd", "zstd", [], ""),
    ):
        dump = dump_of(f"kdump-raw-{codec}", *options)
        limit, bare, own = medians(partial(codec_alone, library), partial(bare_loop, library), dump)
        work = f"kdump-raw-{codec}{by}"
        table.no_slower(work, f"{library} alone on {CORES} cores", own, limit, Goal(1.35, 1.15))
        peer = f"{CORES} threads that read, compress by {library}, and write"
        table.told(work, peer, f"{own:.3f} s, {bare:.3f} s", own / bare)


def sparse(table: Table) -> None:
    """Measures time and memory of dumps of guests with much untouched RAM."""
    for file_format, goal in ("elf", Goal(1.5, 1.2)), ("kdump-raw-snappy", Goal(4, 2.5)):
        small = []
        long = []
        for _ in range(RUNS):
            resize(1 << 30)
            small.append(timed(ours(file_format)))
            resize(64 << 30)
            long.append(timed(ours(file_format)))
        work = f"64 GiB sparse, {file_format}"
        table.no_slower(work, "ours, 1 GiB", median(long), median(small), goal)
    # What threads allocate and free between each other differs from run to run.
    for size, formats, runs in (64 << 30, FORMATS, RUNS), (TIB, ["elf", "kdump-raw-snappy"], 1):
        resize(size)
        for file_format in formats:
            work = f"{size >> 30} GiB sparse, {file_format}: anonymous memory"
            # The descriptors of 1 TiB need 6.4 GB of tmpfs.
            if file_format != "elf" and available_memory() < size // 4096 * 24 * 1.3:
                print(f"{work}: not enough memory here", file=sys.stderr)
                continue
            peak = max(anonymous_peak(ours(file_format)) for _ in range(runs))
            bits = 2 * size // 4096 // 8
            table.megabytes(work, peak, (64 << 20) + bits, 32 << 20)
            OUT.unlink()
    resize(1 << 30)


def main() -> None:
    """Measures all rows, and writes the table."""
    copy_with_holes(GUEST_RAM, RAM)
    resize(1 << 30)
    table = Table()
    before = GUEST_RAM.stat().st_blocks
    for file_format in FORMATS:
        source = ["--from", f"raw:{GUEST_RAM}"]
        timed([GUESTDUMP, "dump", *source, "--to", OUT, "--format", file_format])
    grown = (GUEST_RAM.stat().st_blocks - before) * 512
    table.megabytes("RAM file grows, every format", grown, 0, 0)
    touched, not_zero_bytes = before * 512 >> 20, not_zero(RAM) >> 20

    copy: list[Word] = ["cp", "--sparse=always", RAM, OUT]
    table.faster("elf", "cp --sparse=always", partial(timed, copy), dump_of("elf"), Goal(1, 1.5))
    one = dump_of("kdump-raw-zlib", "--threads", "1")
    two = dump_of("kdump-raw-zlib", "--threads", "2")
    table.faster("kdump-raw-zlib, two threads", "ours, one thread", one, two, Goal(1.8, 1.95))
    sparse(table)
    table.faster("elf", "QEMU elf", partial(qemu, "elf"), dump_of("elf"), Goal(6, 10))
    compression(table)
    # Last, because the guest runs in between.
    work, peer = "standstill, kdump-raw-snappy over QMP", "QEMU kdump-zlib"
    theirs = partial(qemu, "kdump-zlib")
    table.faster(work, peer, theirs, standstill, Goal(10, 20))
    work += " with --dump-level 31"
    table.faster(work, peer, theirs, partial(standstill, "--dump-level", "31"), Goal(20, 40))
    table.write(
        Path(os.environ["TABLE"]),
        f"{time.strftime('%Y-%m-%d')}, {CORES} cores, Linux {os.uname().release};"
        f" medians of {RUNS} runs; guest of 1 GiB with {touched} MiB touched, {not_zero_bytes} MiB"
        f" not zero (RAM file after a dump of QEMU's: {Filled.mebibytes} MiB).",
    )


if __name__ == "__main__":
    main()
