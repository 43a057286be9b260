#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;
use std::ops::Range;

/// A file's first bytes, with zeroes after them.
fn padded(begin: &[u8]) -> Vec<u8> {
    let mut bytes = begin.to_vec();
    bytes.resize(bytes.len() + 8192, 0);
    bytes
}

/// `bytes` at an offset in a file of zeroes.
fn at(offset: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = vec![0; FileKind::HEAD_SIZE];
    file[offset..][..bytes.len()].copy_from_slice(bytes);
    file
}

#[test]
fn kinds_are_recognised_by_their_first_bytes() {
    use FileKind::*;
    for (begin, kind) in [
        (&b"KDUMP   \x06\0\0\0"[..], Kdump),
        (b"makedumpfile\0\0\0\0\0\0\0\0\0\0\0\x01", Flattened),
        (b"PAGEDU64", WindowsDump),
        (b"PAGEDUMP", WindowsDump),
        (b"\0\0\0\0DU64", WindowsDump),
        (b"\x1f\x8b\x08\x08", Gzip),
        (b"\x28\xb5\x2f\xfd\x24", Zstd),
        (b"\x50\x2a\x4d\x18\x04\0\0\0....\x28\xb5\x2f\xfd", Zstd),
        (b"\xfd7zXZ\0\0\x04", Xz),
        (b"\x5d\0\0\x80\0\xff\xff\xff\xff\xff\xff\xff\xff\0", Lzma),
        (b"BZh91AY&SY", Bzip2),
        (b"\x04\x22\x4d\x18\x64", Lz4),
        (b"\x02\x21\x4c\x18", Lz4),
        (b"\x89LZO\0\r\n\x1a\n", Lzop),
        (b"LZIP\x01", Lzip),
        (b"LRZI", Lrzip),
        (b"\xff\x06\0\0sNaPpY", Snappy),
        (b"\x1f\x9d\x90", Compress),
        (b"PK\x03\x04", Zip),
        (b"070701", Cpio),
        (b"LibvirtQemudSave\x02\0\0\0", LibvirtSave),
        (b"LibvirtQemudPart\x02\0\0\0", LibvirtPartialSave),
        (b"QEVM\0\0\0\x03", QemuMigration),
        (b"\0\0\x64\x86\x84\x19\x10\x07", FirecrackerState),
        (b"\0\0\0\x64\x86\x84\x19\x10\x07\x06", FirecrackerState),
        (b"Xen saved domain, xl format\n \0 \r", XenSave),
        (b"LinuxGuestRecord", XenSave),
        (b"LibxlFmt\0\0\0\x02", XenSave),
        (b"\xff\xff\xff\xff\xff\xff\xff\xffXENF\0\0\0\x03", XenSave),
        (b"\xed\xeb\x0f\xf0", XenOldCore),
        (b"\x7fVirtualBox SavedState V2.0\n\0\0\0", VirtualBoxState),
        (b"\x7fVirtualBox SavedState V1.2\n\0\0\0", VirtualBoxState),
        (b"\xd2\xbe\xd2\xbe\x08\0\0\0", VmwareState),
        (b"\xd0\xbe\xd2\xbe\x08\0\0\0", VmwareState),
        (b"\xd1\xba\xd1\xba\x08\0\0\0", VmwareState),
        (b"\x14\x20\x28\x01", HyperVState),
        (b"EMiL\x01\0\0\0", Lime),
        (b"AVML\x02\0\0\0", Avml),
        (b"ZDMP\x01\0\0\0", Zdmp),
        (b"sadump\0\0", Sadump),
        (b"\xed\x23\x8f\x61\x73\x01\x19\xa8", Lkcd),
        (b"\xa8\x19\x01\x73\x61\x8f\x23\xfd", S390),
        (b"\xa8\x19\x01\x73\x61\x8f\x23\xfe", S390),
        (b"DISKDUMP\0\0\0\0", Diskdump),
        (b"diskdump", DiskdumpPartition),
        (b"minidump FreeBSD/amd64\0", FreebsdMinidump),
        (b"MDMP\x93\xa7", Minidump),
        (b"hibr", Hiberfil),
        (b"HIBR", Hiberfil),
        (b"wake", Hiberfil),
        (b"EVF\x09\r\n\xff\0", Ewf),
        (b"EVF2\r\n\x81\0", Ewf),
        (b"\xed\xab\xee\xdb\x03\0", Rpm),
        (b"RSTR", Hiberfil),
        (
            b"\xcf\xfa\xed\xfe\x07\0\0\x01\x03\0\0\0\x04\0\0\0",
            MachCore,
        ),
        (
            b"\xcf\xfa\xed\xfe\x07\0\0\x01\x03\0\0\0\x02\0\0\0",
            MachProgram,
        ),
        (b"QFI\xfb\0\0\0\x03", Qcow),
        (b"QED\0", Qed),
        (b"KDMV\x01\0\0\0", Vmdk),
        (b"# Disk DescriptorFile\nversion=1", Vmdk),
        (b"conectix", Vhd),
        (b"vhdxfile", Vhdx),
        (b"LUKS\xba\xbe\0\x02", Luks),
        (b"hsqs", FileSystem),
        (b"\xeb\x52\x90NTFS    ", FileSystem),
        (b"\xd0\x0d\xfe\xed", DeviceTree),
    ] {
        assert_eq!(
            FileKind::recognise(&padded(begin)),
            Some(kind),
            "{begin:x?}"
        );
    }
    for (offset, bytes, kind) in [
        (257, &b"ustar\0"[..], Tar),
        (4096, b"sadump\0\0", Sadump),
        (0x40, b"\x7f\x10\xda\xbe", Vdi),
        (0xff6, b"SWAPSPACE2", Swap),
        (0xfec, b"SWAPSPACE2S1SUSPEND\0", Swap),
        (0xfff6, b"SWAPSPACE2", Swap),
        (0x8001, b"CD001", Iso),
        (0x10040, b"_BHRfS_M", FileSystem),
        (0x438, b"\x53\xef", FileSystem),
        (514, b"HdrS", KernelImage),
        (0x38, b"ARM\x64", KernelImage),
    ] {
        assert_eq!(
            FileKind::recognise(&at(offset, bytes)),
            Some(kind),
            "{offset:#x}"
        );
    }
}

