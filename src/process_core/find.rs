//! Finding QEMU's RAM in its core file.
//!
//! A segment that contains VMCOREINFO is RAM of a Linux guest. QEMU's machines
//! arrange RAM in guest-physical memory in a few ways. An arrangement is right
//! if the kernel lies where VMCOREINFO says, and its page tables map the RAM.

use crate::arch::Machine;
use crate::fault::Fault;
use crate::guest::vmcoreinfo::VmcoreinfoError;
use crate::memory::{MIN_PAGE_SIZE, MemoryRange};
use crate::process_core::blocks::MIN_BLOCK;
use crate::process_core::{
    Extracted, ProcessCore, ProcessCoreError, RamBlock, SearchError, Segment,
};
use crate::ram_layout::{Proof, Verdict, layouts, vmcoreinfo_anywhere};
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
        let mut proof = Proof::new(progress);
        for segment in &candidates {
            let infos = self.vmcoreinfo_in(segment, progress)?;
            let found = self.fitting(segment, &infos, machines, &mut proof)?;
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
        match vmcoreinfo_anywhere(&memory, Threads::ONE, progress) {
            Ok(infos) => Ok(infos),
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
        proof: &mut Proof<'_>,
    ) -> Result<Vec<QemuRam>, ProcessCoreError> {
        let size = segment.size - segment.size % MIN_PAGE_SIZE;
        let mut found: Vec<QemuRam> = Vec::new();
        if infos.is_empty() {
            return Ok(found);
        }
        for &machine in machines {
            for pieces in layouts(machine, size) {
                let blocks: Vec<_> = pieces
                    .iter()
                    .map(|piece| RamBlock {
                        range: piece.range,
                        hva: segment.hva + piece.offset,
                    })
                    .collect();
                let memory = self.memory(&blocks);
                let verdict = memory.map(|memory| proof.verdict(&memory, machine, &pieces, infos));
                if verdict >= Some(Verdict::InPlace) {
                    found.push(QemuRam { machine, blocks });
                }
            }
        }
        if proof.is_cancelled() {
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

fn describe(found: &[QemuRam]) -> String {
    let each = found.iter().map(|ram| {
        let ranges = ram.blocks.iter().map(|block| block.range.to_string());
        format!("{} {}", ram.machine, ranges.collect::<Vec<_>>().join(" "))
    });
    each.collect::<Vec<_>>().join("; ")
}
