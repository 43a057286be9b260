//! x86_64: registers, `NT_PRSTATUS`, kernel addresses.
//!
//! Sources: `struct elf_prstatus` in Linux `include/linux/elfcore.h` with
//! `struct user_regs_struct` of `arch/x86/include/asm/user_64.h`;
//! `__START_KERNEL_map` in Linux `arch/x86/include/asm/page_64_types.h`.
#![forbid(unsafe_code)]

use std::mem::{offset_of, size_of};

use zerocopy::byteorder::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub use crate::arch::segment::{DescriptorTable, Segment, SegmentAttributes};
pub use crate::arch::x86::decode_qemu_state;
pub use crate::arch::x86_64_registers::Registers;

use crate::abi::{ByteOrder, Class, Encoding, FieldOverflow, U64Align};
use crate::arch::Architecture;
use crate::arch::prstatus;
use crate::arch::prstatus::{CpuNotes, encode_prstatus, prstatus_size};
use crate::arch::x86::encode_qemu_note;
use crate::elf::note::{CORE, NT_PRSTATUS, QEMU};
use crate::vmcoreinfo::Vmcoreinfo;

/// `e_machine`.
pub const EM_X86_64: u16 = 62;

const ENCODING: Encoding = Encoding {
    class: Class::Bits64,
    order: ByteOrder::Little,
};

pub(super) static ARCHITECTURE: Architecture = Architecture {
    name: "x86_64",
    uname: "x86_64",
    aliases: &["amd64"],
    encoding: ENCODING,
    u64_align: U64Align::Eight,
    elf_machine: EM_X86_64,
    page_sizes: &[4096],
    prstatus_size: prstatus_size(ENCODING.class, size_of::<UserRegs>()),
    frames_from_phys_base: false,
    phys_base,
    kernel_image_to_physical,
    direct_mapping: |_| None,
    encode_notes: |cpus, out| encode_notes(&Registers::of(cpus), out),
    decode_notes: |notes| decode_notes(notes).into_iter().map(Into::into).collect(),
};

/// `struct user_regs_struct`.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct UserRegs {
    r15: U64,
    r14: U64,
    r13: U64,
    r12: U64,
    rbp: U64,
    rbx: U64,
    r11: U64,
    r10: U64,
    r9: U64,
    r8: U64,
    rax: U64,
    rcx: U64,
    rdx: U64,
    rsi: U64,
    rdi: U64,
    orig_rax: U64,
    rip: U64,
    cs: U64,
    rflags: U64,
    rsp: U64,
    ss: U64,
    fs_base: U64,
    gs_base: U64,
    ds: U64,
    es: U64,
    fs: U64,
    gs: U64,
}

const _: () = assert!(size_of::<UserRegs>() == 27 * 8);
const _: () = assert!(offset_of!(UserRegs, rax) == 10 * 8);
const _: () = assert!(offset_of!(UserRegs, rip) == 16 * 8);
const _: () = assert!(offset_of!(UserRegs, rsp) == 19 * 8);
const _: () = assert!(offset_of!(UserRegs, gs) == 26 * 8);

fn user_regs(r: &Registers) -> UserRegs {
    UserRegs {
        r15: r.r15.into(),
        r14: r.r14.into(),
        r13: r.r13.into(),
        r12: r.r12.into(),
        rbp: r.rbp.into(),
        rbx: r.rbx.into(),
        r11: r.r11.into(),
        r10: r.r10.into(),
        r9: r.r9.into(),
        r8: r.r8.into(),
        rax: r.rax.into(),
        rcx: r.rcx.into(),
        rdx: r.rdx.into(),
        rsi: r.rsi.into(),
        rdi: r.rdi.into(),
        orig_rax: 0.into(),
        rip: r.rip.into(),
        cs: u64::from(r.cs.selector).into(),
        rflags: r.rflags.into(),
        rsp: r.rsp.into(),
        ss: u64::from(r.ss.selector).into(),
        fs_base: r.fs.base.into(),
        gs_base: r.gs.base.into(),
        ds: u64::from(r.ds.selector).into(),
        es: u64::from(r.es.selector).into(),
        fs: u64::from(r.fs.selector).into(),
        gs: u64::from(r.gs.selector).into(),
    }
}

/// Every `NT_PRSTATUS` first, then every CPU state note, as QEMU orders them.
fn encode_notes(cpus: &[&Registers], out: &mut Vec<u8>) -> Result<(), FieldOverflow> {
    for (index, registers) in cpus.iter().enumerate() {
        encode_prstatus(ENCODING, index, user_regs(registers).as_bytes(), out)?;
    }
    for registers in cpus {
        encode_qemu_note(registers, out)?;
    }
    Ok(())
}