#[test]
fn programs_and_cores_differ_by_their_type() {
    let elf = |class: u8, data: u8, e_type: [u8; 2]| {
        let mut head = b"\x7fELF".to_vec();
        head.extend([class, data, 1]);
        head.resize(16, 0);
        head.extend(e_type);
        FileKind::recognise(&padded(&head))
    };
    assert_eq!(elf(2, 1, [4, 0]), Some(FileKind::ElfCore));
    assert_eq!(elf(1, 2, [0, 4]), Some(FileKind::ElfCore));
    assert_eq!(elf(2, 1, [2, 0]), Some(FileKind::ElfProgram));
    assert_eq!(elf(2, 2, [0, 3]), Some(FileKind::ElfProgram));
    let mut pe = at(0, b"MZ");
    pe[0x3c] = 0x80;
    assert_eq!(FileKind::recognise(&pe), None);
    pe[0x80..0x84].copy_from_slice(b"PE\0\0");
    assert_eq!(FileKind::recognise(&pe), Some(FileKind::Pe));
}

#[test]
fn a_disk_has_a_boot_sector_with_partitions_or_code() {
    let mut disk = at(510, b"\x55\xaa");
    assert_eq!(FileKind::recognise(&disk), None);
    disk[446 + 4] = 0xee;
    assert_eq!(FileKind::recognise(&disk), Some(FileKind::Disk));
    disk[446] = 0x12;
    assert_eq!(FileKind::recognise(&disk), None);
    disk[..3].copy_from_slice(b"\xeb\x58\x90");
    assert_eq!(FileKind::recognise(&disk), Some(FileKind::Disk));
}

