//! The first bytes of each kind.
//!
//! Sources: file(1)'s magic database (github.com/file/file, 9de57c0b,
//! `magic/Magdir/`), where no other is named:
//!
//! - `archive`, `compress`, `filesystems`, `freebsd`, `linux`, `luks`,
//!   `misctools`, `virtual`, `windows`;
//! - libvirt `src/qemu/qemu_saveimage.h` (`QEMU_SAVE_MAGIC`,
//!   `QEMU_SAVE_PARTIAL`) and QEMU `migration/savevm.h`
//!   (`QEMU_VM_FILE_MAGIC`);
//! - Xen `tools/xl/xl.h` (`savefileheader_magic`),
//!   `docs/specs/libxl-migration-stream.pandoc` ("LibxlFmt"),
//!   `tools/libs/guest/xg_sr_stream_format.h` (`IHDR_MARKER`, `IHDR_ID`), and
//!   `xenctrl.h` (`XC_CORE_MAGIC`, `XC_CORE_MAGIC_HVM`);
//! - VirtualBox `src/VBox/VMM/VMMR3/SSM.cpp` (`SSMFILEHDR_MAGIC_BASE`);
//! - VMware: crash `vmware_vmss.h` (`CPTDUMP_…_MAGIC_NUMBER`) and volatility
//!   `vmware.py`;
//! - Hyper-V: dissect.hypervisor `c_hyperv.py`
//!   (`SIGNATURE_STORAGE_HEADER`);
//! - Firecracker `src/vmm/src/snapshot/mod.rs` (`SNAPSHOT_MAGIC_ID`);
//! - volatility3 `layers/lime.py`, `layers/avml.py`;
//! - DumpIt: z2dmp (github.com/MagnetForensics/z2dmp-rust);
//! - sadump: makedumpfile `sadump_mod.h` (`SADUMP_SIGNATURE1`, `…2`);
//! - LKCD `dump.h` (`DUMP_MAGIC_NUMBER`, `DUMP_MAGIC_LIVE`), s390-tools
//!   `zdump/df_s390.h` (`DF_S390_MAGIC`, `DF_S390_MAGIC_EXT`);
//! - diskdump: crash `diskdump.h` (`DISK_DUMP_SIGNATURE`,
//!   `DUMP_PARTITION_SIGNATURE`);
//! - Windows hibernation: volatility `hibernate.py`, with the signatures of
//!   Windows 8 and newer in lower or upper case;
//! - Proxmox: pve-qemu `vma_spec.txt`; EnCase: libewf's format documents of EWF and EWF2.
#![forbid(unsafe_code)]

use crate::elf::ET_CORE;
use crate::kdump;
use crate::read::FileKind;
use crate::read::kind::text;
use crate::windmp::{SIGNATURE as PAGE, VALID_DUMP_32, VALID_DUMP_64};

/// The end of the furthest magic, btrfs's, in whole pages.
pub(super) const HEAD_SIZE: usize = 0x11000;

/// Bytes at an offset that only one kind has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Magic {
    at: usize,
    pub(super) bytes: &'static [u8],
    pub(super) kind: FileKind,
}

impl Magic {
    pub(super) fn matches(&self, head: &[u8]) -> bool {
        has(head, self.at, self.bytes)
    }
}

fn has(head: &[u8], at: usize, bytes: &[u8]) -> bool {
    head.get(at..).is_some_and(|rest| rest.starts_with(bytes))
}

fn u16_at(head: &[u8], at: usize) -> Option<u16> {
    let bytes = head.get(at..)?.first_chunk()?;
    Some(u16::from_le_bytes(*bytes))
}

fn u32_at(head: &[u8], at: usize) -> Option<u32> {
    let bytes = head.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*bytes))
}

const fn magic(at: usize, bytes: &'static [u8], kind: FileKind) -> Magic {
    Magic { at, bytes, kind }
}