/// From QEMU's note, or without one from `NT_PRSTATUS`.
fn decode_notes(notes: &CpuNotes<'_>) -> Vec<Registers> {
    let mut states = notes.all(QEMU, 0);
    let statuses = notes.all(CORE, NT_PRSTATUS);
    let cpu = |desc| {
        let state = states.next().and_then(decode_qemu_state);
        state.or_else(|| Some(decode_prstatus(desc)?.1))
    };
    statuses.map(cpu).map(Option::unwrap_or_default).collect()
}

/// The registers in an `NT_PRSTATUS` descriptor, which has no control
/// registers, and of segments only selectors and the bases of fs and gs.
/// Also the `pr_pid`.
#[must_use]
pub fn decode_prstatus(desc: &[u8]) -> Option<(u32, Registers)> {
    let (pid, bytes) = prstatus::decode_prstatus(ENCODING, desc, size_of::<UserRegs>())?;
    let r = UserRegs::read_from_bytes(bytes).ok()?;
    let selector = |s: U64| Segment {
        selector: s.get() as u32,
        ..Segment::default()
    };
    let registers = Registers {
        rax: r.rax.get(),
        rbx: r.rbx.get(),
        rcx: r.rcx.get(),
        rdx: r.rdx.get(),
        rsi: r.rsi.get(),
        rdi: r.rdi.get(),
        rsp: r.rsp.get(),
        rbp: r.rbp.get(),
        r8: r.r8.get(),
        r9: r.r9.get(),
        r10: r.r10.get(),
        r11: r.r11.get(),
        r12: r.r12.get(),
        r13: r.r13.get(),
        r14: r.r14.get(),
        r15: r.r15.get(),
        rip: r.rip.get(),
        rflags: r.rflags.get(),
        cs: selector(r.cs),
        ds: selector(r.ds),
        es: selector(r.es),
        fs: Segment {
            base: r.fs_base.get(),
            ..selector(r.fs)
        },
        gs: Segment {
            base: r.gs_base.get(),
            ..selector(r.gs)
        },
        ss: selector(r.ss),
        ..Registers::default()
    };
    Some((pid, registers))
}

/// Where the kernel's image is mapped, less `phys_base`: `__START_KERNEL_map`.
const START_KERNEL_MAP: u64 = 0xffff_ffff_8000_0000;

/// `NUMBER(phys_base)`, decimal, possibly negative; or what another source than VMCOREINFO gave.
fn phys_base(info: &Vmcoreinfo) -> Option<u64> {
    let number = info.number("phys_base").map(|base| base as u64);
    number.or(info.given_phys_base())
}

/// VMCOREINFO of kernels before Linux 4.10 does not contain `phys_base`. If no other source gives
/// it, they are taken to be at the address for which they were linked.
fn kernel_image_to_physical(vaddr: u64, info: &Vmcoreinfo) -> Option<u64> {
    let offset = vaddr.checked_sub(START_KERNEL_MAP)?;
    let linked = || is_only_linked(info).then_some(0);
    Some(offset.wrapping_add(phys_base(info).or_else(linked)?))
}

/// Whether nothing tells where an old kernel is, so that it is only taken to be where it was linked.
pub(super) fn is_only_linked(info: &Vmcoreinfo) -> bool {
    phys_base(info).is_none() && info.symbol("init_level4_pgt").is_some()
}

