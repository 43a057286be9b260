"""The rows of benches/peers, run while the guest of $QMP stands still."""

import ctypes
import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests/interop/guest"))
from qmp import Qmp  # noqa: E402

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
filled = 0  # MiB of the guest's RAM file after a dump of QEMU's.


def timed(command):
    """Runs a command that writes OUT, and gives its seconds."""
    OUT.unlink(missing_ok=True)
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begun


def ours(file_format, *more):
    source = ["--from", f"raw:{RAM}", "--map", MAP]
    return [GUESTDUMP, "dump", *source, "--to", OUT, "--format", file_format, *more]


def resize(size):
    """Makes the guest's RAM so many bytes long, by untouched memory. MAP says
    where VMCOREINFO lies, which QEMU knows too."""
    os.truncate(RAM, size)
    guest = {"regions": [{"gpa": 0, "size": size, "offset": 0}]}
    if MAP.exists():
        guest["vmcoreinfo"] = json.loads(MAP.read_text())["vmcoreinfo"]
    else:
        MAP.write_text(json.dumps(guest))
        OUT.unlink(missing_ok=True)
        result = subprocess.run([*ours("elf"), "--json"], capture_output=True, check=True)
        found = json.loads(result.stdout)["vmcoreinfo"]
        guest["vmcoreinfo"] = {"gpa": found["address"], "size": 4096}
    MAP.write_text(json.dumps(guest))


def extents(file):
    """Where a file has data: begin and end of each extent."""
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


def copy_with_holes(source, target):
    """`cp --sparse=auto` would make a hole of every zero page."""
    with source.open("rb", 0) as read, target.open("wb", 0) as write:
        write.truncate(source.stat().st_size)
        for at, end in extents(read):
            while at < end:
                at += os.pwrite(write.fileno(), os.pread(read.fileno(), min(end - at, 1 << 20), at), at)


def punch_all_but(file, kept):
    """Makes holes of everything between the extents that are kept."""
    size = os.fstat(file.fileno()).st_size
    ends = [0, *(end for _, end in kept)]
    begins = [*(begin for begin, _ in kept), size]
    for begin, end in zip(ends, begins):
        if begin < end:
            offset, length = ctypes.c_int64(begin), ctypes.c_int64(end - begin)
            keep_size_and_punch_hole = 3
            if LIBC.fallocate(file.fileno(), keep_size_and_punch_hole, offset, length):
                sys.exit(f"fallocate: {os.strerror(ctypes.get_errno())}")


def qemu(file_format):
    """QEMU's dump fills the RAM file. Guests are mostly dumped once, so the
    holes are made again before the guest goes on."""
    OUT.unlink(missing_ok=True)
    qmp = Qmp(os.environ["QMP"], 600)
    qmp.command("stop")
    with GUEST_RAM.open("r+b", 0) as ram:
        touched = list(extents(ram))
        begun = time.perf_counter()
        qmp.command("dump-guest-memory", paging=False, protocol=f"file:{OUT}", format=file_format)
        seconds = time.perf_counter() - begun
        global filled
        filled = os.fstat(ram.fileno()).st_blocks * 512 >> 20
        punch_all_but(ram, touched)
    return seconds


def seconds_of(command):
    """What a command prints."""
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(result.stdout)


def codec_alone(compressor):
    return seconds_of([os.environ["CODEC_ALONE"], RAM, compressor, str(CORES)])


def bare_loop(compressor):
    """Reading RAM, compressing it, and writing that."""
    OUT.unlink(missing_ok=True)
    return seconds_of([os.environ["BARE_LOOP"], RAM, compressor, str(CORES), OUT])


def standstill(*more):
    """Seconds for which a running guest stands still for our dump."""
    OUT.unlink(missing_ok=True)
    Qmp(os.environ["QMP"], 60).command("cont")
    time.sleep(0.5)
    source = ["--from", f"qmp:{os.environ['QMP']}"]
    command = [GUESTDUMP, "dump", *source, "--to", OUT, "--format", "kdump-raw-snappy", *more]
    result = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    return json.loads(result.stdout)["standstill_seconds"]


