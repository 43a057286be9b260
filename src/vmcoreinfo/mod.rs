//! VMCOREINFO: the lines in which a Linux kernel describes itself for dump tools.
//! [`guest::vmcoreinfo`](crate::guest::vmcoreinfo) finds them in guest memory.
//!
//! Source: Linux `Documentation/admin-guide/kdump/vmcoreinfo.rst` and
//! `include/linux/vmcore_info.h` (the macros that format each kind of line).
//!
//! ```
//! use guestdump::vmcoreinfo::Vmcoreinfo;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let info = Vmcoreinfo::parse(b"OSRELEASE=6.1.0\nPAGESIZE=4096\nSYMBOL(prb)=ffffffff82a5c440\n")?;
//! assert_eq!(info.osrelease(), "6.1.0");
//! assert_eq!(info.symbol("prb"), Some(0xffff_ffff_82a5_c440));
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

use std::fmt;

use crate::abi::UTS_LEN;

/// The largest accepted size of VMCOREINFO in bytes: QEMU's limit for the note. Kernels write at
/// most one page.
pub const MAX_SIZE: usize = 1 << 20;

/// The error that the bytes are not VMCOREINFO.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the bytes are not VMCOREINFO: give text that begins with OSRELEASE=, of 1 MiB at most, or an ELF note named VMCOREINFO"
)]
pub struct NotVmcoreinfo;

/// The text of VMCOREINFO, with typed look-ups. The first line with a key overrides later ones.
#[derive(Clone, PartialEq, Eq)]
pub struct Vmcoreinfo {
    text: Vec<u8>,
    /// The `phys_base` of an x86_64 kernel whose text does not contain it.
    phys_base: Option<u64>,
}

impl Vmcoreinfo {
    /// Parses VMCOREINFO's text: lines of `KEY=value`, one of which is `OSRELEASE=`. Everything
    /// from the first NUL on is ignored.
    ///
    /// # Errors
    ///
    /// [`NotVmcoreinfo`] if there is no `OSRELEASE=` line with a value, or the text is larger than
    /// [`MAX_SIZE`].
    pub fn parse(text: &[u8]) -> Result<Self, NotVmcoreinfo> {
        let len = text.iter().position(|b| *b == 0).unwrap_or(text.len());
        let info = Self {
            text: text[..len.min(MAX_SIZE + 1)].to_vec(),
            phys_base: None,
        };
        if len > MAX_SIZE || info.value("OSRELEASE").is_none_or(<[u8]>::is_empty) {
            return Err(NotVmcoreinfo);
        }
        Ok(info)
    }

    /// Sets `phys_base` by another source. Kernels before Linux 4.10 do not tell it.
    pub(crate) fn with_phys_base(self, phys_base: Option<u64>) -> Self {
        Self { phys_base, ..self }
    }

    /// Returns the `phys_base` that another source gave.
    pub(crate) fn given_phys_base(&self) -> Option<u64> {
        self.phys_base
    }

    /// Returns the text as the kernel wrote it.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Returns the value of the line that begins with `key` and `=`.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&[u8]> {
        self.text.split(|b| *b == b'\n').find_map(|line| {
            line.strip_prefix(key.as_bytes())
                .and_then(|rest| rest.strip_prefix(b"="))
        })
    }

    fn str(&self, key: &str) -> Option<&str> {
        str::from_utf8(self.value(key)?).ok().map(str::trim)
    }

    fn of(&self, kind: &str, name: &str) -> Option<&str> {
        self.str(&format!("{kind}({name})"))
    }

    /// Returns `OSRELEASE`: the kernel's release, as in `uname -r`, of at most 64 bytes as there.
    /// Control characters and bytes that are not UTF-8 are replaced.
    #[must_use]
    pub fn osrelease(&self) -> String {
        let value = self.value("OSRELEASE").unwrap_or_default();
        let longest = value.len().min(UTS_LEN - 1);
        String::from_utf8_lossy(&value[..longest])
            .chars()
            .map(|c| if c.is_control() { '\u{fffd}' } else { c })
            .collect()
    }

    /// Returns `PAGESIZE`, in bytes.
    #[must_use]
    pub fn page_size(&self) -> Option<u64> {
        self.str("PAGESIZE")?.parse().ok()
    }

    /// Returns `CRASHTIME`, in seconds since 1970. Only a kernel that has crashed writes it.
    #[must_use]
    pub fn crash_time(&self) -> Option<u64> {
        self.str("CRASHTIME")?.parse().ok()
    }

    /// Returns `KERNELOFFSET`: the number of bytes by which KASLR has moved the kernel's virtual
    /// addresses.
    #[must_use]
    pub fn kernel_offset(&self) -> Option<u64> {
        parse_hex(self.str("KERNELOFFSET")?)
    }

    /// Returns `KERNELOFFPHYS`: the guest-physical address of the kernel's image. Newer s390x
    /// kernels write it.
    #[must_use]
    pub fn kernel_offset_phys(&self) -> Option<u64> {
        parse_hex(self.str("KERNELOFFPHYS")?)
    }

    /// Returns `SYMBOL(name)`: a guest-virtual address.
    #[must_use]
    pub fn symbol(&self, name: &str) -> Option<u64> {
        parse_hex(self.of("SYMBOL", name)?)
    }

    /// Returns `SIZE(name)`: the size of a type, in bytes.
    #[must_use]
    pub fn size(&self, name: &str) -> Option<u64> {
        self.of("SIZE", name)?.parse().ok()
    }

    /// Returns `OFFSET(struct.member)`, in bytes.
    #[must_use]
    pub fn offset(&self, member: &str) -> Option<u64> {
        self.of("OFFSET", member)?.parse().ok()
    }

    /// Returns `LENGTH(name)`: the number of elements of an array. Some kernels write other counts.
    #[must_use]
    pub fn length(&self, name: &str) -> Option<u64> {
        self.of("LENGTH", name)?.parse().ok()
    }

    /// Returns `NUMBER(name)`: a decimal number, possibly negative, or a hexadecimal one with `0x`.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<i64> {
        let value = self.of("NUMBER", name)?;
        if value.starts_with("0x") || value.starts_with("0X") {
            parse_hex(value).map(|n| n as i64)
        } else {
            value
                .parse()
                .ok()
                .or_else(|| value.parse::<u64>().ok().map(|n| n as i64))
        }
    }
}

