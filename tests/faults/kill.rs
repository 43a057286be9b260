//! SIGKILL at any time: whatever has the target's name is a good dump.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use guestdump::read::Vmcore;
use guestdump::{Format, Progress};
use testkit::{Folder, Random};

/// Of all formats together, about.
const KILLS: usize = 220;

fn start(folder: &Folder, format: Format, more: &[&str]) -> Child {
    let source = if format.is_windows() {
        "demo-windows:16M"
    } else {
        "demo:16M"
    };
    let arguments = [
        "dump",
        "--from",
        source,
        "--to",
        "x",
        "--format",
        format.name(),
    ];
    let mut command = folder.command(arguments.iter().chain(more));
    command.stderr(Stdio::null()).spawn().unwrap()
}

/// What the kills came upon.
#[derive(Debug, Default)]
struct Outcome {
    /// Nothing, or what was there before.
    before: u32,
    /// The same, and a part of a file.
    partial: u32,
    /// A finished dump.
    finished: u32,
}

#[test]
fn a_dump_that_is_killed_leaves_no_bad_dump_behind() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = now.as_nanos() as u64;
    let mut random = Random::new(seed);
    eprintln!("seed {seed:#x}");
    let formats: Vec<_> = Format::available().collect();
    let mut outcome = Outcome::default();
    let mut kills = 0;
    let each = KILLS / formats.len();
    for format in formats {
        let folder = Folder::new();
        let begun = Instant::now();
        assert!(start(&folder, format, &[]).wait().unwrap().success());
        let usual = begun.elapsed();
        let good = folder.read("x");
        let dump = Vmcore::open(std::fs::File::open(folder.path("x")).unwrap()).unwrap();
        dump.check(&Progress::new()).unwrap();
        for number in 0..each {
            kills += 1;
            let _ = std::fs::remove_file(folder.path("x"));
            let mut more = Vec::new();
            let old = number % 2 == 1;
            if old {
                folder.write("x", "what was there before");
                more.push("--force");
            }
            if number % 4 >= 2 && format.codec().is_some() && format.needs_positions() {
                more.push("--keep-partial");
            }
            let mut child = start(&folder, format, &more);
            let delay = random.below(11 * usual.as_micros() as usize / 10);
            std::thread::sleep(Duration::from_micros(delay as u64));
            child.kill().unwrap();
            child.wait().unwrap();
            look(&folder, format, old, &good, &mut outcome);
        }
    }
    eprintln!("{kills} kills: {outcome:?}");
    assert!(kills >= 200, "{kills}");
    assert!(outcome.partial > 0, "no kill came upon a dump under way");
}

fn look(folder: &Folder, format: Format, old: bool, good: &[u8], outcome: &mut Outcome) {
    let mut partial = false;
    for name in folder.names().iter().filter(|name| *name != "x") {
        assert!(
            name.starts_with(".guestdump-") && name.ends_with(".partial"),
            "{name}"
        );
        std::fs::remove_file(folder.path(name)).unwrap();
        partial = true;
    }
    let path = folder.path("x");
    let finished = path.exists() && !(old && folder.read("x") == b"what was there before");
    if finished {
        // The same bytes as those that were checked.
        assert!(folder.read("x") == good, "{format} is another dump");
        outcome.finished += 1;
    } else if partial {
        outcome.partial += 1;
    } else {
        outcome.before += 1;
    }
    assert!(!old || path.exists(), "{format}: what was there is gone");
}
