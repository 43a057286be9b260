//! The command `guestdump check`.

use guestdump::Progress;
use guestdump::codec::Codec;
use guestdump::read::CheckReport;
use serde::Serialize;

use crate::args::FileArgs;
use crate::paths::shown;
use crate::report::{Failure, Result, chain, escape, print_json, print_or_drop};
use crate::signals::Watch;
use crate::vmcore_file::{self, OpenError};

#[derive(Debug, Default, Serialize)]
struct Verdict {
    file: String,
    ok: bool,
    #[serde(flatten)]
    counts: Option<Counts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Counts {
    notes: u64,
    pages: u64,
    zero_pages: u64,
    raw_pages: u64,
    compressed_pages: u64,
    excluded_pages: u64,
}

pub(crate) fn run(args: &FileArgs) -> Result<()> {
    let progress = Progress::new();
    let watch = Watch::start(progress.clone(), true, None)
        .map_err(|e| Failure::because("cannot watch for signals", &e))?;
    let result = vmcore_file::open_parts(&args.files, &args.spool, &progress)?
        .and_then(|vmcore| vmcore.check(&progress).map_err(OpenError::Vmcore));
    if let Some(signal) = watch.caught() {
        return Err(signal);
    }
    let name = shown(&args.files);
    match result {
        Ok(report) => sound(name, &report, args.json),
        Err(error) => {
            let failure = Failure::because(&name, &error);
            if args.json {
                print_json(&damaged(name, &error))?;
            }
            Err(failure)
        }
    }
}

fn sound(file: String, report: &CheckReport, json: bool) -> Result<()> {
    let counts = Counts::from(report);
    if !json {
        return print_or_drop(&format!("{}: {}\n", escape(&file), text(report)));
    }
    print_json(&Verdict {
        file,
        ok: true,
        counts: Some(counts),
        ..Verdict::default()
    })
}

fn damaged(file: String, error: &OpenError) -> Verdict {
    Verdict {
        file,
        ok: false,
        error: Some(chain(error)),
        offset: error.offset(),
        ..Verdict::default()
    }
}

impl From<&CheckReport> for Counts {
    fn from(r: &CheckReport) -> Self {
        Self {
            notes: r.notes,
            pages: r.pages,
            zero_pages: r.zero_pages,
            raw_pages: r.raw_pages,
            compressed_pages: r.compressed_pages.iter().map(|(_, pages)| pages).sum(),
            excluded_pages: r.excluded_pages,
        }
    }
}

fn text(r: &CheckReport) -> String {
    let codec = |&(codec, pages): &(Codec, u64)| format!(", {pages} {}", codec.feature());
    let compressed: String = r.compressed_pages.iter().map(codec).collect();
    format!(
        "good, {} pages ({} zero; {} stored as they are{compressed}), {} left out, {} notes",
        r.pages, r.zero_pages, r.raw_pages, r.excluded_pages, r.notes
    )
}
