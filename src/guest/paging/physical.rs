//! Reading guest memory by guest-physical addresses.

use std::io;

/// A function that fills all of a buffer with the guest's bytes from a
/// guest-physical address on. It fails if not all of them are RAM.
pub type ReadPhysical<'a> = dyn Fn(u64, &mut [u8]) -> io::Result<()> + 'a;
