//! Pages that the dump has already, so that the same page need not be
//! compressed and stored again and again.
#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Memory for pages, in bytes.
const BUDGET: usize = 4 << 20;

/// Pages whose hashes lead to the same place.
const WAYS: usize = 4;

/// Where the data of a page lies in the dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) offset: u64,
    pub(crate) size: u32,
    pub(crate) flags: u32,
}

/// A page that the dump has.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) hash: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) stored: Stored,
    /// Pages taken in before this one.
    number: u64,
}

/// Hashes that are remembered, 256 KiB.
const TAGS: usize = 1 << 16;

/// Some of the last pages of the dump that came twice. The oldest of those
/// with like hashes makes room for a new one. So what is in here depends on
/// nothing but the pages before, in the dump's order.
///
/// Copying every page would cost more than most guests' repeated pages save,
/// so of a page that comes for the first time only the hash is kept.
pub(crate) struct Seen {
    /// Parts of the hashes of pages that came once, by other parts.
    tags: Vec<u32>,
    slots: Vec<Option<Arc<Known>>>,
    /// Pages taken in so far.
    count: u64,
    /// Slots with pages that are not published yet.
    changed: Vec<usize>,
    /// Pages that made room, and their memory when nobody has them any more:
    /// threads that free what others allocated wait for each other.
    gone: Vec<Arc<Known>>,
    spare: Vec<Vec<u8>>,
}

/// A copy of [`Seen`] that is a little behind, for all threads.
pub(crate) struct Published {
    slots: Mutex<Vec<Option<Arc<Known>>>>,
}

impl Seen {
    pub(crate) fn new(page_size: usize) -> Self {
        Self {
            tags: vec![0; TAGS],
            slots: vec![None; slot_count(page_size)],
            count: 0,
            changed: Vec::new(),
            gone: Vec::new(),
            spare: Vec::new(),
        }
    }

    /// The page with these very bytes.
    pub(crate) fn find(&self, hash: u64, page: &[u8]) -> Option<&Known> {
        candidate(&self.slots, hash)
            .map(|known| &**known)
            .filter(|known| *known.bytes == *page)
    }

    /// Whether this very page is still here.
    pub(crate) fn has(&self, page: &Arc<Known>) -> bool {
        candidate(&self.slots, page.hash).is_some_and(|known| Arc::ptr_eq(known, page))
    }

    /// Takes in a page that is not here, if it seems to come again.
    pub(crate) fn note(&mut self, hash: u64, page: &[u8], stored: Stored) {
        let tag = &mut self.tags[(hash >> 32) as usize % TAGS];
        if *tag == hash as u32 {
            self.insert(hash, page, stored);
        } else {
            *tag = hash as u32;
        }
    }

    /// Takes in a page that is not here.
    fn insert(&mut self, hash: u64, page: &[u8], stored: Stored) {
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(page);
        let known = Known {
            hash,
            bytes,
            stored,
            number: self.count,
        };
        self.count += 1;
        // One of each hash, so the last of those that differ where nobody
        // looked. Else what is empty, else what is oldest.
        let age = |slot: &usize| match &self.slots[*slot] {
            Some(known) if known.hash == hash => (0, 0),
            None => (1, 0),
            Some(known) => (2, known.number),
        };
        if let Some(slot) = slots_of(hash, self.slots.len()).min_by_key(age) {
            self.gone.extend(self.slots[slot].replace(Arc::new(known)));
            self.changed.push(slot);
        }
    }
}

impl Published {
    pub(crate) fn new(page_size: usize) -> Self {
        Self {
            slots: Mutex::new(vec![None; slot_count(page_size)]),
        }
    }

    /// Brings the copy up to date.
    pub(crate) fn update(&self, seen: &mut Seen) {
        let mut slots = self.lock();
        for slot in seen.changed.drain(..) {
            slots[slot].clone_from(&seen.slots[slot]);
        }
        drop(slots);
        let unused = seen.gone.drain(..).filter_map(Arc::into_inner);
        seen.spare.extend(unused.map(|known| known.bytes));
    }

