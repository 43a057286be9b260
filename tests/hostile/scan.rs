//! A scan of guest memory in which the guest has planted VMCOREINFO.

use guestdump::guest::vmcoreinfo::{Located, VmcoreinfoSource};
use guestdump::sink::BufferSink;
use guestdump::{DumpOptions, Error, Fault, Format, GuestInfo, Machine, dump};
use testkit::PAGE;

use crate::meter::{Counted, alone};

/// Guest-physical address of the kernel's strings in all of these guests.
const UTS: u64 = PAGE;

fn true_text() -> String {
    text("6.1.0-true", UTS)
}

fn text(release: &str, uts: u64) -> String {
    format!(
        "OSRELEASE={release}\nPAGESIZE=4096\nSYMBOL(init_uts_ns)={:x}\n\
         OFFSET(uts_namespace.name)=0\nNUMBER(phys_base)=0\n",
        0xffff_ffff_8000_0000 + uts
    )
}

/// Copies the part of `from`, which lies at `at`, that is in `buf` at `gpa`.
fn put(gpa: u64, buf: &mut [u8], at: u64, from: &[u8]) {
    let end = (gpa + buf.len() as u64).min(at + from.len() as u64);
    let start = gpa.max(at);
    if start < end {
        let part = &from[(start - at) as usize..(end - at) as usize];
        buf[(start - gpa) as usize..(end - gpa) as usize].copy_from_slice(part);
    }
}

/// A guest of `pages` pages, each of which begins with what `plant` gives for
/// it. The true kernel's text is in the last one.
fn guest(
    pages: u64,
    plant: impl Fn(u64) -> String + Send + Sync,
) -> Counted<impl Fn(u64, &mut [u8]) + Send + Sync> {
    let uts: Vec<u8> = ["Linux", "host", "6.1.0-true", "#1", "x86_64", "(none)"]
        .iter()
        .flat_map(|s| {
            let mut field = s.as_bytes().to_vec();
            field.resize(65, 0);
            field
        })
        .collect();
    Counted::new(pages * PAGE, move |gpa, buf| {
        buf.fill(0);
        let end = gpa + buf.len() as u64;
        for page in gpa / PAGE..end.div_ceil(PAGE) {
            let text = match page {
                _ if page == pages - 1 => true_text(),
                1 => String::new(),
                page => plant(page),
            };
            put(gpa, buf, page * PAGE, text.as_bytes());
        }
        put(gpa, buf, UTS, &uts);
    })
}

/// Only the scan: the dump has nothing else to read.
fn scan(memory: &dyn guestdump::GuestMemory) -> Option<Located> {
    let options = DumpOptions::new(
        GuestInfo::new(Machine::X86_64).vmcoreinfo(VmcoreinfoSource::Scan),
        Format::Elf,
    )
    .filter(0, PAGE);
    let summary = dump(memory, &mut BufferSink::new(), &options).unwrap();
    summary.vmcoreinfo
}

#[test]
fn a_million_planted_texts_do_not_hide_the_kernel() {
    const PAGES: u64 = 1_000_000;
    let Some(meter) = alone!() else {
        return;
    };
    // Each of another kernel, whose strings are elsewhere.
    let guest = guest(PAGES, |page| text(&format!("6.1.0-{page}"), 8 * PAGE));
    let (found, cost) = meter.measure("a million planted texts", || scan(&guest).unwrap());
    assert_eq!(found.info.text(), true_text().as_bytes());
    assert_eq!(found.candidates.len(), 64);
    let verified = found.candidates.iter().filter(|c| c.verified).count();
    assert_eq!(verified, 1);
    let (reads, bytes) = guest.count();
    println!("{reads} reads, {bytes} bytes of {}", PAGES * PAGE);
    // What the scan itself reads, which is all; a page of each and the strings
    // that it leads to; 64 KiB of the first 64.
    assert!(bytes < PAGES * (2 * PAGE + 390) + (16 << 20), "{bytes}");
    assert!(reads < 4 * PAGES, "{reads}");
    assert!(cost.heap < 12 << 20, "{cost:?}");
}

#[test]
fn texts_that_never_end_cost_a_page_each() {
    const PAGES: u64 = 4_000;
    let Some(meter) = alone!() else {
        return;
    };
    let guest = guest(PAGES, |page| {
        let mut text = format!("OSRELEASE={page}");
        text.extend(std::iter::repeat_n("\n", PAGE as usize - text.len()));
        text
    });
    let (found, cost) = meter.measure("texts without an end", || scan(&guest).unwrap());
    assert_eq!(found.info.osrelease(), "6.1.0-true");
    let (_, bytes) = guest.count();
    assert!(bytes < PAGES * (2 * PAGE + 390) + (16 << 20), "{bytes}");
    assert!(cost.heap < 12 << 20, "{cost:?}");
}

/// A copy of the true text is as good as the text: the scan keeps one.
#[test]
fn copies_count_once() {
    let Some(meter) = alone!() else {
        return;
    };
    let guest = guest(50_000, |_| true_text());
    let (found, cost) = meter.measure("50,000 copies", || scan(&guest).unwrap());
    assert_eq!(found.candidates.len(), 1);
    assert!(cost.heap < 4 << 20, "{cost:?}");
}

/// Whoever plants the kernel's own address is believed, and the scan ends:
/// nothing better can come.
#[test]
fn many_that_are_verified_end_the_scan() {
    let Some(meter) = alone!() else {
        return;
    };
    let guest = guest(1_000_000, |page| {
        format!("{}CRASHTIME={page}\n", true_text())
    });
    let (found, _) = meter.measure("a million verified texts", || scan(&guest).unwrap());
    assert_eq!(found.candidates.len(), 64);
    let (_, bytes) = guest.count();
    // Large pieces, and those that other threads have begun.
    assert!(bytes < 512 << 20, "{bytes}");
}

#[test]
fn a_scan_of_planted_texts_can_be_cancelled() {
    let Some(_meter) = alone!() else {
        return;
    };
    let progress = guestdump::Progress::new();
    let canceller = progress.clone();
    let guest = guest(100_000, move |page| {
        if page == 500 {
            canceller.cancel();
        }
        text(&page.to_string(), 8 * PAGE)
    });
    let options = DumpOptions::new(GuestInfo::new(Machine::X86_64), Format::Elf).progress(progress);
    let error = dump(&guest, &mut BufferSink::new(), &options).unwrap_err();
    assert!(matches!(error, Error::Failed(Fault::Cancelled)), "{error}");
    assert!(guest.count().1 < 64 << 20);
}