#[test]
fn text_is_named_and_memory_is_not() {
    assert_eq!(
        FileKind::recognise(b"{\"vcpus\": 2}\n"),
        Some(FileKind::Text)
    );
    assert_eq!(
        FileKind::recognise("[0.0] \x1b[1mgr\u{fc}n".as_bytes()),
        Some(FileKind::Text)
    );
    assert_eq!(FileKind::recognise(b"wake up\n"), Some(FileKind::Text));
    assert_eq!(FileKind::recognise(b"text\0"), None);
    let utf16 = |text: &str, of: fn(u16) -> [u8; 2]| -> Vec<u8> {
        let units = [0xfeff].into_iter().chain(text.encode_utf16());
        units.flat_map(of).collect()
    };
    for of in [u16::to_le_bytes, u16::to_be_bytes] {
        let text = utf16("gr\u{fc}n \u{1f600}\r\n", of);
        assert_eq!(FileKind::recognise(&text), Some(FileKind::Text));
        // The end cuts a pair of units.
        assert_eq!(FileKind::recognise(&text[..14]), Some(FileKind::Text));
        assert_eq!(FileKind::recognise(&utf16("a\0b", of)), None);
        assert_eq!(FileKind::recognise(&utf16("", of)), None);
    }
    assert_eq!(
        FileKind::recognise(b"caf\xe9 log line\n"),
        Some(FileKind::Text)
    );
    assert_eq!(FileKind::recognise(&[0xff; 4096]), None);
    assert_eq!(FileKind::recognise(b"caf\xe9\0"), None);
    // The interrupt vectors of a PC, as SeaBIOS leaves them.
    let vectors: Vec<u8> = [0x53, 0xff, 0x00, 0xf0].repeat(256);
    assert_eq!(FileKind::recognise(&padded(&vectors)), None);
    let noise = [0x5d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(FileKind::recognise(&padded(&noise)), None);
    for head in [
        &[][..],
        &[0],
        &[0; 4096],
        b"BZh9",
        b"\x7fELF",
        b"MZ",
        b"\x1f\x9d\xff\xff",
    ] {
        let kind = FileKind::recognise(head);
        assert!(
            matches!(kind, None | Some(FileKind::Text)),
            "{head:x?}: {kind:?}"
        );
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_kind_or_none(
        begin in prop::sample::select(magic::FIXED),
        bytes in prop::collection::vec(any::<u8>(), 0..1200),
    ) {
        let _ = FileKind::recognise(&bytes);
        let _ = FileKind::recognise(&[begin.bytes, &bytes].concat());
        let _ = FileKind::of(&bytes).unwrap();
    }
}

/// A file of a length, of which bytes are `data` only at its end.
struct Sparse(u64, Vec<u8>);

impl ReadAt for Sparse {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let data_at = self.0 - self.1.len() as u64;
        for (at, byte) in (offset..).zip(buf) {
            *byte = at.checked_sub(data_at).map_or(0, |at| self.1[at as usize]);
        }
        Ok(())
    }
    fn len(&self) -> io::Result<u64> {
        Ok(self.0)
    }
    fn next_data(&self, _: u64, end: u64) -> io::Result<Option<Range<u64>>> {
        let data_at = self.0 - self.1.len() as u64;
        Ok((data_at < end).then_some(data_at..end))
    }
}

#[test]
fn empty_and_zero_files_and_footers_are_named() {
    let of = |input: &dyn ReadAt| FileKind::of(input).unwrap();
    assert_eq!(of(&Vec::new()), Some(FileKind::Empty));
    assert_eq!(of(&vec![0; 100]), Some(FileKind::AllZero));
    assert_eq!(of(&Sparse(1 << 40, Vec::new())), Some(FileKind::AllZero));
    assert_eq!(
        of(&Sparse(1 << 40, vec![1; 4096])),
        Some(FileKind::BeginsWithZeroes)
    );
    let footer = |text: &[u8]| Sparse(1 << 30, padded(text)[..512].to_vec());
    assert_eq!(of(&footer(b"conectix")), Some(FileKind::Vhd));
    assert_eq!(of(&footer(b"koly")), Some(FileKind::Dmg));
    assert_eq!(
        of(&footer(b"FreeBSD Kernel Dump\0")),
        Some(FileKind::FreebsdPartition)
    );
    assert_eq!(
        of(&footer(b"FreeBSD Text Dump\0")),
        Some(FileKind::FreebsdTextDump)
    );
    assert_eq!(of(&vec![7; 100]), None);
}

#[test]
fn every_kind_says_what_to_do() {
    for kind in FileKind::ALL {
        assert!(!kind.to_string().is_empty() && !kind.advice().is_empty());
        assert!(!kind.advice().ends_with('.'), "{kind:?}");
        if kind.is_readable_dump() {
            assert!(kind.advice().contains("vmcore:PATH"));
        }
    }
    assert!(FileKind::Xz.is_compressed() && !FileKind::Zip.is_compressed());
    assert!(FileKind::KernelImage.may_be_memory() && !FileKind::Qcow.may_be_memory());
}
