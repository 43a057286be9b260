//! Wrong command lines, described in one line.

use std::error::Error as _;

use clap::Error;
use clap::error::{ContextKind, ErrorKind};

/// The mistake in a command line, and the words that are similar to it.
pub(crate) fn describe(error: &Error) -> String {
    let mut line = problem(error).unwrap_or_else(|| in_general(error));
    for kind in [
        ContextKind::SuggestedSubcommand,
        ContextKind::SuggestedArg,
        ContextKind::SuggestedValue,
    ] {
        if let Some(similar) = fact(error, kind) {
            line += &format!("; did you mean '{similar}'?");
        }
    }
    if let Some(tip) = fact(error, ContextKind::Suggested) {
        line += &format!("; {tip}");
    }
    line
}

/// The problem with its argument or value; `None` if clap does not tell them.
fn problem(error: &Error) -> Option<String> {
    let argument = || fact(error, ContextKind::InvalidArg);
    let value = || fact(error, ContextKind::InvalidValue);
    Some(match error.kind() {
        ErrorKind::UnknownArgument => format!("unexpected argument '{}'", argument()?),
        ErrorKind::InvalidSubcommand => {
            let name = fact(error, ContextKind::InvalidSubcommand)?;
            format!("there is no command '{name}'")
        }
        ErrorKind::MissingRequiredArgument => format!("missing arguments: {}", argument()?),
        ErrorKind::InvalidValue => {
            let problem = match &*value()? {
                "" => format!("'{}' needs a value", argument()?),
                value => format!("invalid value '{value}' for '{}'", argument()?),
            };
            match fact(error, ContextKind::ValidValue) {
                Some(valid) => format!("{problem} [possible values: {valid}]"),
                None => problem,
            }
        }
        ErrorKind::ValueValidation => {
            let problem = format!("invalid value '{}' for '{}'", value()?, argument()?);
            match error.source() {
                Some(why) => format!("{problem}: {why}"),
                None => problem,
            }
        }
        ErrorKind::TooManyValues => {
            let (value, argument) = (value()?, argument()?);
            format!("unexpected value '{value}' for '{argument}', which takes no value")
        }
        ErrorKind::ArgumentConflict => {
            let (argument, other) = (argument()?, fact(error, ContextKind::PriorArg)?);
            if argument == other {
                format!("'{argument}' may be given only once")
            } else {
                format!("'{argument}' cannot be used with '{other}'")
            }
        }
        _ => return None,
    })
}

/// The kind of problem, or its cause.
fn in_general(error: &Error) -> String {
    let kind = error.kind().as_str().map(str::to_owned);
    let cause = || error.source().map(ToString::to_string);
    kind.or_else(cause)
        .unwrap_or_else(|| "the command line is wrong; see guestdump --help".to_owned())
}

/// One fact about the problem, a list with commas; `None` if there is none.
fn fact(error: &Error, kind: ContextKind) -> Option<String> {
    let value = error.get(kind)?.to_string();
    let is_known = !value.is_empty() || kind == ContextKind::InvalidValue;
    is_known.then_some(value)
}
