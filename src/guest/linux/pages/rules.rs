//! Decides which pages a dump level excludes.
//!
//! The meaning of the levels is that of `makedumpfile(8)`, `-d`. Linux
//! `include/linux/page-flags.h` and `include/linux/mm_types.h` define how the
//! kernel marks pages:
//!
//! - Page cache is on a list of least recently used pages (`PG_lru`), or in the
//!   swap cache (`PG_swapcache`). It also has a file (`page.mapping` without
//!   `PAGE_MAPPING_ANON`).
//! - `PG_swapcache` has that meaning only with `PG_swapbacked`.
//! - `page.mapping` has that meaning only if the page is not slab.
//! - Free blocks are `PageBuddy`, with their order in `page.private`.
//! - `PageOffline` pages have no contents. Reading one that a balloon or a
//!   confidential guest gave away may fail.

use crate::guest::linux::pages::layout::{Page, PageLayout};
use crate::guest::linux::pages::level::{DumpLevel, Reason};

/// Returns how many pages from this one on are excluded, and why, or `None` if
/// the page is kept. A block counts as a whole, because `struct page` of its
/// other pages may have any contents.
pub(super) fn excluded(
    layout: &PageLayout,
    level: DumpLevel,
    frame: u64,
    page: &Page<'_>,
) -> Option<(u64, Reason)> {
    let flags = page.flags();
    if page.is_tail() {
        // A tail page is excluded or kept with its head, unless it alone is
        // broken.
        return (flags & layout.flag.hwpoison != 0).then_some((1, Reason::Hwpoison));
    }
    let mapcount = page.mapcount();
    let is = |flag: u64| flags & flag != 0;
    let slab = is(layout.flag.slab) || layout.value.slab == Some(mapcount);
    if level.has(DumpLevel::FREE) {
        if mapcount == layout.value.buddy && !slab {
            let order = page.private();
            // A block with an impossible order does not count as free.
            return (order < layout.free_orders).then(|| (1 << order, Reason::Free));
        }
        if layout.value.unaccepted == Some(mapcount) {
            let largest = layout.free_orders.saturating_sub(1);
            return Some((1 << largest, Reason::Free));
        }
    }
    let (order, hugetlb) = if is(layout.flag.head) {
        page.large()
    } else {
        (0, false)
    };
    // A large page begins at a multiple of its size.
    let pages = match 1u64.checked_shl(order) {
        Some(pages) if frame.is_multiple_of(pages) => pages,
        _ => 1,
    };
    let anonymous = page.is_anonymous() && !slab;
    let swapcache =
        is(layout.flag.swapcache) && (layout.flag.swapbacked == 0 || is(layout.flag.swapbacked));
    let cache = (is(layout.flag.lru) || swapcache) && !anonymous && !slab;
    let private = is(layout.flag.private);
    let reason = if cache && !private && level.has(DumpLevel::CACHE) {
        Reason::Cache
    } else if cache && level.has(DumpLevel::CACHE_PRIVATE) {
        if private {
            Reason::CachePrivate
        } else {
            Reason::Cache
        }
    } else if (anonymous || hugetlb) && level.has(DumpLevel::USER) {
        Reason::User
    } else if is(layout.flag.hwpoison) {
        Reason::Hwpoison
    } else if layout.value.offline == Some(mapcount) && !slab {
        Reason::Offline
    } else {
        return None;
    };
    Some((pages, reason))
}