/// All magics that are long enough to decide alone, in any order.
pub(super) const FIXED: &[Magic] = {
    use FileKind::*;
    &[
        magic(0, &kdump::SIGNATURE, Kdump),
        magic(0, &kdump::flattened::SIGNATURE, Flattened),
        magic(0, b"\x28\xb5\x2f\xfd", Zstd),
        magic(0, b"\xfd7zXZ\0", Xz),
        magic(0, b"\x04\x22\x4d\x18", Lz4),
        magic(0, b"\x03\x21\x4c\x18", Lz4),
        magic(0, b"\x02\x21\x4c\x18", Lz4),
        magic(0, b"\x89LZO\0\r\n\x1a\n", Lzop),
        magic(0, b"LZIP", Lzip),
        magic(0, b"LRZI", Lrzip),
        magic(0, b"\xff\x06\0\0sNaPpY", Snappy),
        magic(257, b"ustar", Tar),
        magic(0, b"PK\x03\x04", Zip),
        magic(0, b"PK\x05\x06", Zip),
        magic(0, b"PK00PK\x03\x04", Zip),
        magic(0, b"7z\xbc\xaf\x27\x1c", SevenZip),
        magic(0, b"Rar!\x1a\x07", Rar),
        magic(0, b"070701", Cpio),
        magic(0, b"070702", Cpio),
        magic(0, b"070707", Cpio),
        magic(0, b"!<arch>\n", Ar),
        magic(0, b"EVF\x09\r\n\xff\0", Ewf),
        magic(0, b"EVF2\r\n\x81\0", Ewf),
        magic(0, b"\xed\xab\xee\xdb", Rpm),
        magic(0, b"VMA\0", Vma),
        magic(0, b"LibvirtQemudSave", LibvirtSave),
        magic(0, b"LibvirtQemudPart", LibvirtPartialSave),
        magic(0, b"QEVM", QemuMigration),
        magic(0, b"\0\0\x64\x86\x84\x19\x10\x07", FirecrackerState),
        magic(0, b"\0\0\xaa\xaa\x84\x19\x10\x07", FirecrackerState),
        // Newer versions put one byte before it (seen at 81b38b9da).
        magic(1, b"\0\0\x64\x86\x84\x19\x10\x07", FirecrackerState),
        magic(1, b"\0\0\xaa\xaa\x84\x19\x10\x07", FirecrackerState),
        magic(0, b"LinuxGuestRecord", XenSave),
        magic(0, b"Xen saved domain", XenSave),
        magic(0, b"LibxlFmt", XenSave),
        magic(0, b"\xff\xff\xff\xff\xff\xff\xff\xffXENF", XenSave),
        magic(0, b"\xed\xeb\x0f\xf0", XenOldCore),
        magic(0, b"\xee\xeb\x0f\xf0", XenOldCore),
        magic(0, b"\x7fVirtualBox SavedState V", VirtualBoxState),
        magic(0, b"\xd0\xbe\xd0\xbe", VmwareState),
        magic(0, b"\xd1\xbe\xd1\xbe", VmwareState),
        magic(0, b"\xd0\xbe\xd2\xbe", VmwareState),
        magic(0, b"\xd2\xbe\xd2\xbe", VmwareState),
        magic(0, b"\xd3\xbe\xd3\xbe", VmwareState),
        magic(0, b"\xd3\xbe\xd2\xbe", VmwareState),
        magic(0, b"\xd1\xba\xd1\xba", VmwareState),
        magic(0, b"\xd2\xba\xd2\xba", VmwareState),
        magic(0, b"\x14\x20\x28\x01", HyperVState),
        magic(0, b"EMiL", Lime),
        magic(0, b"AVML", Avml),
        magic(0, b"ZDMP", Zdmp),
        magic(0, b"sadump\0\0", Sadump),
        // A medium's own header comes before the dump's, in a block of 4 KiB.
        magic(4096, b"sadump\0\0", Sadump),
        magic(0, b"\xed\x23\x8f\x61\x73\x01\x19\xa8", Lkcd),
        magic(0, b"\xa8\x19\x01\x73\x61\x8f\x23\xed", Lkcd),
        magic(0, b"\xcd\x23\x8f\x61\x73\x01\x19\xa8", Lkcd),
        magic(0, b"\xa8\x19\x01\x73\x61\x8f\x23\xcd", Lkcd),
        magic(0, b"\xa8\x19\x01\x73\x61\x8f\x23\xfd", S390),
        magic(0, b"\xa8\x19\x01\x73\x61\x8f\x23\xfe", S390),
        magic(0, b"DISKDUMP", Diskdump),
        magic(0, b"diskdump", DiskdumpPartition),
        magic(0, b"minidump FreeBSD/", FreebsdMinidump),
        magic(0, b"MDMP", Minidump),
        magic(0, b"QFI\xfb", Qcow),
        magic(0, b"QED\0", Qed),
        magic(0x40, b"\x7f\x10\xda\xbe", Vdi),
        magic(0, b"KDMV", Vmdk),
        magic(0, b"VMDK", Vmdk),
        magic(0, b"COWD", Vmdk),
        magic(0, b"# Disk DescriptorFile", Vmdk),
        magic(0, b"conectix", Vhd),
        magic(0, b"vhdxfile", Vhdx),
        magic(0, b"WithoutFreeSpace", Parallels),
        magic(0, b"WithouFreSpacExt", Parallels),
        magic(0, b"Bochs Virtual HD Image", Bochs),
        magic(0, b"LUKS\xba\xbe", Luks),
        magic(0, b"XFSB", FileSystem),
        magic(0, b"hsqs", FileSystem),
        magic(0, b"sqsh", FileSystem),
        magic(3, b"NTFS    ", FileSystem),
        magic(0x10040, b"_BHRfS_M", FileSystem),
        magic(0x8001, b"CD001", Iso),
        // The last ten bytes of a page of 4, 8, 16, 32 or 64 KiB.
        magic(0xff6, b"SWAPSPACE2", Swap),
        magic(0x1ff6, b"SWAPSPACE2", Swap),
        magic(0x3ff6, b"SWAPSPACE2", Swap),
        magic(0x7ff6, b"SWAPSPACE2", Swap),
        magic(0xfff6, b"SWAPSPACE2", Swap),
        // A hibernated system keeps the signature of swap ten bytes earlier.
        magic(0xfec, b"SWAPSPACE2", Swap),
        magic(0x1fec, b"SWAPSPACE2", Swap),
        magic(0x3fec, b"SWAPSPACE2", Swap),
        magic(0x7fec, b"SWAPSPACE2", Swap),
        magic(0xffec, b"SWAPSPACE2", Swap),
        magic(514, b"HdrS", KernelImage),
        magic(0x38, b"ARM\x64", KernelImage),
        magic(0x38, b"RSC\x05", KernelImage),
        magic(0, b"\xd0\x0d\xfe\xed", DeviceTree),
    ]
};

