//! Finds the `struct page`s of a kernel.
//!
//! Source: Linux `include/linux/mmzone.h`. With SPARSEMEM, `mem_section` has an
//! entry for each section of memory. The entries are in one table, or (EXTREME)
//! in tables of one page each to which a root points. An entry's
//! `section_mem_map` is the address that the `struct page` of page frame 0
//! would have. Its lower bits contain flags.

use crate::guest::linux::error::KernelError;
use crate::guest::linux::reader::KernelReader;
use crate::selection::FrameRun;

/// `SECTION_MARKED_PRESENT` and `SECTION_HAS_MEM_MAP`. Without the latter, the
/// other bits are not an address.
const PRESENT: u64 = 3;
/// The bits below `SECTION_MAP_LAST_BIT`: 6 flags since Linux 6.15, fewer
/// before. The address is aligned to more than that.
const FLAGS: u64 = (1 << 6) - 1;

/// The smallest sections, of 1 MiB. Kernels have 16 MiB and more.
const MIN_SECTION_BITS: i64 = 20;
/// The most page frames in a [`Section`]. The size of a free block of any
/// kernel divides it.
const MOST_FRAMES: u64 = 1 << 15;

/// Page frames with consecutive `struct page`s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) frames: FrameRun,
    /// Guest-virtual address of the first frame's `struct page`.
    pub(super) map: u64,
}

/// Returns the sections that contain RAM. `ram` ascends. `page_struct` is the
/// size of a `struct page` in bytes.
pub(super) fn sections(
    kernel: &KernelReader<'_>,
    ram: &[FrameRun],
    page_size: u64,
    page_struct: u64,
) -> Result<Vec<Section>, KernelError> {
    let info = kernel.vmcoreinfo();
    match info.symbol("mem_section") {
        Some(_) => sparse(kernel, ram, page_size, page_struct),
        None => flat(kernel, ram, page_struct),
    }
}

/// Returns the sections of a kernel with one array of all `struct page`s.
///
/// The array covers the page frames that the only node spans
/// (`include/linux/mmzone.h`, `struct pglist_data`). RAM that the kernel does
/// not know, or does not use, has no `struct page`.
fn flat(
    kernel: &KernelReader<'_>,
    ram: &[FrameRun],
    page_struct: u64,
) -> Result<Vec<Section>, KernelError> {
    let node = kernel.symbol("contig_page_data")?;
    let field = |name: &str| {
        let offset = kernel.offset(&format!("pglist_data.{name}"))?;
        kernel.word_at(node.wrapping_add(offset))
    };
    let first = field("node_start_pfn")?;
    let spanned = first..first.saturating_add(field("node_spanned_pages")?);
    let map = field("node_mem_map")?;
    let base = map.wrapping_sub(first.wrapping_mul(page_struct));
    let mut list = Vec::new();
    for run in ram.iter().filter_map(|run| run.clipped(&spanned)) {
        push(&mut list, run, base, page_struct);
    }
    if list.is_empty() {
        return Err(KernelError::Damaged {
            what: "contig_page_data",
            vaddr: node,
            why: format!(
                "no RAM is in the page frames {first:#x} to {:#x}",
                spanned.end
            ),
        });
    }
    Ok(list)
}

/// Appends the sections of `run`. `base` is the address that the `struct page`
/// of page frame 0 would have.
fn push(list: &mut Vec<Section>, run: FrameRun, base: u64, page_struct: u64) {
    let mut start = run.start;
    while start < run.end() {
        let end = run.end().min((start / MOST_FRAMES + 1) * MOST_FRAMES);
        let count = end - start;
        list.push(Section {
            frames: FrameRun { start, count },
            map: base.wrapping_add(start.wrapping_mul(page_struct)),
        });
        start = end;
    }
}

