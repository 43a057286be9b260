//! Guest memory of the crate vm-memory, version 0.17. Needs the feature
//! `vm-memory-0-17`.
//!
//! ```
//! use guestdump::adapters::vm_memory_0_17::VmMemory;
//! use guestdump::sink::BufferSink;
//! use guestdump::{DumpOptions, Format, dump};
//! use vm_memory_0_17::{Bytes, GuestAddress, GuestMemoryMmap};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let ram: GuestMemoryMmap = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 64 << 20)])?;
//! ram.write_slice(b"guest", GuestAddress(0x1000))?;
//!
//! let memory = VmMemory::new(&ram)?;
//! let mut sink = BufferSink::new();
//! let summary = dump(&memory, &mut sink, &DumpOptions::new(Format::Elf))?;
//! assert_eq!((summary.pages, summary.zero_pages), (16384, 16383));
//! # Ok(())
//! # }
//! ```
//!
//! - **Ranges** are the regions.
//! - **Reads** copy. The default goes through the kernel, so that memory that
//!   cannot be read, because its file was truncated for example, is an error
//!   and not a SIGBUS ([`Reads`]).
//! - **Untouched memory** is not read. Of a file that is mapped shared,
//!   `SEEK_DATA` tells what is touched; of anonymous memory
//!   `/proc/self/pagemap` does: pages in memory and pages in swap. Of a file
//!   that is mapped privately, as a restored snapshot, both together count.
//!   What nobody can tell of counts as touched: shared memory without a file,
//!   pages that a userfaultfd serves, a system without `/proc`
//!   ([`Populated`]).
//! - **Hot-plug**: each `VmMemory` is of one moment. Make one for each dump.

crate::adapters::vm_memory_version::vm_memory_adapter!(vm_memory_0_17, GuestMemory);
