//! `guestdump formats`.

use guestdump::Format;
use guestdump::codec::Codec;
use serde::Serialize;

use super::args::FormatsArgs;
use super::report::{Result, print, print_json};

#[derive(Debug, Serialize)]
struct List {
    formats: Vec<Entry>,
}

#[derive(Debug, Serialize)]
struct Entry {
    name: &'static str,
    codec: Option<&'static str>,
    needs_positions: bool,
    available: bool,
    missing_feature: Option<&'static str>,
}

impl From<Format> for Entry {
    fn from(format: Format) -> Self {
        let codec = format.codec();
        Self {
            name: format.name(),
            codec: codec.map(Codec::feature),
            needs_positions: format.needs_positions(),
            available: format.is_available(),
            missing_feature: codec.filter(|c| !c.is_available()).map(Codec::feature),
        }
    }
}

pub(crate) fn run(args: &FormatsArgs) -> Result<()> {
    let formats: Vec<Entry> = Format::ALL.iter().map(|f| (*f).into()).collect();
    if args.json {
        return print_json(&List { formats });
    }
    let mut text = format!(
        "{:<16} {:<7} {:<16} {}\n",
        "FORMAT", "CODEC", "TARGET", "AVAILABLE"
    );
    for f in &formats {
        let target = if f.needs_positions {
            "seekable file"
        } else {
            "file or stream"
        };
        let available = match f.missing_feature {
            None => "yes".to_owned(),
            Some(feature) => format!("no, build with the feature '{feature}'"),
        };
        let codec = f.codec.unwrap_or("none");
        text += &format!("{:<16} {codec:<7} {target:<16} {available}\n", f.name);
    }
    print(&text)
}
