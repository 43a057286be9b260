//! Facts about a guest that its memory alone does not contain.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::abi::Utsname;
use crate::arch::{CpuState, Machine};
use crate::guest::vmcoreinfo::VmcoreinfoSource;
use crate::guest::windows::WindowsInfo;

/// Describes a guest: its architecture, its CPUs, and the source of its kernel's facts.
///
/// Begin with [`new`](Self::new). [`DumpOptions`](crate::DumpOptions) say how the guest is dumped.
#[derive(Debug, Clone)]
pub struct GuestInfo {
    pub(crate) machine: Machine,
    pub(crate) page_size: Option<u64>,
    pub(crate) cpus: Vec<CpuState>,
    pub(crate) notes: Vec<u8>,
    pub(crate) vmcoreinfo: VmcoreinfoSource,
    pub(crate) utsname: Option<Utsname>,
    pub(crate) phys_base: Option<u64>,
    pub(crate) timestamp: Option<Duration>,
    pub(crate) windows: WindowsInfo,
    /// `nr_cpus` and `current_cpu` of kdump's header.
    pub(crate) kdump_cpus: Option<(u32, u32)>,
    pub(crate) erase_info: Vec<u8>,
}

impl GuestInfo {
    /// Describes a guest of the architecture `machine` without CPUs. A scan of its RAM finds its
    /// VMCOREINFO.
    #[must_use]
    pub fn new(machine: Machine) -> Self {
        Self {
            machine,
            page_size: None,
            cpus: Vec::new(),
            notes: Vec::new(),
            vmcoreinfo: VmcoreinfoSource::default(),
            utsname: None,
            phys_base: None,
            timestamp: None,
            windows: WindowsInfo::new(),
            kdump_cpus: None,
            erase_info: Vec::new(),
        }
    }

    /// Returns the guest's architecture.
    #[must_use]
    pub fn machine(&self) -> Machine {
        self.machine
    }

    /// Sets the registers of each virtual CPU, in order.
    #[must_use]
    pub fn cpus(mut self, cpus: impl IntoIterator<Item = impl Into<CpuState>>) -> Self {
        self.cpus = cpus.into_iter().map(Into::into).collect();
        self
    }

    /// Sets ELF notes that follow the CPUs' notes unchanged, for example those of another dump.
    /// They are encoded in the guest's byte order.
    ///
    /// A note with VMCOREINFO does not belong here. A Windows dump contains no notes; it takes the
    /// registers from these notes if [`cpus`](Self::cpus) gives none.
    #[must_use]
    pub fn raw_notes(mut self, notes: Vec<u8>) -> Self {
        self.notes = notes;
        self
    }

    /// Sets the guest's page size in bytes. The default is VMCOREINFO's `PAGESIZE`, or else the
    /// architecture's usual size.
    #[must_use]
    pub fn page_size(mut self, bytes: u64) -> Self {
        self.page_size = Some(bytes);
        self
    }

    /// Sets the source of VMCOREINFO.
    #[must_use]
    pub fn vmcoreinfo(mut self, source: VmcoreinfoSource) -> Self {
        self.vmcoreinfo = source;
        self
    }

    /// Sets the guest's `uname`. kdump's header contains it if VMCOREINFO does not lead to the
    /// kernel's own.
    #[must_use]
    pub fn utsname(mut self, utsname: Utsname) -> Self {
        self.utsname = Some(utsname);
        self
    }

    /// Sets the `phys_base` of kdump's header, which is used if VMCOREINFO does not contain it. It
    /// also tells where an x86_64 kernel before Linux 4.10 is in memory.
    #[must_use]
    pub fn phys_base(mut self, phys_base: u64) -> Self {
        self.phys_base = Some(phys_base);
        self
    }

    /// Sets the time since 1970 in the dump's header.
    ///
    /// The default for kdump is VMCOREINFO's `CRASHTIME`, or 0, so equal guests give equal dumps. A
    /// Windows dump keeps the time of its header.
    #[must_use]
    pub fn timestamp(mut self, since_1970: Duration) -> Self {
        self.timestamp = Some(since_1970);
        self
    }

    /// Sets the number of CPUs and the CPU that crashed, as kdump's header has them. The default is
    /// the number of CPUs with notes, and CPU 0. CPUs that were offline have no notes, but count.
    ///
    /// ELF has no place for them; a note of this crate contains them there.
    #[must_use]
    pub fn kdump_cpus(mut self, nr_cpus: u32, current_cpu: u32) -> Self {
        self.kdump_cpus = Some((nr_cpus, current_cpu));
        self
    }

    /// Sets makedumpfile's record of what it erased from the guest's memory, lines such as
    /// `erase modules size 16`. Both kdump and ELF dumps contain it.
    #[must_use]
    pub fn erase_info(mut self, text: Vec<u8>) -> Self {
        self.erase_info = text;
        self
    }

    /// Sets the facts that a Windows guest's hypervisor knows about it.
    #[must_use]
    pub fn windows(mut self, info: WindowsInfo) -> Self {
        self.windows = info;
        self
    }
}
