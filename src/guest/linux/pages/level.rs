//! Dump levels, and why a page is left out.

use std::fmt;

/// Which pages are left out of a dump: makedumpfile's dump level, a sum of
/// bits. See `makedumpfile(8)`, `-d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct DumpLevel(u8);

impl DumpLevel {
    /// All pages.
    pub const NONE: Self = Self(0);
    /// Pages that are all zero. makedumpfile keeps them in kdump dumps, all with
    /// the same stored page, and leaves them out of ELF dumps. Here both are so
    /// at every level: in an ELF dump they are holes.
    pub const ZERO: Self = Self(1);
    /// Page cache without private data.
    pub const CACHE: Self = Self(2);
    /// All page cache.
    pub const CACHE_PRIVATE: Self = Self(4);
    /// Memory of user processes: anonymous and huge pages.
    pub const USER: Self = Self(8);
    /// Free pages.
    pub const FREE: Self = Self(16);

    /// The level of this number; `None` above 31.
    #[must_use]
    pub const fn new(level: u8) -> Option<Self> {
        match level {
            0..=31 => Some(Self(level)),
            _ => None,
        }
    }

    /// The sum of the bits, as makedumpfile and dump headers have it, 0 to 31.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Both levels together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What both levels leave out.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether all bits of `other` are in it.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl fmt::Display for DumpLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Pages that were left out, by the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ExcludedPages {
    /// Page cache without private data.
    pub cache: u64,
    /// Page cache with private data.
    pub cache_private: u64,
    /// Anonymous memory and huge pages of user processes.
    pub user: u64,
    /// Free.
    pub free: u64,
    /// The hardware reported them as broken.
    pub hwpoison: u64,
    /// Given back to the hypervisor, by a balloon for example.
    pub offline: u64,
}

impl ExcludedPages {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.cache + self.cache_private + self.user + self.free + self.hwpoison + self.offline
    }

    pub(super) fn count(&mut self, reason: Reason, pages: u64) {
        *match reason {
            Reason::Cache => &mut self.cache,
            Reason::CachePrivate => &mut self.cache_private,
            Reason::User => &mut self.user,
            Reason::Free => &mut self.free,
            Reason::Hwpoison => &mut self.hwpoison,
            Reason::Offline => &mut self.offline,
        } += pages;
    }
}

/// Why a page is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    Cache,
    CachePrivate,
    User,
    Free,
    Hwpoison,
    Offline,
}