def medians(*measures):
    """The median of each measure; all take turns, so that what disturbs one
    disturbs the others too."""
    taken = [[] for _ in measures]
    for _ in range(RUNS):
        for measure, times in zip(measures, taken):
            times.append(measure())
    return [median(times) for times in taken]


def anonymous_peak(command):
    """The most anonymous memory, in bytes, that a command had at any time."""
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


class Table:
    def __init__(self):
        self.rows = []

    def add(self, work, peer, figures, ratio, reach, aim, at_least):
        """A ratio that should be at least, or at most, what is to be reached."""
        sign = (lambda a, b: a >= b) if at_least else (lambda a, b: a <= b)
        verdict = "aim" if sign(ratio, aim) else "PASS" if sign(ratio, reach) else "FAIL"
        limit = "≥" if at_least else "≤"
        self.rows.append(
            f"| {work} | {peer} | {figures} | {ratio:.2f} × |"
            f" {limit} {reach} × | {limit} {aim} × | {verdict} |"
        )
        print(self.rows[-1], file=sys.stderr, flush=True)

    def told(self, work, peer, figures, ratio):
        """A ratio that nothing is set for."""
        self.rows.append(f"| {work} | {peer} | {figures} | {ratio:.2f} × | – | – | |")
        print(self.rows[-1], file=sys.stderr, flush=True)

    def faster(self, work, peer, theirs, mine, reach, aim):
        peer_s, own_s = medians(theirs, mine)
        self.add(work, peer, f"{own_s:.3f} s, {peer_s:.3f} s", peer_s / own_s, reach, aim, True)

    def megabytes(self, work, peer, size, reach, aim):
        verdict = "aim" if size <= aim else "PASS" if size <= reach else "FAIL"
        self.rows.append(
            f"| {work} | {peer} | {size / (1 << 20):.1f} MiB | – |"
            f" ≤ {reach >> 20} MiB | ≤ {aim >> 20} MiB | {verdict} |"
        )
        print(self.rows[-1], file=sys.stderr, flush=True)

    def write(self, path, heading):
        head = "| work | peer in the same run | ours, peer | ratio | reach | aim | |"
        path.write_text("\n".join([heading, "", head, "|---" * 7 + "|", *self.rows]) + "\n")


def dump_of(file_format, *more):
    return lambda: timed(ours(file_format, *more))


def available_memory():
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return 0


def not_zero(path):
    """Bytes of the file's pages that are not zero."""
    subprocess.run(["cp", "--sparse=always", path, OUT], check=True)
    return os.stat(OUT).st_blocks * 512


def compression(table):
    for file_format in "kdump-raw-zlib", "kdump-zlib":
        peer = f"QEMU {file_format}"
        table.faster(file_format, peer, lambda: qemu(file_format), dump_of(file_format), 5, 8)
    timed(ours("elf"))
    source = OUT.rename(WORK / "source.elf")
    for work, options in ("kdump-raw-lzo", []), ("kdump-raw-lzo (minilzo)", BY_MINILZO):
        table.faster(
            work,
            "makedumpfile -l -d 0 from ELF",
            lambda: timed(["makedumpfile", "-l", "-d", "0", source, OUT]),
            dump_of("kdump-raw-lzo", *options),
            3,
            5,
        )
    for codec in "snappy", "lzo":
        table.faster(
            f"kdump-raw-{codec} with --dump-level 31",
            "makedumpfile -l -d 31 from ELF",
            lambda: timed(["makedumpfile", "-l", "-d", "31", source, OUT]),
            dump_of(f"kdump-raw-{codec}", "--dump-level", "31"),
            1,
            2,
        )
    source.unlink()
    for codec, library, options, by in (
        ("snappy", "snap", [], ""),
        ("lzo", "minilzo", [], ""),
        ("lzo", "minilzo", BY_MINILZO, " (minilzo)"),
        ("zstd", "zstd", [], ""),
    ):
        dump = dump_of(f"kdump-raw-{codec}", *options)
        limit, bare, own = medians(
            lambda: codec_alone(library), lambda: bare_loop(library), dump
        )
        work = f"kdump-raw-{codec}{by}"
        peer = f"{library} alone on {CORES} cores"
        table.add(work, peer, f"{own:.3f} s, {limit:.3f} s", own / limit, 1.35, 1.15, False)
        peer = f"{CORES} threads that read, compress by {library}, and write"
        table.told(work, peer, f"{own:.3f} s, {bare:.3f} s", own / bare)


