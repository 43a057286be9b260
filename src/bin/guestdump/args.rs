//! The command line.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand, ValueEnum};
use guestdump::codec::Engine;
use guestdump::sink::{FileSinkOptions, Target};
use guestdump::{Format, Machine, OnReadError};

use crate::choice::by_name;
use crate::exclude::ExcludeArgs;
use crate::names::{dump_file, source_name, target};
use crate::number::parse_size;
use crate::report::{Failure, Result, print_or_drop};
use crate::source::SourceName;
use crate::usage_error;
use crate::vmcore_file::SpoolArgs;
use crate::vmcoreinfo_arg::VmcoreinfoArg;

const DUMP_HELP: &str = "\
Sizes and addresses are in bytes, decimal or 0x…; K, M, G and T stand for powers of 1024.
Signals stop the dump; no file is left without --keep-partial. Exit codes: 0 done, \
1 failed, 2 usage, 3 done, but the source and so the dump is incomplete (--keep-incomplete), 128 and the signal's number if stopped by a signal (130 SIGINT, 143 SIGTERM, 129 SIGHUP, …).

Examples:
  guestdump dump --from raw:/dev/shm/vm0 --map vm0.json --to vm0.dump
  guestdump dump --from qmp:/run/vm0.qmp --to vm0.dump --format kdump-raw-snappy
  guestdump dump --from process-core:core.qemu --to vm0.elf --format elf
  guestdump dump --from old.elf --to new.kdump --format kdump-raw-zstd
  guestdump dump --from demo:256M --to - | ssh host 'cat > demo.flat'";

const MAP_HELP: &str = "\
The map is for --map, see docs/map.md. Memory that QEMU shares through a file is in that file; other \
memory has its address in QEMU's process, for a core file of it.

Examples:
  guestdump map qmp:/run/vm0.qmp --to vm0.json
  guestdump map process-core:core.qemu > vm0.json";

const MAIN_HELP: &str = "\
Example:
  guestdump dump --from demo:256M --to demo.dump && guestdump info demo.dump

Exit codes: 0 done, 1 failed, 2 usage, 130 or 143 stopped by SIGINT or SIGTERM.";

