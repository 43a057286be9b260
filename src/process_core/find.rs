//! Finding QEMU's RAM in its core file.
//!
//! A segment that contains VMCOREINFO is RAM of a Linux guest. QEMU's machines
//! arrange RAM in guest-physical memory in a few ways. An arrangement is right
//! if the kernel lies where VMCOREINFO says, and its page tables map the RAM.

use crate::abi::Utsname;
use crate::arch::Machine;
use crate::fault::Fault;
use crate::guest::paging::Budget;
use crate::guest::reader::{Guest, read_utsname};
use crate::guest::vmcoreinfo::VmcoreinfoError;
use crate::guest::vmcoreinfo::find_all;
use crate::memory::{GuestMemory, MIN_PAGE_SIZE, MemoryRange};
use crate::process_core::blocks::MIN_BLOCK;
use crate::process_core::layout::layouts;
use crate::process_core::{
    Extracted, ProcessCore, ProcessCoreError, RamBlock, SearchError, Segment, direct_map,
};
use crate::read::RegionMemory;
use crate::vmcoreinfo::Vmcoreinfo;
use crate::workers::Progress;
use crate::workers::Threads;

/// The most segments that are searched, the largest first. QEMU has few of that
/// size.
const MAX_CANDIDATES: usize = 16;
// p_flags.
const EXECUTABLE: u32 = 1;
const WRITABLE: u32 = 2;

/// QEMU's RAM, found in its core file and verified.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct QemuRam {
    /// The guest's architecture.
    pub machine: Machine,
    /// The guest's RAM, in ascending order of guest-physical address.
    pub blocks: Vec<RamBlock>,
}

impl ProcessCore {
    /// Finds the RAM of a Linux guest in a core of QEMU, if all RAM is one block.
    ///
    /// A guest without NUMA nodes and hot-plugged memory has one block.
    /// `machine` is the architecture, if the caller knows it.
    ///
    /// # Errors
    ///
    /// [`ProcessCoreError::NotFound`], with the reason, if no RAM is found or its
    /// place cannot be proven. The caller then has to pass its own list to
    /// [`extract`](Self::extract).
    pub fn find_qemu_ram(
        &self,
        machine: Option<Machine>,
        progress: &Progress,
    ) -> Result<QemuRam, ProcessCoreError> {
        let machines = machine.as_slice();
        let machines = if machines.is_empty() {
            Machine::ALL
        } else {
            machines
        };
        let candidates = self.candidates();
        if candidates.is_empty() {
            return Err(SearchError::NoCandidates { hint: self.loss() }.into());
        }
        let mut seen = None;
        let mut budget = direct_map::BUDGET;
        for segment in &candidates {
            let infos = self.vmcoreinfo_in(segment, progress)?;
            let found = self.fitting(segment, &infos, machines, &mut budget, progress)?;
            if let [ram] = &found[..] {
                return Ok(ram.clone());
            }
            if let Some(info) = infos.first() {
                let osrelease = info.osrelease();
                if !found.is_empty() {
                    let arrangements = describe(&found);
                    return Err(SearchError::Ambiguous {
                        osrelease,
                        arrangements,
                    }
                    .into());
                }
                seen.get_or_insert(osrelease);
            }
        }
        Err(match seen {
            Some(osrelease) => SearchError::NotVerified { osrelease },
            None => SearchError::NoVmcoreinfo {
                segments: candidates.len(),
                hint: self.loss(),
            },
        }
        .into())
    }

    /// Returns the segments that may be RAM and have data, the largest first.
    fn candidates(&self) -> Vec<Segment> {
        let mut all: Vec<Segment> = self
            .segments()
            .iter()
            .filter(|s| is_ram_like(s) && s.in_file >= MIN_PAGE_SIZE)
            .copied()
            .collect();
        all.sort_by_key(|segment| std::cmp::Reverse(segment.size));
        all.truncate(MAX_CANDIDATES);
        all
    }

    /// Describes the largest memory that may have been RAM and is not in the core
    /// file.
    fn loss(&self) -> String {
        let segments = self.segments().iter().filter(|s| is_ram_like(s));
        let segments = segments.map(|segment| (segment.size, segment.hva));
        let files = self.mapped_files().iter().map(|file| (file.size, file.hva));
        let mut large: Vec<_> = segments
            .chain(files)
            .filter(|(size, _)| *size >= MIN_BLOCK)
            .collect();
        large.sort_by_key(|(size, _)| std::cmp::Reverse(*size));
        let lost = large.into_iter().find_map(|(size, hva)| {
            let range = MemoryRange::new(0, size - size % MIN_PAGE_SIZE).ok()?;
            let Extracted { regions, missing } = self.extract(&[RamBlock { range, hva }]).ok()?;
            missing.into_iter().next().filter(|_| regions.is_empty())
        });
        let rule = "QEMU's RAM is not in its cores with -machine dump-guest-core=off";
        match lost {
            Some(lost) => format!(
                "{rule}; the largest memory that this one lacks, {:#x} bytes at host-virtual \
                 address {:#x}: {}",
                lost.range.size(),
                lost.hva,
                lost.reason
            ),
            None => rule.into(),
        }
    }

