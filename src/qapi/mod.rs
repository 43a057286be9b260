//! QEMU's dump commands for a VMM's own management interface. This module has the types of QEMU's
//! schema, its rules for arguments, and a service that pauses, dumps and resumes a guest.
//!
//! Source: QEMU's `qapi/dump.json` and `qapi/run-state.json`; the rules are those of `dump/dump.c`.
//! The JSON of these types equals the schema's examples without their white space, byte for byte.
//!
//! A VMM implements [`Guest`] (with [`GuestControl`]) and gives each command to
//! [`DumpService::dispatch`]:
//!
//! ```
//! use std::io;
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
//!
//! use guestdump::memory::{FileMemory, FileRegion, MemoryRange};
//! use guestdump::qapi::{DumpService, EventMessage, Guest, GuestControl, RunState};
//! use guestdump::{Machine, CpuState};
//!
//! struct Vm {
//!     ram: Arc<std::fs::File>,
//!     running: AtomicBool,
//! }
//!
//! impl GuestControl for Vm {
//!     fn run_state(&self) -> RunState {
//!         match self.running.load(SeqCst) {
//!             true => RunState::Running,
//!             false => RunState::Paused,
//!         }
//!     }
//!     fn pause(&self) -> io::Result<bool> {
//!         Ok(self.running.swap(false, SeqCst))
//!     }
//!     fn resume(&self) {
//!         self.running.store(true, SeqCst);
//!     }
//! }
//!
//! impl Guest for Vm {
//!     type Memory = FileMemory;
//!     fn machine(&self) -> Machine {
//!         Machine::X86_64
//!     }
//!     fn memory(&self) -> io::Result<FileMemory> {
//!         let range = MemoryRange::new(0, 1 << 20).map_err(io::Error::other)?;
//!         let file = Arc::clone(&self.ram);
//!         FileMemory::new(vec![FileRegion { range, file, offset: 0 }]).map_err(io::Error::other)
//!     }
//!     fn registers(&self) -> io::Result<Vec<CpuState>> {
//!         Ok(vec![guestdump::arch::x86_64::Registers::default().into()])
//!     }
//!     fn event(&self, event: EventMessage) {
//!         println!("{event}"); // to every client
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("vmcore");
//! # let ram = tempfile::tempfile()?;
//! # ram.set_len(1 << 20)?;
//! let vm = Arc::new(Vm { ram: Arc::new(ram), running: AtomicBool::new(true) });
//! let service = DumpService::new(Arc::clone(&vm));
//! let command = format!(
//!     r#"{{"execute":"dump-guest-memory","arguments":{{"paging":false,"protocol":"file:{}"}}}}"#,
//!     path.display()
//! );
//! assert_eq!(service.dispatch(&command, |_| None), r#"{"return":{}}"#);
//! assert_eq!(
//!     service.dispatch(r#"{"execute":"query-dump"}"#, |_| None),
//!     r#"{"return":{"status":"completed","completed":1048576,"total":1048576}}"#
//! );
//! assert!(vm.running.load(SeqCst));
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod arguments;
mod control;
mod dispatch;
mod error;
mod format;
mod qmp;
mod run_state;
mod service;

pub use arguments::{Circumstances, DumpGuestMemoryArguments, DumpRequest, Protocol, Rules};
pub use control::{GuestControl, PausedGuest};
pub use error::{ArgumentsError, CommandError, Parameter};
pub use format::{DumpGuestMemoryCapability, DumpGuestMemoryFormat, ExtensionFormat, FormatName};
pub use qmp::{
    Answer, Command, DumpCompleted, DumpQueryResult, ErrorClass, Event, EventMessage, GuestPanic,
    Outcome, QmpError, Reply, Timestamp,
};
pub use run_state::{
    GuestPanicAction, GuestPanicInformation, GuestPanicInformationHyperV,
    GuestPanicInformationS390, GuestPanicInformationSev, GuestPanicInformationTdx, RunState,
    S390CrashReason, StatusInfo,
};
pub use service::{DumpService, Guest};

pub use crate::dump::DumpStatus;
