//! Where the RAM in a file without headers lies, by the kernel in it.
#![cfg(all(feature = "demo", feature = "file"))]
#![allow(missing_docs, clippy::unwrap_used)]

use std::io;
use std::ops::Range;
use std::sync::Arc;

use guestdump::abi::Utsname;
use guestdump::demo::DemoGuest;
use guestdump::ram_layout::{LayoutError, RamLayout, find};
use guestdump::read::ReadAt;
use guestdump::{GuestMemory, Machine, MemoryRange, Progress, Workers};
use zerocopy::IntoBytes;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A file that is a hole but for some bytes.
#[derive(Default)]
struct Sparse {
    len: u64,
    /// Offset and bytes, ascending.
    data: Vec<(u64, Vec<u8>)>,
}

impl Sparse {
    /// With the populated memory of `guest` from `gpa` on at `offset`.
    fn with(mut self, guest: &DemoGuest, gpa: u64, size: u64, offset: u64) -> Self {
        let mut rest = MemoryRange::new(gpa, size).ok();
        while let Some(part) = rest {
            let Some(extent) = guest.next_populated(part).unwrap() else {
                break;
            };
            let mut bytes = vec![0; extent.size() as usize];
            guest.read(extent.start(), &mut bytes).unwrap();
            self.data.push((offset + extent.start() - gpa, bytes));
            rest = MemoryRange::new(extent.end(), part.end() - extent.end()).ok();
        }
        self
    }

    fn find(self, machine: Option<Machine>) -> Result<Option<RamLayout>, LayoutError> {
        let file: Arc<dyn ReadAt> = Arc::new(self);
        find(&file, machine, None, &Workers::new())
    }
}

impl ReadAt for Sparse {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        buf.fill(0);
        for (at, bytes) in &self.data {
            let start = (*at).max(offset);
            let end = (at + bytes.len() as u64).min(offset + buf.len() as u64);
            if start < end {
                let from = &bytes[(start - at) as usize..(end - at) as usize];
                buf[(start - offset) as usize..(end - offset) as usize].copy_from_slice(from);
            }
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    fn next_data(&self, offset: u64, end: u64) -> io::Result<Option<Range<u64>>> {
        let parts = self.data.iter().map(|(at, bytes)| {
            let start = (*at).max(offset);
            start..(at + bytes.len() as u64).min(end)
        });
        Ok(parts
            .filter(|part| !part.is_empty())
            .min_by_key(|part| part.start))
    }
}

/// Guest-physical address, size and file offset of each piece.
fn pieces(layout: &RamLayout) -> Vec<(u64, u64, u64)> {
    let each = layout.pieces.iter();
    each.map(|p| (p.range.start(), p.range.size(), p.offset))
        .collect()
}

/// A demo guest with 3 GiB of RAM below 4 GiB and 4 GiB above. Its direct map says so.
fn large_demo() -> DemoGuest {
    DemoGuest::new(7 * GIB - 0x6_0000).unwrap()
}

#[test]
fn a_pc_with_more_than_3_gib_is_split_where_its_kernel_says() {
    let guest = large_demo();
    let file = Sparse {
        len: 7 * GIB,
        ..Sparse::default()
    }
    .with(&guest, MIB, 7 * MIB, MIB)
    .with(&guest, 4 * GIB, 16 * MIB, 3 * GIB);
    let layout = file.find(None).unwrap().unwrap();
    assert_eq!((layout.machine, layout.is_proven), (Machine::X86_64, true));
    assert_eq!(
        pieces(&layout),
        [
            (0, 0xa_0000, 0),
            (0xc_0000, 3 * GIB - 0xc_0000, 0xc_0000),
            (4 * GIB, 4 * GIB, 3 * GIB),
        ]
    );
}

#[test]
fn an_image_of_guest_physical_memory_contains_the_hole() {
    let guest = large_demo();
    let file = Sparse {
        len: 8 * GIB,
        ..Sparse::default()
    }
    .with(&guest, MIB, 7 * MIB, MIB)
    .with(&guest, 4 * GIB, 16 * MIB, 4 * GIB);
    let layout = file.find(None).unwrap().unwrap();
    assert_eq!(
        pieces(&layout),
        [
            (0, 0xa_0000, 0),
            (0xc_0000, 3 * GIB - 0xc_0000, 0xc_0000),
            (4 * GIB, 4 * GIB, 4 * GIB),
        ]
    );
}

/// A file of 64 MiB with a kernel whose `init_uts_ns` lies at 1 MiB.
fn other_architecture(uname: &str, init_uts_ns: u64, more: &str) -> Sparse {
    let uts = Utsname {
        sysname: Utsname::field("Linux"),
        release: Utsname::field("6.1.0-other"),
        machine: Utsname::field(uname),
        ..Utsname::default()
    };
    let info = format!(
        "OSRELEASE=6.1.0-other\nPAGESIZE=4096\nSYMBOL(init_uts_ns)={init_uts_ns:x}\n\
         OFFSET(uts_namespace.name)=0\n{more}\0"
    );
    Sparse {
        len: 64 * MIB,
        data: vec![(MIB, uts.as_bytes().to_vec()), (2 * MIB, info.into_bytes())],
    }
}

#[test]
fn the_machine_and_the_beginning_of_ram_are_the_kernels() {
    let riscv = "NUMBER(phys_ram_base)=2147483648\nNUMBER(KERNEL_LINK_ADDR)=0xffffffff80000000\n\
                 NUMBER(va_kernel_pa_offset)=0xffffffff00000000\n";
    // Firecracker's RAM of arm64 guests begins at 2 GiB.
    let firecracker = "NUMBER(kimage_voffset)=0xffff7fff88000000\nNUMBER(PHYS_OFFSET)=0x80000000\n";
    for (machine, uname, init_uts_ns, more, start) in [
        (
            Machine::Aarch64,
            "aarch64",
            0xffff_8000_0810_0000,
            "NUMBER(kimage_voffset)=0xffff7fffc8000000\n",
            GIB,
        ),
        (
            Machine::Aarch64,
            "aarch64",
            0xffff_8000_0810_0000,
            firecracker,
            2 * GIB,
        ),
        (
            Machine::Riscv64,
            "riscv64",
            0xffff_ffff_8010_0000,
            riscv,
            2 * GIB,
        ),
        (Machine::Ppc64le, "ppc64le", 0xc000_0000_0010_0000, "", 0),
        (Machine::Ppc64, "ppc64", 0xc000_0000_0010_0000, "", 0),
        // With KASLR, PHYS_OFFSET is moved.
        (
            Machine::Aarch64,
            "aarch64",
            0xffff_8000_0810_0000,
            "NUMBER(kimage_voffset)=0xffff7fff88000000\nNUMBER(PHYS_OFFSET)=0xffffe00080000000\n",
            2 * GIB,
        ),
    ] {
        let file = || other_architecture(uname, init_uts_ns, more);
        let layout = file().find(None).unwrap().unwrap();
        // How much RAM there is, these kernels are not asked.
        assert_eq!((layout.machine, layout.is_proven), (machine, false));
        assert_eq!(pieces(&layout), [(start, 64 * MIB, 0)]);
        assert_eq!(file().find(Some(machine)).unwrap(), Some(layout));
        let error = file().find(Some(Machine::X86_64)).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("6.1.0-other") && error.contains("x86_64"),
            "{error}"
        );
    }
}

