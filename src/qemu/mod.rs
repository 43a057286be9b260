//! Dumps a guest that runs under QEMU. The guest is stopped over QMP, dumped from outside, and
//! resumed. This module needs the feature `qemu` and Linux.
//!
//! ```no_run
//! use guestdump::qemu::{QemuGuest, QemuOptions};
//! use guestdump::sink::{FileSink, FileSinkOptions};
//! use guestdump::Format;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut guest = QemuGuest::connect("/run/vm0.qmp", QemuOptions::default())?;
//! let mut sink = FileSink::create("vm0.dump", FileSinkOptions::default())?;
//! guest.stop()?;
//! let options = guest.options(Format::KDUMP_RAW_SNAPPY)?.threads(0);
//! guest.dump(&mut sink, &options)?;
//! let standstill = guest.resume()?;
//! println!("the guest stood still for {:?}", standstill.duration);
//! # Ok(())
//! # }
//! ```
//!
//! - **Memory** is what the guest's CPUs see as RAM; [`Include`] adds more. It is read from the
//!   shared file that backs it, if there is one, and otherwise from QEMU's process. The caller must
//!   be root, or QEMU's user with the right to trace QEMU. Memory that the host never backed is not
//!   read. Of virtio-mem devices only plugged memory is RAM. Persistent memory (NVDIMM, virtio-pmem)
//!   is no RAM.
//! - **CPUs**: QEMU writes a dump of one page of memory into a file in memory. It contains the same
//!   notes as QEMU's own dumps.
//! - **The guest** returns to its earlier state when the dump is written, and when a [`QemuGuest`]
//!   is dropped, even by a panic. Only a process that is killed leaves the guest paused;
//!   [`resume_abandoned`] resumes it.

mod control;
mod crash;
mod error;
mod flat_view;
mod include;
mod memory;
mod memory_devices;
mod place;
mod process;
mod qmp;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::MemfdFlags;
use serde_json::{Value, json};

use crate::arch::{CpuState, Machine};
use crate::dump::Format;
use crate::dump::Result as DumpResult;
use crate::dump::{DumpOptions, Summary, dump};
use crate::guest::vmcoreinfo::VmcoreinfoSource;
use crate::guest::windows::WindowsInfo;
use crate::memory::{GuestMemory, MIN_PAGE_SIZE, MemoryRange};
use crate::read::{Headers, Vmcore, VmcoreError};
use crate::sink::{DumpSink, SinkAccess};
use crate::workers::Progress;

pub use control::{Interference, Resumer, Standstill};
pub use error::QemuError;
pub use include::Include;
pub use place::{RamFile, RamPlace};

use control::Control;
use flat_view::{RamPiece, host_address, pieces};
use memory::QemuMemory;
use memory_devices::MemoryDevices;
use process::QemuProcess;
use qmp::{Qmp, answer};

/// The name by which QEMU knows the file for the notes.
const NOTES_FD: &str = "guestdump-notes";

/// Options for a guest under QEMU.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct QemuOptions {
    /// Memory besides RAM that the dump includes.
    pub include: Include,
    /// The handle that ends waits for QEMU early when it is cancelled.
    pub progress: Progress,
}

impl QemuOptions {
    /// Options for a dump of RAM alone.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the memory besides RAM that the dump includes.
    #[must_use]
    pub fn include(mut self, include: Include) -> Self {
        self.include = include;
        self
    }

    /// Sets the handle that ends waits for QEMU early when it is cancelled.
    #[must_use]
    pub fn progress(mut self, progress: Progress) -> Self {
        self.progress = progress;
        self
    }
}

/// A guest that runs under QEMU.
///
/// Dropping it resumes the guest, unless the guest was paused before.
#[derive(Debug)]
pub struct QemuGuest {
    control: Resumer,
    include: Include,
    process: QemuProcess,
    layout: Vec<RamPiece>,
    memory: QemuMemory,
    /// The file with QEMU's dump of one page. It is empty until the guest is stopped.
    notes_file: File,
    notes: Option<Vmcore>,
}

