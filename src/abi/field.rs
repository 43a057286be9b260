//! Values that do not fit into a header's field.
#![forbid(unsafe_code)]

/// A value is too large for the field of the header that should hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field} of {header} is {value:#x}; the field holds at most {max:#x}")]
#[non_exhaustive]
pub struct FieldOverflow {
    /// The header's name in its source: `Elf32_Phdr`, for example.
    pub header: &'static str,
    /// The field's name in that header.
    pub field: &'static str,
    /// The value that does not fit.
    pub value: u64,
    /// The largest value that the field holds.
    pub max: u64,
}

/// Narrows the values of the header with this name to the widths of its fields.
#[derive(Clone, Copy)]
pub(crate) struct Narrow(pub(crate) &'static str);

impl Narrow {
    pub(crate) fn u32(self, field: &'static str, value: u64) -> Result<u32, FieldOverflow> {
        u32::try_from(value).map_err(|_| self.overflow(field, value, u32::MAX.into()))
    }

    pub(crate) fn i64(self, field: &'static str, value: u64) -> Result<i64, FieldOverflow> {
        i64::try_from(value).map_err(|_| self.overflow(field, value, i64::MAX as u64))
    }

    fn overflow(self, field: &'static str, value: u64, max: u64) -> FieldOverflow {
        FieldOverflow {
            header: self.0,
            field,
            value,
            max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_past_the_field_names_header_and_field() {
        let narrow = Narrow("Elf32_Phdr");
        assert_eq!(narrow.u32("p_paddr", 0xffff_ffff), Ok(u32::MAX));
        let error = narrow.u32("p_paddr", 1 << 32).err();
        assert_eq!(
            error.map(|e| e.to_string()).as_deref(),
            Some("p_paddr of Elf32_Phdr is 0x100000000; the field holds at most 0xffffffff")
        );
        assert_eq!(narrow.i64("x", i64::MAX as u64), Ok(i64::MAX));
        assert_eq!(
            narrow.i64("x", 1 << 63).err().map(|e| e.max),
            Some(i64::MAX as u64)
        );
    }
}
