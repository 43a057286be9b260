//! i386: registers, `NT_PRSTATUS`, QEMU's CPU state note, kernel addresses.
//!
//! Sources:
//!
//! - Registers: `struct user_regs_struct` in Linux
//!   `arch/x86/include/asm/user_32.h`. QEMU splits each of its four data
//!   segments into selector and zero.
//! - CPU state note: QEMU's `QEMUCPUState`, which is the one of x86_64.
//! - Kernel addresses: `PAGE_OFFSET` in Linux `arch/x86/Kconfig` and `__pa` in
//!   `arch/x86/include/asm/page_32.h`.
#![forbid(unsafe_code)]

pub use crate::arch::segment::{DescriptorTable, Segment};

use crate::abi::{ByteOrder, Class, Encoding, FieldOverflow, U64Align};
use crate::arch::json::json_struct;
use crate::arch::prstatus;
use crate::arch::prstatus::{CpuNotes, encode_prstatus, prstatus_size, read_words, words};
use crate::arch::x86::{decode_qemu_state, encode_qemu_note};
use crate::arch::{Architecture, DirectMapping, x86_64};
use crate::elf::note::{CORE, NT_PRSTATUS, QEMU};
use crate::vmcoreinfo::Vmcoreinfo;

/// `e_machine` of i386 in ELF files.
pub const EM_386: u16 = 3;

const ENCODING: Encoding = Encoding {
    class: Class::Bits32,
    order: ByteOrder::Little,
};

/// Number of words in `struct user_regs_struct`.
const USER_REGS: usize = 17;

pub(super) static ARCHITECTURE: Architecture = Architecture {
    name: "i386",
    uname: "i686",
    aliases: &["i486", "i586", "x86"],
    encoding: ENCODING,
    u64_align: U64Align::Four,
    elf_machine: EM_386,
    page_sizes: &[4096],
    prstatus_size: prstatus_size(ENCODING.class, USER_REGS * 4),
    frames_from_phys_base: false,
    // Kernel addresses do not depend on `phys_base`.
    phys_base: |_| None,
    kernel_image_to_physical,
    direct_mapping,
    encode_notes: |cpus, out| encode_notes(&Registers::of(cpus), out),
    decode_notes: |notes| decode_notes(notes).into_iter().map(Into::into).collect(),
};

json_struct! {
    /// A virtual CPU's registers. All default to 0.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    #[allow(missing_docs)] // The names are the architecture's.
    pub struct Registers {
        pub eax: u32,
        pub ebx: u32,
        pub ecx: u32,
        pub edx: u32,
        pub esi: u32,
        pub edi: u32,
        pub esp: u32,
        pub ebp: u32,
        pub eip: u32,
        pub eflags: u32,
        pub cs: Segment,
        pub ds: Segment,
        pub es: Segment,
        pub fs: Segment,
        pub gs: Segment,
        pub ss: Segment,
        pub ldt: Segment,
        pub tr: Segment,
        pub gdt: DescriptorTable,
        pub idt: DescriptorTable,
        pub cr0: u32,
        /// Reserved by the architecture; QEMU keeps a slot for it.
        pub cr1: u32,
        pub cr2: u32,
        pub cr3: u32,
        pub cr4: u32,
    }
}

impl Registers {
    pub(super) fn program_counter(&self) -> u64 {
        self.eip.into()
    }

    pub(super) fn stack_pointer(&self) -> u64 {
        self.esp.into()
    }

    /// Returns cr3, or `None` if it is 0: `NT_PRSTATUS` alone does not contain
    /// it.
    pub(super) fn page_table_root(&self) -> Option<u64> {
        (self.cr3 != 0).then_some(self.cr3.into())
    }

    fn user_regs(&self) -> [u32; USER_REGS] {
        let selector = |segment: &Segment| segment.selector & 0xffff;
        let orig_eax = 0;
        [
            self.ebx,
            self.ecx,
            self.edx,
            self.esi,
            self.edi,
            self.ebp,
            self.eax,
            selector(&self.ds),
            selector(&self.es),
            selector(&self.fs),
            selector(&self.gs),
            orig_eax,
            self.eip,
            selector(&self.cs),
            self.eflags,
            self.esp,
            selector(&self.ss),
        ]
    }
}

