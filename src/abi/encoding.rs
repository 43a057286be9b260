//! Byte order and word size of a guest: data of the dump, never of the host.

/// A guest's byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ByteOrder {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

impl ByteOrder {
    /// The number that up to 8 bytes are.
    pub(crate) fn number(self, bytes: &[u8]) -> u64 {
        let mut word = [0; 8];
        let len = bytes.len().min(8);
        match self {
            Self::Little => {
                word[..len].copy_from_slice(&bytes[..len]);
                u64::from_le_bytes(word)
            }
            Self::Big => {
                word[8 - len..].copy_from_slice(&bytes[..len]);
                u64::from_be_bytes(word)
            }
        }
    }
}

/// A guest's word size, which selects the 32-bit or 64-bit layout of ELF and
/// kdump headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// 32-bit words: ELFCLASS32.
    Bits32,
    /// 64-bit words: ELFCLASS64.
    Bits64,
}

/// Class and byte order together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Encoding {
    /// Word size.
    pub class: Class,
    /// Byte order.
    pub order: ByteOrder,
}

/// Runs a body with a zerocopy byte-order type that stands for a
/// [`ByteOrder`] value: `with_order!(order, O => expression)`.
macro_rules! with_order {
    ($order:expr, $O:ident => $body:expr) => {
        match $order {
            $crate::abi::ByteOrder::Little => {
                type $O = zerocopy::byteorder::LittleEndian;
                $body
            }
            $crate::abi::ByteOrder::Big => {
                type $O = zerocopy::byteorder::BigEndian;
                $body
            }
        }
    };
}
pub(crate) use with_order;