/// Returns the `phys_base` of a kernel whose image has the guest-virtual address `vaddr` at the
/// guest-physical address `gpa`.
pub(crate) fn phys_base_of(vaddr: u64, gpa: u64) -> Option<u64> {
    Some(gpa.wrapping_sub(vaddr.checked_sub(START_KERNEL_MAP)?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::elf::note::Notes;

    /// Every field another value, so that no two can be mixed up.
    fn registers() -> Registers {
        let mut state: [u8; 440] = std::array::from_fn(|i| (i * 7 % 251) as u8);
        state[..4].copy_from_slice(&[1, 0, 0, 0]); // version
        decode_qemu_state(&state).unwrap()
    }

    #[test]
    fn notes_come_in_qemus_order_and_sizes() {
        let (a, b) = (registers(), Registers::default());
        let mut bytes = Vec::new();
        encode_notes(&[&a, &b], &mut bytes).unwrap();
        let notes: Vec<_> = Notes::new(&bytes, ByteOrder::Little)
            .map(|n| n.unwrap().1)
            .collect();
        let shape: Vec<_> = notes
            .iter()
            .map(|n| (n.name, n.kind, n.desc.len()))
            .collect();
        assert_eq!(
            shape,
            [
                (CORE, NT_PRSTATUS, 336),
                (CORE, NT_PRSTATUS, 336),
                (QEMU, 0, 440),
                (QEMU, 0, 440)
            ]
        );
        assert_eq!(decode_prstatus(notes[0].desc).unwrap().0, 1);
        assert_eq!(decode_prstatus(notes[1].desc).unwrap().0, 2);
        assert_eq!(decode_qemu_state(notes[2].desc), Some(a));
        assert_eq!(decode_qemu_state(notes[3].desc), Some(b));
    }

    #[test]
    fn encoded_prstatus_has_the_kernels_bytes_and_offsets() {
        let r = Registers {
            r15: 15,
            rax: 0x0a,
            rip: 0xffff_ffff_8100_0000,
            rsp: 0x77,
            cs: Segment {
                selector: 0x10,
                ..Segment::default()
            },
            gs: Segment {
                base: 0x9955,
                ..Segment::default()
            },
            ..Registers::default()
        };
        let mut note = Vec::new();
        encode_prstatus(ENCODING, 2, user_regs(&r).as_bytes(), &mut note).unwrap();
        let bytes = &note[20..];
        let mut expected = [0u8; 336];
        expected[32] = 3;
        expected[112] = 15;
        expected[112 + 80] = 0x0a;
        expected[112 + 128..112 + 136].copy_from_slice(&r.rip.to_le_bytes());
        expected[112 + 136] = 0x10;
        expected[112 + 152] = 0x77;
        expected[112 + 176..112 + 178].copy_from_slice(&[0x55, 0x99]);
        assert_eq!(bytes, expected);
        assert_eq!(decode_prstatus(bytes), Some((3, r)));
    }

    #[test]
    #[cfg(feature = "serde")]
    fn registers_have_their_names_in_json() {
        let json = r#"{"rip": "0xffffffff81000000", "cr3": 4096,
            "cs": {"selector": "0x10", "limit": 4294967295, "flags": "0xa09b00"},
            "gdt": {"base": "0xfffffe0000001000", "limit": 127}}"#;
        let r: Registers = serde_json::from_str(json).unwrap();
        assert_eq!((r.rip, r.cr3), (0xffff_ffff_8100_0000, 4096));
        assert_eq!((r.cs.selector, r.cs.limit), (0x10, u32::MAX));
        assert_eq!(r.gdt.limit, 127);
        let all = registers();
        let text = serde_json::to_string(&all).unwrap();
        assert_eq!(serde_json::from_str::<Registers>(&text).unwrap(), all);
        for (json, word) in [
            (r#"{"rpi": 1}"#, "rpi"),
            (r#"{"cs": {"sel": 1}}"#, "sel"),
            (r#"{"gdt": {"selector": 1}}"#, "selector"),
            (r#"{"cs": {"limit": "0x100000000"}}"#, "32 bits"),
            (r#"{"rip": 1, "rip": 2}"#, "duplicate"),
        ] {
            let error = serde_json::from_str::<Registers>(json).unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
        }
    }

    #[test]
    fn an_old_kernel_is_where_it_was_linked() {
        let text = b"OSRELEASE=2.6.32\nSYMBOL(init_level4_pgt)=ffffffff81000000\n";
        let info = Vmcoreinfo::parse(text).unwrap();
        let physical = kernel_image_to_physical(0xffff_ffff_8123_4567, &info);
        assert_eq!(physical, Some(0x123_4567));
        assert_eq!(phys_base(&info), None);
        assert!(is_only_linked(&info));
        // Another source may tell that it was relocated.
        let info = info.with_phys_base(phys_base_of(0xffff_ffff_8100_0000, 0x1100_0000));
        let physical = kernel_image_to_physical(0xffff_ffff_8123_4567, &info);
        assert_eq!(physical, Some(0x1123_4567));
        assert_eq!(phys_base(&info), Some(0x1000_0000));
        assert!(!is_only_linked(&info));
    }

    #[test]
    fn a_kernel_below_its_link_address_has_a_negative_phys_base() {
        let info = Vmcoreinfo::parse(b"OSRELEASE=6.1\nNUMBER(phys_base)=-16777216\n").unwrap();
        let physical = kernel_image_to_physical(0xffff_ffff_8200_1000, &info);
        assert_eq!(physical, Some(0x0100_1000));
        assert_eq!(phys_base(&info), Some((-16_777_216i64) as u64));
        assert_eq!(kernel_image_to_physical(0x1000, &info), None);
    }
}
