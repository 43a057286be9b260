//! The scan for zero pages.

/// Whether all of `bytes` are zero. Looks at 128 bytes at a time, which the
/// compiler turns into wide loads; a page that is not zero is mostly found
/// out by the first of them.
#[must_use]
pub fn is_zero(bytes: &[u8]) -> bool {
    let (blocks, rest) = bytes.as_chunks::<128>();
    blocks.iter().all(|b| b.iter().fold(0, |a, x| a | x) == 0) && rest.iter().all(|b| *b == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bit_anywhere_is_found() {
        for len in [0, 1, 127, 128, 129, 4096, 4099] {
            let mut bytes = vec![0u8; len];
            assert!(is_zero(&bytes));
            for at in (0..len).step_by(61).chain(len.checked_sub(1)) {
                bytes[at] = 0x80;
                assert!(!is_zero(&bytes), "{at} of {len}");
                bytes[at] = 0;
            }
        }
    }
}
