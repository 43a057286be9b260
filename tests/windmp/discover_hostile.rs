//! Guests that do not want to be understood: each is refused with a typed
//! error, or dumped, after a limited number of reads.

use std::sync::atomic::Ordering;

use guestdump::demo::WindowsGuest;
use guestdump::guest::windows::WinDmpError;
use guestdump::{Format, dump};
use testkit::options::With;
use testkit::{PAGE, to_buffer};

use super::discover_support::{Altered, SIZE, refused};

/// As src/guest/windows/discover/memory.rs has them.
const MAX_READS: u64 = 1 << 20;
const MAX_BYTES: u64 = 256 << 20;

fn base() -> u64 {
    Altered::crashed().guest.kernel_base()
}

/// What the search reads.
fn check_work(memory: &Altered) {
    let reads = memory.reads.load(Ordering::Relaxed);
    let bytes = memory.bytes_read.load(Ordering::Relaxed);
    assert!(reads <= MAX_READS, "{reads} reads");
    assert!(bytes <= MAX_BYTES, "{bytes} bytes");
}

#[track_caller]
fn no_kernel(memory: Altered) {
    let error = refused(&memory, &memory.options(Format::WIN_DMP));
    assert!(matches!(error, WinDmpError::NoKernel { .. }), "{error}");
    check_work(&memory);
}

#[track_caller]
fn no_kdbg(memory: Altered) {
    let error = refused(&memory, &memory.options(Format::WIN_DMP));
    assert_eq!(error, WinDmpError::NoKdbg { base: base() });
    check_work(&memory);
}

#[test]
fn images_that_do_not_fit_are_no_kernel() {
    let nt = base() + 0x108;
    let crashed = Altered::crashed;
    no_kernel(crashed().put(base(), b"ZM"));
    no_kernel(crashed().put(nt, b"NE\0\0"));
    for e_lfanew in [u32::MAX, 0x40_0000, 0xff0] {
        no_kernel(crashed().put(base() + 0x3c, &e_lfanew.to_le_bytes()));
    }
    // Machine, magic, size.
    no_kernel(crashed().put(nt + 4, &[0x4c, 0x01]));
    no_kernel(crashed().put(nt + 24, &[0x0b, 0x01]));
    for size in [0, 0xfff, (64 << 20) + 1, u32::MAX] {
        no_kernel(crashed().put(nt + 24 + 56, &u32::to_le_bytes(size)));
    }
    // Not where a handler is, by the IDT; the scan does not mind.
    let memory = crashed().put(nt + 24 + 56, &0x1000u32.to_le_bytes());
    no_kernel(memory);
    // Some driver, which has other names.
    let memory = crashed()
        .put(base() + 0x8_1100 + 24, b"driver.pdb\0\0\0")
        .put(nt + 24 + 112, &[0; 8]);
    no_kernel(memory);
}

#[test]
fn directories_that_lead_out_of_the_image_are_ignored() {
    let exports = base() + 0x8_0000;
    let nt = base() + 0x108;
    for rva in [0, 0xf_fff0, 0x10_0000, u32::MAX] {
        // Still known by its symbols; nothing is exported, so that the
        // version comes from the shared page.
        let memory = Altered::crashed().put(nt + 24 + 112, &u32::to_le_bytes(rva));
        to_buffer(&memory, &memory.options(Format::WIN_DMP).filter(0, PAGE));
        // Name, functions, names, ordinals.
        for field in [12, 28, 32, 36] {
            let memory = Altered::crashed().put(exports + field, &u32::to_le_bytes(rva));
            to_buffer(&memory, &memory.options(Format::WIN_DMP).filter(0, PAGE));
        }
    }
    for count in [0, 1, 1 << 16, u32::MAX] {
        let memory = Altered::crashed().put(exports + 24, &count.to_le_bytes());
        to_buffer(&memory, &memory.options(Format::WIN_DMP).filter(0, PAGE));
    }
}

#[test]
fn blocks_that_do_not_fit_are_no_kdbg() {
    let crashed = Altered::crashed;
    let kdbg = crashed().guest.kdbg();
    let head = base() + 0x9_1040;
    no_kdbg(crashed().put(kdbg + 0x10, b"KDBX"));
    for size in [0, 0x288, 0x381, 0x808, u32::MAX] {
        no_kdbg(crashed().put(kdbg + 0x14, &size.to_le_bytes()));
    }
    no_kdbg(crashed().put_word(kdbg + 0x18, base() + 0x1000));
    // The list: to nowhere, to itself only, to one that does not point back.
    for link in [0, u64::MAX - 7, 0xffff_d50f_4000_0000, kdbg] {
        no_kdbg(crashed().put_word(kdbg, link));
    }
    no_kdbg(crashed().put_word(head, head));
    no_kdbg(crashed().put_word(head + 8, kdbg + 8));
    // Encoded with a word that does not fit, and cut off.
    let live = || Altered::new(WindowsGuest::new(SIZE).unwrap().live());
    no_kdbg(live().put(kdbg + 0x10, &[0xa5]));
    no_kdbg(live().put(kdbg + 0x18, &[0xa5]));
    no_kdbg(live().unmap(kdbg + 0xf8));
    no_kdbg(crashed().unmap(kdbg + 0xf8));
}

