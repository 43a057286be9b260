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
    Bytes(Vec<u8>),
    /// The ELF note of `size` bytes at the guest-physical address `gpa`.
    NoteAt {
        /// Guest-physical address of the note's header.
        gpa: u64,
        /// Length of header, name and text, in bytes.
        size: u64,
    },
    /// The note that the 16 bytes of QEMU's fw_cfg entry `etc/vmcoreinfo`
    /// point to.
    FwCfg([u8; 16]),
    /// The same, and a scan if that gives nothing usable.
    FwCfgOrScan([u8; 16]),
}
