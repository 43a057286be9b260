//! Page descriptors in the order of the pages, and where data goes next.
#![forbid(unsafe_code)]

use crate::abi::ByteOrder;
use crate::kdump::PageDescriptor;
use crate::memory::MIN_PAGE_SIZE;
use crate::pipeline::LONGEST;
use crate::write::kdump::seen::Stored;

/// Page descriptors that are written at once, 1.5 MiB. Some readers look
/// through all records of a flattened dump for every page, so the records
/// should not be small.
const DESCRIPTORS_AT_ONCE: usize = 1 << 16;

// A block never makes more than one write due.
const _: () = assert!(LONGEST / MIN_PAGE_SIZE <= DESCRIPTORS_AT_ONCE as u64);

/// Descriptors of zero pages that are made in advance.
const ZEROES_AT_ONCE: usize = 4096;

/// Descriptors that are due, and their file offset.
#[derive(Default)]
pub(crate) struct Due {
    pub(crate) bytes: Vec<u8>,
    pub(crate) offset: u64,
}

/// Where the next block's data and descriptors go.
pub(crate) struct Placement {
    pub(crate) next_data: u64,
    /// Descriptors that are not written yet, and where they go.
    pub(crate) descriptors: Due,
    /// Room for more, of descriptors that were written.
    spare: Vec<Vec<u8>>,
    pub(crate) pages: u64,
    /// Of these.
    pub(crate) zero_pages: u64,
    /// Descriptors of zero pages, all the same: they share one stored page.
    zeroes: Vec<u8>,
    order: ByteOrder,
}

impl Placement {
    /// All zero pages are stored as `zero_page`, and data goes behind it.
    pub(crate) fn new(zero_page: Stored, descriptors_at: u64, order: ByteOrder) -> Self {
        let mut zeroes = Vec::new();
        descriptor(zero_page).encode(order, &mut zeroes);
        Self {
            next_data: zero_page.offset + u64::from(zero_page.size),
            descriptors: Due {
                bytes: Vec::new(),
                offset: descriptors_at,
            },
            spare: Vec::new(),
            pages: 0,
            zero_pages: 0,
            zeroes: zeroes.repeat(ZEROES_AT_ONCE),
            order,
        }
    }

    /// Gives new data its place.
    pub(crate) fn store(&mut self, size: u32, flags: u32) -> Stored {
        let offset = self.next_data;
        self.next_data += u64::from(size);
        Stored {
            offset,
            size,
            flags,
        }
    }

    /// The next page of the dump. What becomes due goes to `due`.
    pub(crate) fn push(&mut self, page: Stored, due: &mut Due) {
        self.pages += 1;
        descriptor(page).encode(self.order, &mut self.descriptors.bytes);
        self.flush_if_full(due);
    }

    /// So many pages of zeroes.
    pub(crate) fn push_zeroes(&mut self, count: u64, due: &mut Due) {
        self.pages += count;
        self.zero_pages += count;
        let mut left = count;
        while left > 0 {
            let room = DESCRIPTORS_AT_ONCE - self.descriptors.bytes.len() / PageDescriptor::SIZE;
            let n = left.min(room.min(ZEROES_AT_ONCE) as u64);
            let bytes = &self.zeroes[..n as usize * PageDescriptor::SIZE];
            self.descriptors.bytes.extend_from_slice(bytes);
            self.flush_if_full(due);
            left -= n;
        }
    }

    /// Takes the room of what was due before, so that not every block keeps
    /// some for the few that need it.
    pub(crate) fn take_back(&mut self, due: &mut Due) {
        if due.bytes.capacity() > 0 {
            due.bytes.clear();
            self.spare.push(std::mem::take(&mut due.bytes));
        }
    }

    /// `due` is empty.
    fn flush_if_full(&mut self, due: &mut Due) {
        if self.descriptors.bytes.len() == DESCRIPTORS_AT_ONCE * PageDescriptor::SIZE {
            due.offset = self.descriptors.offset;
            // Of the full size at once: what grows leaves holes behind.
            let room = self.spare.pop();
            let room = room.unwrap_or_else(|| Vec::with_capacity(self.descriptors.bytes.len()));
            due.bytes = std::mem::replace(&mut self.descriptors.bytes, room);
            self.descriptors.offset += due.bytes.len() as u64;
        }
    }
}

fn descriptor(page: Stored) -> PageDescriptor {
    PageDescriptor {
        offset: page.offset,
        size: page.size,
        flags: page.flags,
        page_flags: 0,
    }
}