/// Recognises kinds whose magic is too short to decide alone.
pub(super) fn by_structure(head: &[u8]) -> Option<FileKind> {
    elf(head)
        .or_else(|| text::is_text(head).then_some(FileKind::Text))
        .or_else(|| windows(head))
        .or_else(|| mach(head))
        .or_else(|| compressed(head))
        .or_else(|| disk(head))
}

/// Recognises kinds by the last sector of a file.
pub(super) fn by_end(end: &[u8]) -> Option<FileKind> {
    if end.starts_with(b"conectix") {
        return Some(FileKind::Vhd);
    }
    // FreeBSD `sys/sys/kerneldump.h`, TEXTDUMPMAGIC, KERNELDUMPMAGIC; `apple` for "koly".
    if end.starts_with(b"FreeBSD Text Dump\0") {
        return Some(FileKind::FreebsdTextDump);
    }
    if end.starts_with(b"FreeBSD Kernel Dump") {
        return Some(FileKind::FreebsdPartition);
    }
    end.starts_with(b"koly").then_some(FileKind::Dmg)
}

/// ELF files; elf(5) has the offsets of `EI_DATA` and `e_type`.
fn elf(head: &[u8]) -> Option<FileKind> {
    const EI_DATA: usize = 5;
    const ELFDATA2MSB: u8 = 2;
    const E_TYPE: usize = 16;
    if !head.starts_with(b"\x7fELF") {
        return None;
    }
    let e_type = u16_at(head, E_TYPE)?;
    let e_type = if head[EI_DATA] == ELFDATA2MSB {
        e_type.swap_bytes()
    } else {
        e_type
    };
    Some(if e_type == ET_CORE {
        FileKind::ElfCore
    } else {
        FileKind::ElfProgram
    })
}

/// Files of Windows: a crash dump, also one that is not finished and has zeroes
/// instead of its signature; a hibernation file, whose signatures are words; a
/// PE program.
fn windows(head: &[u8]) -> Option<FileKind> {
    const E_LFANEW: usize = 0x3c;
    const HIBERNATION: [&[u8]; 6] = [b"hibr", b"HIBR", b"wake", b"WAKE", b"RSTR", b"HORM"];
    let is_dump = |begin: &[u8; 8]| {
        let (signature, valid) = begin.split_at(PAGE.len());
        [&VALID_DUMP_32[..], &VALID_DUMP_64].contains(&valid)
            && [&PAGE[..], &[0; 4]].contains(&signature)
    };
    if head.first_chunk().is_some_and(is_dump) {
        return Some(FileKind::WindowsDump);
    }
    if HIBERNATION.iter().any(|word| head.starts_with(word)) {
        return Some(FileKind::Hiberfil);
    }
    let at = u32_at(head, E_LFANEW)? as usize;
    (head.starts_with(b"MZ") && has(head, at, b"PE\0\0")).then_some(FileKind::Pe)
}

