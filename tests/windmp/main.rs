//! Windows dumps: what is written, what is refused, and what readers that
//! nobody here wrote see in them.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr)]

mod decode;
#[cfg(feature = "demo")]
mod discover;
#[cfg(feature = "demo")]
mod discover_32;
#[cfg(feature = "demo")]
mod discover_hostile;
#[cfg(feature = "demo")]
mod discover_lists;
#[cfg(feature = "demo")]
mod discover_support;
mod kdmp;
mod memflow_coredump;
mod python;
mod refusals;
mod write;

use guestdump::arch::x86_64::{Registers, Segment};
use guestdump::guest::windows::{DebugRegisters, ExtraState, SseState};
use guestdump::memory::MemoryRange;
use guestdump::{Format, GuestMemory};
use testkit::{PAGE, Page, PageMemory};

const FORMATS: [Format; 2] = [Format::WIN_DMP, Format::WIN_DMP_BITMAP];

/// Three pieces of RAM with every kind of page; page tables at 0x1000, which
/// map nothing.
fn guest() -> PageMemory {
    let mix = |count: u8| (0..count).map(|i| [Page::Zero, Page::Random(i)][usize::from(i % 2)]);
    let mut low: Vec<Page> = vec![Page::Text(1), Page::Zero];
    low.extend(mix(150));
    let mut middle = vec![Page::Untouched; 300];
    middle.extend(mix(120));
    PageMemory::new([
        (0, low),
        (0x10_0000, middle),
        (
            0x1_0000_0000,
            vec![Page::Random(7), Page::Untouched, Page::Text(9)],
        ),
    ])
}

/// All pages of `memory` with their guest-physical addresses.
fn pages(memory: &dyn GuestMemory) -> impl Iterator<Item = (u64, Vec<u8>)> {
    let frames = |range: MemoryRange| (range.start()..range.end()).step_by(PAGE as usize);
    memory.ranges().into_iter().flat_map(frames).map(|gpa| {
        let mut page = vec![0; PAGE as usize];
        let within = MemoryRange::new(gpa, PAGE).unwrap();
        if memory.next_populated(within).unwrap().is_some() {
            memory.read(gpa, &mut page).unwrap();
        }
        (gpa, page)
    })
}

/// Registers that all differ.
fn registers() -> Registers {
    let selector = |selector| Segment {
        selector,
        ..Segment::default()
    };
    Registers {
        rax: 0x1_0000_0001,
        rbx: 2,
        rcx: 3,
        rdx: 4,
        rsi: 5,
        rdi: 6,
        rsp: 0x7000_0007,
        rbp: 8,
        r8: 9,
        r9: 10,
        r10: 11,
        r11: 12,
        r12: 13,
        r13: 14,
        r14: 15,
        r15: 16,
        rip: 0xffff_f801_0000_0011,
        rflags: 0x246,
        cs: selector(0x10),
        ds: selector(0x2b),
        es: selector(0x2c),
        fs: selector(0x53),
        gs: selector(0x2d),
        ss: selector(0x18),
        ..Registers::default()
    }
}

fn extra() -> ExtraState {
    ExtraState {
        debug: Some(DebugRegisters {
            dr0: 21,
            dr1: 22,
            dr2: 23,
            dr3: 24,
            dr6: 0xffff_0ff0,
            dr7: 0x400,
        }),
        sse: Some(SseState {
            mxcsr: 0x1f80,
            xmm: std::array::from_fn(|i| (i as u128) << 64 | 0xaa),
        }),
    }
}