impl QemuGuest {
    /// Connects to the QMP socket at `path` and opens the guest's memory. The guest continues to
    /// run.
    ///
    /// # Errors
    ///
    /// - [`QemuError::Connect`], [`NoGreeting`](QemuError::NoGreeting),
    ///   [`NotQmp`](QemuError::NotQmp) if there is no QEMU at the socket;
    /// - [`QemuError::NoProcess`], [`Process`](QemuError::Process),
    ///   [`NotMapped`](QemuError::NotMapped), [`Backing`](QemuError::Backing) if the guest's memory
    ///   cannot be read, for lack of permission for example;
    /// - any other [`QemuError`] of a command that fails.
    pub fn connect(path: impl AsRef<Path>, options: QemuOptions) -> Result<Self, QemuError> {
        let mut qmp = Qmp::connect(path.as_ref(), options.progress)?;
        let notes_file = rustix::fs::memfd_create(NOTES_FD, MemfdFlags::CLOEXEC);
        let notes_file = File::from(notes_file.map_err(|e| QemuError::NotesFile(e.into()))?);
        qmp.give_fd(NOTES_FD, notes_file.as_fd())?;
        let process = QemuProcess::with_open(&notes_file, qmp.peer())?;
        let (layout, devices) = layout(&mut qmp, options.include)?;
        let layout = devices.cut(layout);
        let memory = memory_of(&mut qmp, process, &layout)?;
        Ok(Self {
            control: Resumer::new(Control::new(qmp)),
            include: options.include,
            process,
            layout,
            memory,
            notes_file,
            notes: None,
        })
    }

    /// Stops the guest and reads its CPUs' state. A guest that is paused already stays paused.
    ///
    /// # Errors
    ///
    /// Any [`QemuError`]. The guest is then resumed.
    pub fn stop(&mut self) -> Result<(), QemuError> {
        let result = self.stop_and_look();
        if result.is_err() {
            // The first error is the one to report.
            let _ = self.resume();
        }
        result
    }

    fn stop_and_look(&mut self) -> Result<(), QemuError> {
        let mut control = self.control.lock();
        if control.is_stopped() {
            return Ok(());
        }
        control.stop()?;
        let qmp = &mut control.qmp;
        // The guest may have changed the layout, and devices can be plugged in.
        let (layout, devices) = layout(qmp, self.include)?;
        let layout = devices.cut_exactly(qmp, layout)?;
        if layout != self.layout {
            self.memory = memory_of(qmp, self.process, &layout)?;
            self.layout = layout;
        }
        let page = self.layout.first().map_or(0, |piece| piece.range.start());
        qmp.execute(
            "dump-guest-memory",
            json!({
                "paging": false,
                "protocol": format!("fd:{NOTES_FD}"),
                "begin": page,
                "length": MIN_PAGE_SIZE,
                "format": "elf",
            }),
        )?;
        let notes = self.notes_file.try_clone().map_err(QemuError::NotesFile)?;
        let notes = Vmcore::open(notes)?;
        if let (None, Headers::Elf { header, .. }) = (notes.machine(), notes.headers()) {
            return Err(QemuError::Machine(header.machine));
        }
        self.notes = Some(notes);
        Ok(())
    }

    /// Returns options for a dump in `format`: the guest's architecture, its CPUs and VMCOREINFO.
    /// VMCOREINFO comes from QEMU's device `vmcoreinfo`, or else from a scan.
    ///
    /// For a Windows dump the options also contain the CPU that reported a crash to the hypervisor,
    /// and its crash registers.
    ///
    /// # Errors
    ///
    /// - [`QemuError::Running`] before the guest is stopped;
    /// - for a Windows dump, any other [`QemuError`] of a command that fails.
    pub fn options(&self, format: Format) -> Result<DumpOptions, QemuError> {
        let notes = self.notes.as_ref().ok_or(QemuError::Running)?;
        let mut options = notes.options(format)?;
        if let VmcoreinfoSource::Dump(note) = options.guest.vmcoreinfo {
            options.guest.vmcoreinfo = VmcoreinfoSource::Qemu(note);
        }
        if !format.is_windows() {
            return Ok(options);
        }
        let crash = crash::crash_registers(&mut self.control.lock().qmp)?;
        if let Some((cpu, registers)) = crash {
            let info = WindowsInfo::new()
                .crashed_cpu(cpu)
                .crash_registers(registers);
            options.guest = options.guest.windows(info);
        }
        Ok(options)
    }

    /// Writes a dump as [`crate::dump()`] does. It resumes the guest as soon as its memory is no
    /// longer read, before the sink finishes.
    ///
    /// [`resume`](Self::resume) then reports whether the guest was resumed.
    ///
    /// # Errors
    ///
    /// As [`crate::dump()`]. The guest is then resumed, too.
    pub fn dump(&self, sink: &mut dyn DumpSink, options: &DumpOptions) -> DumpResult<Summary> {
        let resumer = &self.control;
        let mut sink = ResumeAtFinish { sink, resumer };
        let result = dump(self, &mut sink, options);
        let _ = self.resume();
        result
    }

    /// Puts the guest into the state that it had before it was stopped. After a success, further
    /// calls do nothing.
    ///
    /// # Errors
    ///
    /// Any [`QemuError`] of the connection. The guest may then stay paused, and QEMU's command
    /// `cont` resumes it.
    pub fn resume(&self) -> Result<Standstill, QemuError> {
        self.control.resume()
    }

    /// Returns a handle that resumes the guest from another thread.
    #[must_use]
    pub fn resumer(&self) -> Resumer {
        self.control.clone()
    }

