//! Pages of the `struct page` array that are mapped without page tables.

/// Pages at guest-virtual addresses.
#[derive(Debug, Default)]
pub(super) struct Vmemmap {
    /// Guest-virtual and guest-physical address of each, in ascending order.
    pub(super) pages: Vec<(u64, u64)>,
    /// Bytes of each.
    pub(super) size: u64,
}

impl Vmemmap {
    /// The guest-physical address of the byte at `vaddr`, and how many bytes
    /// from there on are in the same page.
    pub(super) fn extent(&self, vaddr: u64) -> Option<(u64, u64)> {
        let behind = self.pages.partition_point(|(start, _)| *start <= vaddr);
        let (start, gpa) = *self.pages.get(behind.checked_sub(1)?)?;
        let inside = vaddr - start;
        (inside < self.size).then(|| (gpa + inside, self.size - inside))
    }
}
