//! Facts about a guest's ABI: word size, byte order, alignment, `uname`.
//!
//! Class and byte order are values of the dump. The host's own never matter.
#![forbid(unsafe_code)]

mod encoding;
pub mod integers;
#[cfg(feature = "serde")]
pub mod number;
mod utsname;

pub(crate) use encoding::with_order;
pub use encoding::{ByteOrder, Class, Encoding};
pub use utsname::{UTS_LEN, Utsname};
