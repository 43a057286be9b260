//! The built-in guest is what its documentation says, as a dump tool sees it.
#![cfg(feature = "demo")]
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use guestdump::abi::Utsname;
use guestdump::demo::{
    DEFAULT_SIZE, DemoError, DemoGuest, MAX_SIZE, MIN_SIZE, PageKind, WindowsGuest, WindowsKind,
};
use guestdump::memory::validate_ranges;
use guestdump::vmcoreinfo::Vmcoreinfo;
use guestdump::{GuestMemory, Machine, MemoryRange};
use zerocopy::FromBytes;

const PAGE: usize = 4096;

/// A guest of so many bytes has several pages of each table that grows with it.
const BIG: u64 = 16 << 40;

fn guest(size: u64) -> DemoGuest {
    DemoGuest::new(size).unwrap()
}

fn read(guest: &DemoGuest, gpa: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0xaa; len];
    guest.read(gpa, &mut bytes).unwrap();
    bytes
}

fn read_word(guest: &DemoGuest, gpa: u64) -> u64 {
    u64::from_le_bytes(read(guest, gpa, 8).try_into().unwrap())
}

fn pages(range: MemoryRange) -> impl Iterator<Item = u64> {
    (range.start()..range.end()).step_by(PAGE)
}

/// The page that begins with `OSRELEASE=`, found as a scan finds it.
fn vmcoreinfo(guest: &DemoGuest) -> Vmcoreinfo {
    let gpa = guest
        .ranges()
        .into_iter()
        .flat_map(pages)
        .find(|gpa| read(guest, *gpa, 10) == b"OSRELEASE=")
        .unwrap();
    Vmcoreinfo::parse(&read(guest, gpa, PAGE)).unwrap()
}

/// Translates a virtual address by the four-level page tables at `table`.
fn walk(guest: &DemoGuest, mut table: u64, vaddr: u64) -> Option<u64> {
    const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
    for shift in [39, 30, 21, 12] {
        let entry = read_word(guest, table + (vaddr >> shift) % 512 * 8);
        if entry & 1 == 0 {
            return None;
        }
        table = entry & ADDRESS;
        let is_large = entry & 0x80 != 0;
        if is_large || shift == 12 {
            let offset = (1 << shift) - 1;
            return Some((table & !offset) + (vaddr & offset));
        }
    }
    None
}

#[test]
fn sizes_are_checked() {
    for size in [MIN_SIZE, MIN_SIZE + 0x1000, DEFAULT_SIZE, 3 << 30, MAX_SIZE] {
        let guest = guest(size);
        let ranges = guest.ranges();
        validate_ranges(&ranges).unwrap();
        assert_eq!(ranges.iter().map(MemoryRange::size).sum::<u64>(), size);
        assert_eq!(guest.size(), size);
        for pair in ranges.windows(2) {
            assert!(pair[0].end() < pair[1].start(), "{ranges:?}");
        }
        assert!(ranges.last().unwrap().start() >= 4 << 30);
    }
    for size in [MIN_SIZE + 1, MIN_SIZE + 512] {
        assert_eq!(
            DemoGuest::new(size).err(),
            Some(DemoError::Unaligned { size })
        );
    }
    for size in [0, MIN_SIZE - 0x1000, MAX_SIZE + 0x1000, u64::MAX] {
        assert_eq!(DemoGuest::new(size).err(), Some(DemoError::Size { size }));
    }
}

#[test]
fn reads_of_any_size_agree() {
    let guest = guest(MIN_SIZE);
    for range in guest.ranges() {
        let len = range.size().min(2 << 20) as usize;
        let whole = read(&guest, range.start(), len);
        for (page, expected) in pages(range).zip(whole.chunks(PAGE)) {
            assert_eq!(read(&guest, page, PAGE), expected, "{page:#x}");
        }
        let (mut at, mut piece) = (0, 1);
        while at < len {
            let n = piece.min(len - at);
            let bytes = read(&guest, range.start() + at as u64, n);
            assert_eq!(bytes, whole[at..at + n], "{n} bytes at {at:#x}");
            at += n;
            piece = piece % 9000 + 37;
        }
    }
    assert_eq!(
        read(&guest, 0x20_0000, 1 << 20),
        read(&self::guest(MIN_SIZE), 0x20_0000, 1 << 20)
    );
}

