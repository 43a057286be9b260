//! guestdump writes the memory of a virtual machine as a dump that debuggers open. It writes ELF
//! cores and makedumpfile's kdump-compressed format, for crash, drgn, gdb, makedumpfile and every
//! tool on libkdumpfile. Of Windows guests it also writes Windows crash dumps.
//!
//! A virtual machine monitor (VMM) implements [`GuestMemory`]: the list of its RAM ranges, and a
//! read that copies. It chooses a [`DumpSink`]: a file, an open descriptor, any [`std::io::Write`],
//! or a sink of its own. [`dump()`] writes the dump on as many threads as the caller allows;
//! [`DumpJob`] does so in the background.
//!
//! ```
//! use guestdump::arch::x86_64::Registers;
//! use guestdump::memory::{GuestMemory, MemoryRange};
//! use guestdump::sink::{FileSink, FileSinkOptions};
//! use guestdump::{DumpOptions, Format, GuestInfo, Machine, dump};
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
//! let guest = GuestInfo::new(Machine::X86_64).cpus([vcpu0]);
//! let options = DumpOptions::new(guest, Format::Elf).threads(2);
//! let summary = dump(&vm, &mut sink, &options)?;
//! assert_eq!(summary.pages, 256);
//! # Ok(())
//! # }
//! ```
//!
//! # Entry points
//!
//! [`DumpJob`] runs a dump in the background, with progress and cancellation.
//! [`DumpJob::start_with`] also calls a function at the end. [`Dumper`] runs at most one such dump
//! at a time.
//!
//! ```
//! use guestdump::memory::FileMemory;
//! use guestdump::sink::BufferSink;
//! use guestdump::{DumpJob, DumpOptions, Format, GuestInfo, Machine, Progress};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let file = tempfile::tempfile()?;
//! # file.set_len(4 << 20)?;
//! let memory = FileMemory::flat(file)?; // the RAM's file: a memfd, an image
//! let progress = Progress::new();
//! let guest = GuestInfo::new(Machine::X86_64);
//! let options = DumpOptions::new(guest, Format::Elf).progress(progress.clone());
//! let job = DumpJob::start(memory, BufferSink::new(), options);
//! let figures = progress.snapshot(); // progress.cancel() would stop it
//! assert!(figures.done <= figures.total);
//! assert_eq!(job.wait()?.pages, 1024);
//! # Ok(())
//! # }
//! ```
//!
//! [`DumpOptions::executor`] runs a dump on the caller's own threads.
//!
//! ```
//! use guestdump::{DumpOptions, Executor, Format, GuestInfo, Machine};
//!
//! /// Stands for a thread pool that the VMM has.
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
//! let options = DumpOptions::new(GuestInfo::new(Machine::X86_64), Format::Elf)
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
//! These modules do more, each with an example:
//!
//! - [`process_core`] finds the guest's memory in a core file of its VMM.
//! - [`guest::paging`] translates addresses by the guest's page tables.
//! - [`guest::linux`] reads a Linux guest's kernel and its log.
//! - [`elf`], [`kdump`], [`kdump::flattened`] and [`windmp`] encode and decode headers.
//! - [`read::rearrange()`] turns a flattened dump into a raw one, as `makedumpfile -R` does.
//! - [`adapters`] accept guest memory of vm-memory and registers of KVM.
//! - `guestdump::qemu` (feature `qemu`) dumps a guest under QEMU from outside.
//! - `guestdump::qapi` (feature `qapi`) has QEMU's dump commands for a VMM's own API.
//!
//! # Features
//!
//! Each codec is a feature; [`Format::available`] lists the formats that the build can write. A
//! feature adds choices and leaves the bytes of a dump as they are. Callers choose `libdeflate` and
//! `minilzo` by [`KdumpOptions`].
//!
//! Without any feature the crate links thiserror, zerocopy and byteorder. It then writes to a
//! [`sink::StreamSink`], a [`sink::BufferSink`], or the caller's own [`DumpSink`].
//!
//! | feature | default | adds | licence of what it links |
//! |---|---|---|---|
//! | `file` | yes | [`sink::FileSink`], [`sink::FdSink`], [`memory::FileMemory`], `File` as [`read::ReadAt`] | MIT or Apache-2.0 |
//! | `zlib` | yes | kdump with zlib, by flate2 on zlib-rs | MIT or Apache-2.0, Zlib |
//! | `libdeflate` | no | the zlib compressor libdeflate; with `zlib` | Apache-2.0, MIT |
//! | `lzo` | yes | kdump with LZO, by the crate itself; lzokay decompresses | MIT |
//! | `minilzo` | no | the LZO compressor minilzo; with `lzo` | **GPL-3.0-or-later** |
//! | `snappy` | yes | kdump with snappy, by snap | BSD-3-Clause |
//! | `zstd` | no | kdump with zstd, by zstd | MIT, BSD-3-Clause |
//! | `demo` | no | the built-in synthetic guests | |
//! | `mapped` | no | memory that this process has mapped, read without SIGBUS | MIT |
//! | `qemu` | no | dumps of a running QEMU, over QMP; with `file`, `mapped` | MIT or Apache-2.0 |
//! | `serde` | no | serde's traits for registers by name, numbers and states | MIT or Apache-2.0 |
//! | `qapi` | no | QEMU's dump commands for a VMM's API; with `file`, `serde` | MIT or Apache-2.0 |
//! | `vm-memory` | no | guest memory of vm-memory 0.18; with `file`, `mapped` | Apache-2.0 or BSD-3-Clause, MIT |
//! | `vm-memory-0-17` | no | guest memory of vm-memory 0.17; with `file`, `mapped` | Apache-2.0 or BSD-3-Clause, MIT |
//! | `kvm-bindings` | no | registers from KVM's structs | Apache-2.0 |
//! | `cli` | no | the command `guestdump`; with `demo`, `qapi`, `qemu`, `zstd` | MIT or Apache-2.0, … |
//!
//! - `libdeflate`, `minilzo` and `zstd` need a C compiler.
//! - `libdeflate` makes dumps 8% smaller for 5% more processor time.
//! - `minilzo` makes dumps 2% smaller for 30% more processor time of the codec.
//! - A program built with `minilzo` is a GPL program, even if no dump chooses that compressor.
//!
//! # Guarantees
//!
//! - Everything is checked before the first byte is written. A refused dump
//!   ([`Error::is_refusal`]) wrote nothing.
//! - The dump is the same for every number of threads.
//! - Memory that its owner calls unpopulated is never read.
//! - A failed dump gets no final file name, unless the caller asked to keep it
//!   ([`KdumpOptions::raw_or_partial`]). A kept dump says that it is incomplete.
//! - Guest memory is never written.
//! - Memory use does not depend on what the guest claims.

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
pub mod ram_layout;
pub mod read;
mod selection;
pub mod sink;
#[cfg(test)]
mod testing;
mod virtualbox;
pub mod vmcoreinfo;
pub mod windmp;
mod workers;
pub mod write;
pub mod xen;

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

/// Compiles the examples of the README with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
