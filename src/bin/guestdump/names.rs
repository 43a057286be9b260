//! Parsers of arguments that name a source, a target or a dump.

use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use guestdump::sink::Target;

use crate::paths::exists;
use crate::source::SourceName;

/// Parses the name of a source.
pub(crate) fn source_name() -> impl TypedValueParser<Value = SourceName> {
    OsStringValueParser::new().try_map(|name| SourceName::parse(&name))
}

/// Parses the name of a target.
pub(crate) fn target() -> impl TypedValueParser<Value = Target> {
    OsStringValueParser::new().try_map(|name| Target::try_from(&*name))
}

/// Parses the name of a dump: a path, or `vmcore:` and a path.
pub(crate) fn dump_file() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().try_map(|name| match SourceName::parse(&name) {
        Ok(SourceName::Path(path) | SourceName::Vmcore(path)) => Ok(path),
        // A file may have the name of another source.
        _ if exists(&name) => Ok(name.into()),
        Ok(_) => Err("a dump file is wanted; name PATH or vmcore:PATH".to_owned()),
        Err(error) => Err(error),
    })
}