    /// Returns the id of QEMU's process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid
    }

    /// Returns where the guest's memory lies on the host, in ascending order.
    #[must_use]
    pub fn places(&self) -> Vec<RamPlace> {
        self.memory.places()
    }

    /// Returns the guest's architecture and the registers of its CPUs, as QEMU's notes state them.
    ///
    /// # Errors
    ///
    /// - [`QemuError::Running`] before the guest is stopped;
    /// - [`QemuError::Notes`] if this crate does not know the architecture.
    pub fn cpus(&self) -> Result<(Machine, Vec<CpuState>), QemuError> {
        let notes = self.notes.as_ref().ok_or(QemuError::Running)?;
        let machine = notes
            .machine()
            .ok_or_else(|| VmcoreError::Unsupported("its architecture is not known".into()))?;
        Ok((machine, machine.decode_notes(notes.notes())))
    }

    /// Returns how many bytes of the guest's memory are read from shared files. The others are read
    /// from QEMU's process.
    #[must_use]
    pub fn bytes_in_files(&self) -> u64 {
        self.memory.in_files()
    }
}

impl Drop for QemuGuest {
    fn drop(&mut self) {
        // Other handles may exist; this one decides.
        let _ = self.resume();
    }
}

impl GuestMemory for QemuGuest {
    fn ranges(&self) -> Vec<MemoryRange> {
        self.memory.ranges()
    }
    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        self.memory.read(gpa, buf)
    }
    fn next_populated(&self, range: MemoryRange) -> io::Result<Option<MemoryRange>> {
        self.memory.next_populated(range)
    }
}

/// Resumes a guest that a killed dump left paused. `path` is the QMP socket of its QEMU. Returns
/// whether the guest was resumed; false if it runs already.
///
/// After SIGKILL of a dump the guest has the status `paused`. A guest that another client paused
/// has the same status: QEMU does not tell which client did it.
///
/// # Errors
///
/// - [`QemuError::NotPaused`] if the guest has another status, which stays as it is;
/// - [`QemuError::NoGreeting`] if the dump still holds the socket;
/// - any other [`QemuError`] of the connection.
pub fn resume_abandoned(path: impl AsRef<Path>) -> Result<bool, QemuError> {
    let qmp = Qmp::connect(path.as_ref(), Progress::new())?;
    Control::new(qmp).resume_abandoned()
}

/// Asks QEMU for the guest's memory as its CPUs see it, and for the devices whose memory is not all
/// RAM.
fn layout(qmp: &mut Qmp, include: Include) -> Result<(Vec<RamPiece>, MemoryDevices), QemuError> {
    let backends = qmp.execute("query-memdev", json!({}))?;
    let backends: Vec<String> = backends
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|backend| backend.get("id").and_then(Value::as_str))
        .map(str::to_owned)
        .collect();
    const COMMAND: &str = "info mtree -f";
    let text = qmp.human(COMMAND)?;
    let pieces = pieces(&text, &backends, include).ok_or_else(|| answer(COMMAND, &text))?;
    Ok((pieces, MemoryDevices::ask(qmp)?))
}

/// Opens the memory that `layout` describes.
fn memory_of(
    qmp: &mut Qmp,
    process: QemuProcess,
    layout: &[RamPiece],
) -> Result<QemuMemory, QemuError> {
    let mut at = Vec::with_capacity(layout.len());
    // A virtio-mem device may have thousands of pieces.
    let mut known = None;
    for piece in layout {
        let hva = match known {
            Some((from, hva)) if from == piece.from => hva,
            _ => host_address_of(qmp, piece.from)?,
        };
        known = Some((piece.from, hva));
        let offset = piece.range.start() - piece.from;
        at.push((piece.range, hva.wrapping_add(offset)));
    }
    QemuMemory::new(process, &at)
}

/// Asks QEMU for the address in its process of the guest-physical address `gpa`.
fn host_address_of(qmp: &mut Qmp, gpa: u64) -> Result<u64, QemuError> {
    let command = format!("gpa2hva {gpa:#x}");
    let text = qmp.human(&command)?;
    let hva = host_address(&text).filter(|hva| hva.is_multiple_of(MIN_PAGE_SIZE));
    hva.ok_or_else(|| answer(&command, &text))
}

/// A sink that resumes the guest before it finishes.
struct ResumeAtFinish<'a> {
    sink: &'a mut dyn DumpSink,
    resumer: &'a Resumer,
}

impl DumpSink for ResumeAtFinish<'_> {
    fn access(&mut self) -> SinkAccess<'_> {
        self.sink.access()
    }

    fn finish(&mut self) -> io::Result<()> {
        // The dump is good even if this fails; `resume` reports the failure.
        let _ = self.resumer.resume();
        self.sink.finish()
    }
}
