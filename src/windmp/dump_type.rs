//! The types of Windows dumps that this crate reads.
//!
//! Source: kdmp-parser-rs 0.8.1 `structs.rs` (MIT), `DumpType`, with the commands that make each type.
#![forbid(unsafe_code)]

use crate::windmp::{
    DUMP_TYPE_BITMAP_FULL, DUMP_TYPE_BITMAP_KERNEL, DUMP_TYPE_COMPLETE_MEMORY, DUMP_TYPE_FULL,
    DUMP_TYPE_KERNEL_AND_USER_MEMORY, DUMP_TYPE_KERNEL_MEMORY, Header,
};

impl Header {
    /// Returns a name for the memory in a dump of this [`dump_type`](Self::dump_type). `None` for types
    /// that this crate does not know.
    #[must_use]
    pub fn dump_type_name(&self) -> Option<&'static str> {
        Some(match self.dump_type() {
            DUMP_TYPE_FULL => "full",
            DUMP_TYPE_BITMAP_FULL => "bitmap",
            DUMP_TYPE_BITMAP_KERNEL => "live kernel memory",
            DUMP_TYPE_KERNEL_MEMORY => "kernel memory",
            DUMP_TYPE_KERNEL_AND_USER_MEMORY => "kernel and user memory",
            DUMP_TYPE_COMPLETE_MEMORY => "complete memory",
            _ => return None,
        })
    }

    /// Returns what a dump of this type excludes from the guest's memory, although the dump is whole.
    /// `None` if a dump of this type contains all memory, or the type is not known.
    ///
    /// A page of the guest that is not in such a dump is not known to be zero, nor to be absent from the
    /// guest.
    #[must_use]
    pub fn excludes(&self) -> Option<&'static str> {
        match self.dump_type() {
            DUMP_TYPE_BITMAP_KERNEL | DUMP_TYPE_KERNEL_MEMORY => {
                Some("kernel memory only: pages of user processes are not in the dump")
            }
            DUMP_TYPE_KERNEL_AND_USER_MEMORY => {
                Some("kernel and user memory only: pages that neither uses are not in the dump")
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::Class;

    #[test]
    fn a_type_names_what_it_contains_and_what_it_lacks() {
        let of = |dump_type| {
            let mut header = Header::new(Class::Bits64);
            header.set_dump_type(dump_type);
            (header.dump_type_name(), header.excludes().is_some())
        };
        assert_eq!(of(1), (Some("full"), false));
        assert_eq!(of(5), (Some("bitmap"), false));
        assert_eq!(of(6), (Some("live kernel memory"), true));
        assert_eq!(of(8), (Some("kernel memory"), true));
        assert_eq!(of(9), (Some("kernel and user memory"), true));
        assert_eq!(of(10), (Some("complete memory"), false));
        assert_eq!(of(4), (None, false));
    }
}