fn sparse(
    kernel: &KernelReader<'_>,
    ram: &[FrameRun],
    page_size: u64,
    page_struct: u64,
) -> Result<Vec<Section>, KernelError> {
    let table = kernel.symbol("mem_section")?;
    let damaged = |why| KernelError::Damaged {
        what: "mem_section",
        vaddr: table,
        why,
    };
    let entry_size = kernel.size("mem_section")?;
    let section_bits = kernel.number_of("SECTION_SIZE_BITS")?;
    let address_bits = kernel.number_of("MAX_PHYSMEM_BITS")?;
    let page_bits = i64::from(page_size.trailing_zeros());
    if !(MIN_SECTION_BITS.max(page_bits + 1)..=40).contains(&section_bits)
        || !(section_bits..=64).contains(&address_bits)
        || !(8..=page_size).contains(&entry_size)
    {
        return Err(damaged(format!(
            "sections of 2^{section_bits} bytes, addresses of {address_bits} bits, \
             entries of {entry_size} bytes"
        )));
    }
    let in_section = 1u64 << (section_bits - page_bits);
    let per_root = page_size / entry_size;
    let all = 1u64 << (address_bits - section_bits).min(63);
    let length = kernel.length("mem_section")?;
    let extreme = length == all.div_ceil(per_root);
    if !extreme && length != all {
        return Err(damaged(format!("{length} entries for {all} sections")));
    }
    let mut table = Table {
        kernel,
        at: table,
        entry_size,
        map: kernel.offset("mem_section.section_mem_map")?,
        per_root: extreme.then_some(per_root),
        sections: all,
        in_section,
        page_struct,
    };
    // Kernels since 4.15 have a pointer there. Some VMCOREINFO contains its
    // address and not its value.
    let mut found = table.all(ram);
    if extreme && !found.as_ref().is_ok_and(|list| !list.is_empty()) {
        table.at = kernel.word_at(table.at)?;
        found = table.all(ram);
    }
    match found? {
        list if list.is_empty() => Err(damaged("no section of RAM is present".to_owned())),
        list => Ok(list),
    }
}

struct Table<'k, 'm> {
    kernel: &'k KernelReader<'m>,
    /// Guest-virtual address of the table, or of the root.
    at: u64,
    entry_size: u64,
    /// Offset of `section_mem_map` in an entry.
    map: u64,
    /// Entries in each table that the root points to.
    per_root: Option<u64>,
    /// The most sections that there may be.
    sections: u64,
    /// Number of page frames in a section.
    in_section: u64,
    page_struct: u64,
}

impl Table<'_, '_> {
    fn all(&self, ram: &[FrameRun]) -> Result<Vec<Section>, KernelError> {
        let mut list: Vec<Section> = Vec::new();
        for run in ram {
            let mut at = run.start;
            while at < run.end() {
                let number = at / self.in_section;
                let end = run.end().min((number + 1) * self.in_section);
                if let Some(base) = self.base(number)? {
                    let run = FrameRun {
                        start: at,
                        count: end - at,
                    };
                    push(&mut list, run, base, self.page_struct);
                }
                at = end;
            }
        }
        Ok(list)
    }

    /// Returns the address that the `struct page` of page frame 0 would have,
    /// as the section stores it. It returns `None` if the kernel does not use
    /// the section.
    fn base(&self, number: u64) -> Result<Option<u64>, KernelError> {
        if number >= self.sections {
            return Ok(None);
        }
        let word = self.kernel.word_size() as u64;
        let (table, index) = match self.per_root {
            None => (self.at, number),
            Some(per_root) => {
                let root = self.at.wrapping_add((number / per_root).wrapping_mul(word));
                (self.kernel.word_at(root)?, number % per_root)
            }
        };
        if table == 0 {
            return Ok(None);
        }
        let entry = table.wrapping_add(index.wrapping_mul(self.entry_size));
        let coded = self.kernel.word_at(entry.wrapping_add(self.map))?;
        Ok((coded & PRESENT == PRESENT).then_some(coded & !FLAGS))
    }
}
