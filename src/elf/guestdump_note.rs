//! The descriptor of this crate's note: facts that an ELF dump has no other place for, most of a
//! kdump's header.
//!
//! It is text in lines `KEY=VALUE` with decimal numbers, as VMCOREINFO is. Lines with other keys are
//! ignored.
//!
//! Source: this crate; no other program writes the note.
#![forbid(unsafe_code)]

/// The facts in a note with the name [`GUESTDUMP`](crate::elf::note::GUESTDUMP) and the type
/// [`NT_GUESTDUMP`](crate::elf::note::NT_GUESTDUMP).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GuestdumpNote {
    /// `nr_cpus` of the kdump's header.
    pub nr_cpus: u32,
    /// `current_cpu` of the kdump's header.
    pub current_cpu: u32,
    /// [`DUMP_DH_EXCLUDED_VMEMMAP`](crate::kdump::DUMP_DH_EXCLUDED_VMEMMAP) of the kdump's status.
    pub vmemmap_excluded: bool,
    /// Whether the dump is incomplete. It is for big-endian ppc64, whose `e_flags` have another
    /// meaning.
    pub incomplete: bool,
}

impl GuestdumpNote {
    /// Returns the note's descriptor.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Self {
            nr_cpus,
            current_cpu,
            vmemmap_excluded,
            incomplete,
        } = self;
        let mut text = format!("NR_CPUS={nr_cpus}\nCURRENT_CPU={current_cpu}\n");
        if *vmemmap_excluded {
            text.push_str("EXCLUDED_VMEMMAP=1\n");
        }
        if *incomplete {
            text.push_str("INCOMPLETE=1\n");
        }
        text
    }

    /// Decodes a descriptor; `None` if it lacks the number of a CPU.
    #[must_use]
    pub fn decode(desc: &[u8]) -> Option<Self> {
        let text = str::from_utf8(desc).ok()?;
        let number = |key: &str| -> Option<u32> {
            let mut lines = text.lines().filter_map(|line| line.split_once('='));
            let (_, value) = lines.find(|(found, _)| *found == key)?;
            value.parse().ok()
        };
        Some(Self {
            nr_cpus: number("NR_CPUS")?,
            current_cpu: number("CURRENT_CPU")?,
            vmemmap_excluded: number("EXCLUDED_VMEMMAP") == Some(1),
            incomplete: number("INCOMPLETE") == Some(1),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_note_decodes_to_what_was_encoded(
            nr_cpus: u32,
            current_cpu: u32,
            vmemmap_excluded: bool,
            incomplete: bool,
        ) {
            let note = GuestdumpNote { nr_cpus, current_cpu, vmemmap_excluded, incomplete };
            prop_assert_eq!(GuestdumpNote::decode(note.to_text().as_bytes()), Some(note));
        }

        #[test]
        fn any_bytes_decode_without_a_panic(bytes: Vec<u8>) {
            let _ = GuestdumpNote::decode(&bytes);
        }
    }
}
