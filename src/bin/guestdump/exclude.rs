//! What a dump leaves out: the options, and what the summary says of it.

use clap::ValueEnum;
use guestdump::guest::linux::{DumpLevel, ExcludedPages};
use guestdump::{ExclusionSummary, FormatOptions, NotInFormat, OnUnknownKernel};
use serde::Serialize;

use crate::choice::by_name;

/// Which pages are left out.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ExcludeArgs {
    /// Leave out pages by what the guest's Linux uses them for: makedumpfile's
    /// dump level, a sum of 1 zero pages (stored once anyway), 2 page cache, 4 page cache with
    /// private data, 8 user memory, 16 free pages; 31 leaves the kernel's own;
    /// kdump formats and elf only
    #[arg(long, value_name = "N", conflicts_with = "exclude", value_parser = clap::value_parser!(u8).range(0..=31))]
    dump_level: Option<u8>,
    /// The same by names, e.g. free,cache,user
    #[arg(long, value_name = "WHAT", value_enum, value_delimiter = ',')]
    exclude: Vec<Excluded>,
    /// When the guest's kernel does not say what its pages are used for: fail,
    /// or dump all pages
    #[arg(long, value_name = "WHAT", value_parser = by_name(&OnUnknownKernel::ALL, OnUnknownKernel::name), default_value = OnUnknownKernel::Fail.name())]
    on_unknown_kernel: OnUnknownKernel,
}

/// A kind of pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Excluded {
    /// Pages that are all zero
    Zero,
    /// Page cache, with and without private data
    Cache,
    /// Anonymous and huge pages of processes
    User,
    /// Free pages
    Free,
}

impl ExcludeArgs {
    fn level(&self) -> DumpLevel {
        let named = self.exclude.iter().map(|what| match what {
            Excluded::Zero => DumpLevel::ZERO,
            Excluded::Cache => DumpLevel::CACHE.with(DumpLevel::CACHE_PRIVATE),
            Excluded::User => DumpLevel::USER,
            Excluded::Free => DumpLevel::FREE,
        });
        let given = self.dump_level.and_then(DumpLevel::new);
        named.fold(given.unwrap_or_default(), DumpLevel::with)
    }

    pub(crate) fn apply(&self, format: FormatOptions) -> Result<FormatOptions, NotInFormat> {
        format.dump_level(self.level(), self.on_unknown_kernel)
    }
}

/// What was left out, as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct ExclusionEntry {
    dump_level: u8,
    pages: u64,
    cache: u64,
    cache_private: u64,
    user: u64,
    free: u64,
    hwpoison: u64,
    offline: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_understood: Option<String>,
}

impl From<&ExclusionSummary> for ExclusionEntry {
    fn from(summary: &ExclusionSummary) -> Self {
        let pages = summary.pages;
        Self {
            dump_level: summary.level.number(),
            pages: pages.total(),
            cache: pages.cache,
            cache_private: pages.cache_private,
            user: pages.user,
            free: pages.free,
            hwpoison: pages.hwpoison,
            offline: pages.offline,
            not_understood: summary.not_understood.clone(),
        }
    }
}

/// What was left out, for people.
pub(crate) fn line(summary: &ExclusionSummary) -> String {
    let ExcludedPages {
        cache,
        cache_private,
        user,
        free,
        hwpoison,
        offline,
        ..
    } = summary.pages;
    let kinds = [
        (free, "free"),
        (cache, "page cache"),
        (cache_private, "private page cache"),
        (user, "user"),
        (hwpoison, "broken"),
        (offline, "offline"),
    ];
    let listed: Vec<_> = kinds
        .iter()
        .filter(|(pages, _)| *pages > 0)
        .map(|(pages, kind)| format!("{pages} {kind}"))
        .collect();
    match (&summary.not_understood, &listed[..]) {
        (Some(why), _) => {
            format!(
                "warning: no page was left out, for the guest's kernel is not understood: {why}"
            )
        }
        (None, []) => format!("dump level {} left out no page", summary.level),
        (None, all) => format!(
            "dump level {} left out {} pages: {}",
            summary.level,
            summary.pages.total(),
            all.join(", ")
        ),
    }
}
