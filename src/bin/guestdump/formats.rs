//! `guestdump formats`.

use guestdump::Format;
use guestdump::codec::Codec;
use serde::Serialize;

use crate::args::FormatsArgs;
use crate::report::{Result, print, print_json};

#[derive(Debug, Serialize)]
struct List {
    /// What this build can write: the capability list.
    formats: Vec<Entry>,
    /// What it could write with more features.
    missing: Vec<Missing>,
}

#[derive(Debug, Serialize)]
struct Entry {
    name: &'static str,
    codec: Option<&'static str>,
    needs_positions: bool,
}

#[derive(Debug, Serialize)]
struct Missing {
    name: &'static str,
    feature: &'static str,
}

pub(crate) fn run(args: &FormatsArgs) -> Result<()> {
    let list = List {
        formats: Format::available().map(entry).collect(),
        missing: Format::ALL.iter().filter_map(|f| missing(*f)).collect(),
    };
    if args.json {
        return print_json(&list);
    }
    let mut text = format!("{:<16} {:<7} {}\n", "FORMAT", "CODEC", "TARGET");
    for f in &list.formats {
        let target = if f.needs_positions {
            "seekable file"
        } else {
            "file or stream"
        };
        let codec = f.codec.unwrap_or("none");
        text += &format!("{:<16} {codec:<7} {target}\n", f.name);
    }
    for f in &list.missing {
        text += &format!(
            "# {} is not in this build; it needs the feature '{}'\n",
            f.name, f.feature
        );
    }
    print(&text)
}

fn entry(format: Format) -> Entry {
    Entry {
        name: format.name(),
        codec: format.codec().map(Codec::feature),
        needs_positions: format.needs_positions(),
    }
}

fn missing(format: Format) -> Option<Missing> {
    let codec = format.codec().filter(|codec| !codec.is_available())?;
    Some(Missing {
        name: format.name(),
        feature: codec.feature(),
    })
}