    /// Finds all VMCOREINFO in a segment.
    fn vmcoreinfo_in(
        &self,
        segment: &Segment,
        progress: &Progress,
    ) -> Result<Vec<Vmcoreinfo>, ProcessCoreError> {
        let Ok(range) = MemoryRange::new(0, segment.size - segment.size % MIN_PAGE_SIZE) else {
            return Ok(Vec::new());
        };
        let block = RamBlock {
            range,
            hva: segment.hva,
        };
        let Some(memory) = self.memory(&[block]) else {
            return Ok(Vec::new());
        };
        let ranges = memory.ranges();
        let guest = Guest {
            memory: &memory,
            ranges: &ranges,
            // The text is the same on all architectures, and all page sizes are
            // multiples of 4096 bytes.
            machine: Machine::X86_64,
        };
        match find_all(guest, Threads::ONE, progress) {
            Ok(finds) => Ok(finds.into_iter().map(|(info, _)| info).collect()),
            Err(VmcoreinfoError::Fault(Fault::Cancelled)) => Err(SearchError::Cancelled.into()),
            Err(VmcoreinfoError::Fault(_)) => Ok(Vec::new()),
            Err(error) => Err(SearchError::Scan(error).into()),
        }
    }

    /// Returns the arrangements in which one of the kernels that `infos` describe
    /// lies in its place.
    fn fitting(
        &self,
        segment: &Segment,
        infos: &[Vmcoreinfo],
        machines: &[Machine],
        budget: &mut Budget,
        progress: &Progress,
    ) -> Result<Vec<QemuRam>, ProcessCoreError> {
        let size = segment.size - segment.size % MIN_PAGE_SIZE;
        let mut found: Vec<QemuRam> = Vec::new();
        if infos.is_empty() {
            return Ok(found);
        }
        for &machine in machines {
            for blocks in layouts(machine, segment.hva, size) {
                let Some(memory) = self.memory(&blocks) else {
                    continue;
                };
                let ranges = memory.ranges();
                let guest = Guest {
                    memory: &memory,
                    ranges: &ranges,
                    machine,
                };
                if infos
                    .iter()
                    .any(|info| fits(guest, &blocks, info, budget, progress))
                {
                    found.push(QemuRam { machine, blocks });
                }
            }
        }
        if progress.is_cancelled() {
            return Err(SearchError::Cancelled.into());
        }
        Ok(found)
    }

    fn memory(&self, blocks: &[RamBlock]) -> Option<RegionMemory> {
        self.extract(blocks).ok()?.into_memory().ok()
    }
}

fn is_ram_like(segment: &Segment) -> bool {
    segment.size >= MIN_BLOCK
        && segment.hva.is_multiple_of(MIN_PAGE_SIZE)
        && segment.flags & (WRITABLE | EXECUTABLE) == WRITABLE
}

/// Returns whether the kernel lies where `info` says and its page tables agree
/// that RAM is these `blocks`. Only the page tables of x86_64 are consulted.
fn fits(
    guest: Guest<'_>,
    blocks: &[RamBlock],
    info: &Vmcoreinfo,
    budget: &mut Budget,
    progress: &Progress,
) -> bool {
    let Some(uts) = read_utsname(guest, info) else {
        return false;
    };
    if Utsname::text(&uts.release) != info.osrelease() {
        return false;
    }
    // The name distinguishes ppc64 from ppc64le, whose addresses are the same.
    let named: Option<Machine> = Utsname::text(&uts.machine).parse().ok();
    if named.is_some_and(|named| named != guest.machine) {
        return false;
    }
    guest.machine != Machine::X86_64 || direct_map::confirms(guest, blocks, info, budget, progress)
}

fn describe(found: &[QemuRam]) -> String {
    let each = found.iter().map(|ram| {
        let ranges = ram.blocks.iter().map(|block| block.range.to_string());
        format!("{} {}", ram.machine, ranges.collect::<Vec<_>>().join(" "))
    });
    each.collect::<Vec<_>>().join("; ")
}