/// Mach-O files of 32 or 64 bits; `mach-o/loader.h` has MH_CORE.
fn mach(head: &[u8]) -> Option<FileKind> {
    const FILE_TYPE: usize = 12;
    const MH_CORE: u32 = 4;
    let file_type = u32_at(head, FILE_TYPE)?;
    let file_type = match head.first_chunk::<4>()? {
        b"\xce\xfa\xed\xfe" | b"\xcf\xfa\xed\xfe" => file_type,
        b"\xfe\xed\xfa\xce" | b"\xfe\xed\xfa\xcf" => file_type.swap_bytes(),
        _ => return None,
    };
    Some(match file_type {
        MH_CORE => FileKind::MachCore,
        _ => FileKind::MachProgram,
    })
}

/// Compressors with a short magic, by the field after it.
fn compressed(head: &[u8]) -> Option<FileKind> {
    // A block of bzip2, or the end of a stream without one.
    const BLOCK: &[u8] = b"1AY&SY";
    const END: &[u8] = b"\x17\x72\x45\x38\x50\x90";
    match *head.first_chunk::<4>()? {
        [b'B', b'Z', b'h', b'1'..=b'9'] if has(head, 4, BLOCK) || has(head, 4, END) => {
            Some(FileKind::Bzip2)
        }
        // The low bits are the most bits of a code.
        [0x1f, 0x9d, flags, _] if flags & 0x60 == 0 && (9..=16).contains(&(flags & 0x1f)) => {
            Some(FileKind::Compress)
        }
        // DEFLATE, without reserved flags (RFC 1952, 2.3.1).
        [0x1f, 0x8b, 8, flags] if flags & 0xe0 == 0 => Some(FileKind::Gzip),
        // Properties, the size of the dictionary, and the unpacked length: XZ
        // Utils takes only sizes of 2^n and 2^n + 2^(n-1) for the format.
        [0x5d, ..] if has_lzma_fields(head) == Some(true) => Some(FileKind::Lzma),
        // A frame that zstd and lz4 skip; pzstd begins with one.
        [0x50..=0x5f, 0x2a, 0x4d, 0x18] => {
            let next = (u32_at(head, 4)? as usize).saturating_add(8);
            has(head, next, b"\x28\xb5\x2f\xfd").then_some(FileKind::Zstd)
        }
        _ => None,
    }
}

fn has_lzma_fields(head: &[u8]) -> Option<bool> {
    let dictionary = u32_at(head, 1)?;
    let is_power = |n: u32| n.is_power_of_two();
    let is_size = is_power(dictionary) || dictionary % 3 == 0 && is_power(dictionary / 3);
    let is_length = matches!(head.get(11..13)?, [0, 0] | [0xff, 0xff]);
    Some(dictionary >= 4096 && is_size && is_length)
}

/// Disks, by the signature of a boot sector and a partition table or a BIOS
/// parameter block before it; file systems of the kind of ext2.
fn disk(head: &[u8]) -> Option<FileKind> {
    const SIGNATURE_AT: usize = 510;
    const TABLE: usize = 446;
    const ENTRY: usize = 16;
    if is_ext(head) == Some(true) {
        return Some(FileKind::FileSystem);
    }
    if !has(head, SIGNATURE_AT, b"\x55\xaa") {
        return None;
    }
    let mut entries = head[TABLE..SIGNATURE_AT].chunks_exact(ENTRY);
    let is_used = |entry: &[u8]| entry[4] != 0;
    let is_table = entries.clone().all(|entry| entry[0] & 0x7f == 0) && entries.any(is_used);
    let is_boot_code = matches!(
        head[..3],
        [0xeb, _, 0x90] | [0xe9, _, _] | [0xfa, ..] | [0x33, 0xc0, _]
    );
    (is_table || is_boot_code).then_some(FileKind::Disk)
}

/// Whether the super block of ext2, ext3 or ext4 follows the first KiB:
/// `s_magic`, and small numbers as `s_log_block_size`, `s_rev_level`.
fn is_ext(head: &[u8]) -> Option<bool> {
    let has_magic = u16_at(head, 0x438)? == 0xef53;
    Some(has_magic && u32_at(head, 0x418)? <= 6 && u32_at(head, 0x44c)? <= 1)
}
