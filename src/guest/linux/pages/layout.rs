//! What `struct page` of a kernel looks like, by its VMCOREINFO.
//!
//! Sources: Linux `Documentation/admin-guide/kdump/vmcoreinfo.rst`,
//! `include/linux/mm_types.h`, `include/linux/page-flags.h`.

use crate::guest::linux::error::KernelError;
use crate::guest::linux::reader::KernelReader;

/// `PAGE_MAPPING_ANON` of Linux `include/linux/page-flags.h`: in
/// `page.mapping`, of memory without a file.
const MAPPING_ANON: u64 = 1;
/// Kernels have 11, and with large pages 14.
const MOST_ORDERS: u64 = 32;
/// In `page.compound_head`: this page belongs to the one before.
const TAIL: u64 = 1;

/// What of `struct page` is looked at.
#[derive(Debug, Clone)]
pub(super) struct PageLayout {
    /// Bytes of a `struct page`.
    pub(super) size: usize,
    /// Bytes of an `unsigned long`.
    word: usize,
    flags: usize,
    mapping: usize,
    mapcount: usize,
    private: usize,
    compound_head: usize,
    pub(super) flag: Flags,
    pub(super) value: PageTypes,
    pub(super) large: Large,
    /// Orders of free blocks (`MAX_ORDER` and its successors): all are less.
    pub(super) free_orders: u64,
}

/// Bits of `page.flags`, as masks. 0 if the kernel does not have it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flags {
    pub(super) lru: u64,
    pub(super) private: u64,
    pub(super) swapcache: u64,
    pub(super) swapbacked: u64,
    pub(super) hwpoison: u64,
    /// Before Linux 6.10.
    pub(super) slab: u64,
    pub(super) head: u64,
}

/// What `page._mapcount` is for some kinds of pages.
#[derive(Debug, Clone, Copy)]
pub(super) struct PageTypes {
    pub(super) buddy: u32,
    /// From Linux 6.10 on.
    pub(super) slab: Option<u32>,
    /// From Linux 4.19 on.
    pub(super) offline: Option<u32>,
    /// Memory of a confidential guest that it has not accepted yet.
    pub(super) unaccepted: Option<u32>,
}

/// How the first two `struct page`s of a large page tell its order, and
/// whether it is one of hugetlbfs.
#[derive(Debug, Clone, Copy)]
pub(super) enum Large {
    /// `_mapcount` of the first one; the order is the lowest byte of the
    /// second one's flags (Linux 6.9 and later).
    PageType(u32),
    /// This flag of the second one, and the order as above (6.6 to 6.8).
    Flag(u64),
    /// `compound_dtor` and `compound_order` of the second one, and what the
    /// former then is (before 6.6).
    Destructor {
        dtor: usize,
        order: usize,
        hugetlb: Option<u8>,
    },
}

