//! The guest-virtual addresses of an ELF dump: by page tables, or as the caller gave them.
#![forbid(unsafe_code)]

use super::error::Result;
use super::{DumpOptions, ElfOptions};
use crate::arch::DirectMapping;
use crate::guest::paging::{Budget, Mapping, Mappings, address_spaces, mappings};
use crate::guest::reader::Guest;
use crate::memory::MemoryRange;
use crate::selection::{FrameRun, Selection};
use crate::vmcoreinfo::Vmcoreinfo;

/// Finds the guest-virtual addresses of the selected RAM by the page tables of all CPUs.
pub(super) fn find(
    guest: Guest<'_>,
    selection: &Selection,
    info: Option<&Vmcoreinfo>,
    budget: Budget,
    options: &DumpOptions,
) -> Result<Mappings> {
    let DumpOptions { guest: about, .. } = options;
    let read = |gpa, buf: &mut [u8]| guest.read(gpa, buf);
    let spaces = address_spaces(
        guest.machine,
        &about.cpus,
        &about.notes,
        info,
        guest.ram_start(),
        &read,
    )?;
    let progress = options.workers.handle();
    Ok(mappings(
        &spaces,
        &read,
        &runs(selection),
        budget,
        progress,
    )?)
}

/// Returns the mappings that `options` give. Those that the PT_LOADs by guest-physical address state
/// already, by the kernel's direct mapping, are omitted.
pub(super) fn given(
    options: &ElfOptions,
    direct: Option<DirectMapping>,
    selection: &Selection,
) -> Vec<Mapping> {
    let is_direct = |m: &&Mapping| {
        let inside = |d: DirectMapping| m.gpa >= d.start && m.gpa.saturating_add(m.size) <= d.end;
        let vaddr = |d: DirectMapping| d.vaddr.wrapping_add(m.gpa - d.start);
        direct.is_some_and(|d| inside(d) && m.vaddr == vaddr(d))
    };
    let others = options.mappings.iter().filter(|m| !is_direct(m));
    mappings_in(others, &runs(selection))
}

/// Returns the parts of `mappings` that lie in the dump, each in one of `runs`.
fn mappings_in<'m>(
    mappings: impl Iterator<Item = &'m Mapping>,
    runs: &[MemoryRange],
) -> Vec<Mapping> {
    let mut inside = Vec::new();
    for mapping in mappings {
        let end = mapping.gpa.saturating_add(mapping.size);
        let first = runs.partition_point(|run| run.end() <= mapping.gpa);
        for run in runs[first..].iter().take_while(|run| run.start() < end) {
            let gpa = mapping.gpa.max(run.start());
            inside.push(Mapping {
                vaddr: mapping.vaddr + (gpa - mapping.gpa),
                gpa,
                size: end.min(run.end()) - gpa,
            });
        }
    }
    inside
}

fn runs(selection: &Selection) -> Vec<MemoryRange> {
    let run = |run: &FrameRun| run.range(selection.page_size);
    selection.wanted.iter().map(run).collect()
}