/// Dumps of a guest's memory: write, convert, look into, check.
#[derive(Debug, Parser)]
#[command(name = "guestdump", version, after_help = MAIN_HELP)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a dump of a guest's memory
    #[command(after_help = DUMP_HELP)]
    Dump(DumpArgs),
    /// Say what a dump file holds
    #[command(after_help = "Example:\n  guestdump info --json vm0.dump | jq .vmcoreinfo.osrelease")]
    Info(FileArgs),
    /// Read all of a dump file and decompress every page
    #[command(
        after_help = "The exit code is 1 at the first thing wrong.\n\nExample:\n  guestdump check vm0.dump"
    )]
    Check(FileArgs),
    /// Print the log of a Linux guest's kernel, as dmesg does in the guest
    #[command(
        after_help = "Examples:\n  guestdump dmesg qmp:/run/vm0.qmp\n  guestdump dmesg vm0.dump"
    )]
    Dmesg(DmesgArgs),
    /// Write a map file: what lies where in a guest's memory, and its CPUs
    #[command(after_help = MAP_HELP)]
    Map(MapArgs),
    /// Bring a flattened dump into its raw form, as makedumpfile -R does
    #[command(
        after_help = "Example:\n  ssh host guestdump dump --from demo --to - | \
        guestdump rearrange - demo.dump"
    )]
    Rearrange(RearrangeArgs),
    /// Resume the guest of a QEMU that a killed dump has left standing still
    #[command(
        after_help = "Only a guest with the status 'paused' is resumed, as `stop` leaves it.\n\n\
        Example:\n  guestdump qmp-resume /run/vm0.qmp"
    )]
    QmpResume(SocketArgs),
    /// List the formats that this build can write, with their compressors
    #[command(after_help = "Example:\n  guestdump formats --json")]
    Formats(FormatsArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct DumpArgs {
    /// Guest memory: PATH or vmcore:PATH (an ELF, kdump or Windows dump, or one
    /// of these compressed by gzip, zstd or xz), demo[:SIZE],
    /// demo-windows[:SIZE], demo-windows-i386[:SIZE],
    /// demo-windows-i386-nopae[:SIZE], raw:PATH (a file with guest RAM),
    /// process-core:CORE (a core file of the process that ran the guest) or
    /// qmp:SOCKET (a running QEMU, whose guest is stopped meanwhile). Several are
    /// the parts of one dump that makedumpfile split
    #[arg(long, value_name = "SOURCE", value_parser = source_name(), required = true)]
    pub(crate) from: Vec<SourceName>,
    /// Where the dump goes: a path, file:PATH, fd:N, or - for standard output
    #[arg(long, value_name = "TARGET", value_parser = target())]
    pub(crate) to: Target,
    /// Dump format, see `guestdump formats` [default: kdump-raw-zlib, or
    /// kdump-zlib if the target is a stream]
    #[arg(long, value_name = "F", value_parser = parse_format)]
    pub(crate) format: Option<Format>,
    /// Compressor of the format's codec, see `guestdump formats` [default: zlib-rs,
    /// builtin-lzo, snap or zstd, in every build]; minilzo is GPL-3.0-or-later
    #[arg(long, value_name = "NAME", value_parser = parse_engine)]
    pub(crate) compressor: Option<Engine>,
    /// What lies where in raw:PATH or process-core:CORE, and the CPUs (see
    /// docs/map.md); without it, the guest's kernel tells where RAM lies;
    /// if raw:PATH has no Linux kernel, the machine's usual place is assumed, with
    /// a warning
    #[arg(long, value_name = "MAP.json")]
    pub(crate) map: Option<PathBuf>,
    /// Take raw:PATH for RAM even if it is a known kind of dump or container, or
    /// its length is not whole pages; a part of a page at its end is left out
    #[arg(long)]
    pub(crate) raw_anyway: bool,
    #[arg(long, value_name = "NAME", help = machine_help())]
    pub(crate) machine: Option<Machine>,
    /// Page size of raw:PATH and process-core:CORE in bytes [default:
    /// VMCOREINFO's, or the machine's]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) page_size: Option<u64>,
    /// Besides RAM, of qmp:SOCKET: rom for firmware and ROMs, vram for video
    /// memory
    #[arg(long, value_name = "WHAT", value_enum, value_delimiter = ',')]
    pub(crate) include: Vec<Included>,
    /// Threads that read and compress, 0 for all cores; the dump is the same
    /// for every number
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=1024))]
    pub(crate) threads: u16,
    /// Read at most this much guest memory a second, for a dump beside guests
    /// that run, e.g. 200M
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) throttle: Option<u64>,
    /// Leave the dump, and the files of raw:PATH and process-core:CORE, out of
    /// the host's page cache, as dd's flag nocache; waits for the disk
    #[arg(long)]
    pub(crate) nocache: bool,
    /// First guest-physical address to dump
    #[arg(long, value_name = "A", value_parser = parse_size, requires = "length")]
    pub(crate) begin: Option<u64>,
    /// Bytes to dump from there on
    #[arg(long, value_name = "L", value_parser = parse_size, requires = "begin")]
    pub(crate) length: Option<u64>,
    #[command(flatten)]
    pub(crate) exclude: ExcludeArgs,
    /// Also say at which guest-virtual addresses the memory is mapped, by the
    /// page tables of all CPUs; with --format elf only
    #[arg(long)]
    pub(crate) paging: bool,
    /// VMCOREINFO: a file with its text or the ELF note, an address 0x… in
    /// guest memory, or scan for a search [default: what the source gives, or
    /// a search]. One that is not of the kernel in guest memory is replaced by
    /// the one that is, with a warning
    #[arg(long, value_name = "scan|PATH|ADDRESS")]
    pub(crate) vmcoreinfo: Option<VmcoreinfoArg>,
    /// A file with the header of a Windows dump, of 4 or 8 KiB [default: the
    /// note of the guest's driver; without one, built from the guest]
    #[arg(long, value_name = "PATH")]
    pub(crate) windows_header: Option<PathBuf>,
    /// Build the header of a Windows dump even if the guest's kernel has broken
    /// lists of modules, processes or memory
    #[arg(long)]
    pub(crate) windows_damaged: bool,
    /// When guest memory cannot be read: fail, write zeroes for it, or leave
    /// the page out (kdump formats, and win-dmp-bitmap to a file)
    #[arg(long, value_name = "WHAT", value_parser = by_name(&OnReadError::ALL, OnReadError::name), default_value = OnReadError::Fail.name())]
    pub(crate) on_read_error: OnReadError,
    /// When the dump fails or is stopped, keep what there is, under the
    /// target's name, as a dump that says that it is incomplete; kdump-raw
    /// formats only
    #[arg(long)]
    pub(crate) keep_partial: bool,
    /// Dump a source that is incomplete, such as a file that was cut short, a part of
    /// a split dump, or a core file that lacks RAM. The dump says that it is
    /// incomplete, and the exit code is 3
    #[arg(long)]
    pub(crate) keep_incomplete: bool,
    /// Progress on stderr; auto: if that is a terminal
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = When::Auto)]
    pub(crate) progress: When,
    /// Summary as one JSON object on stdout; on stderr if the dump goes to
    /// stdout
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) spool: SpoolArgs,
    #[command(flatten)]
    pub(crate) file: FileOptions,
}

/// How a file is written.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct FileOptions {
    /// Replace an existing file
    #[arg(long)]
    force: bool,
    /// Wait until the dump is on the disk
    #[arg(long)]
    fsync: bool,
}

