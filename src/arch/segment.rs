//! Segment registers and descriptor tables of x86.
#![forbid(unsafe_code)]

use crate::arch::json::json_struct;

json_struct! {
    /// A segment register with its hidden part.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct Segment {
        /// The visible selector.
        pub selector: u32,
        /// Last offset in the segment, in bytes.
        pub limit: u32,
        /// The second 32-bit word of the segment's descriptor: type in bits 8 to
        /// 11, S in 12, DPL in 13 and 14, P in 15, AVL in 20, L in 21, D/B in
        /// 22, G in 23; the other bits are part of base and limit there and are
        /// ignored here. [`SegmentAttributes`] makes them of other forms.
        pub flags: u32,
        /// Guest-virtual base address.
        pub base: u64,
    }
}

/// A segment's attributes one by one, as KVM, crosvm and cloud-hypervisor
/// hold them: each but `type_` and `dpl` is 0 or 1.
///
/// Sources: Intel SDM volume 3, 3.4.5 "Segment Descriptors" and table 25-2
/// "Format of Access Rights"; AMD64 APM volume 2, 15.5.1 on the VMCB's
/// `attrib`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SegmentAttributes {
    /// The kind of segment, 4 bits.
    pub type_: u8,
    /// Code or data, not a system segment.
    pub s: u8,
    /// Descriptor privilege level, 2 bits.
    pub dpl: u8,
    /// Present. 0 for a segment that KVM or VMX call unusable.
    pub present: u8,
    /// Available to software.
    pub avl: u8,
    /// 64-bit code.
    pub l: u8,
    /// Default operation size.
    pub db: u8,
    /// Granularity. [`Segment::limit`] is in bytes whatever this says.
    pub g: u8,
}

impl SegmentAttributes {
    /// From VMX's access rights, which Hypervisor.framework has too, and
    /// Hyper-V, MSHV and WHPX without bit 16 (unusable).
    #[must_use]
    pub fn from_access_rights(rights: u32) -> Self {
        let bit = |at: u32| ((rights >> at) & 1) as u8;
        Self {
            type_: (rights & 0xf) as u8,
            s: bit(4),
            dpl: ((rights >> 5) & 3) as u8,
            present: bit(7) & (1 - bit(16)),
            avl: bit(12),
            l: bit(13),
            db: bit(14),
            g: bit(15),
        }
    }

    /// From the 12 bits of SVM's `attrib` in the VMCB, which bhyve has too.
    #[must_use]
    pub fn from_vmcb(attrib: u16) -> Self {
        let low = u32::from(attrib) & 0xff;
        let high = u32::from(attrib) & 0xf00;
        Self::from_access_rights((high << 4) | low)
    }

    /// As [`Segment::flags`].
    #[must_use]
    pub fn flags(self) -> u32 {
        let bit = |value: u8, at: u32| u32::from(value & 1) << at;
        (u32::from(self.type_ & 0xf) << 8)
            | bit(self.s, 12)
            | (u32::from(self.dpl & 3) << 13)
            | bit(self.present, 15)
            | bit(self.avl, 20)
            | bit(self.l, 21)
            | bit(self.db, 22)
            | bit(self.g, 23)
    }
}

json_struct! {
    /// A descriptor table register.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct DescriptorTable {
        /// Guest-virtual base address.
        pub base: u64,
        /// Last offset in the table, in bytes.
        pub limit: u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Linux's kernel code segment, 64-bit, execute and read, accessed: the
    /// second word of its descriptor is 0x00af9b00, of which 0xf0000 are
    /// limit. And a busy 64-bit TSS, and an unusable segment.
    #[test]
    fn attributes_of_all_forms_are_the_same_flags() {
        let code = SegmentAttributes {
            type_: 0xb,
            s: 1,
            present: 1,
            l: 1,
            g: 1,
            ..SegmentAttributes::default()
        };
        assert_eq!(code.flags(), 0x00af_9b00 & !0x000f_0000);
        assert_eq!(SegmentAttributes::from_access_rights(0xa09b), code);
        assert_eq!(SegmentAttributes::from_vmcb(0xa9b), code);
        assert_eq!(SegmentAttributes::from_access_rights(0x8b).flags(), 0x8b00);
        assert_eq!(SegmentAttributes::from_vmcb(0x8b).flags(), 0x8b00);
        // User data: DPL 3, 32-bit, AVL.
        assert_eq!(
            SegmentAttributes::from_access_rights(0xd0f3).flags(),
            0x00d0_f300
        );
        assert_eq!(SegmentAttributes::from_vmcb(0xdf3).flags(), 0x00d0_f300);
        assert_eq!(
            SegmentAttributes::from_access_rights(0x1_c0f3).flags(),
            0x00c0_7300
        );
    }
}