#[test]
fn false_blocks_before_the_true_one_do_not_matter() {
    // Each has the tag, a size and the base, and a list that ends nowhere.
    let mut memory = Altered::crashed();
    let kdbg = memory.guest.kdbg();
    let tag: u64 = u64::from(u32::from_le_bytes(*b"KDBG")) | 0x380 << 32;
    for at in [0x9_0000, 0x9_0ff0, 0x9_0ff8, 0xa_fff0, 0xa_fff8] {
        let word = base() + at;
        memory = memory.put_word(word, tag);
        if at != 0xa_fff8 {
            memory = memory.put_word(word + 8, base());
        }
    }
    let (bytes, _) = to_buffer(&memory, &memory.options(Format::WIN_DMP));
    assert_eq!(bytes[0x80..0x88], kdbg.to_le_bytes());
}

#[test]
fn endless_list_of_processors_ends_at_2048() {
    // Page after page of pointers to one page, mapped again and again: every
    // one of its words is a pointer, and the number at its place is the
    // index's lower half.
    let memory = Altered::crashed();
    let block = memory.guest.kdbg() + 0x218;
    let number = memory.guest.kdbg() + 0x2be;
    // The numbers cannot be read: each KPRCB counts.
    let prcbs = 0xffff_f802_4a2c_8000u64;
    let mut memory = memory
        .put_word(block, prcbs)
        .put(number, &0xffffu16.to_le_bytes());
    let page: Vec<u8> = 0xffff_d50f_4000_0000u64
        .to_le_bytes()
        .repeat(PAGE as usize / 8);
    let gpa = memory.gpa(prcbs);
    memory = memory.put_physical(gpa, &page);
    let entry = memory.page_table_entry(prcbs);
    for n in 1..16u64 {
        memory = memory.put_physical(entry + n * 8, &(gpa | 0x63).to_le_bytes());
    }
    let mut sink = guestdump::sink::BufferSink::new();
    let filter = memory.options(Format::WIN_DMP).filter(0, PAGE);
    dump(&memory, &mut sink, &filter).unwrap();
    let header = sink.into_bytes();
    assert_eq!(header[0x34..0x38], 2048u32.to_le_bytes());
    check_work(&memory);
}

#[test]
fn kernel_without_processors_is_refused() {
    let memory = Altered::crashed();
    let block = memory.guest.processor_block();
    let memory = memory.put_word(block, 0);
    let error = refused(&memory, &memory.options(Format::WIN_DMP));
    assert!(
        matches!(error, WinDmpError::NumberProcessors { count: 0, .. }),
        "{error}"
    );
}

#[test]
fn page_tables_that_map_themselves_end_the_search() {
    // All of the first table's entries are for itself: every address is
    // mapped, to page tables.
    let memory = Altered::crashed();
    let root = memory.guest.directory_table_base();
    let page: Vec<u8> = (root | 0x63).to_le_bytes().repeat(PAGE as usize / 8);
    no_kernel(memory.put_physical(root, &page));
}

#[test]
fn page_tables_that_map_ram_everywhere_take_no_longer() {
    // All of RAM at every address but those of the kernel and of the page that
    // it shares: billions of pages that are none of its.
    let pointers = 0x70_0000;
    let large: Vec<u8> = 0x1e3u64.to_le_bytes().repeat(PAGE as usize / 8);
    let guest = WindowsGuest::new(1 << 30).unwrap();
    let mut memory = Altered::new(guest)
        .put(base(), b"ZM")
        .put_physical(pointers, &large);
    let root = memory.guest.directory_table_base();
    let used = [base(), 0xffff_f780_0000_0000].map(|vaddr| vaddr >> 39 & 511);
    for entry in (256..512).filter(|entry| !used.contains(entry)) {
        memory = memory.put_physical(root + entry * 8, &(pointers | 0x63).to_le_bytes());
    }
    no_kernel(memory);
}

#[test]
fn many_interrupt_handlers_end_the_search() {
    // Of each CPU another handler, and a kernel below none of them.
    let memory = Altered::crashed().put(base(), b"ZM");
    let mut cpus = memory.guest.cpus();
    cpus.resize(200, cpus[0]);
    for (n, cpu) in (0u64..).zip(&mut cpus) {
        cpu.idt.base = cpus_idt(&memory) + n * 16;
    }
    let options = memory.options(Format::WIN_DMP);
    let options = options.with_guest(|guest| guest.cpus(cpus));
    let error = refused(&memory, &options);
    assert!(matches!(error, WinDmpError::TooMuchWork { .. }), "{error}");
    check_work(&memory);
    // Of all CPUs the same ones.
    let memory = Altered::crashed().put(base(), b"ZM");
    let mut cpus = memory.guest.cpus();
    cpus.resize(200, cpus[0]);
    let options = memory.options(Format::WIN_DMP);
    let options = options.with_guest(|guest| guest.cpus(cpus));
    let error = refused(&memory, &options);
    assert_eq!(error, WinDmpError::NoKernel { address_spaces: 1 });
}

fn cpus_idt(memory: &Altered) -> u64 {
    memory.guest.cpus()[0].idt.base
}
