//! Guest memory of the crate vm-memory, version 0.18. Needs the feature
//! `vm-memory`.
//!
//! ```
//! use guestdump::adapters::vm_memory::VmMemory;
//! use guestdump::sink::BufferSink;
//! use guestdump::{DumpOptions, Format, GuestInfo, Machine, dump};
//! use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let ram: GuestMemoryMmap = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 64 << 20)])?;
//! ram.write_slice(b"guest", GuestAddress(0x1000))?;
//!
//! let memory = VmMemory::new(&ram)?;
//! let mut sink = BufferSink::new();
//! let guest = GuestInfo::new(Machine::X86_64);
//! let summary = dump(&memory, &mut sink, &DumpOptions::new(guest, Format::Elf))?;
//! assert_eq!((summary.pages, summary.zero_pages), (16384, 16383));
//! # Ok(())
//! # }
//! ```
//!
//! - **Ranges** are the regions.
//! - **Reads** copy. By default, the kernel copies, so memory that cannot be read, because
//!   its file was truncated for example, is an error instead of a SIGBUS ([`Reads`]).
//! - **Untouched memory** is not read ([`Populated`]). For a file that is mapped shared,
//!   `SEEK_DATA` tells what is touched. For anonymous memory, `/proc/self/pagemap` tells:
//!   pages in memory and pages in swap. For a file that is mapped privately, such as a
//!   restored snapshot, both together tell. All other memory counts as touched: shared
//!   memory without a file, pages that a userfaultfd serves, a system without `/proc`.
//! - **Hot-plug** is not followed: a `VmMemory` is a view of one moment. Make one for each
//!   dump.

crate::adapters::vm_memory_version::vm_memory_adapter!(vm_memory, GuestMemoryBackend);
