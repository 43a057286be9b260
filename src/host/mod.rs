//! Facts and services of the host's kernel: holes of files, the page cache, file
//! descriptors by number, and processes with their mappings, pages and memory.
//!
//! This module uses nothing else of the crate.

#[cfg(feature = "file")]
pub(crate) mod holes;
#[cfg(feature = "file")]
pub(crate) mod page_cache;
#[cfg(any(feature = "qemu", feature = "vm-memory", feature = "vm-memory-0-17"))]
pub(crate) mod pagemap;
#[cfg(any(feature = "qemu", feature = "vm-memory", feature = "vm-memory-0-17"))]
pub(crate) mod proc;
#[cfg(feature = "mapped")]
pub(crate) mod process_memory;
#[cfg(feature = "file")]
pub(crate) mod raw_fd;
