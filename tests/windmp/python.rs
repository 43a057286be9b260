//! LeechCore and volatility3's crash layers, through the scripts in
//! `tests/interop/readers`: every page, and no other, in dumps of both types
//! and both word sizes.
//!
//! `PYTHON` names the Python that has them, as `tests/run` sets it; else that
//! of `tests/interop/readers/install .cache` counts. Without any the tests do
//! nothing, except with `CI=true`, where they fail.

use std::path::{Path, PathBuf};
use std::process::Command;

use guestdump::sink::{FileSink, FileSinkOptions};
use guestdump::{Format, GuestInfo, GuestMemory, Machine, dump};
use testkit::windows::Windows;
use testkit::windows::{given, header_32, header_64};
use testkit::{PAGE, Page, PageMemory};

use super::{FORMATS, pages};

fn python() -> Option<PathBuf> {
    let named = std::env::var_os("PYTHON").filter(|path| !path.is_empty());
    let cached = || Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/venv/bin/python");
    let python = named.map_or_else(cached, PathBuf::from);
    if python.exists() {
        return Some(python);
    }
    let mandatory = std::env::var_os("CI").is_some_and(|ci| ci == "true");
    assert!(!mandatory, "there is no {}", python.display());
    eprintln!("skipped: there is no {}", python.display());
    None
}

/// More than 16 MiB, below which LeechCore opens no file; in `pieces`, between
/// which a page is missing.
fn guest(pieces: u64) -> PageMemory {
    let piece = |n: u64| {
        let mut pages = vec![Page::Untouched; 4400 / pieces as usize];
        pages[0] = Page::Random(n as u8);
        pages[7] = Page::Text(n as u8);
        let last = pages.len() - 1;
        pages[last] = Page::Random(100 + n as u8);
        (n * (pages.len() as u64 + 1) * PAGE, pages)
    };
    PageMemory::new((0..pieces).map(piece))
}

/// Has `script` compare a dump of `guest` with the guest's pages.
#[track_caller]
fn check(script: &str, format: Format, windows: Windows, guest: &dyn GuestMemory) {
    let Some((success, text)) = run(script, format, windows, guest) else {
        return;
    };
    let expected = format!("{} pages equal", pages(guest).count());
    assert!(
        success && text.contains(&expected),
        "{script} {format}: {text}"
    );
}

/// What `script` says to a dump of `guest` and the guest's pages, and whether
/// it succeeds.
fn run(
    script: &str,
    format: Format,
    windows: Windows,
    guest: &dyn GuestMemory,
) -> Option<(bool, String)> {
    let python = python()?;
    let folder = tempfile::tempdir().unwrap();
    let (dmp, source) = (folder.path().join("dmp"), folder.path().join("source"));
    let mut sink = FileSink::create(&dmp, FileSinkOptions::default()).unwrap();
    let options = windows
        .options(GuestInfo::new(Machine::X86_64), format)
        .threads(2);
    dump(guest, &mut sink, &options).unwrap();
    let bytes: Vec<u8> = pages(guest).flat_map(|(_, page)| page).collect();
    std::fs::write(&source, bytes).unwrap();
    let mut offset = 0;
    let ranges = guest.ranges().into_iter().map(|range| {
        let (gpa, size) = (range.start(), range.size());
        let range = format!("{gpa:#x}:{size:#x}:{offset:#x}");
        offset += size;
        range
    });
    let output = Command::new(python)
        .arg(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("tests/interop/readers")
                .join(script),
        )
        .args([&dmp, &source])
        .args(ranges)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    Some((output.status.success(), text))
}

#[test]
fn leechcore_reads_64_bit_dumps() {
    for format in FORMATS {
        check(
            "leechcore_pages.py",
            format,
            given(&*header_64(PAGE)),
            &guest(11),
        );
    }
    // More pieces than a full dump's header has room for.
    let format = Format::WIN_DMP_BITMAP;
    check(
        "leechcore_pages.py",
        format,
        given(&*header_64(PAGE)),
        &guest(100),
    );
}

#[test]
fn leechcore_reads_32_bit_dumps() {
    let script = "leechcore_pages.py";
    let header = given(&*header_32(0x1000));
    check(script, Format::WIN_DMP, header.clone(), &guest(40));
    // It takes a bitmap of 32-bit guests for raw memory, to the file's end.
    let format = Format::WIN_DMP_BITMAP;
    if let Some((success, text)) = run(script, format, header, &guest(40)) {
        assert!(
            !success && text.contains("LeechCore: the memory map is 0x0:"),
            "{text}"
        );
    }
}

#[test]
fn volatility3_reads_dumps_of_both_types_and_word_sizes() {
    let script = "volatility_crash.py";
    for format in FORMATS {
        check(script, format, given(&*header_64(PAGE)), &guest(11));
        check(script, format, given(&*header_32(0x1000)), &guest(11));
    }
    // More pieces than a full dump's header has room for.
    let format = Format::WIN_DMP_BITMAP;
    check(script, format, given(&*header_64(PAGE)), &guest(100));
    check(script, format, given(&*header_32(0x1000)), &guest(100));
}

/// Every page of the synthetic Windows guest, whose header is built from it.
#[cfg(feature = "demo")]
#[test]
fn leechcore_and_volatility3_read_the_windows_guest() {
    use guestdump::demo::WindowsKind;
    for kind in WindowsKind::ALL {
        let (guest, windows) = super::discover_support::built_header(kind);
        for format in FORMATS {
            check("volatility_crash.py", format, windows.clone(), &guest);
            // It knows no bitmap of 32-bit guests.
            if kind == WindowsKind::X86_64 || format == Format::WIN_DMP {
                check("leechcore_pages.py", format, windows.clone(), &guest);
            }
        }
    }
}

/// volatility3 finds the synthetic Windows guest's kernel by the header and
/// KDBG of its dump, crashed or not.
#[cfg(feature = "demo")]
#[test]
fn volatility3_finds_the_kernel() {
    use guestdump::demo::{WindowsGuest, WindowsKind};

    let Some(python) = python() else { return };
    let of_kind = |kind| WindowsGuest::of_kind(kind, 32 << 20).unwrap();
    let live = of_kind(WindowsKind::X86_64).live();
    for guest in WindowsKind::ALL.map(of_kind).into_iter().chain([live]) {
        let (pdb, version) = match guest.kind() {
            WindowsKind::I386 => ("ntkrpamp.pdb", "6.1"),
            WindowsKind::I386NoPae => ("ntkrnlmp.pdb", "6.1"),
            _ => ("ntkrnlmp.pdb", "10.0"),
        };
        for format in FORMATS {
            let folder = tempfile::tempdir().unwrap();
            let dmp = folder.path().join("dmp");
            let mut sink = FileSink::create(&dmp, FileSinkOptions::default()).unwrap();
            let options = guestdump::DumpOptions::new(
                GuestInfo::new(guest.kind().machine()).cpus(guest.registers()),
                format,
            );
            dump(&guest, &mut sink, &options).unwrap();
            let readers = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/readers");
            let output = Command::new(&python)
                .arg(readers.join("volatility_windows.py"))
                .arg(&dmp)
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{format}: {text}{complaint}");
            let expected = format!(
                "kernel {:#x} {pdb}, modules ntoskrnl.exe hal.dll, processes System Registry smss.exe, Windows {version}",
                guest.kernel_base()
            );
            assert!(text.contains(&expected), "{text}");
        }
    }
}
