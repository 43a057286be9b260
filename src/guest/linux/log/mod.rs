//! The kernel's log in guest memory, which `dmesg` prints.
//!
//! Linux 5.10 and later have a ring of descriptors and a ring of text
//! (`ring.rs`). Linux 3.5 to 5.9 have one ring of records (`records.rs`), and
//! older kernels a ring of text (`plain.rs`). VMCOREINFO contains the layout of
//! each.

mod plain;
mod record;
mod records;
mod ring;

pub use record::{Caller, LogRecord};

use plain::Plain;
use records::Records;
use ring::Ring;

use crate::guest::linux::error::KernelError;
use crate::guest::linux::kernel::Kernel;

impl Kernel<'_> {
    /// Returns the kernel's log, oldest record first.
    ///
    /// # Errors
    ///
    /// Any [`KernelError`] if there is no log, or if a structure that leads to
    /// it cannot be read.
    pub fn log(&self) -> Result<Log<'_>, KernelError> {
        let symbol = |name| self.vmcoreinfo().symbol(name);
        Ok(Log(match (symbol("prb"), symbol("log_end")) {
            (Some(prb), _) => Kind::Ring(Ring::open(&self.reader, prb)?),
            (None, Some(end)) => Kind::Plain(Plain::open(&self.reader, end)?),
            (None, None) => Kind::Records(Records::open(&self.reader)?),
        }))
    }
}

/// The records of a kernel's log.
///
/// It omits records that the kernel was writing when it stopped, and records
/// that the kernel has begun to overwrite. After an error there are no more
/// records. The text of all records together is at most as long as the log's
/// buffer.
#[derive(Debug)]
pub struct Log<'a>(Kind<'a>);

#[derive(Debug)]
enum Kind<'a> {
    Ring(Ring<'a>),
    Records(Records<'a>),
    Plain(Plain<'a>),
}

impl Iterator for Log<'_> {
    type Item = Result<LogRecord, KernelError>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Kind::Ring(ring) => ring.next().transpose(),
            Kind::Records(records) => records.next().transpose(),
            Kind::Plain(plain) => plain.next().transpose(),
        }
    }
}