def sparse(table):
    for file_format, reach, aim in ("elf", 1.5, 1.2), ("kdump-raw-snappy", 4, 2.5):
        small = []
        long = []
        for _ in range(RUNS):
            resize(1 << 30)
            small.append(timed(ours(file_format)))
            resize(64 << 30)
            long.append(timed(ours(file_format)))
        own, peer = median(long), median(small)
        figures = f"{own:.3f} s, {peer:.3f} s"
        work = f"64 GiB sparse, {file_format}"
        table.add(work, "ours, 1 GiB", figures, own / peer, reach, aim, False)
    # What threads allocate and free between each other differs from run to run.
    for size, formats, runs in (64 << 30, FORMATS, RUNS), (TIB, ("elf", "kdump-raw-snappy"), 1):
        resize(size)
        for file_format in formats:
            work = f"{size >> 30} GiB sparse, {file_format}: anonymous memory"
            # The descriptors of 1 TiB need 6.4 GB of tmpfs.
            if file_format != "elf" and available_memory() < size // 4096 * 24 * 1.3:
                print(f"{work}: not enough memory here", file=sys.stderr)
                continue
            peak = max(anonymous_peak(ours(file_format)) for _ in range(runs))
            bits = 2 * size // 4096 // 8
            table.megabytes(work, "–", peak, (64 << 20) + bits, 32 << 20)
            OUT.unlink()
    resize(1 << 30)


def main():
    copy_with_holes(GUEST_RAM, RAM)
    resize(1 << 30)
    table = Table()
    before = os.stat(GUEST_RAM).st_blocks
    for file_format in FORMATS:
        source = ["--from", f"raw:{GUEST_RAM}"]
        timed([GUESTDUMP, "dump", *source, "--to", OUT, "--format", file_format])
    grown = (os.stat(GUEST_RAM).st_blocks - before) * 512
    table.megabytes("RAM file grows, every format", "–", grown, 0, 0)
    touched, not_zero_bytes = before * 512 >> 20, not_zero(RAM) >> 20

    copy = ["cp", "--sparse=always", RAM, OUT]
    table.faster("elf", "cp --sparse=always", lambda: timed(copy), dump_of("elf"), 1, 1.5)
    one = dump_of("kdump-raw-zlib", "--threads", "1")
    two = dump_of("kdump-raw-zlib", "--threads", "2")
    table.faster("kdump-raw-zlib, two threads", "ours, one thread", one, two, 1.8, 1.95)
    sparse(table)
    table.faster("elf", "QEMU elf", lambda: qemu("elf"), dump_of("elf"), 6, 10)
    compression(table)
    # Last, because the guest runs in between.
    work = "standstill, kdump-raw-snappy over QMP"
    table.faster(work, "QEMU kdump-zlib", lambda: qemu("kdump-zlib"), standstill, 10, 20)
    work += " with --dump-level 31"
    level = "--dump-level", "31"
    table.faster(work, "QEMU kdump-zlib", lambda: qemu("kdump-zlib"), lambda: standstill(*level), 20, 40)
    table.write(
        Path(os.environ["TABLE"]),
        f"{time.strftime('%Y-%m-%d')}, {CORES} cores, Linux {os.uname().release};"
        f" medians of {RUNS} runs; guest of 1 GiB with {touched} MiB touched,"
        f" {not_zero_bytes} MiB not zero (RAM file after a dump of QEMU's: {filled} MiB).",
    )


main()
