//! Kernels whose lists of modules, processes and memory are broken.

use std::sync::atomic::Ordering;

use guestdump::demo::WindowsKind;
use guestdump::guest::windows::{HeaderOrigin, HeaderSource, KernelList, ListFault, WinDmpError};
use guestdump::{DumpOptions, Format};
use testkit::windows::{Windows, with_header};
use testkit::{PAGE, to_buffer};

use super::discover_support::{Altered, header, refused};

/// Nothing is mapped there.
const fn nowhere(kind: WindowsKind) -> u64 {
    match kind {
        WindowsKind::X86_64 => 0xffff_d50f_4000_0000,
        _ => 0x9000_0000,
    }
}

fn options(memory: &Altered) -> DumpOptions {
    memory.options(Format::WIN_DMP).filter(0, PAGE)
}

/// The dump is refused as long as nobody says that the guest may be damaged.
#[track_caller]
fn damaged(memory: &Altered, expected: &WinDmpError) {
    let options = options(memory);
    let whole = memory.options(Format::WIN_DMP_BITMAP);
    for options in [&options, &whole] {
        let error = refused(memory, options);
        assert_eq!(error, WinDmpError::Damaged(Box::new(expected.clone())));
    }
    let may_be = Windows::new().header(HeaderSource::Guest).damaged(true);
    let (bytes, summary) = to_buffer(memory, &may_be.instead(options.clone()));
    let windows = summary.windows.unwrap();
    assert_eq!(windows.header, HeaderOrigin::Guest);
    assert_eq!(windows.damage, std::slice::from_ref(expected));
    assert_eq!(windows.skipped_cpus, []);
    // A header from elsewhere goes with what there is, and says it as well.
    let header = bytes[..header(&bytes).as_bytes().len()].to_vec();
    let options = with_header(options, HeaderSource::Given(header));
    let (_, summary) = to_buffer(memory, &options);
    let windows = summary.windows.unwrap();
    assert_eq!(windows.header, HeaderOrigin::Given);
    assert_eq!(windows.damage, std::slice::from_ref(expected));
}

/// The rings of a guest: what they are, and where their heads lie.
fn rings(memory: &Altered) -> [(KernelList, u64); 2] {
    [
        (KernelList::Modules, memory.guest.modules()),
        (KernelList::Processes, memory.guest.processes()),
    ]
}

#[test]
fn rings_that_do_not_close_are_reported() {
    for kind in WindowsKind::ALL {
        let altered = || Altered::of_kind(kind);
        let size = altered().word_size() as u64;
        for (list, head) in rings(&altered()) {
            let first = altered().pointer(head);
            let second = altered().pointer(first);
            let broken = |entry, fault| WinDmpError::BrokenList { list, entry, fault };
            let before = |before| ListFault::NotLinkedBack { before };
            // To itself; back to an entry, past the head.
            let memory = altered().put_pointer(first, first);
            damaged(&memory, &broken(first, before(first)));
            let last = altered().pointer(head + size);
            let memory = altered().put_pointer(last, first);
            damaged(&memory, &broken(first, before(last)));
            // Links that do not fit together.
            let memory = altered().put_pointer(second + size, head);
            damaged(&memory, &broken(second, before(first)));
            let memory = altered().put_pointer(head + size, first);
            damaged(&memory, &broken(head, before(last)));
            // To where nothing is, and to user space.
            for entry in [nowhere(kind), 0, 0x7ffe_0000] {
                let memory = altered().put_pointer(first, entry);
                damaged(&memory, &broken(entry, ListFault::Unreadable));
            }
        }
    }
}

#[test]
fn unreadable_list_heads_are_damage_and_empty_lists_are_none() {
    for kind in WindowsKind::ALL {
        let altered = || Altered::of_kind(kind);
        let kdbg = altered().guest.kdbg();
        for ((list, _), field) in rings(&altered()).into_iter().zip([0x48, 0x50]) {
            for entry in [nowhere(kind), 0] {
                let memory = altered().put_pointer(kdbg + field, entry);
                let fault = ListFault::Unreadable;
                damaged(&memory, &WinDmpError::BrokenList { list, entry, fault });
            }
        }
        // Lists without entries are none of a kernel that runs, but sound.
        let mut memory = altered();
        let size = memory.word_size() as u64;
        for (_, head) in rings(&memory) {
            memory = memory
                .put_pointer(head, head)
                .put_pointer(head + size, head);
        }
        let (_, summary) = to_buffer(&memory, &options(&memory));
        assert_eq!(summary.windows.unwrap().damage, []);
    }
}

