//! What a scan finds, the best of it first.
//!
//! A guest can plant as many finds as it has pages, and plant them before the
//! true one. So a scan goes on to the end: it looks at each find, but only at
//! a page of it once there were many, and from then on keeps only those whose
//! kernel is in memory.
#![forbid(unsafe_code)]

use super::located::Candidate;
use super::note::read_up_to;
use super::verify::is_in_memory;
use crate::guest::reader::Guest;
use crate::memory::MIN_PAGE_SIZE;
use crate::vmcoreinfo::Vmcoreinfo;

/// How many finds are kept, and how many are read in full whatever they are.
const MAX_FINDS: usize = 64;

/// The finds of a scan.
pub(crate) struct Finds<'a> {
    guest: Guest<'a>,
    read_whole: usize,
    /// Each once.
    kept: Vec<(Vmcoreinfo, Candidate)>,
}

impl<'a> Finds<'a> {
    pub(crate) fn new(guest: Guest<'a>) -> Self {
        Self {
            guest,
            read_whole: 0,
            kept: Vec::new(),
        }
    }

    /// Looks at what is at `gpa` and claims `size` bytes. False if nothing
    /// better can come: a kernel that is in memory is as good as another one.
    pub(crate) fn offer(&mut self, gpa: u64, size: u64) -> bool {
        if self.read_whole < MAX_FINDS {
            self.read_whole += 1;
            if let Some(info) = self.read(gpa, size) {
                let verified = is_in_memory(self.guest, &info);
                self.keep(gpa, info, verified);
            }
            return true;
        }
        // A kernel with pages of 4 KiB has its text in one, behind the header
        // of the note.
        let glance = if size <= 2 * MIN_PAGE_SIZE {
            size
        } else {
            MIN_PAGE_SIZE
        };
        let info = self.read(gpa, glance);
        let Some(info) = info.filter(|info| is_in_memory(self.guest, info)) else {
            return true;
        };
        let is_whole = (info.text().len() as u64) < glance;
        let has_room = self.kept.len() < MAX_FINDS || self.forget_one();
        if is_whole && has_room {
            self.keep(gpa, info, true);
        }
        has_room
    }

    /// Forgets a find whose kernel is not in memory. The last one goes first:
    /// at the lowest addresses is what the kernel itself put there.
    fn forget_one(&mut self) -> bool {
        let worst = self.kept.iter().rposition(|(_, c)| !c.verified);
        worst.map(|worst| self.kept.remove(worst)).is_some()
    }

    /// Those that were kept, the best one first.
    pub(crate) fn ranked(mut self) -> Vec<(Vmcoreinfo, Candidate)> {
        // A stable sort: among equals the lowest address comes first.
        self.kept
            .sort_by_key(|(_, c)| (!c.verified, c.crash_time.is_none()));
        self.kept
    }

    /// Keeps a find if it is new.
    fn keep(&mut self, gpa: u64, info: Vmcoreinfo, verified: bool) {
        if self.kept.iter().any(|(known, _)| *known == info) {
            return;
        }
        let candidate = Candidate::new(gpa, &info, verified);
        self.kept.push((info, candidate));
    }

    /// Reads `size` bytes, or fewer where RAM ends, and parses them.
    fn read(&self, gpa: u64, size: u64) -> Option<Vmcoreinfo> {
        read_up_to(self.guest, gpa, size).ok()
    }
}
