//! The address space of a virtual CPU.

use super::aarch64::Aarch64;
use super::arm::Arm;
use super::error::TranslateError;
use super::format::Format;
use super::physical::ReadPhysical;
use super::ppc64::Ppc64Radix;
use super::riscv::Riscv;
use super::s390x::S390x;
use super::tree::Tree;
use super::x86::X86;

/// The page tables of a virtual CPU, by the registers that lead to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressSpace {
    /// Paging is off: every virtual address is the physical one.
    Physical,
    /// Page tables of x86, 32-bit or 64-bit.
    X86(X86),
    /// Page tables of AArch64, stage 1 at EL1 and EL0.
    Aarch64(Aarch64),
    /// The kernel's page tables of 32-bit Arm.
    Arm(Arm),
    /// Page tables of RISC-V, 32-bit or 64-bit.
    Riscv(Riscv),
    /// Page tables of z/Architecture.
    S390x(S390x),
    /// The kernel's page tables of 64-bit PowerPC with the radix MMU.
    Ppc64(Ppc64Radix),
}

impl AddressSpace {
    /// The guest-physical address of the byte at the guest-virtual address
    /// `vaddr`. It need not be RAM.
    ///
    /// # Errors
    ///
    /// - [`TranslateError::NotMapped`] if there is no page, or the address is
    ///   not one that the tables can have;
    /// - [`TranslateError::Table`] if `read` fails for a page table.
    pub fn translate(&self, read: &ReadPhysical<'_>, vaddr: u64) -> Result<u64, TranslateError> {
        self.extent(read, vaddr).map(|(gpa, _)| gpa)
    }

    /// As [`translate`](Self::translate), and how many bytes from there on the
    /// page has.
    pub(crate) fn extent(
        &self,
        read: &ReadPhysical<'_>,
        vaddr: u64,
    ) -> Result<(u64, u64), TranslateError> {
        if let Self::Physical = self {
            return Ok((vaddr, u64::MAX - vaddr));
        }
        let trees = self.trees();
        let tree = trees.iter().find(|tree| tree.contains(vaddr));
        tree.ok_or(TranslateError::NotMapped { vaddr })?
            .translate(read, vaddr)
    }

    /// The trees of tables, the kernel's half first.
    pub(super) fn trees(&self) -> Vec<Tree<Format>> {
        match self {
            Self::Physical => Vec::new(),
            Self::X86(x86) => vec![x86.tree().map_format(Format::X86)],
            Self::Aarch64(aarch64) => all(aarch64.trees(), Format::Aarch64),
            Self::Arm(arm) => vec![arm.tree().map_format(Format::Arm)],
            Self::Riscv(riscv) => all(riscv.tree(), Format::Riscv),
            Self::S390x(s390x) => all(s390x.tree(), |()| Format::S390x),
            Self::Ppc64(ppc64) => all(ppc64.tree(), Format::Ppc64),
        }
    }
}

fn all<F>(
    trees: impl IntoIterator<Item = Tree<F>>,
    name: impl Fn(F) -> Format,
) -> Vec<Tree<Format>> {
    trees
        .into_iter()
        .map(|tree| tree.map_format(&name))
        .collect()
}
