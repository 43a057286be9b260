//! Integers in the byte order of a guest, read from bytes and written to them.
//!
//! ```
//! use guestdump::ByteOrder;
//!
//! let bytes = [0x12, 0x34, 0x56, 0x78, 0x9a];
//! assert_eq!(ByteOrder::Big.read::<u32>(&bytes), Some(0x1234_5678));
//! assert_eq!(ByteOrder::Little.read::<u16>(&bytes), Some(0x3412));
//! assert_eq!(ByteOrder::Little.read::<u64>(&bytes), None);
//! assert_eq!(ByteOrder::Big.number(&bytes), 0x12_3456_789a);
//! ```
#![forbid(unsafe_code)]

use byteorder::{BigEndian, ByteOrder as _, LittleEndian};

use crate::abi::ByteOrder;

mod sealed {
    /// Prevents implementations of [`Integer`](super::Integer) elsewhere.
    pub trait Sealed {}
}

/// An unsigned integer of fixed size: `u16`, `u32`, `u64` or `u128`.
pub trait Integer: Copy + sealed::Sealed {
    /// Size in bytes.
    const SIZE: usize;

    /// Reads an integer from exactly [`SIZE`](Self::SIZE) bytes.
    #[doc(hidden)]
    fn read_from(bytes: &[u8], order: ByteOrder) -> Self;

    /// Writes an integer to exactly [`SIZE`](Self::SIZE) bytes.
    #[doc(hidden)]
    fn write_to(self, out: &mut [u8], order: ByteOrder);
}

macro_rules! integer {
    ($($type:ty, $read:ident, $write:ident;)*) => {$(
        impl sealed::Sealed for $type {}

        impl Integer for $type {
            const SIZE: usize = size_of::<$type>();

            #[inline]
            fn read_from(bytes: &[u8], order: ByteOrder) -> Self {
                match order {
                    ByteOrder::Little => LittleEndian::$read(bytes),
                    ByteOrder::Big => BigEndian::$read(bytes),
                }
            }

            #[inline]
            fn write_to(self, out: &mut [u8], order: ByteOrder) {
                match order {
                    ByteOrder::Little => LittleEndian::$write(out, self),
                    ByteOrder::Big => BigEndian::$write(out, self),
                }
            }
        }
    )*};
}

integer! {
    u16, read_u16, write_u16;
    u32, read_u32, write_u32;
    u64, read_u64, write_u64;
    u128, read_u128, write_u128;
}

impl ByteOrder {
    /// Reads the integer at the beginning of `bytes`. Returns `None` if `bytes`
    /// is shorter than the integer.
    #[inline]
    #[must_use]
    pub fn read<T: Integer>(self, bytes: &[u8]) -> Option<T> {
        let bytes = bytes.get(..T::SIZE)?;
        Some(T::read_from(bytes, self))
    }

    /// Writes `value` to the beginning of `out`. Returns `None`, and writes
    /// nothing, if `out` is shorter than the integer.
    #[inline]
    #[must_use]
    pub fn write<T: Integer>(self, value: T, out: &mut [u8]) -> Option<()> {
        let out = out.get_mut(..T::SIZE)?;
        value.write_to(out, self);
        Some(())
    }

    /// Appends `value` to `out`.
    #[inline]
    pub fn append<T: Integer>(self, value: T, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + T::SIZE, 0);
        value.write_to(&mut out[start..], self);
    }

    /// Reads the integer that all of `bytes` encode, or the first 8 of them if
    /// there are more. No bytes are 0.
    ///
    /// A guest's structures have fields of 1 to 8 bytes whose size is known at
    /// run time only.
    #[inline]
    #[must_use]
    pub fn number(self, bytes: &[u8]) -> u64 {
        match (bytes.len(), self) {
            (0, _) => 0,
            (4, _) => u32::read_from(bytes, self).into(),
            (8.., _) => u64::read_from(bytes, self),
            (len, Self::Little) => LittleEndian::read_uint(bytes, len),
            (len, Self::Big) => BigEndian::read_uint(bytes, len),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const ORDERS: [ByteOrder; 2] = [ByteOrder::Little, ByteOrder::Big];

    fn written<T: Integer>(order: ByteOrder, value: T, size: usize) -> Option<Vec<u8>> {
        let mut out = vec![0xaa; size];
        order.write(value, &mut out)?;
        Some(out)
    }

    #[test]
    fn short_bytes_give_no_integer() {
        for order in ORDERS {
            assert_eq!(order.read::<u16>(&[1]), None);
            assert_eq!(order.read::<u32>(&[1; 3]), None);
            assert_eq!(order.read::<u64>(&[1; 7]), None);
            assert_eq!(order.read::<u128>(&[1; 15]), None);
        }
    }

    #[test]
    fn short_out_is_left_as_it_is() {
        let mut out = [0xaa; 3];
        for order in ORDERS {
            assert_eq!(order.write(1u32, &mut out), None);
        }
        assert_eq!(out, [0xaa; 3]);
    }

    #[test]
    fn bytes_after_the_integer_are_left_as_they_are() {
        let bytes = |order| written(order, 0x0102u16, 3);
        assert_eq!(bytes(ByteOrder::Little), Some(vec![2, 1, 0xaa]));
        assert_eq!(bytes(ByteOrder::Big), Some(vec![1, 2, 0xaa]));
    }

    proptest! {
        #[test]
        fn written_integers_are_read_again(value: u64, wide: u128, more in 0usize..3) {
            for order in ORDERS {
                let bytes = written(order, value, 8 + more).unwrap();
                prop_assert_eq!(order.read(&bytes), Some(value));
                let bytes = written(order, value as u32, 4 + more).unwrap();
                prop_assert_eq!(order.read(&bytes), Some(value as u32));
                let bytes = written(order, value as u16, 2 + more).unwrap();
                prop_assert_eq!(order.read(&bytes), Some(value as u16));
                let mut bytes = vec![1];
                order.append(wide, &mut bytes);
                prop_assert_eq!(order.read(&bytes[1..]), Some(wide));
            }
        }

        #[test]
        fn integer_of_any_size_is_its_digits(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            let first = &bytes[..bytes.len().min(8)];
            let digits = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
            let big = first.iter().fold(0, digits);
            let little = first.iter().rev().fold(0, digits);
            prop_assert_eq!(ByteOrder::Big.number(&bytes), big);
            prop_assert_eq!(ByteOrder::Little.number(&bytes), little);
        }
    }
}