/// Widens the registers to those of QEMU's CPU state note.
impl From<&Registers> for x86_64::Registers {
    fn from(r: &Registers) -> Self {
        Self {
            rax: r.eax.into(),
            rbx: r.ebx.into(),
            rcx: r.ecx.into(),
            rdx: r.edx.into(),
            rsi: r.esi.into(),
            rdi: r.edi.into(),
            rsp: r.esp.into(),
            rbp: r.ebp.into(),
            rip: r.eip.into(),
            rflags: r.eflags.into(),
            cs: r.cs,
            ds: r.ds,
            es: r.es,
            fs: r.fs,
            gs: r.gs,
            ss: r.ss,
            ldt: r.ldt,
            tr: r.tr,
            gdt: r.gdt,
            idt: r.idt,
            cr0: r.cr0.into(),
            cr1: r.cr1.into(),
            cr2: r.cr2.into(),
            cr3: r.cr3.into(),
            cr4: r.cr4.into(),
            ..Self::default()
        }
    }
}

/// Takes the lower halves of the registers.
impl From<&x86_64::Registers> for Registers {
    fn from(r: &x86_64::Registers) -> Self {
        Self {
            eax: r.rax as u32,
            ebx: r.rbx as u32,
            ecx: r.rcx as u32,
            edx: r.rdx as u32,
            esi: r.rsi as u32,
            edi: r.rdi as u32,
            esp: r.rsp as u32,
            ebp: r.rbp as u32,
            eip: r.rip as u32,
            eflags: r.rflags as u32,
            cs: r.cs,
            ds: r.ds,
            es: r.es,
            fs: r.fs,
            gs: r.gs,
            ss: r.ss,
            ldt: r.ldt,
            tr: r.tr,
            gdt: r.gdt,
            idt: r.idt,
            cr0: r.cr0 as u32,
            cr1: r.cr1 as u32,
            cr2: r.cr2 as u32,
            cr3: r.cr3 as u32,
            cr4: r.cr4 as u32,
        }
    }
}

/// Encodes every `NT_PRSTATUS` note, then every CPU state note, as QEMU orders
/// them.
fn encode_notes(cpus: &[&Registers], out: &mut Vec<u8>) -> Result<(), FieldOverflow> {
    for (index, registers) in cpus.iter().enumerate() {
        let regs = words(ENCODING.order, &registers.user_regs());
        encode_prstatus(ENCODING, index, &regs, out)?;
    }
    for &registers in cpus {
        encode_qemu_note(&registers.into(), out)?;
    }
    Ok(())
}

/// Decodes QEMU's CPU state notes. For a CPU without one it decodes
/// `NT_PRSTATUS`.
fn decode_notes(notes: &CpuNotes<'_>) -> Vec<Registers> {
    let mut states = notes.all(QEMU, 0);
    let statuses = notes.all(CORE, NT_PRSTATUS);
    let cpu = |desc| {
        let state = states.next().and_then(decode_qemu_state);
        let state = state.as_ref().map(Registers::from);
        state.or_else(|| Some(decode_prstatus(desc)?.1))
    };
    statuses.map(cpu).map(Option::unwrap_or_default).collect()
}

/// Decodes `pr_pid` and the registers in an `NT_PRSTATUS` descriptor. The
/// descriptor contains no control registers, and only the selectors of
/// segments.
#[must_use]
pub fn decode_prstatus(desc: &[u8]) -> Option<(u32, Registers)> {
    let (pid, bytes) = prstatus::decode_prstatus(ENCODING, desc, USER_REGS * 4)?;
    let mut regs = [0; USER_REGS];
    read_words(ENCODING.order, bytes, &mut regs)?;
    let [
        ebx,
        ecx,
        edx,
        esi,
        edi,
        ebp,
        eax,
        ds,
        es,
        fs,
        gs,
        _orig_eax,
        eip,
        cs,
        eflags,
        esp,
        ss,
    ] = regs;
    let segment = |selector: u32| Segment {
        selector: selector & 0xffff,
        ..Segment::default()
    };
    let registers = Registers {
        eax,
        ebx,
        ecx,
        edx,
        esi,
        edi,
        esp,
        ebp,
        eip,
        eflags,
        cs: segment(cs),
        ds: segment(ds),
        es: segment(es),
        fs: segment(fs),
        gs: segment(gs),
        ss: segment(ss),
        ..Registers::default()
    };
    Some((pid, registers))
}

/// Guest-virtual addresses at which kernels map guest-physical address 0
/// (`PAGE_OFFSET`).
///
/// The kernel's configuration chooses one: `VMSPLIT_3G`, `3G_OPT`, `2G`,
/// `2G_OPT`, `1G`. VMCOREINFO does not contain it. The image lies less than 512
/// MiB above it. A `3G_OPT` kernel that KASLR put above 0xc0000000 is mistaken
/// for a `3G` one.
const PAGE_OFFSETS: [u64; 5] = [
    0xc000_0000,
    0xb000_0000,
    0x8000_0000,
    0x7800_0000,
    0x4000_0000,
];