#[test]
fn what_is_not_proven_is_said_or_refused() {
    let i386 = |len| Sparse {
        len,
        ..other_architecture("i686", 0xc010_0000, "")
    };
    // No check of page tables for i386, but QEMU does not split so little.
    let layout = i386(2 * GIB).find(None).unwrap().unwrap();
    assert_eq!((layout.machine, layout.is_proven), (Machine::I386, false));
    assert_eq!(layout.pieces.last().unwrap().range.end(), 2 * GIB);
    let error = i386(5 * GIB).find(None).unwrap_err();
    assert!(matches!(error, LayoutError::Ambiguous { .. }), "{error}");
    // QEMU has had two places for the RAM above 256 MiB.
    let loongarch = Sparse {
        len: GIB,
        ..other_architecture("loongarch64", 0x9000_0000_0010_0000, "")
    };
    let error = loongarch.find(None).unwrap_err();
    assert!(matches!(error, LayoutError::Ambiguous { .. }), "{error}");
    // The direct map of a kernel whose RAM is cut short.
    let guest = large_demo();
    let file = Sparse {
        len: 6 * GIB,
        ..Sparse::default()
    };
    let error = file.with(&guest, MIB, 7 * MIB, MIB).find(None).unwrap_err();
    assert!(matches!(error, LayoutError::OtherRam { .. }), "{error}");
    // A kernel that is elsewhere.
    let mut file = other_architecture("aarch64", 0xffff_8000_0810_0000, "");
    let error = file.find(None).unwrap_err();
    assert!(matches!(error, LayoutError::NotVerified { .. }), "{error}");
    // Nothing at all.
    file = Sparse {
        len: 64 * MIB,
        ..Sparse::default()
    };
    assert_eq!(file.find(None).unwrap(), None);
    assert_eq!(Sparse::default().find(None).unwrap(), None);
}

#[test]
fn vmcoreinfo_of_the_caller_tells_as_well() {
    let file = other_architecture(
        "aarch64",
        0xffff_8000_0810_0000,
        "NUMBER(kimage_voffset)=0xffff7fffc8000000\n",
    );
    let mut file = file;
    let (_, info) = file.data.pop().unwrap();
    let file: Arc<dyn ReadAt> = Arc::new(file);
    let workers = Workers::new();
    let layout = find(&file, None, Some(&info), &workers).unwrap().unwrap();
    assert_eq!(layout.pieces[0].range.start(), GIB);
    // It may be of another guest.
    let other = b"OSRELEASE=5.10.0\n";
    assert_eq!(find(&file, None, Some(other), &workers).unwrap(), None);
}

/// The kernel has the same place if RAM begins at 0 and if the file is an image.
#[test]
fn an_image_of_an_arm64_guest_is_not_ram_from_0_on() {
    let file = |at: u64| {
        let voffset = 0xffff_8000_0810_0000 - at;
        let more = format!("NUMBER(kimage_voffset)={voffset:#x}\n");
        let mut file = other_architecture("aarch64", 0xffff_8000_0810_0000, &more);
        file.len = 2 * GIB;
        for (offset, _) in &mut file.data {
            *offset += at - MIB;
        }
        file.find(None).unwrap().unwrap()
    };
    assert_eq!(pieces(&file(GIB + MIB)), [(GIB, GIB, GIB)]);
    assert_eq!(pieces(&file(MIB)), [(0, 2 * GIB, 0)]);
}

#[test]
fn a_search_can_be_cancelled() {
    let progress = Progress::new();
    progress.cancel();
    let file = other_architecture("ppc64le", 0xc000_0000_0010_0000, "");
    let file: Arc<dyn ReadAt> = Arc::new(file);
    let workers = Workers::new().progress(progress);
    let error = find(&file, None, None, &workers).unwrap_err();
    assert!(matches!(error, LayoutError::Cancelled), "{error}");
}