#[test]
fn holes_are_no_ram() {
    let guest = guest(MIN_SIZE);
    let end = guest.ranges().last().unwrap().end();
    for gpa in [0x9_fff8, 0xa_0000, 0xf_fff8, 0xffff_fff8, end - 8, u64::MAX] {
        assert!(guest.read(gpa, &mut [0; 16]).is_err(), "{gpa:#x}");
    }
    assert_eq!(guest.page_kind(0xa_0000), None);
    assert_eq!(guest.page_kind(end), None);
    assert!(guest.page_kind(end - 1).is_some());
}

#[test]
fn kinds_are_what_they_say_in_their_proportions() {
    let guest = guest(DEFAULT_SIZE);
    let mut counts = HashMap::new();
    for page in guest.ranges().into_iter().flat_map(pages) {
        let kind = guest.page_kind(page).unwrap();
        assert_eq!(guest.page_kind(page + 0xfff), Some(kind));
        let is_zero = read(&guest, page, PAGE) == [0; PAGE];
        let expected = matches!(kind, PageKind::Zero | PageKind::Unpopulated);
        assert_eq!(is_zero, expected, "{kind:?} at {page:#x}");
        *counts.entry(kind).or_insert(0u64) += 1;
    }
    let percent = |kinds: &[PageKind]| {
        let pages: u64 = kinds.iter().map(|k| counts[k]).sum();
        pages * PAGE as u64 * 100 / DEFAULT_SIZE
    };
    use PageKind::{Random, Table, Text, Unpopulated, Zero};
    assert!((35..45).contains(&percent(&[Unpopulated, Zero])));
    assert!((20..30).contains(&percent(&[Unpopulated])));
    assert!((35..45).contains(&percent(&[Text, Table])));
    assert!((15..25).contains(&percent(&[Random])));
    assert!((1..100).contains(&counts[&PageKind::Kernel]));
}

#[test]
fn populated_extents_leave_out_what_was_never_touched() {
    let guest = guest(DEFAULT_SIZE);
    for range in guest.ranges() {
        // Also from the middle of an extent.
        let mut at = range.start() + 0x3000;
        while at < range.end() {
            let rest = MemoryRange::new(at, range.end() - at).unwrap();
            let found = guest.next_populated(rest).unwrap();
            let (start, end) = found.map_or((range.end(), range.end()), |e| (e.start(), e.end()));
            assert!(at <= start && start <= end && end <= range.end());
            let is_populated = |page| guest.page_kind(page) != Some(PageKind::Unpopulated);
            assert!(!(at..start).step_by(PAGE).any(is_populated));
            assert!((start..end).step_by(PAGE).all(is_populated));
            at = end;
        }
    }
}

#[test]
fn vmcoreinfo_leads_to_the_kernel() {
    for size in [MIN_SIZE, DEFAULT_SIZE, BIG, MAX_SIZE] {
        let guest = guest(size);
        let info = vmcoreinfo(&guest);
        assert_eq!(info.page_size(), Some(4096));
        assert_eq!(info.kernel_offset(), Some(0x1a00_0000));
        assert_ne!(info.number("phys_base"), Some(0));

        let physical = |vaddr| {
            Machine::X86_64
                .kernel_image_to_physical(vaddr, &info)
                .unwrap()
        };
        let top = physical(info.symbol("swapper_pg_dir").unwrap());
        let name = info.symbol("init_uts_ns").unwrap() + info.offset("uts_namespace.name").unwrap();
        let uts = read(&guest, physical(name), size_of::<Utsname>());
        assert_eq!(Utsname::read_from_bytes(&uts).unwrap(), guest.utsname());
        assert_eq!(Utsname::text(&guest.utsname().release), info.osrelease());
        assert_eq!(walk(&guest, top, name), Some(physical(name)));

        // The direct map has all RAM, and the bytes around the image nothing.
        for range in guest.ranges() {
            for gpa in [range.start(), range.end() - 1] {
                assert_eq!(walk(&guest, top, 0xffff_8880_0000_0000 + gpa), Some(gpa));
            }
        }
        let stext = info.symbol("_stext").unwrap();
        assert!(walk(&guest, top, stext).is_some());
        assert_eq!(walk(&guest, top, stext - 1), None);
        assert_eq!(walk(&guest, top, 0x1000), None);
    }
}