fn parse_hex(value: &str) -> Option<u64> {
    let digits = value
        .strip_prefix("0x")
        .or_else(|| value.strip_prefix("0X"))
        .unwrap_or(value);
    // `from_str_radix` would accept a sign.
    if digits.starts_with(['+', '-']) {
        return None;
    }
    u64::from_str_radix(digits, 16).ok()
}

impl fmt::Debug for Vmcoreinfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vmcoreinfo")
            .field("osrelease", &self.osrelease())
            .field("bytes", &self.text.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TEXT: &[u8] = b"OSRELEASE=6.1.0-56-cloud-amd64\n\
        BUILD-ID=0123\n\
        PAGESIZE=4096\n\
        SYMBOL(init_uts_ns)=ffffffff82a14880\n\
        OFFSET(uts_namespace.name)=4\n\
        SIZE(page)=64\n\
        LENGTH(zone.free_area)=11\n\
        NUMBER(phys_base)=-16777216\n\
        NUMBER(KERNEL_IMAGE_SIZE)=1073741824\n\
        NUMBER(PHYS_OFFSET)=0x40000000\n\
        NUMBER(big)=18446744073709551615\n\
        KERNELOFFSET=1a000000\n\
        CRASHTIME=1700000000\n";

    #[test]
    fn look_ups_are_typed() {
        let info = Vmcoreinfo::parse(TEXT).unwrap();
        assert_eq!(info.osrelease(), "6.1.0-56-cloud-amd64");
        assert_eq!(info.page_size(), Some(4096));
        assert_eq!(info.symbol("init_uts_ns"), Some(0xffff_ffff_82a1_4880));
        assert_eq!(info.symbol("init_uts"), None);
        assert_eq!(info.offset("uts_namespace.name"), Some(4));
        assert_eq!(info.size("page"), Some(64));
        assert_eq!(info.length("zone.free_area"), Some(11));
        assert_eq!(info.number("phys_base"), Some(-16_777_216));
        assert_eq!(info.number("PHYS_OFFSET"), Some(0x4000_0000));
        assert_eq!(info.number("big"), Some(-1));
        assert_eq!(info.kernel_offset(), Some(0x1a00_0000));
        assert_eq!(info.crash_time(), Some(1_700_000_000));
        assert_eq!(info.value("BUILD-ID"), Some(&b"0123"[..]));
    }

    #[test]
    fn odd_text_is_taken_or_refused_without_harm() {
        let parse = |text: &[u8]| Vmcoreinfo::parse(text);
        for bad in [
            &b""[..],
            b"OSRELEASE=",
            b"OSRELEASE=\n",
            b"XOSRELEASE=1\n",
            b"\0OSRELEASE=1",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        let info =
            parse(b"OSRELEASE=a\x1b[31mb\nPAGESIZE=-4\nSYMBOL(x)=+12\n\0NUMBER(y)=1").unwrap();
        assert_eq!(info.osrelease(), "a\u{fffd}[31mb");
        assert_eq!(info.page_size(), None);
        assert_eq!(info.symbol("x"), None);
        assert_eq!(info.number("y"), None);
        let mut huge = b"OSRELEASE=1\n".to_vec();
        huge.resize(MAX_SIZE + 1, b'x');
        assert!(parse(&huge).is_err());
        huge.pop();
        assert!(parse(&huge).is_ok());
    }
}
