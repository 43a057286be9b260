//! Dumps of a guest's memory that the debuggers of the field open at once:
//! ELF and makedumpfile's kdump-compressed format, for crash, drgn, gdb,
//! makedumpfile and every tool on libkdumpfile; and Windows's own dumps.
//!
//! A virtual machine monitor implements [`GuestMemory`] — its RAM ranges and
//! a copying read — and picks a [`DumpSink`]: a file, an open descriptor, any
//! [`std::io::Write`], or its own. [`dump`] does the rest, on as many threads
//! as it is given; [`DumpJob`] does it in the background.
//!
//! ```
//! use guestdump::arch::x86_64::Registers;
//! use guestdump::memory::{GuestMemory, MemoryRange};
//! use guestdump::sink::{FileSink, FileSinkOptions};
//! use guestdump::{DumpOptions, Format, dump};
//!
//! struct Vm {
//!     ram: Vec<u8>, // at guest-physical address 0
//! }
//!
//! impl GuestMemory for Vm {
//!     fn ranges(&self) -> Vec<MemoryRange> {
//!         vec![MemoryRange::new(0, self.ram.len() as u64).expect("whole pages")]
//!     }
//!     fn read(&self, gpa: u64, buf: &mut [u8]) -> std::io::Result<()> {
//!         let bytes = self.ram.get(gpa as usize..).and_then(|r| r.get(..buf.len()));
//!         buf.copy_from_slice(bytes.ok_or(std::io::ErrorKind::InvalidInput)?);
//!         Ok(())
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("guest.vmcore");
//! let vm = Vm { ram: vec![0; 1 << 20] };
//! let mut sink = FileSink::create(&path, FileSinkOptions::default())?;
//! let vcpu0 = Registers { rip: 0xffff_ffff_8100_0000, ..Registers::default() };
//! let options = DumpOptions::new(Format::Elf).cpus([vcpu0]).threads(2);
//! let summary = dump(&vm, &mut sink, &options)?;
//! assert_eq!(summary.pages, 256);
//! # Ok(())
//! # }
//! ```
//!
//! # Entry points
//!
//! In the background, with progress, cancellation and a callback
//! ([`DumpJob`]; [`Dumper`] has one at a time):
//!
//! ```
//! use guestdump::memory::FileMemory;
//! use guestdump::sink::BufferSink;
//! use guestdump::{DumpJob, DumpOptions, Format, Progress};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let file = tempfile::tempfile()?;
//! # file.set_len(4 << 20)?;
//! let memory = FileMemory::flat(file)?; // the RAM's file: a memfd, an image
//! let progress = Progress::new();
//! let options = DumpOptions::new(Format::Elf).progress(progress.clone());
//! let job = DumpJob::start(memory, BufferSink::new(), options, |result| match result {
//!     Ok(summary) => assert_eq!(summary.pages, 1024),
//!     Err(error) => panic!("{error}"),
//! });
//! let figures = progress.snapshot(); // progress.cancel() would stop it
//! assert!(figures.done <= figures.total);
//! job.wait();
//! # Ok(())
//! # }
//! ```
//!
//! On threads of the caller's own ([`DumpOptions::executor`]):
//!
//! ```
//! use guestdump::{DumpOptions, Executor, Format};
//!
//! /// Stands for a pool that the monitor has anyway.
//! #[derive(Debug)]
//! struct Pool;
//!
//! impl Executor for Pool {
//!     fn run(&self, threads: usize, work: &(dyn Fn() + Sync)) {
//!         std::thread::scope(|scope| {
//!             for _ in 0..threads {
//!                 scope.spawn(work);
//!             }
//!         });
//!     }
//! }
//!
//! let options = DumpOptions::new(Format::Elf)
//!     .threads(4)
//!     .executor(std::sync::Arc::new(Pool));
//! ```
//!
//! [`read::Vmcore`] reads a dump of any writer as guest memory again, for
//! example to convert it to another format:
//!
//! ```no_run
//! use guestdump::sink::{FileSink, FileSinkOptions};
//! use guestdump::read::Vmcore;
//! use guestdump::{Format, dump};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let vmcore = Vmcore::open(std::fs::File::open("qemu.elf")?)?;
//! let mut sink = FileSink::create("small.kdump", FileSinkOptions::default())?;
//! dump(&vmcore, &mut sink, &vmcore.options(Format::KDUMP_RAW_SNAPPY)?)?;
//! # Ok(())
//! # }
//! ```
//!
//! More, with an example in each module: [`process_core`] has the guest out of
//! a core file of its monitor, [`paging`] the guest's page tables, [`linux`] a
//! Linux guest's kernel and its log, [`windmp`] Windows's own dumps,
//! [`flattened::rearrange`] what `makedumpfile -R` does.
//!
//! With features: `guestdump::qemu` dumps a guest under QEMU from outside,
//! `guestdump::qapi` is QEMU's dump commands for a monitor's own API, and
//! [`adapters`] take what vm-memory and KVM hold.
//!
//! # Features
//!
//! Each codec is a feature; [`Format::available`] lists the formats that the
//! present build can write. A feature adds choices and does not change the bytes of a
//! dump: [`KdumpOptions`] chooses `libdeflate` or `minilzo`. Without any feature the crate links thiserror and
//! zerocopy alone, and dumps into what the caller has: a [`sink::StreamSink`], a
//! [`sink::BufferSink`], a [`DumpSink`] of its own.
//!
//! | feature | default | brings | licence of what it brings |
//! |---|---|---|---|
//! | `file` | yes | files: [`sink::FileSink`], [`sink::FdSink`], [`memory::FileMemory`], `File` as [`read::ReadAt`] | MIT or Apache-2.0 |
//! | `zlib` | yes | kdump with zlib, by flate2 on zlib-rs | MIT or Apache-2.0, Zlib |
//! | `libdeflate` | no | the compressor libdeflate for zlib: dumps 8% smaller for 5% more processor time; needs a C compiler | Apache-2.0, MIT |
//! | `lzo` | yes | kdump with LZO, compressed by the crate itself; lzokay decompresses | MIT |
//! | `snappy` | yes | kdump with snappy, by snap | BSD-3-Clause |
//! | `zstd` | no | kdump with zstd, by zstd; needs a C compiler | MIT, BSD-3-Clause |
//! | `minilzo` | no | the compressor minilzo for LZO: dumps 2% smaller for 30% more processor time of the codec; needs a C compiler | **GPL-3.0-or-later** |
//! | `demo` | no | the built-in synthetic guest | |
//! | `mapped` | no | memory that this process has mapped, read without SIGBUS | MIT |
//! | `qemu` | no | dumps of a guest under QEMU, over its socket | MIT |
//! | `serde` | no | serde's traits for registers by name and numbers | MIT or Apache-2.0 |
//! | `qapi` | no | `guestdump::qapi`, QEMU's dump commands for a VMM's own API; with `serde` | MIT or Apache-2.0 |
//! | `vm-memory`, `vm-memory-0-17` | no | guest memory of vm-memory 0.18 and 0.17 | Apache-2.0 or BSD-3-Clause, MIT |
//! | `kvm-bindings` | no | registers from KVM's structs | Apache-2.0 |
//! | `cli` | no | the command `guestdump` | MIT or Apache-2.0, … |
//!
//! # What is promised
//!
//! - Everything is checked before the first byte is written; a refused dump
//!   ([`Error::is_refusal`]) wrote nothing.
//! - The dump is the same for every number of threads.
//! - Memory that the owner calls unpopulated is never read.
//! - A dump that failed never has the name of a finished one, unless it was to
//!   be kept ([`KdumpOptions::raw_or_partial`]), and says that it is incomplete.
//! - Guest memory is never written; memory use does not depend on what the
//!   guest claims.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod abi;
pub mod adapters;
pub mod arch;
pub mod bitmap;
pub mod codec;
#[cfg(feature = "demo")]
pub mod demo;
mod dump;
pub mod elf;
mod fault;
pub mod guest;
#[cfg(any(feature = "file", feature = "mapped"))]
mod host;
pub mod kdump;
pub mod memory;
mod pipeline;
pub mod process_core;
#[cfg(feature = "qapi")]
pub mod qapi;
#[cfg(feature = "qemu")]
pub mod qemu;
pub mod read;
mod selection;
pub mod sink;
pub mod vmcoreinfo;
pub mod windmp;
mod workers;
pub mod write;

pub use abi::{ByteOrder, Class, Encoding};
pub use arch::{CpuState, Machine};
pub use dump::{
    Busy, DumpJob, DumpOptions, DumpStatus, Dumper, ElfOptions, Error, ExclusionSummary, Format,
    FormatOptions, KdumpOptions, NotInFormat, OnUnknownKernel, PagingSummary, Refusal, Result,
    Summary, UnknownFormat, WinDmpOptions, dump,
};
pub use fault::{Fault, error_chain};
pub use guest::GuestInfo;
pub use memory::{GuestMemory, MemoryRange, OnReadError, Unreadable};
pub use sink::DumpSink;
pub use workers::{Executor, Progress, ProgressSnapshot, Workers};

/// The README's examples are compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
