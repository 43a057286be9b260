//! `struct new_utsname`, six strings of Linux
//! `include/uapi/linux/utsname.h`, as the guest's memory and kdump's main
//! header have it.
#![forbid(unsafe_code)]

use std::mem::size_of;

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Length of each string in [`Utsname`], its NUL included.
pub const UTS_LEN: usize = 65;

/// Linux `struct new_utsname`: six strings, padded with NULs.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[allow(missing_docs)] // The names are those of uname(2).
pub struct Utsname {
    pub sysname: [u8; UTS_LEN],
    pub nodename: [u8; UTS_LEN],
    pub release: [u8; UTS_LEN],
    pub version: [u8; UTS_LEN],
    pub machine: [u8; UTS_LEN],
    pub domainname: [u8; UTS_LEN],
}

const _: () = assert!(size_of::<Utsname>() == 6 * 65);

impl Default for Utsname {
    fn default() -> Self {
        Self::new_zeroed()
    }
}

impl Utsname {
    /// The string in a field: up to its first NUL, with bytes that are not
    /// UTF-8 replaced.
    #[must_use]
    pub fn text(field: &[u8; UTS_LEN]) -> std::borrow::Cow<'_, str> {
        let len = field.iter().position(|b| *b == 0).unwrap_or(UTS_LEN);
        String::from_utf8_lossy(&field[..len])
    }

    /// A field with `text`, cut to what fits before the last NUL.
    #[must_use]
    pub fn field(text: impl AsRef<[u8]>) -> [u8; UTS_LEN] {
        let text = text.as_ref();
        let len = text.len().min(UTS_LEN - 1);
        let mut field = [0; UTS_LEN];
        field[..len].copy_from_slice(&text[..len]);
        field
    }
}

impl std::fmt::Debug for Utsname {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Utsname")
            .field("sysname", &Self::text(&self.sysname))
            .field("nodename", &Self::text(&self.nodename))
            .field("release", &Self::text(&self.release))
            .field("version", &Self::text(&self.version))
            .field("machine", &Self::text(&self.machine))
            .field("domainname", &Self::text(&self.domainname))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn strings_are_cut_before_the_last_nul() {
        let field = Utsname::field("x".repeat(100));
        assert_eq!(field[64], 0);
        assert_eq!(Utsname::text(&field).len(), 64);
        assert_eq!(Utsname::text(&[b'y'; 65]).len(), 65);
    }
}
