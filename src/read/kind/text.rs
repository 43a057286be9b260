//! Text, in the encodings that logs have.
#![forbid(unsafe_code)]

/// Whether all of a file's beginning is text without control characters other than those of lines
/// and colours: UTF-8, UTF-16 as Windows writes it, or Latin-1.
pub(super) fn is_text(head: &[u8]) -> bool {
    is_utf8(head) || is_utf16(head) || is_latin1(head)
}

fn is_allowed(c: char) -> bool {
    !c.is_control() || matches!(c, '\n' | '\r' | '\t' | '\x0c' | '\x1b')
}

fn is_utf8(head: &[u8]) -> bool {
    let text = match str::from_utf8(head) {
        Ok(text) => text,
        // The end may cut a character.
        Err(e) if e.error_len().is_none() && e.valid_up_to() > 0 => {
            str::from_utf8(&head[..e.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !text.is_empty() && text.chars().all(is_allowed)
}

/// UTF-16 with a byte order mark, of which the end may cut a character.
fn is_utf16(head: &[u8]) -> bool {
    let decode: fn([u8; 2]) -> u16 = match head.first_chunk() {
        Some(b"\xff\xfe") => u16::from_le_bytes,
        Some(b"\xfe\xff") => u16::from_be_bytes,
        _ => return false,
    };
    let units = head[2..]
        .chunks_exact(2)
        .map(|unit| decode([unit[0], unit[1]]));
    let mut chars = char::decode_utf16(units).peekable();
    if chars.peek().is_none() {
        return false;
    }
    while let Some(next) = chars.next() {
        let is_cut = chars.peek().is_none();
        if !next.map_or(is_cut, is_allowed) {
            return false;
        }
    }
    true
}

/// One of the encodings with ASCII and a byte for each other letter. Most of it must be ASCII,
/// because memory full of 0xff is not text.
fn is_latin1(head: &[u8]) -> bool {
    let others = head.iter().filter(|byte| !byte.is_ascii()).count();
    let is_ascii_text = |byte: &u8| !byte.is_ascii() || is_allowed(char::from(*byte));
    !head.is_empty() && others <= head.len() / 4 && head.iter().all(is_ascii_text)
}
