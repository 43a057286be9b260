//! All formats of page tables, and the translation of one address.

use super::error::TranslateError;
use super::physical::ReadPhysical;
use super::tree::{Entry, Level, Tree};
use super::{aarch64, arm, ppc64, riscv, s390x, x86};

/// The format of the entries of a tree's tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    X86(x86::X86Mode),
    Aarch64(aarch64::Descriptors),
    Arm(arm::Descriptors),
    Riscv(riscv::Mode),
    S390x,
    Ppc64(ppc64::Entries),
}

impl Format {
    /// The meaning of `entry` in a table of `level`, for `vaddr`.
    pub(super) fn decode(&self, entry: u64, level: Level, vaddr: u64) -> Entry {
        match self {
            Self::X86(mode) => x86::decode(*mode, entry, level.shift),
            Self::Aarch64(descriptors) => descriptors.decode(entry, level.shift),
            Self::Arm(descriptors) => descriptors.decode(entry, level.shift, vaddr),
            Self::Riscv(mode) => riscv::decode(*mode, entry, level.shift, vaddr),
            Self::S390x => s390x::decode(entry, level.shift),
            Self::Ppc64(entries) => entries.decode(entry, level.shift),
        }
    }
}

impl Tree<Format> {
    /// The guest-physical address of the byte at `vaddr`, and how many bytes from
    /// there on the page has.
    pub(super) fn translate(
        &self,
        read: &ReadPhysical<'_>,
        vaddr: u64,
    ) -> Result<(u64, u64), TranslateError> {
        let mut table = self.root;
        for level in &self.levels {
            let index = (vaddr >> level.shift & ((1 << level.bits) - 1)) as usize;
            if !table.indexes(*level).contains(&index) {
                break;
            }
            let gpa = table.entry(index, self.entry_size);
            let mut bytes = [0; 8];
            let bytes = &mut bytes[..self.entry_size];
            read(gpa, bytes).map_err(|source| TranslateError::Table { vaddr, gpa, source })?;
            match self.format.decode(self.entry(bytes), *level, vaddr) {
                Entry::Absent => break,
                Entry::Table(next) => table = next,
                Entry::Page(gpa) => {
                    let size = 1 << level.shift;
                    let offset = vaddr & (size - 1);
                    return Ok((gpa | offset, size - offset));
                }
            }
        }
        Err(TranslateError::NotMapped { vaddr })
    }
}
