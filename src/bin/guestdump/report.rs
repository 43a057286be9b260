//! Output for users: one-line errors, escaped text, sizes, JSON.

use std::borrow::Cow;
use std::error::Error;
use std::fmt::{Display, Write as _};
use std::io::{self, Write};
use std::process::ExitCode;

/// Joins an error and its causes in one line.
pub(crate) use guestdump::error_chain as chain;
use serde::Serialize;

use crate::closed;

/// A failure that ends the command: one line for stderr and an exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    code: u8,
    /// Whether an incomplete dump was kept, which the message names.
    kept: bool,
}

pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// Makes a failure with exit code 1: the work could not be done.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            code: 1,
            kept: false,
        }
    }

    /// Makes a failure with exit code 2: the command line is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            code: 2,
            kept: false,
        }
    }

    /// Makes a failure with exit code 3: the dump is written, and says that it is incomplete.
    pub(crate) fn incomplete(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            code: 3,
            kept: true,
        }
    }

    /// Makes a failure with a shell's exit code for a signal: 130 for SIGINT, 143 for SIGTERM and
    /// so on.
    pub(crate) fn signal(signal: i32) -> Self {
        Self {
            message: format!("stopped by signal {signal}"),
            code: u8::try_from(128 + signal).unwrap_or(1),
            kept: false,
        }
    }

    /// Makes a failure that says `what`, and after it `error` with its causes.
    pub(crate) fn because(what: impl Display, error: &dyn Error) -> Self {
        Self::new(format!("{what}: {}", chain(error)))
    }

    /// Marks the failure as one after which an incomplete dump is kept.
    pub(crate) fn kept(mut self) -> Self {
        self.kept = true;
        self
    }

    /// Whether an incomplete dump was kept.
    pub(crate) fn is_kept(&self) -> bool {
        self.kept
    }

    /// Adds one more consequence to the failure's message.
    pub(crate) fn and(mut self, more: &Self) -> Self {
        self.message = format!("{}; and {}", self.message, more.message);
        self
    }

    /// Prints the message and returns the exit code.
    pub(crate) fn finish(&self) -> ExitCode {
        if !self.message.is_empty() {
            note(&self.message);
        }
        ExitCode::from(self.code)
    }

    /// Returns the message.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Returns the exit code.
    pub(crate) fn code(&self) -> u8 {
        self.code
    }
}

/// Prints one line to stderr. An error is ignored, because there is nowhere to report it.
pub(crate) fn note(line: &str) {
    let _ = writeln!(io::stderr(), "guestdump: {}", escape(&cut(line, MAX_LINE)));
}

/// Maximum number of characters in a line: two of the longest paths, and words around them. A guest
/// or a peer may give text of any length.
const MAX_LINE: usize = 2 * 4096 + 1024;

/// Returns the beginning of `text`, if it has more than `max` characters.
pub(crate) fn cut(text: &str, max: usize) -> Cow<'_, str> {
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

/// Makes text from a guest or a file name harmless for a terminal. Characters that are not
/// printable become escapes such as `\n` or `\u{1b}`.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\'' | '\\' => out.push(c),
            _ => out.extend(c.escape_debug()),
        }
    }
    out
}

/// Formats a size for people: `4096 bytes`, `1.5 MiB`.
pub(crate) fn human(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1 << 10 {
        return format!("{bytes} bytes");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // A value that would print as 1024.0 belongs to the next unit.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Prints `text` to stdout, which must not be closed.
pub(crate) fn print(text: &str) -> Result<()> {
    if closed::is_closed(io::stdout()) {
        return Err(Failure::new(closed::message("standard output")));
    }
    print_or_drop(text)
}

/// Prints `text` to stdout, and drops it if stdout is closed. This is for text that the caller may
/// do without: the exit code tells the result of `check`, and that there is such a command.
pub(crate) fn print_or_drop(text: &str) -> Result<()> {
    write_all(&mut io::stdout().lock(), "standard output", text)
}

/// Prints `value` to stdout as one line of JSON. Stdout must not be closed.
pub(crate) fn print_json(value: &impl Serialize) -> Result<()> {
    print(&to_json(value)?)
}

/// Prints `value` to stderr as one line of JSON.
pub(crate) fn print_json_to_stderr(value: &impl Serialize) -> Result<()> {
    write_all(&mut io::stderr().lock(), "standard error", &to_json(value)?)
}

/// Formats `value` as one line of JSON. All characters beyond ASCII are escaped, because the line
/// may reach a terminal.
fn to_json(value: &impl Serialize) -> Result<String> {
    let json =
        serde_json::to_string(value).map_err(|e| Failure::because("cannot make JSON", &e))?;
    let mut line = String::with_capacity(json.len() + 1);
    for c in json.chars() {
        if matches!(c, ' '..='~') {
            line.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            let _ = write!(line, "\\u{unit:04x}");
        }
    }
    line.push('\n');
    Ok(line)
}

fn write_all(to: &mut dyn Write, name: &str, text: &str) -> Result<()> {
    to.write_all(text.as_bytes())
        .and_then(|()| to.flush())
        .map_err(|e| Failure::because(format!("cannot write to {name}"), &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_one_digit_and_a_binary_unit() {
        assert_eq!(human(0), "0 bytes");
        assert_eq!(human(1023), "1023 bytes");
        assert_eq!(human(1024), "1.0 KiB");
        assert_eq!(human((1 << 20) - 1), "1.0 MiB");
        assert_eq!(human(3 << 29), "1.5 GiB");
        assert_eq!(human(u64::MAX), "16.0 EiB");
    }

    #[test]
    fn text_cannot_steer_a_terminal() {
        assert_eq!(escape("6.1.0-\u{1b}[31m\nx"), "6.1.0-\\u{1b}[31m\\nx");
        assert_eq!(escape("it's \"ä\" a\\b"), "it's \"ä\" a\\b");
        // These are marks of direction, line ends, invisible characters, and characters that
        // combine with others.
        for c in "\u{61c}\u{200b}\u{200e}\u{202e}\u{2028}\u{2029}\u{2066}\u{feff}\u{ad}\u{300}\u{fff9}\u{e0001}\u{85}\u{9b}".chars() {
            assert_eq!(escape(&c.to_string()), format!("\\u{{{:x}}}", c as u32));
        }
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut("äöü", 2), "äö…");
    }

    #[test]
    fn json_is_ascii() {
        let json = to_json(&"\u{1b}[2J \u{9b}2J \u{7f} \u{1f600}").ok();
        let expected = "\"\\u001b[2J \\u009b2J \\u007f \\ud83d\\ude00\"\n";
        assert_eq!(json.as_deref(), Some(expected));
    }

    #[test]
    fn causes_are_joined_and_not_repeated() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer: {0}")]
        struct Outer(#[source] io::Error);
        let error = Outer(io::Error::other("inner"));
        assert_eq!(chain(&error), "outer: inner");
        let error = guestdump::Error::Finish(io::Error::other("inner"));
        assert_eq!(
            chain(&error),
            "the dump is written but cannot be finished: inner"
        );
    }
}
