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
//! # Features
//!
//! Each codec is a feature; [`Format::available`] lists the formats that the
//! present build can write.
//!
//! | feature | default | brings | licence of what it brings |
//! |---|---|---|---|
//! | `zlib` | yes | kdump with zlib, by flate2 on zlib-rs | MIT or Apache-2.0, Zlib |
//! | `libdeflate` | no | zlib pages 9% smaller in the same time, by libdeflate instead of zlib-rs; needs a C compiler | Apache-2.0, MIT |
//! | `lzo` | yes | kdump with LZO, by lzokay | MIT |
//! | `snappy` | yes | kdump with snappy, by snap | BSD-3-Clause |
//! | `zstd` | yes | kdump with zstd, by zstd; needs a C compiler | MIT, BSD-3-Clause |
//! | `minilzo` | no | LZO many times faster, by minilzo-rs; needs a C compiler | **GPL-3.0-or-later** |
//! | `demo` | no | the built-in synthetic guest | |
//! | `qemu` | no | dumps of a guest under QEMU, over its socket | MIT |
//! | `serde` | no | JSON: registers by name; `guestdump::qapi`, QEMU's dump commands for a monitor's own API | MIT or Apache-2.0 |
//! | `cli` | no | the command `guestdump` | MIT or Apache-2.0, … |
//!
//! # What is promised
//!
//! - Everything is checked before the first byte is written; a refused dump
//!   ([`Error::is_refusal`]) wrote nothing.
//! - The dump is the same for every number of threads.
//! - Memory that the owner calls unpopulated is never read.
//! - A dump that failed never has the name of a finished one, and says that
//!   it is incomplete.
//! - Guest memory is never written; memory use does not depend on what the
//!   guest claims.

pub mod arch;
pub mod codec;
#[cfg(feature = "demo")]
pub mod demo;
mod dump;
pub mod elf;
mod encoding;
mod error;
pub mod flattened;
mod format;
mod guest;
mod job;
pub mod kdump;
pub mod memory;
mod notes;
#[cfg(feature = "serde")]
pub mod number;
mod page_cache;
pub mod paging;
mod pipeline;
pub mod process_core;
mod progress;
#[cfg(feature = "serde")]
pub mod qapi;
#[cfg(feature = "qemu")]
pub mod qemu;
pub mod sink;
mod throttle;
pub mod vmcore;
pub mod vmcoreinfo;
pub mod windmp;

pub use arch::{Machine, Registers};
pub use dump::{DumpOptions, PagingSummary, Summary, dump};
pub use encoding::{ByteOrder, Class, Encoding};
pub use error::{Error, Result, error_chain};
pub use format::{Format, UnknownFormat};
pub use job::{Busy, DumpJob, DumpStatus, Dumper};
pub use memory::{GuestMemory, MemoryRange, OnReadError, Unreadable};
pub use progress::{Progress, ProgressSnapshot};
pub use sink::DumpSink;

/// The README's examples are compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