#[test]
fn the_note_lies_where_the_device_was_told() {
    let guest = guest(DEFAULT_SIZE);
    let (gpa, size) = guest.vmcoreinfo_note();
    assert_eq!(gpa % 4096, 0);
    let note = read(&guest, gpa, size as usize);
    let word = |at: usize| u32::from_le_bytes(note[at..at + 4].try_into().unwrap());
    assert_eq!((word(0), word(8)), (11, 0));
    assert_eq!(&note[12..24], b"VMCOREINFO\0\0");
    let text = &note[24..24 + word(4) as usize];
    assert_eq!(text, vmcoreinfo(&guest).text());

    let entry = guest.fw_cfg_entry();
    assert_eq!(entry[..4], [1, 0, 1, 0]);
    assert_eq!(entry[4..8], (size as u32).to_le_bytes());
    assert_eq!(entry[8..], gpa.to_le_bytes());
}

#[test]
fn sections_cover_all_ram() {
    for size in [MIN_SIZE, BIG, MAX_SIZE] {
        let guest = guest(size);
        let info = vmcoreinfo(&guest);
        let number = |name| info.number(name).unwrap() as u64;
        let physical = |vaddr| {
            Machine::X86_64
                .kernel_image_to_physical(vaddr, &info)
                .unwrap()
        };
        let top = physical(info.symbol("init_top_pgt").unwrap());
        let roots = info.symbol("mem_section").unwrap();
        let per_root = 4096 / info.size("mem_section").unwrap();
        let all = 1u64 << (number("MAX_PHYSMEM_BITS") - number("SECTION_SIZE_BITS"));
        assert_eq!(info.length("mem_section"), Some(all / per_root));
        // A section's struct page array, if it is there.
        let mem_map = |gpa: u64| {
            let section = gpa >> number("SECTION_SIZE_BITS");
            let root = walk(&guest, top, roots + section / per_root * 8).unwrap();
            let sections = walk(&guest, top, read_word(&guest, root)).unwrap();
            let word = read_word(&guest, sections + section % per_root * (4096 / per_root));
            (word & 1 == 1).then_some(word & !0x3f)
        };
        for range in guest.ranges() {
            for gpa in [range.start(), range.end() - 1] {
                let page = mem_map(gpa).unwrap() + gpa / 4096 * info.size("page").unwrap();
                let refcount = page + info.offset("page._refcount").unwrap();
                let refcount = walk(&guest, top, refcount).unwrap();
                assert_eq!(read(&guest, refcount, 4), [1, 0, 0, 0]);
            }
        }
        assert_eq!(mem_map(0xe000_0000), None);
    }
}

