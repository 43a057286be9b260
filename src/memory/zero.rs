//! The scan for zero pages.
#![forbid(unsafe_code)]

/// Whether all of `bytes` are zero.
///
/// The function checks 128 bytes at a time, for which the compiler emits wide loads. The
/// first of these blocks usually decides for a page that is not zero.
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
