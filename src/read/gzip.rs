//! A gzip file: members that follow one another, and padding.
#![forbid(unsafe_code)]

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

/// Unpacks all members of a gzip file. Zeroes up to its end are padding, as on tapes and block
/// devices; gzip(1) ignores them, too.
pub(super) struct Members<R>(Option<GzDecoder<R>>);

impl<R: BufRead> Members<R> {
    pub(super) fn new(input: R) -> Self {
        Self(Some(GzDecoder::new(input)))
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        while let Some(member) = &mut self.0 {
            let len = member.read(buf)?;
            if len > 0 {
                return Ok(len);
            }
            self.0 = match member.get_mut().fill_buf()?.first() {
                Some(&MAGIC) => self
                    .0
                    .take()
                    .map(|member| GzDecoder::new(member.into_inner())),
                _ => {
                    expect_padding(member.get_mut())?;
                    None
                }
            };
        }
        Ok(0)
    }
}

/// The first byte of a member (RFC 1952, 2.3.1).
const MAGIC: u8 = 0x1f;

/// Reads zeroes up to the end.
fn expect_padding(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let rest = match input.fill_buf() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            rest => rest?,
        };
        if rest.is_empty() {
            return Ok(());
        }
        if rest.iter().any(|byte| *byte != 0) {
            let text = "other bytes follow the stream";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let len = rest.len();
        input.consume(len);
    }
}
