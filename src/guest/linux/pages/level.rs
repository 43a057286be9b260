//! Dump levels, and the reasons to exclude a page.

use std::fmt;

/// The pages that a dump excludes: makedumpfile's dump level, a sum of bits.
/// See `makedumpfile(8)`, `-d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct DumpLevel(u8);

impl DumpLevel {
    /// Excludes no pages.
    pub const NONE: Self = Self(0);
    /// Excludes pages that are all zero.
    ///
    /// makedumpfile keeps them in kdump dumps, all with the same stored page,
    /// and omits them from ELF dumps. This crate does the same at every level:
    /// in an ELF dump they are holes.
    pub const ZERO: Self = Self(1);
    /// Excludes page cache without private data.
    pub const CACHE: Self = Self(2);
    /// Excludes all page cache.
    pub const CACHE_PRIVATE: Self = Self(4);
    /// Excludes memory of user processes: anonymous and huge pages.
    pub const USER: Self = Self(8);
    /// Excludes free pages, and memory that a confidential guest has not accepted
    /// yet.
    pub const FREE: Self = Self(16);

    /// Returns the level of this number, or `None` above 31.
    #[must_use]
    pub const fn new(level: u8) -> Option<Self> {
        match level {
            0..=31 => Some(Self(level)),
            _ => None,
        }
    }

    /// Returns the sum of the bits, 0 to 31, as in makedumpfile and dump
    /// headers.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Returns the level that excludes what either level excludes.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns the level that excludes what both levels exclude.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Returns whether this level contains all bits of `other`.
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

/// Numbers of excluded pages, by the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ExcludedPages {
    /// Page cache without private data.
    pub cache: u64,
    /// Page cache with private data.
    pub cache_private: u64,
    /// Anonymous memory and huge pages of user processes.
    pub user: u64,
    /// Free pages, and memory that a confidential guest has not accepted yet.
    pub free: u64,
    /// Pages that the hardware reported as broken.
    pub hwpoison: u64,
    /// Pages that the guest gave back to the hypervisor, for example by a
    /// balloon.
    pub offline: u64,
}

impl ExcludedPages {
    /// Returns the number of all excluded pages.
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

/// Why a page is excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    Cache,
    CachePrivate,
    User,
    Free,
    Hwpoison,
    Offline,
}