impl From<FileOptions> for FileSinkOptions {
    fn from(options: FileOptions) -> Self {
        Self::default().overwrite(options.force).sync(options.fsync)
    }
}

/// What is dumped besides RAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Included {
    Rom,
    Vram,
}

/// When there is a progress bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    Auto,
    Always,
    Never,
}

#[derive(Debug, clap::Args)]
pub(crate) struct FileArgs {
    /// The dump file, as PATH or vmcore:PATH: ELF or kdump, flattened or not, or
    /// a Windows dump; or one of these compressed by gzip, zstd or xz. Several are
    /// the parts of one dump that makedumpfile split
    #[arg(value_name = "FILE", value_parser = dump_file(), required = true)]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) spool: SpoolArgs,
    /// One JSON object on stdout instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DmesgArgs {
    /// Guest memory, as dump --from takes it: PATH or vmcore:PATH, raw:PATH,
    /// process-core:CORE, or qmp:SOCKET (a running QEMU, whose guest is stopped
    /// meanwhile)
    #[arg(value_name = "SOURCE", value_parser = source_name())]
    pub(crate) from: SourceName,
    /// What lies where in raw:PATH or process-core:CORE (see docs/map.md)
    #[arg(long, value_name = "MAP.json")]
    pub(crate) map: Option<PathBuf>,
    /// Take raw:PATH for RAM even if it is a known kind of dump or container, or
    /// its length is not whole pages; a part of a page at its end is left out
    #[arg(long)]
    pub(crate) raw_anyway: bool,
    #[arg(long, value_name = "NAME", help = machine_help())]
    pub(crate) machine: Option<Machine>,
    /// VMCOREINFO: a file with its text or the ELF note, an address 0x… in
    /// guest memory, or scan for a search [default: what the source gives, or
    /// a search]. One that is not of the kernel in guest memory is replaced by
    /// the one that is, with a warning
    #[arg(long, value_name = "scan|PATH|ADDRESS")]
    pub(crate) vmcoreinfo: Option<VmcoreinfoArg>,
    #[command(flatten)]
    pub(crate) spool: SpoolArgs,
    /// Also print who wrote each record: T and a thread id, or C and a CPU
    #[arg(long)]
    pub(crate) caller: bool,
    /// One JSON object on stdout instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct MapArgs {
    /// The guest: qmp:SOCKET (a running QEMU, whose guest is stopped
    /// meanwhile), process-core:CORE or raw:PATH
    #[arg(value_name = "SOURCE", value_parser = source_name())]
    pub(crate) from: SourceName,
    /// Where the map goes: a path, file:PATH or fd:N [default: standard output]
    #[arg(long, value_name = "TARGET", value_parser = target())]
    pub(crate) to: Option<Target>,
    #[arg(long, value_name = "NAME", help = machine_help())]
    pub(crate) machine: Option<Machine>,
    /// Take raw:PATH for RAM even if it is a known kind of dump or container, or
    /// its length is not whole pages; a part of a page at its end is left out
    #[arg(long)]
    pub(crate) raw_anyway: bool,
    #[command(flatten)]
    pub(crate) spool: SpoolArgs,
    #[command(flatten)]
    pub(crate) file: FileOptions,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RearrangeArgs {
    /// The flattened dump, or - for standard input
    #[arg(value_name = "FLAT")]
    pub(crate) from: PathBuf,
    /// Where the raw dump goes: a path, file:PATH or fd:N
    #[arg(value_name = "RAW", value_parser = target())]
    pub(crate) to: Target,
    #[command(flatten)]
    pub(crate) file: FileOptions,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SocketArgs {
    /// QEMU's QMP socket
    pub(crate) socket: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct FormatsArgs {
    /// One JSON object on stdout instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

fn machine_help() -> String {
    let names: Vec<_> = Machine::ALL.iter().map(|machine| machine.name()).collect();
    let names = names.join(", ");
    let default = Machine::X86_64;
    format!(
        "Architecture of raw:PATH and process-core:CORE: {names} [default: what the guest's kernel \
         tells, or {default}]"
    )
}

fn parse_format(name: &str) -> Result<Format, String> {
    name.parse()
        .map_err(|e| format!("{e}; see guestdump formats"))
}

fn parse_engine(name: &str) -> Result<Engine, String> {
    name.parse()
        .map_err(|e| format!("{e}; see guestdump formats"))
}

/// The command of the process's arguments; `None` if they asked for help or
/// the version, which is printed then.
pub(crate) fn parse() -> Result<Option<Command>> {
    let error = match Args::try_parse() {
        Ok(args) => return Ok(Some(args.command)),
        Err(error) => error,
    };
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            print_or_drop(&error.to_string())?;
            Ok(None)
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            Err(Failure::usage(
                "name a command: dump, info, check, dmesg, map, rearrange, qmp-resume or formats; see guestdump --help",
            ))
        }
        _ => Err(Failure::usage(usage_error::describe(&error))),
    }
}