/// Bytes at the end of the address space that the direct mapping does not use
/// (`VMALLOC_RESERVE`), by the kernel's default.
const VMALLOC_RESERVE: u64 = 128 << 20;

/// Returns `PAGE_OFFSET` of the kernel whose image contains the guest-virtual
/// address `image`.
fn page_offset(image: u64) -> Option<u64> {
    PAGE_OFFSETS.into_iter().find(|offset| *offset <= image)
}

/// Translates an address in the kernel's image, which is part of the direct
/// mapping.
fn kernel_image_to_physical(vaddr: u64, info: &Vmcoreinfo) -> Option<u64> {
    vaddr.checked_sub(page_offset(info.symbol("_stext").unwrap_or(vaddr))?)
}

/// Returns the mapping of low memory (`MAXMEM` in
/// `arch/x86/include/asm/setup.h`). drgn finds the page tables through it.
fn direct_mapping(info: &Vmcoreinfo) -> Option<DirectMapping> {
    let vaddr = page_offset(info.symbol("_stext")?)?;
    Some(DirectMapping {
        vaddr,
        start: 0,
        end: (1 << 32) - VMALLOC_RESERVE - vaddr,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::elf::note::Notes;

    fn registers() -> Registers {
        let segment = |n: u32| Segment {
            selector: n,
            limit: u32::MAX - n,
            flags: n << 8,
            base: u64::from(n) << 12,
        };
        let table = |n: u32| DescriptorTable {
            base: u64::from(n) << 12,
            limit: n,
        };
        Registers {
            eax: 0xffff_0001,
            ebx: 2,
            ecx: 3,
            edx: 4,
            esi: 5,
            edi: 6,
            esp: 7,
            ebp: 8,
            eip: 9,
            eflags: 10,
            cs: segment(11),
            ds: segment(12),
            es: segment(13),
            fs: segment(14),
            gs: segment(15),
            ss: segment(16),
            ldt: segment(17),
            tr: segment(18),
            gdt: table(19),
            idt: table(20),
            cr0: 21,
            cr1: 22,
            cr2: 23,
            cr3: 24,
            cr4: 25,
        }
    }

    #[test]
    fn notes_come_in_qemus_order_and_sizes() {
        let (a, b) = (registers(), Registers::default());
        let mut bytes = Vec::new();
        encode_notes(&[&a, &b], &mut bytes).unwrap();
        let notes = Notes::new(&bytes, ByteOrder::Little);
        let shape: Vec<_> = notes
            .flatten()
            .map(|(_, n)| (n.name, n.kind, n.desc.len()))
            .collect();
        assert_eq!(
            shape,
            [
                (CORE, NT_PRSTATUS, 144),
                (CORE, NT_PRSTATUS, 144),
                (QEMU, 0, 440),
                (QEMU, 0, 440)
            ]
        );
        let notes = CpuNotes::new(Notes::new(&bytes, ByteOrder::Little));
        assert_eq!(decode_notes(&notes), [a, b]);
    }

    #[test]
    fn encoded_prstatus_has_the_kernels_bytes_and_offsets() {
        let mut note = Vec::new();
        encode_notes(&[&registers()], &mut note).unwrap();
        let desc = &note[20..164];
        let mut expected = [0u8; 144];
        expected[24] = 1; // pr_pid
        let order = [2, 3, 4, 5, 6, 8, 1, 12, 13, 14, 15, 0, 9, 11, 10, 7, 16];
        for (at, value) in (72..).step_by(4).zip(order) {
            expected[at] = value;
        }
        expected[72 + 24..][..4].copy_from_slice(&[1, 0, 0xff, 0xff]); // eax
        assert_eq!(desc, expected);
        let (pid, registers) = decode_prstatus(desc).unwrap();
        assert_eq!((pid, registers.esp, registers.cs.selector), (1, 7, 11));
    }

    #[test]
    fn the_image_is_in_the_direct_mapping() {
        let physical = |stext: &str, vaddr| {
            let text = format!("OSRELEASE=6.1\nSYMBOL(_stext)={stext}\n");
            kernel_image_to_physical(vaddr, &Vmcoreinfo::parse(text.as_bytes()).unwrap())
        };
        // Debian 6.1.0-50-686-pae, moved by KASLR, then VMSPLIT_2G.
        assert_eq!(physical("cd000000", 0xcdd6_29c0), Some(0x0dd6_29c0));
        assert_eq!(physical("81000000", 0x8130_0000), Some(0x0130_0000));
        assert_eq!(physical("1000", 0x2000), None);
    }
}