    /// Pages that may be those with these hashes.
    pub(crate) fn candidates(&self, wanted: &mut [(u64, Option<Arc<Known>>)]) {
        let slots = self.lock();
        for (hash, known) in wanted {
            *known = candidate(&slots, *hash).cloned();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Option<Arc<Known>>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn slot_count(page_size: usize) -> usize {
    (BUDGET / page_size).next_multiple_of(WAYS).max(WAYS)
}

fn slots_of(hash: u64, count: usize) -> std::ops::Range<usize> {
    let first = (hash % (count / WAYS) as u64) as usize * WAYS;
    first..first + WAYS
}

fn candidate(slots: &[Option<Arc<Known>>], hash: u64) -> Option<&Arc<Known>> {
    let mut known = slots[slots_of(hash, slots.len())].iter().flatten();
    known.find(|known| known.hash == hash)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn stored(offset: u64) -> Stored {
        Stored {
            offset,
            size: 9,
            flags: 0,
        }
    }

    fn found(seen: &Seen, hash: u64, page: &[u8]) -> Option<u64> {
        seen.find(hash, page).map(|known| known.stored.offset)
    }

    #[test]
    fn bytes_decide_and_not_hashes() {
        let mut seen = Seen::new(4096);
        seen.insert(7, &[1; 4096], stored(10));
        assert_eq!(found(&seen, 7, &[1; 4096]), Some(10));
        assert_eq!(found(&seen, 7, &[2; 4096]), None);
        seen.insert(7, &[2; 4096], stored(20));
        assert_eq!(found(&seen, 7, &[2; 4096]), Some(20));
        assert_eq!(found(&seen, 7, &[1; 4096]), None);
    }

    #[test]
    fn the_oldest_makes_room() {
        for page_size in [4096, 65536, 16 << 20] {
            let mut seen = Seen::new(page_size);
            let count = seen.slots.len() as u64;
            // Hashes that lead to the same slots.
            let hash = |n: u64| n * count;
            let page = vec![3; page_size];
            for n in 1..=WAYS as u64 {
                seen.insert(hash(n), &page, stored(n));
            }
            seen.insert(hash(9), &page, stored(9));
            assert_eq!(found(&seen, hash(1), &page), None);
            assert_eq!(found(&seen, hash(2), &page), Some(2));
            assert_eq!(found(&seen, hash(9), &page), Some(9));
        }
    }

    #[test]
    fn memory_is_bounded_and_used_again() {
        let mut seen = Seen::new(4096);
        let published = Published::new(4096);
        for n in 0..10_000u64 {
            seen.insert(n, &[n as u8; 4096], stored(n));
            published.update(&mut seen);
        }
        let known = seen.slots.iter().flatten().count();
        assert_eq!(known * 4096, BUDGET);
        assert!(seen.spare.len() <= 1 && seen.gone.is_empty() && seen.changed.is_empty());
    }

    #[test]
    fn a_page_is_taken_in_when_it_comes_again() {
        let mut seen = Seen::new(4096);
        let hash = 0x1234_5678_9abc_def0;
        seen.note(hash, &[1; 4096], stored(10));
        assert_eq!(found(&seen, hash, &[1; 4096]), None);
        seen.note(hash, &[1; 4096], stored(20));
        assert_eq!(found(&seen, hash, &[1; 4096]), Some(20));
    }

    #[test]
    fn what_is_published_is_found_until_it_is_replaced() {
        let mut seen = Seen::new(4096);
        let published = Published::new(4096);
        let look = |hash| {
            let mut wanted = [(hash, None)];
            published.candidates(&mut wanted);
            wanted[0].1.take()
        };
        seen.insert(5, &[5; 4096], stored(5));
        assert!(look(5).is_none());
        published.update(&mut seen);
        let known = look(5).unwrap();
        assert!(seen.has(&known) && known.bytes == [5; 4096]);
        seen.insert(5, &[6; 4096], stored(6));
        assert!(!seen.has(&known) && known.bytes == [5; 4096]);
    }
}
