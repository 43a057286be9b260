//! Byte order, word size and alignment of a guest: data of the dump, never of the host.
#![forbid(unsafe_code)]

/// A guest's byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ByteOrder {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
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

/// The alignment that a guest's C compiler gives 64-bit integers in structs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum U64Align {
    /// 4 bytes: i386.
    Four,
    /// 8 bytes: every other architecture.
    Eight,
}

/// The facts that decide the layout of a guest's C structs: word size, byte order, alignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Abi {
    /// Word size.
    pub class: Class,
    /// Byte order.
    pub order: ByteOrder,
    /// Alignment of 64-bit integers. No header of a 64-bit guest depends on it.
    pub u64_align: U64Align,
}

impl Abi {
    /// The ABI of `encoding` in which 64-bit integers are aligned to 8 bytes.
    #[must_use]
    pub const fn aligned(encoding: Encoding) -> Self {
        Self {
            class: encoding.class,
            order: encoding.order,
            u64_align: U64Align::Eight,
        }
    }

    /// Word size and byte order.
    #[must_use]
    pub const fn encoding(self) -> Encoding {
        Encoding {
            class: self.class,
            order: self.order,
        }
    }
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

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn encodings() -> impl Strategy<Value = Encoding> {
        abis().prop_map(Abi::encoding)
    }

    pub(crate) fn abis() -> impl Strategy<Value = Abi> {
        let class = prop_oneof![Just(Class::Bits32), Just(Class::Bits64)];
        let align = prop_oneof![Just(U64Align::Four), Just(U64Align::Eight)];
        (class, orders(), align).prop_map(|(class, order, u64_align)| Abi {
            class,
            order,
            u64_align,
        })
    }

    pub(crate) fn orders() -> impl Strategy<Value = ByteOrder> {
        prop_oneof![Just(ByteOrder::Little), Just(ByteOrder::Big)]
    }
}
