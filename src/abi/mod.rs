//! Facts about a guest's ABI: word size, byte order, alignment, `uname`.
//!
//! Class, byte order and alignment are values of the dump. The host's own never matter.
//!
//! # How headers are read and written
//!
//! Every header in [`elf`](crate::elf), [`kdump`](crate::kdump) and [`windmp`](crate::windmp) is a plain
//! struct with these functions. Each takes the part of the ABI on which the header depends: nothing,
//! a [`ByteOrder`], an [`Encoding`] or an [`Abi`].
//!
//! | function | what it does |
//! |---|---|
//! | `SIZE` or `size(…)` | the length in bytes |
//! | `encode(&self, …, out)` | appends the bytes to a `Vec<u8>` |
//! | `decode(…, bytes)` | reads the header at the beginning of `bytes` |
//!
//! `encode` returns a [`FieldOverflow`] for a value that its field cannot hold, and appends nothing then.
//! A header whose every field is as wide as its struct's has an `encode` that cannot fail. `decode`
//! returns `None`, or the room's error, for bytes that are too few or begin with another signature.
//!
//! ```
//! use guestdump::elf::ProgramHeader;
//! use guestdump::{ByteOrder, Class, Encoding};
//!
//! let narrow = Encoding { class: Class::Bits32, order: ByteOrder::Big };
//! let header = ProgramHeader { paddr: 1 << 32, ..ProgramHeader::default() };
//! let mut bytes = Vec::new();
//! let error = header.encode(narrow, &mut bytes).unwrap_err();
//! assert_eq!((error.header, error.field), ("Elf32_Phdr", "p_paddr"));
//! assert!(bytes.is_empty());
//!
//! let wide = Encoding { class: Class::Bits64, ..narrow };
//! header.encode(wide, &mut bytes).unwrap();
//! assert_eq!(bytes.len(), ProgramHeader::size(Class::Bits64));
//! assert_eq!(ProgramHeader::decode(wide, &bytes), Some(header));
//! ```
#![forbid(unsafe_code)]

mod encoding;
mod field;
pub mod integers;
#[cfg(feature = "serde")]
pub mod number;
mod utsname;

#[cfg(test)]
pub(crate) use encoding::tests;
pub(crate) use encoding::with_order;
pub use encoding::{Abi, ByteOrder, Class, Encoding, U64Align};
pub use field::FieldOverflow;
pub(crate) use field::Narrow;
pub use utsname::{UTS_LEN, Utsname};