#[test]
fn cpus_run_in_the_kernel() {
    let guest = guest(MIN_SIZE);
    let info = vmcoreinfo(&guest);
    let physical = |vaddr| {
        Machine::X86_64
            .kernel_image_to_physical(vaddr, &info)
            .unwrap()
    };
    let cpus = guest.cpus();
    assert_eq!(cpus.len(), 2);
    for cpu in &cpus {
        assert_eq!(cpu.cr3, physical(info.symbol("init_top_pgt").unwrap()));
        assert_ne!(cpu.cr0 & cpu.cr4, 0);
        // In the GDT lies what the segment registers were loaded with.
        let gdt = walk(&guest, cpu.cr3, cpu.gdt.base).unwrap();
        for segment in [cpu.cs, cpu.ss] {
            let descriptor = read_word(&guest, gdt + u64::from(segment.selector));
            assert_eq!(descriptor >> 32, u64::from(segment.flags));
        }
        for vaddr in [cpu.rip, cpu.rsp, cpu.gs.base, cpu.tr.base, cpu.idt.base] {
            assert!(walk(&guest, cpu.cr3, vaddr).is_some(), "{vaddr:#x}");
        }
        // A frame: the next one's address and a return address in the code.
        let frame = walk(&guest, cpu.cr3, cpu.rbp).unwrap();
        assert_eq!(read_word(&guest, frame), cpu.rbp + 16);
        assert!(read_word(&guest, frame + 8) > info.symbol("_stext").unwrap());
    }
    assert_ne!(cpus[0].rsp, cpus[1].rsp);
    assert_ne!(cpus[0].gs.base, cpus[1].gs.base);
    assert_ne!(cpus[0].kernel_gs_base, cpus[1].kernel_gs_base);
}

#[test]
fn the_windows_guest_is_what_it_says_of_its_pages() {
    for kind in WindowsKind::ALL {
        check_windows(kind);
    }
}

fn check_windows(kind: WindowsKind) {
    let guest = WindowsGuest::of_kind(kind, 32 << 20).unwrap();
    let same = WindowsGuest::of_kind(kind, 32 << 20).unwrap();
    let mut kernel = 0;
    for range in guest.ranges() {
        for gpa in (range.start()..range.end()).step_by(4096) {
            let (mut page, mut other) = ([1; 4096], [2; 4096]);
            guest.read(gpa, &mut page).unwrap();
            same.read(gpa, &mut other).unwrap();
            assert!(page == other, "{gpa:#x}");
            let kind = guest.page_kind(gpa).unwrap();
            let zero = page.iter().all(|b| *b == 0);
            if matches!(kind, PageKind::Unpopulated | PageKind::Zero) {
                assert!(zero, "{gpa:#x}");
            }
            kernel += u32::from(kind == PageKind::Kernel);
            let page = MemoryRange::new(gpa, 4096).unwrap();
            let populated = guest.next_populated(page).unwrap();
            assert_eq!(populated.is_none(), kind == PageKind::Unpopulated);
        }
        assert!(guest.read(range.end() - 1, &mut [0; 2]).is_err());
    }
    assert!(kernel > 20, "{kernel}");
    assert_eq!(guest.page_kind(u64::MAX), None);
    let gpa = guest.translate(guest.kernel_base()).unwrap();
    let mut magic = [0; 2];
    guest.read(gpa, &mut magic).unwrap();
    assert_eq!(magic, *b"MZ");
    assert_eq!(guest.translate(0), None);
    assert_eq!(guest.kind(), kind);
    let max = kind.max_size();
    let sizes = guest.ranges().into_iter().map(|range| range.size());
    assert_eq!(sizes.sum::<u64>(), 32 << 20);
    let error = |size| WindowsGuest::of_kind(kind, size).err();
    assert_eq!(
        error(MIN_SIZE - 4096),
        Some(DemoError::Size {
            size: MIN_SIZE - 4096
        })
    );
    assert_eq!(
        error(MIN_SIZE + 1),
        Some(DemoError::Unaligned { size: MIN_SIZE + 1 })
    );
    let size = max + 4096;
    assert_eq!(error(size), Some(DemoError::TooLarge { size, max }));
    let largest = WindowsGuest::of_kind(kind, max).unwrap();
    let end = largest.ranges().last().unwrap().end();
    let address_bits = match kind {
        WindowsKind::X86_64 => 46,
        WindowsKind::I386 => 36,
        _ => 32,
    };
    assert!(end <= 1 << address_bits, "{end:#x}");
}
