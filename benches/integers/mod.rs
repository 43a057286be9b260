//! Ways to read the entries of page tables.

use guestdump::ByteOrder;

/// The number of up to 8 bytes as of commit c0bf5b3 (`encoding.rs`).
pub(crate) fn former_number(order: ByteOrder, bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    let len = bytes.len().min(8);
    match order {
        ByteOrder::Little => {
            word[..len].copy_from_slice(&bytes[..len]);
            u64::from_le_bytes(word)
        }
        ByteOrder::Big => {
            word[8 - len..].copy_from_slice(&bytes[..len]);
            u64::from_be_bytes(word)
        }
    }
}

/// The first 8 bytes by the standard library.
pub(crate) fn former_u64(order: ByteOrder, bytes: &[u8]) -> Option<u64> {
    let bytes = *bytes.first_chunk()?;
    Some(match order {
        ByteOrder::Little => u64::from_le_bytes(bytes),
        ByteOrder::Big => u64::from_be_bytes(bytes),
    })
}

/// The number of up to 8 bytes by byteorder's `read_uint` alone.
pub(crate) fn read_uint(order: ByteOrder, bytes: &[u8]) -> u64 {
    use byteorder::{BigEndian, ByteOrder as _, LittleEndian};
    match order {
        ByteOrder::Little => LittleEndian::read_uint(bytes, bytes.len()),
        ByteOrder::Big => BigEndian::read_uint(bytes, bytes.len()),
    }
}
