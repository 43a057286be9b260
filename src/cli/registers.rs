//! Registers in JSON: in the map file and in what `info --json` prints.

use guestdump::arch::x86_64;
use serde::{Deserialize, Serialize};

use super::number::{Number, Number32};

/// A segment register with its hidden part.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Segment {
    selector: Number32,
    limit: Number32,
    flags: Number32,
    base: Number,
}

/// A descriptor table register.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Table {
    base: Number,
    limit: Number32,
}

/// Declares [`X86Registers`] and both conversions from three lists of names,
/// so that no register can be in one and not in another.
macro_rules! x86_registers {
    (numbers: $($number:ident)*; segments: $($segment:ident)*; tables: $($table:ident)*;) => {
        /// The registers of an x86_64 CPU by name. All are optional.
        #[derive(Debug, Clone, Default, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub(crate) struct X86Registers {
            $($number: Number,)*
            $($segment: Segment,)*
            $($table: Table,)*
        }

        impl From<&X86Registers> for x86_64::Registers {
            fn from(r: &X86Registers) -> Self {
                let mut registers = Self::default();
                $(registers.$number = r.$number.0;)*
                $(registers.$segment = x86_64::Segment {
                    selector: r.$segment.selector.0,
                    limit: r.$segment.limit.0,
                    flags: r.$segment.flags.0,
                    base: r.$segment.base.0,
                };)*
                $(registers.$table.base = r.$table.base.0;
                  registers.$table.limit = r.$table.limit.0;)*
                registers
            }
        }

        impl From<&x86_64::Registers> for X86Registers {
            fn from(r: &x86_64::Registers) -> Self {
                Self {
                    $($number: Number(r.$number),)*
                    $($segment: Segment {
                        selector: Number32(r.$segment.selector),
                        limit: Number32(r.$segment.limit),
                        flags: Number32(r.$segment.flags),
                        base: Number(r.$segment.base),
                    },)*
                    $($table: Table {
                        base: Number(r.$table.base),
                        limit: Number32(r.$table.limit),
                    },)*
                }
            }
        }
    };
}

x86_registers! {
    numbers: rax rbx rcx rdx rsi rdi rsp rbp r8 r9 r10 r11 r12 r13 r14 r15 rip rflags
        cr0 cr2 cr3 cr4 kernel_gs_base;
    segments: cs ds es fs gs ss ldt tr;
    tables: gdt idt;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn registers_have_their_names() {
        let json = r#"{"rip": "0xffffffff81000000", "cr3": 4096,
            "cs": {"selector": "0x10", "limit": 4294967295, "flags": "0xa09b00"},
            "gdt": {"base": "0xfffffe0000001000", "limit": 127}}"#;
        let entry: X86Registers = serde_json::from_str(json).unwrap();
        let registers = x86_64::Registers::from(&entry);
        assert_eq!(registers.rip, 0xffff_ffff_8100_0000);
        assert_eq!(registers.cr3, 4096);
        assert_eq!(registers.cs.selector, 0x10);
        assert_eq!(registers.cs.limit, u32::MAX);
        assert_eq!(registers.gdt.limit, 127);
        let back = serde_json::to_string(&X86Registers::from(&registers)).unwrap();
        let entry: X86Registers = serde_json::from_str(&back).unwrap();
        assert_eq!(x86_64::Registers::from(&entry), registers);
    }

    #[test]
    fn unknown_names_and_wide_values_are_refused() {
        for (json, word) in [
            (r#"{"rpi": 1}"#, "rpi"),
            (r#"{"cs": {"sel": 1}}"#, "sel"),
            (r#"{"gdt": {"selector": 1}}"#, "selector"),
            (r#"{"cs": {"limit": "0x100000000"}}"#, "32 bits"),
            (r#"{"rip": 1, "rip": 2}"#, "duplicate"),
        ] {
            let error = serde_json::from_str::<X86Registers>(json).unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}
