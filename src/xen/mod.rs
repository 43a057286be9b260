//! Xen's dump-core: the notes of the file, and the registers of a vCPU.
//!
//! The file is an ELF core of the 64-bit class without program headers. Its memory is in the section
//! [`PAGES`]; the page frame numbers are in [`P2M`] or [`PFN`].
//!
//! The room has bytes alone. It reads no file, starts no thread, and is there without any feature.
//!
//! Sources: Xen `docs/misc/dump-core-format.txt` and `tools/libs/guest/xg_core.h`; numbers of notes:
//! Xen `xen/include/public/elfnote.h`.
//!
//! ```
//! use guestdump::ByteOrder;
//! use guestdump::xen::{DumpCoreHeader, XC_CORE_MAGIC_HVM};
//!
//! let mut desc = Vec::new();
//! for field in [XC_CORE_MAGIC_HVM, 2, 16, 4096] {
//!     desc.extend_from_slice(&field.to_le_bytes());
//! }
//! let header = DumpCoreHeader::decode(ByteOrder::Little, &desc);
//! assert_eq!(header.map(|header| header.nr_pages), Some(16));
//! ```
#![forbid(unsafe_code)]

mod header_note;
mod vcpu_context;

pub use header_note::{DumpCoreHeader, format_version};
pub(crate) use vcpu_context::{Context32, Context64};

/// The section with the notes.
pub const NOTES: &str = ".note.Xen";
/// The section with one `vcpu_guest_context_t` for each vCPU.
pub const PRSTATUS: &str = ".xen_prstatus";
/// The section with the contents of pages.
pub const PAGES: &str = ".xen_pages";
/// The section with two numbers for each page of a paravirtualized guest: the guest's page frame
/// number and the machine's.
pub const P2M: &str = ".xen_p2m";
/// The section with the page frame number of each page of another guest.
pub const PFN: &str = ".xen_pfn";
/// The number that stands for no page frame (`XC_CORE_INVALID_PFN`, `XC_CORE_INVALID_GMFN`).
pub const INVALID_FRAME: u64 = u64::MAX;

/// The name of all notes of the file.
pub const XEN: &[u8] = b"Xen";
/// `XEN_ELFNOTE_DUMPCORE_HEADER`: the type of the note with [`DumpCoreHeader`].
pub const XEN_ELFNOTE_DUMPCORE_HEADER: u32 = 0x200_0001;
/// `XEN_ELFNOTE_DUMPCORE_FORMAT_VERSION`: the type of the note with the version of the format.
pub const XEN_ELFNOTE_DUMPCORE_FORMAT_VERSION: u32 = 0x200_0003;

/// `xch_magic` of a paravirtualized guest.
pub const XC_CORE_MAGIC: u64 = 0xf00f_ebed;
/// `xch_magic` of a fully virtualized guest.
pub const XC_CORE_MAGIC_HVM: u64 = 0xf00f_ebee;