impl PageLayout {
    pub(super) fn of(kernel: &KernelReader<'_>) -> Result<Self, KernelError> {
        let info = kernel.vmcoreinfo();
        let size = kernel.size("page")?;
        let word = kernel.word_size();
        // Larger than any kernel's, so that offsets are within reason.
        let damaged = |why| KernelError::Damaged {
            what: "struct page",
            vaddr: 0,
            why,
        };
        if !(32..=512).contains(&size) {
            return Err(damaged(format!("it has {size} bytes by VMCOREINFO")));
        }
        let offset = |name: &str, len: usize| {
            let offset = kernel.offset(name)?;
            match offset.checked_add(len as u64) {
                Some(end) if end <= size => Ok(offset as usize),
                _ => Err(damaged(format!("{name} is at {offset} of {size} bytes"))),
            }
        };
        let bit = |name: &str| match info.number(name) {
            None => Ok(0),
            Some(bit) if (0..word as i64 * 8).contains(&bit) => Ok(1u64 << bit),
            Some(bit) => Err(damaged(format!("{name} is bit {bit}"))),
        };
        let needed = |name: &str| {
            kernel.number_of(name)?;
            bit(name)
        };
        let page_type = |name: &str| info.number(name).map(|value| value as u32);
        let slab = page_type("PAGE_SLAB_MAPCOUNT_VALUE");
        let value = PageTypes {
            buddy: kernel.number_of("PAGE_BUDDY_MAPCOUNT_VALUE")? as u32,
            slab,
            offline: page_type("PAGE_OFFLINE_MAPCOUNT_VALUE"),
            unaccepted: page_type("PAGE_UNACCEPTED_MAPCOUNT_VALUE"),
        };
        let flag = Flags {
            lru: needed("PG_lru")?,
            private: needed("PG_private")?,
            swapcache: needed("PG_swapcache")?,
            swapbacked: bit("PG_swapbacked")?,
            hwpoison: bit("PG_hwpoison")?,
            slab: match slab {
                Some(_) => 0,
                None => needed("PG_slab")?,
            },
            head: kernel.number_of("PG_head_mask")? as u64,
        };
        let large = if let Some(value) = page_type("PAGE_HUGETLB_MAPCOUNT_VALUE") {
            Large::PageType(value)
        } else if info.number("PG_hugetlb").is_some() {
            Large::Flag(needed("PG_hugetlb")?)
        } else {
            Large::Destructor {
                dtor: offset("page.compound_dtor", 1)?,
                order: offset("page.compound_order", 1)?,
                hugetlb: info.number("HUGETLB_PAGE_DTOR").map(|id| id as u8),
            }
        };
        Ok(Self {
            size: size as usize,
            word,
            flags: offset("page.flags", word)?,
            mapping: offset("page.mapping", word)?,
            mapcount: offset("page._mapcount", 4)?,
            private: offset("page.private", word)?,
            // As Linux 7.1 and later call it.
            compound_head: offset("page.compound_info", word)
                .or_else(|_| offset("page.compound_head", word))?,
            flag,
            value,
            large,
            free_orders: match kernel.length("zone.free_area")? {
                orders @ 1..=MOST_ORDERS => orders,
                orders => return Err(damaged(format!("free blocks have {orders} orders"))),
            },
        })
    }

    /// What a `struct page` says; `next` is the one behind it.
    pub(super) fn decode<'b>(
        &'b self,
        kernel: &'b KernelReader<'_>,
        page: &'b [u8],
        next: Option<&'b [u8]>,
    ) -> Page<'b> {
        Page {
            layout: self,
            kernel,
            page,
            next,
        }
    }
}

/// A `struct page`.
#[derive(Clone, Copy)]
pub(super) struct Page<'b> {
    layout: &'b PageLayout,
    kernel: &'b KernelReader<'b>,
    page: &'b [u8],
    next: Option<&'b [u8]>,
}

impl Page<'_> {
    fn word(&self, bytes: &[u8], offset: usize) -> u64 {
        self.kernel
            .number(&bytes[offset..offset + self.layout.word])
    }

    pub(super) fn flags(&self) -> u64 {
        self.word(self.page, self.layout.flags)
    }

    pub(super) fn is_anonymous(&self) -> bool {
        self.word(self.page, self.layout.mapping) & MAPPING_ANON != 0
    }

    pub(super) fn is_tail(&self) -> bool {
        self.word(self.page, self.layout.compound_head) & TAIL != 0
    }

    /// Of a free block: its order.
    pub(super) fn private(&self) -> u64 {
        self.word(self.page, self.layout.private)
    }

    pub(super) fn mapcount(&self) -> u32 {
        let at = self.layout.mapcount;
        self.kernel.number(&self.page[at..at + 4]) as u32
    }

    /// Of the first page of a large one: its order, and whether it is one of
    /// hugetlbfs.
    pub(super) fn large(&self) -> (u32, bool) {
        // Nothing that is not there is believed.
        let Some(next) = self.next else {
            return (0, false);
        };
        let next_flags = || self.word(next, self.layout.flags);
        let order = |flags: u64| (flags & 0xff) as u32;
        match self.layout.large {
            Large::PageType(value) => (order(next_flags()), self.mapcount() == value),
            Large::Flag(flag) => (order(next_flags()), next_flags() & flag != 0),
            Large::Destructor {
                dtor,
                order,
                hugetlb,
            } => (
                next[order].into(),
                hugetlb.is_some_and(|id| next[dtor] == id),
            ),
        }
    }
}
