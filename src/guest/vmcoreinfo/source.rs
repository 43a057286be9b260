//! Where a dump takes VMCOREINFO from.
#![forbid(unsafe_code)]

/// The place that a dump takes VMCOREINFO from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum VmcoreinfoSource {
    /// A scan of guest RAM: the first bytes of every populated page are
    /// read. Finding nothing is not an error.
    #[default]
    Scan,
    /// No VMCOREINFO. Few tools can use such a dump.
    None,
    /// Bytes that the caller has: the text, or an ELF note with it.
    ///
    /// As with every source but a scan, it is compared with the kernel in guest memory. If the
    /// kernel is another one, guest memory is scanned for that one's VMCOREINFO:
    /// [`Located::rejected`](super::Located::rejected).
    Bytes(Vec<u8>),
    /// Bytes from a note or a header of another dump of the guest: the text, or an ELF note with
    /// it.
    Dump(Vec<u8>),
    /// Bytes from a note in a dump of QEMU's own, which QEMU takes from where its vmcoreinfo device
    /// says: the text, or an ELF note with it.
    Qemu(Vec<u8>),
    /// The ELF note of `size` bytes at the guest-physical address `gpa`.
    NoteAt {
        /// Guest-physical address of the note's header.
        gpa: u64,
        /// Length of header, name and text, in bytes.
        size: u64,
    },
    /// The ELF note, whose header tells its size, or the text alone at this guest-physical address.
    At(u64),
    /// The note that the 16 bytes of QEMU's fw_cfg entry `etc/vmcoreinfo`
    /// point to.
    FwCfg([u8; 16]),
    /// The same, and a scan if that gives nothing usable.
    FwCfgOrScan([u8; 16]),
}
