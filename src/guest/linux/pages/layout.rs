//! The layout of a kernel's `struct page`, by its VMCOREINFO.
//!
//! Sources: Linux `Documentation/admin-guide/kdump/vmcoreinfo.rst`,
//! `include/linux/mm_types.h`, `include/linux/page-flags.h`.

use crate::guest::linux::error::KernelError;
use crate::guest::linux::reader::KernelReader;

/// `PAGE_MAPPING_ANON` of Linux `include/linux/page-flags.h`. This bit in
/// `page.mapping` marks memory without a file.
const MAPPING_ANON: u64 = 1;
/// The most orders of free blocks. Kernels have 11, and with large pages 14.
const MOST_ORDERS: u64 = 32;
/// A bit in `page.compound_head` that marks a tail page of a large page.
const TAIL: u64 = 1;

/// The used parts of `struct page`.
#[derive(Debug, Clone)]
pub(super) struct PageLayout {
    /// Size of a `struct page` in bytes.
    pub(super) size: usize,
    /// Size of an `unsigned long` in bytes.
    word: usize,
    flags: usize,
    mapping: usize,
    mapcount: usize,
    private: usize,
    compound_head: usize,
    pub(super) flag: Flags,
    pub(super) value: PageTypes,
    pub(super) large: Large,
    /// Number of orders of free blocks (`MAX_ORDER` and its successors). All
    /// orders are less.
    pub(super) free_orders: u64,
}

/// Bits of `page.flags`, as masks. A mask is 0 if the kernel does not have the
/// bit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flags {
    pub(super) lru: u64,
    pub(super) private: u64,
    pub(super) swapcache: u64,
    pub(super) swapbacked: u64,
    pub(super) hwpoison: u64,
    /// Linux before 6.10 has it.
    pub(super) slab: u64,
    pub(super) head: u64,
}

/// Values of `page._mapcount` for some kinds of pages.
#[derive(Debug, Clone, Copy)]
pub(super) struct PageTypes {
    pub(super) buddy: u32,
    /// Linux 6.10 and later have it.
    pub(super) slab: Option<u32>,
    /// Linux 4.19 and later have it.
    pub(super) offline: Option<u32>,
    /// Memory that a confidential guest has not accepted yet.
    pub(super) unaccepted: Option<u32>,
}

/// Where the first two `struct page`s of a large page contain its order, and
/// whether it belongs to hugetlbfs.
#[derive(Debug, Clone, Copy)]
pub(super) enum Large {
    /// The value of the first one's `_mapcount` for hugetlbfs. The order is the
    /// lowest byte of the second one's flags (Linux 6.9 and later).
    PageType(u32),
    /// The flag of the second one for hugetlbfs. The order is the lowest byte
    /// of the second one's flags (Linux 6.6 to 6.8).
    Flag(u64),
    /// The offsets of `compound_dtor` and `compound_order` in the second one,
    /// and the value of `compound_dtor` for hugetlbfs (Linux before 6.6).
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
        let damaged = |why| KernelError::Damaged {
            what: "struct page",
            vaddr: 0,
            why,
        };
        // The limits exceed those of any kernel, and keep offsets within
        // reason.
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
            // Linux 7.1 and later call it `compound_info`.
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

    /// Wraps a `struct page` for decoding. `next` is the one after it.
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

/// A `struct page` of the guest.
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

    /// Returns the order of a free block.
    pub(super) fn private(&self) -> u64 {
        self.word(self.page, self.layout.private)
    }

    pub(super) fn mapcount(&self) -> u32 {
        let at = self.layout.mapcount;
        self.kernel.number(&self.page[at..at + 4]) as u32
    }

    /// Returns the order of a large page, and whether it belongs to hugetlbfs.
    /// This is the first page of the large page.
    pub(super) fn large(&self) -> (u32, bool) {
        // Without the second `struct page` the large page counts as one page.
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