#[test]
fn a_ring_without_an_end_is_given_up() {
    for kind in WindowsKind::ALL {
        let memory = Altered::of_kind(kind);
        let (list, head) = rings(&memory)[0];
        let size = memory.word_size() as u64;
        let (memory, start) = long_ring(memory, head);
        let memory = memory.put_pointer(head, start);
        let max = 1 << 16;
        let entry = start + max as u64 * 2 * size;
        let fault = ListFault::TooLong { max };
        let error = refused(&memory, &options(&memory));
        let expected = WinDmpError::BrokenList { list, entry, fault };
        assert_eq!(error, WinDmpError::Damaged(Box::new(expected)));
        let reads = memory.reads.load(Ordering::Relaxed);
        assert!(reads < 1 << 20, "{reads} reads");
    }
}

/// A guest with entries of the list at `head` that are linked to their
/// neighbours, in a hole of its address space, and the address of the first.
fn long_ring(memory: Altered, head: u64) -> (Altered, u64) {
    const COUNT: u64 = 1 << 16;
    let kind = memory.guest.kind();
    let size = memory.word_size() as u64;
    // Behind the pool, whose table of the last level is there.
    let start = match kind {
        WindowsKind::X86_64 => 0xffff_d50f_0010_0000,
        _ => 0x8550_0000,
    };
    let mut bytes = Vec::new();
    for n in 0..COUNT {
        let at = start + n * 2 * size;
        let before = if n == 0 { head } else { at - 2 * size };
        for link in [at + 2 * size, before] {
            bytes.extend(&link.to_le_bytes()[..size as usize]);
        }
    }
    let gpa = memory.unused();
    let mut memory = memory.put_physical(gpa, &bytes);
    for n in 0..(bytes.len() as u64).div_ceil(PAGE) {
        memory = memory.map(start + n * PAGE, gpa + n * PAGE);
    }
    (memory, start)
}

#[test]
fn damaged_list_of_memory_is_reported_and_an_unreadable_one_ignored() {
    for kind in WindowsKind::ALL {
        let altered = || Altered::of_kind(kind);
        let size = altered().word_size() as u64;
        let block = altered().pointer(altered().guest.memory_block());
        let run = |index: u64| block + 2 * size + index * 2 * size;
        let first = altered().pointer(run(0) + size);
        // Over the one before it.
        let memory = altered().put_pointer(run(1), first);
        let base_page = first;
        damaged(
            &memory,
            &WinDmpError::RunOrder {
                index: 1,
                base_page,
            },
        );
        // Out of RAM: into the hole, and into nothing.
        for page_count in [first + 1, u32::MAX.into()] {
            let memory = altered().put_pointer(run(0) + size, page_count);
            let expected = WinDmpError::RunOutsideRam {
                index: 0,
                base_page: 1,
                page_count,
            };
            damaged(&memory, &expected);
        }
        // More than any kernel lists.
        for count in [4097, u32::MAX] {
            let memory = altered().put(block, &count.to_le_bytes());
            damaged(&memory, &WinDmpError::RunCount { count, max: 4096 });
        }
        // A list that cannot be read says nothing.
        for entry in [nowhere(kind), 0] {
            let memory = altered().put_pointer(altered().guest.memory_block(), entry);
            let (_, summary) = to_buffer(&memory, &options(&memory));
            assert_eq!(summary.windows.unwrap().damage, []);
        }
    }
}

#[test]
fn the_error_names_the_way_out() {
    let memory = Altered::crashed();
    let first = memory.pointer(memory.guest.processes());
    let memory = memory.put_pointer(first, 0);
    let text = refused(&memory, &options(&memory)).to_string();
    for word in ["processes", "PsActiveProcessHead", "header", "elf"] {
        assert!(text.contains(word), "{text}");
    }
}
