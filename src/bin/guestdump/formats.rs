//! The command `guestdump formats`.

use guestdump::Format;
use guestdump::codec::{Codec, Engine};
use serde::Serialize;

use crate::args::FormatsArgs;
use crate::report::{Result, print, print_json};

#[derive(Debug, Serialize)]
struct List {
    /// The formats that this build can write: the capability list.
    formats: Vec<Entry>,
    /// The formats that it could write with more features.
    missing: Vec<Missing>,
    /// The compressors that it could use with more features.
    missing_compressors: Vec<Missing>,
}

#[derive(Debug, Serialize)]
struct Entry {
    name: &'static str,
    codec: Option<&'static str>,
    /// The compressors of this build, the default first.
    compressors: Vec<&'static str>,
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
        missing_compressors: Engine::ALL
            .iter()
            .filter_map(|e| missing_engine(*e))
            .collect(),
    };
    if args.json {
        return print_json(&list);
    }
    let mut text = line("FORMAT", "CODEC", "TARGET", "COMPRESSORS");
    for f in &list.formats {
        let target = if f.needs_positions {
            "seekable file"
        } else {
            "file or stream"
        };
        let codec = f.codec.unwrap_or("none");
        text += &line(f.name, codec, target, &f.compressors.join(", "));
    }
    for missing in list.missing.iter().chain(&list.missing_compressors) {
        text += &format!(
            "# {} is not in this build; it needs the feature '{}'\n",
            missing.name, missing.feature
        );
    }
    print(&text)
}

fn line(format: &str, codec: &str, target: &str, compressors: &str) -> String {
    let line = format!("{format:<16} {codec:<7} {target:<15} {compressors}");
    format!("{}\n", line.trim_end())
}

fn entry(format: Format) -> Entry {
    Entry {
        name: format.name(),
        codec: format.codec().map(Codec::feature),
        compressors: compressors(format),
        needs_positions: format.needs_positions(),
    }
}

fn compressors(format: Format) -> Vec<&'static str> {
    let engines = format.codec().into_iter().flat_map(Codec::engines);
    engines
        .filter(|engine| engine.is_available())
        .map(Engine::name)
        .collect()
}

/// Describes an engine that this build lacks, if the build has its codec.
fn missing_engine(engine: Engine) -> Option<Missing> {
    let is_missing = engine.codec().is_available() && !engine.is_available();
    is_missing.then(|| Missing {
        name: engine.name(),
        feature: engine.feature(),
    })
}

fn missing(format: Format) -> Option<Missing> {
    let codec = format.codec().filter(|codec| !codec.is_available())?;
    Some(Missing {
        name: format.name(),
        feature: codec.feature(),
    })
}
